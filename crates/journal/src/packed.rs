//! Compressed segments as the core sees them: whole blocks, by sequence.

pub(crate) use crate::compress::Packed;
use crate::disk::Disk;
use crate::error::{OpenError, opening};
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
