//! Sealed segments, compressed: blocks of packed frames, a table from sequence to block, a footer.
//! [`compress_segment`] rewrites a raw segment in place of itself, by an atomic rename and only
//! after the new file has been read back whole.

mod block;
mod packed;
mod table;
mod writer;

use std::sync::Arc;

use thiserror::Error;

use crate::aside;
use crate::disk::{Disk, File};
use crate::error::ReadError;
use crate::format::{Batch, FrameView, SegmentHeader, SegmentKind};
use crate::ledger::Place;
use crate::limits::READ_WINDOW_BYTES;
use crate::prepare::remove_if_there;
use crate::proof::Proof;
use crate::reader::RawReader;
use crate::scan::{RawSegment, read_header};

pub use block::{BLOCK_HEADER_BYTES, BlockHeader};
pub use packed::Packed;
pub(crate) use packed::{after_footer, find_blocks, footer_end_seq};
pub use table::{FOOTER_BYTES, TABLE_ENTRY_BYTES, TableEntry};
pub use writer::PackedWriter;

/// What a block holds of packed frames before compression, when no single frame is larger.
pub const BLOCK_RAW_BYTES: usize = 128 << 10;
/// Frames in one block, so that a block of empty frames stays small in memory.
pub const BLOCK_FRAMES_MAX: u32 = 16 << 10;

