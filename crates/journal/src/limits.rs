//! Every limit of the journal, and how they relate.

use crate::format::{BATCH_HEADER_BYTES, FRAME_HEADER_BYTES, HEADER_PAGE_BYTES, align_batch};
use crate::options::Options;

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

/// How many sequences the file `mark` reserves ahead of the durable position: a minute at the design
/// rate, and what accepting the loss of the journal's end skips at most.
pub const MARK_AHEAD: u64 = 1 << 20;
/// Where the mark is lost too, as many sequences past everything known are given up with the loss.
pub const LOST_MARK_AHEAD: u64 = 1 << 22;

/// Bytes of a raw segment that batches can use.
#[must_use]
pub const fn segment_room(segment_bytes: u64) -> u64 {
    segment_bytes - HEADER_PAGE_BYTES as u64
}

/// A segment that an open has to fill with zeros itself, while everybody waits, is this part of a
/// whole one.
const FIRST_SEGMENT_PART: u64 = 16;

/// The size of such a segment: any batch fits it, so that it is never passed over empty.
#[must_use]
pub(crate) fn first_segment_bytes(options: &Options) -> u64 {
    let page_bytes = HEADER_PAGE_BYTES as u64;
    let batch_bytes = align_batch((BATCH_HEADER_BYTES + options.pending_bytes_max) as u64);
    // The closing frame may come on top of the budget.
    let room_bytes = batch_bytes + FRAME_HEADER_BYTES as u64 + page_bytes;
    let part_bytes = options.segment_bytes / FIRST_SEGMENT_PART;
    part_bytes.max(room_bytes).next_multiple_of(page_bytes).min(options.segment_bytes)
}

const _: () = assert!(SEGMENT_BYTES_MIN > HEADER_PAGE_BYTES as u64 * 2);
const _: () = assert!(SEGMENT_BYTES_MAX <= u32::MAX as u64);
const _: () = assert!(PENDING_BYTES_MAX as u64 <= SEGMENT_BYTES_MAX / 2);
const _: () = assert!(PENDING_BYTES_MIN > BATCH_HEADER_BYTES + FRAME_HEADER_BYTES);
const _: () = assert!(READ_WINDOW_BYTES > BATCH_HEADER_BYTES);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_segment_is_small_and_any_batch_fits_it() {
        fn check(segment_bytes: u64, pending_bytes_max: usize, expected: u64) {
            let options = Options { segment_bytes, pending_bytes_max, ..Options::default() };
            options.validate().expect("they fit");
            let first_bytes = first_segment_bytes(&options);
            assert_eq!(first_bytes, expected, "{segment_bytes} {pending_bytes_max}");
            assert!(segment_room(first_bytes) >= (BATCH_HEADER_BYTES + pending_bytes_max) as u64);
        }
        check(64 << 20, 4 << 20, (4 << 20) + 8192);
        check(64 << 20, 1 << 20, 4 << 20);
        check(16 << 10, 8 << 10, 16 << 10);
        check(64 << 10, 16 << 10, 24 << 10);
        check(16 << 10, 12_224, 16 << 10);
    }
}
