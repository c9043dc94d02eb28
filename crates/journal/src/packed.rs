//! Compressed segments as the core sees them: whole blocks, by sequence.

pub(crate) use crate::compress::Packed;
use std::sync::Arc;

use crate::disk::{Disk, File};
use crate::error::{OpenError, ReadError, opening};
use crate::format::SegmentHeader;

/// One past the last sequence of a compressed segment, and when its last frame was committed.
pub(crate) fn end(disk: &dyn Disk, header: &SegmentHeader) -> Result<(u64, u64), OpenError> {
    let number = header.number;
    let doing = format!("opening segment {number}");
    let file = disk.open(&header.file_name()).map_err(opening(doing))?;
    let packed = Packed::open(file.into(), header)
        .map_err(|error| OpenError::Header { segment: number, why: error.to_string() })?;
    Ok((packed.end_seq(), packed.committed_ms_max()))
}

/// Opens a compressed segment for reading. If it is damaged, what is intact in it can still be read:
/// everything below `end_seq` that is not is damaged on reading.
pub(crate) fn open_for_reading(
    file: Arc<dyn File>,
    header: &SegmentHeader,
    end_seq: Option<u64>,
) -> Result<Packed, ReadError> {
    let damaged = match Packed::open(Arc::clone(&file), header) {
        Err(damaged @ ReadError::Damaged { .. }) => damaged,
        outcome => return outcome,
    };
    let io = |source| ReadError::Io { segment: header.number, source };
    Packed::salvage(file, header, end_seq.unwrap_or(u64::MAX)).map_err(io)?.ok_or(damaged)
}
