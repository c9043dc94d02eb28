//! Preparing a segment ahead of need: zero-filled, synced, and only then under its final name, so
//! that a sync of the committer never has to wait for the file system to allocate.

use std::io;

use crate::disk::{Disk, File};
use crate::format::segment_file_name;
use crate::limits::ZERO_FILL_BYTES;

/// A segment that waits to be activated: its header page is all zeros.
pub(crate) struct Prepared {
    pub(crate) number: u64,
    pub(crate) bytes: u64,
    pub(crate) file: Box<dyn File>,
}

/// Writes a segment of zeros, durable with its directory entry. On failure what was written is
/// removed again, so that a full disk gets its space back.
pub(crate) fn prepare(disk: &dyn Disk, number: u64, bytes: u64) -> io::Result<Prepared> {
    let name = segment_file_name(number);
    let tmp = format!("{name}.tmp");
    remove_if_there(disk, &tmp)?;
    let filled = fill(disk, &tmp, bytes).and_then(|file| {
        disk.rename(&tmp, &name)?;
        disk.sync_dir()?;
        Ok(file)
    });
    match filled {
        Ok(file) => Ok(Prepared { number, bytes, file }),
        Err(error) => {
            // The first failure is what the caller must hear of; leftovers are removed at the
            // next open anyway.
            let _ = remove_if_there(disk, &tmp);
            let _ = remove_if_there(disk, &name);
            Err(error)
        }
    }
}

fn fill(disk: &dyn Disk, name: &str, bytes: u64) -> io::Result<Box<dyn File>> {
    let file = disk.create(name)?;
    let zeros = vec![0u8; ZERO_FILL_BYTES.min(usize::try_from(bytes).unwrap_or(ZERO_FILL_BYTES))];
    let mut at = 0u64;
    while at < bytes {
        let len = usize::try_from(bytes - at).unwrap_or(usize::MAX).min(zeros.len());
        file.write_all_at(&zeros[..len], at)?;
        // In small steps: one sync of the whole file would keep the disk from the committer.
        file.sync_data()?;
        at += len as u64;
    }
    file.sync_all()?;
    Ok(file)
}

/// Removes a file, or finds that it is not there.
pub(crate) fn remove_if_there(disk: &dyn Disk, name: &str) -> io::Result<()> {
    match disk.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether a failure says that space has run out rather than that the disk is broken.
pub(crate) fn is_out_of_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