/// Why a segment was not compressed. It stays as it was.
#[derive(Debug, Error)]
pub enum CompressError {
    /// The raw segment cannot be read.
    #[error(transparent)]
    Source(#[from] ReadError),
    /// The new file cannot be written.
    #[error("writing the compressed segment: {0}")]
    Io(#[from] std::io::Error),
    /// The new file does not hold what was put into it.
    #[error("the compressed segment does not read back: {0}")]
    ReadBack(String),
}

/// A segment that was rewritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compressed {
    /// Its new header.
    pub header: SegmentHeader,
    /// The length of its new file.
    pub file_bytes: u64,
    /// How many frames it holds.
    pub frames: u64,
    /// Bytes of packed frames before compression.
    pub raw_bytes: u64,
}

/// Replaces a sealed raw segment by a compressed one that holds its frames below `end_seq`, the
/// first sequence of the segment after it. A crash at any point leaves one of the two. One that took
/// the raw one's place before, and of which only the directory's sync failed, is taken as it is.
///
/// `later` are the segments behind it. A raw file with frames past `end_seq` that none of them holds
/// is kept aside before it is replaced.
pub fn compress_segment(
    disk: &dyn Disk,
    header: &SegmentHeader,
    end_seq: u64,
    later: &[SegmentHeader],
    level: i32,
) -> Result<Compressed, CompressError> {
    let segment = header.number;
    let file =
        disk.open(&header.file_name()).map_err(|source| ReadError::Io { segment, source })?;
    let file: Arc<dyn File> = Arc::from(file);
    if let Some(compressed) = compressed_before(disk, header, &file)? {
        return Ok(compressed);
    }
    let source = Arc::new(header.clone());
    let mut reader = RawReader::new(source.clone(), file.clone(), READ_WINDOW_BYTES);
    let place = Place { header: source, end_seq: Some(end_seq), active: None };
    replace_segment(disk, header, level, |writer| {
        while reader.at.seq < end_seq {
            let batch_header = reader.peek(&place)?;
            let batch = reader.take(&batch_header, &place)?;
            reader.pass(&batch_header);
            for frame in batch.frames() {
                writer.push(frame, batch.committed_ms())?;
            }
        }
        keep_unproven(disk, header, &*file, reader.at.offset, later)
    })
}

/// What stands from `offset` on is not put into the compressed segment: an opening has copied it
/// into a later one, or nobody knows what it is.
fn keep_unproven(
    disk: &dyn Disk,
    header: &SegmentHeader,
    file: &dyn File,
    offset: u64,
    later: &[SegmentHeader],
) -> Result<(), CompressError> {
    let rest = usize::try_from(file.len()?.saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut bytes = vec![0u8; rest];
    file.read_exact_at(&mut bytes, offset)?;
    let segment = RawSegment::new(header, &bytes);
    let whole = segment.headers(0).filter_map(|(offset, _)| segment.whole_batch(offset).ok());
    let batches: Vec<Batch> = whole.filter_map(|found| found.to_batch().ok()).collect();
    if !Proof::new(disk, later.to_vec()).holds(&batches)? {
        let kept = aside::Names::new(disk)?.take(&header.file_name());
        aside::keep_copy(disk, &header.file_name(), &kept).map_err(std::io::Error::other)?;
    }
    Ok(())
}

/// What an earlier compression has put in the place of the segment with this raw header, if one has.
fn compressed_before(
    disk: &dyn Disk,
    header: &SegmentHeader,
    file: &Arc<dyn File>,
) -> Result<Option<Compressed>, CompressError> {
    let expected = SegmentHeader { kind: SegmentKind::Compressed, ..header.clone() };
    // A header that cannot be read is found by whoever reads the segment.
    if !read_header(&**file)?.is_ok_and(|found| found == expected) {
        return Ok(None);
    }
    let packed = Packed::open(file.clone(), &expected)?;
    // Whether or not this makes the rename durable: the old file and the new one hold the same.
    disk.sync_dir()?;
    Ok(Some(Compressed {
        file_bytes: file.len()?,
        frames: packed.end_seq() - expected.first_seq,
        raw_bytes: packed.raw_bytes(),
        header: expected,
    }))
}

/// Writes a compressed segment under the number of `header` and puts it in the place of what has
/// that name, once it is durable and has been read back.
pub(crate) fn replace_segment(
    disk: &dyn Disk,
    header: &SegmentHeader,
    level: i32,
    fill: impl FnOnce(&mut PackedWriter) -> Result<(), CompressError>,
) -> Result<Compressed, CompressError> {
    let name = header.file_name();
    let tmp = format!("{name}.tmp");
    let written = write_verified(disk, header, &tmp, level, fill);
    match written {
        Ok(compressed) => {
            disk.rename(&tmp, &name)?;
            disk.sync_dir()?;
            Ok(compressed)
        }
        Err(error) => {
            // The error above is the one to be told; a leftover goes at the next open.
            let _ = remove_if_there(disk, &tmp);
            Err(error)
        }
    }
}

fn write_verified(
    disk: &dyn Disk,
    header: &SegmentHeader,
    tmp: &str,
    level: i32,
    fill: impl FnOnce(&mut PackedWriter) -> Result<(), CompressError>,
) -> Result<Compressed, CompressError> {
    aside::make_way(disk, tmp)?;
    let header = SegmentHeader { kind: SegmentKind::Compressed, ..header.clone() };
    let mut writer = PackedWriter::create(disk.create(tmp)?, &header, level)?;
    fill(&mut writer)?;
    let written = writer.finish()?;
    let file = disk.open(tmp)?;
    let file_bytes = file.len()?;
    read_back(file, &header, &written)?;
    let writer::Written { frames, raw_bytes, .. } = written;
    Ok(Compressed { header, file_bytes, frames, raw_bytes })
}

/// Decodes the whole new file and compares every frame, by digest, with what was put in.
fn read_back(
    file: Box<dyn File>,
    header: &SegmentHeader,
    written: &writer::Written,
) -> Result<(), CompressError> {
    let broken = |error: ReadError| CompressError::ReadBack(error.to_string());
    let packed = Packed::open(Arc::from(file), header).map_err(broken)?;
    let (mut seq, mut digest) = (header.first_seq, 0u32);
    while seq < packed.end_seq() {
        let batch = packed.decode_block(seq).map_err(broken)?;
        digest = batch.frames().fold(digest, digest_frame);
        seq = batch.end_seq();
    }
    if seq - header.first_seq != written.frames || digest != written.digest {
        return Err(CompressError::ReadBack("its frames are not those put in".to_owned()));
    }
    Ok(())
}

/// Goes on with a digest of frames, over everything that a frame is.
pub(crate) fn digest_frame(digest: u32, frame: FrameView<'_>) -> u32 {
    let mut head = [0u8; 19];
    head[0..8].copy_from_slice(&frame.seq.to_le_bytes());
    head[8] = frame.kind.code();
    head[9..11].copy_from_slice(&frame.stream.to_le_bytes());
    head[11..15].copy_from_slice(&frame.key_id.to_le_bytes());
    let len = u32::try_from(frame.payload.len()).expect("a frame's length has 32 bits");
    head[15..19].copy_from_slice(&len.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(digest, &head), frame.payload)
}

#[cfg(test)]
mod tests;
