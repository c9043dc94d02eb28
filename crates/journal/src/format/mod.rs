//! The bytes on disk, as `docs/format.md` gives them: segment header, batch header, frame, and the
//! batch as it lives in memory. Pure: no I/O.

mod batch;
mod frame;
mod segment;

pub use batch::{BATCH_HEADER_BYTES, BATCH_MAGIC, Batch, BatchHeader, BatchHeaderError};
pub use frame::{
    FRAME_HEADER_BYTES, FrameError, FrameKind, FrameView, OwnedFrame, begin_frame, encode_frame,
    finish_frame, parse_frame,
};
pub use segment::{
    FORMAT_VERSION, HEADER_PAGE_BYTES, HeaderError, SEGMENT_MAGIC, SegmentHeader, SegmentKind,
    segment_file_name, segment_number,
};

/// Batches start at multiples of this, so that a search for a later batch knows where to look.
pub const BATCH_ALIGN_BYTES: u64 = 8;

/// `offset` rounded up to the next place where a batch may start.
#[must_use]
pub const fn align_batch(offset: u64) -> u64 {
    offset.next_multiple_of(BATCH_ALIGN_BYTES)
}

/// Reads `N` bytes at `at`. The caller has checked that they are there.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the slice is N bytes long")
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}
