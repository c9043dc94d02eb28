//! What the disk gives: the time of a bare fdatasync, and the bytes that a folder takes.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::fs::fdatasync;

use crate::clock::now_ns;
use crate::latency::{Latencies, Quantiles};

const BLOCK_BYTES: usize = 4 << 10;
const FILE_BYTES: usize = 16 << 20;

/// Writes 4 KiB and waits for the disk, `count` times over, in a file whose blocks were all written
/// before.
pub(crate) fn probe(folder: &Path, count: u32) -> Result<Quantiles> {
    let path = folder.join("fdatasync-probe");
    let file = File::create(&path).with_context(|| format!("{}", path.display()))?;
    file.write_all_at(&vec![0; FILE_BYTES], 0)?;
    file.sync_all()?;
    let block = [b'i'; BLOCK_BYTES];
    let mut latencies = Latencies::new();
    let mut offset = 0;
    for _ in 0..count {
        let started = now_ns();
        file.write_all_at(&block, offset)?;
        fdatasync(&file)?;
        latencies.record_ns(now_ns() - started);
        offset = (offset + BLOCK_BYTES as u64) % FILE_BYTES as u64;
    }
    drop(file);
    fs::remove_file(&path)?;
    Ok(latencies.quantiles())
}

/// Bytes allocated below a folder; 0 when it is not there.
pub(crate) fn allocated_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    if !folder.exists() {
        return Ok(0);
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += metadata.blocks() * 512;
        if metadata.is_dir() {
            bytes += allocated_bytes(&entry.path())?;
        }
    }
    Ok(bytes)
}
