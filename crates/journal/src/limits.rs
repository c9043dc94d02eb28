//! Every limit of the journal, and how they relate.

use crate::format::{BATCH_HEADER_BYTES, FRAME_HEADER_BYTES, HEADER_PAGE_BYTES};

/// The smallest segment: room for the header page and a few batches.
pub const SEGMENT_BYTES_MIN: u64 = 16 << 10;
/// The largest segment: offsets within one fit 32 bits, and a restart reads one whole.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// The smallest budget of the pending buffer.
pub const PENDING_BYTES_MIN: usize = 1 << 10;
/// The largest budget of the pending buffer.
pub const PENDING_BYTES_MAX: usize = 256 << 20;
/// The longest minimum spacing between syncs, in milliseconds.
pub const SPACING_MS_MAX: u64 = 1_000;
/// Subscriptions alive at once: a few per core.
pub const SUBSCRIPTIONS_MAX: usize = 4_096;
/// Projections that hold back retention.
pub const PROJECTIONS_MAX: usize = 64;
/// A store's number has 12 bits, so that it fits the ids made from it.
pub const STORE_NUMBER_MAX: u16 = (1 << 12) - 1;
/// Segments whose table from sequence to offset is kept in memory.
pub const LOOKUP_SEGMENTS_MAX: usize = 64;
/// A raw segment's table has one entry per so many bytes.
pub const LOOKUP_STEP_BYTES: u64 = 16 << 10;
/// What the search for one frame reads at once.
pub const LOOKUP_WINDOW_BYTES: usize = 32 << 10;
/// What a tailing reader reads at once.
pub const READ_WINDOW_BYTES: usize = 256 << 10;
/// What the zero-filling of a new segment writes between two syncs.
pub const ZERO_FILL_BYTES: usize = 1 << 20;

/// Bytes of a raw segment that batches can use.
#[must_use]
pub const fn segment_room(segment_bytes: u64) -> u64 {
    segment_bytes - HEADER_PAGE_BYTES as u64
}

const _: () = assert!(SEGMENT_BYTES_MIN > HEADER_PAGE_BYTES as u64 * 2);
const _: () = assert!(SEGMENT_BYTES_MAX <= u32::MAX as u64);
const _: () = assert!(PENDING_BYTES_MAX as u64 <= SEGMENT_BYTES_MAX / 2);
const _: () = assert!(PENDING_BYTES_MIN > BATCH_HEADER_BYTES + FRAME_HEADER_BYTES);
const _: () = assert!(READ_WINDOW_BYTES > BATCH_HEADER_BYTES);
