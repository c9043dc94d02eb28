//! A block of a compressed segment: frames packed in columns (runs of equal metadata, lengths,
//! payloads), compressed as one. Sequences follow from the block's first; checksums of frames are
//! computed anew on reading, under the block's own. Pure: no I/O.

use super::table::TableEntry;
use crate::format::{Batch, FrameKind, FrameView, encode_frame};
use crate::limits::PENDING_BYTES_MAX;

/// Bytes in front of a block's compressed frames.
pub const BLOCK_HEADER_BYTES: usize = 48;
/// The first bytes of every block.
pub(super) const BLOCK_MAGIC: u32 = u32::from_le_bytes(*b"inhZ");
/// No block unpacks to more: one frame of the largest pending buffer, with its metadata.
const RAW_BYTES_MAX: usize = PENDING_BYTES_MAX + (1 << 20);

/// The header of a block on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// The sequence of the first frame.
    pub first_seq: u64,
    /// How many frames; at least 1.
    pub frames: u32,
    /// Bytes of packed frames before compression.
    pub raw_bytes: u32,
    /// Bytes that follow this header.
    pub stored_bytes: u32,
    /// CRC32C of those.
    pub stored_crc: u32,
    /// The earliest recorded time of a commit in it, milliseconds since the Unix epoch.
    pub committed_ms_min: u64,
    /// The latest one.
    pub committed_ms_max: u64,
}

impl BlockHeader {
    /// One past the last sequence.
    #[must_use]
    pub fn end_seq(&self) -> u64 {
        self.first_seq.saturating_add(u64::from(self.frames))
    }

    /// Bytes of the whole block, this header included.
    pub(super) fn len(&self) -> u64 {
        BLOCK_HEADER_BYTES as u64 + u64::from(self.stored_bytes)
    }

    /// What the segment's table says of this block when it stands at `offset`.
    pub(super) fn entry(&self, offset: u64) -> TableEntry {
        let Self { first_seq, committed_ms_min, committed_ms_max, .. } = *self;
        TableEntry { first_seq, offset, committed_ms_min, committed_ms_max }
    }

    /// The header as written. Its checksum begins with that of the segment's header page, so that
    /// a block of another segment never passes.
    #[must_use]
    pub fn encode(&self, page_crc: u32) -> [u8; BLOCK_HEADER_BYTES] {
        let mut bytes = [0u8; BLOCK_HEADER_BYTES];
        bytes[0..4].copy_from_slice(&BLOCK_MAGIC.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.first_seq.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.frames.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.raw_bytes.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.stored_bytes.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.stored_crc.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.committed_ms_min.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.committed_ms_max.to_le_bytes());
        let crc = crc32c::crc32c_append(page_crc, &bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header of the segment whose header page has this checksum.
    #[must_use]
    pub fn parse(bytes: &[u8; BLOCK_HEADER_BYTES], page_crc: u32) -> Option<Self> {
        let u32_at = |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().expect("in it"));
        let u64_at = |at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().expect("in it"));
        let crc = crc32c::crc32c_append(page_crc, &bytes[8..]);
        if u32_at(0) != BLOCK_MAGIC || u32_at(4) != crc {
            return None;
        }
        let header = Self {
            first_seq: u64_at(8),
            frames: u32_at(16),
            raw_bytes: u32_at(20),
            stored_bytes: u32_at(24),
            stored_crc: u32_at(28),
            committed_ms_min: u64_at(32),
            committed_ms_max: u64_at(40),
        };
        let possible = header.frames > 0
            && header.first_seq > 0
            && header.first_seq.checked_add(u64::from(header.frames)).is_some()
            && header.raw_bytes as usize <= RAW_BYTES_MAX;
        possible.then_some(header)
    }
}

/// Gathers the frames of one block, column by column.
#[derive(Debug, Default)]
pub(super) struct Columns {
    frames: u32,
    runs: Vec<u8>,
    run: Option<((u8, u16, u32), u32)>,
    lengths: Vec<u8>,
    payloads: Vec<u8>,
}

impl Columns {
    pub(super) fn frames(&self) -> u32 {
        self.frames
    }

    /// About as many bytes as [`Columns::pack`] gives.
    pub(super) fn bytes_len(&self) -> usize {
        self.runs.len() + self.lengths.len() + self.payloads.len()
    }

    pub(super) fn push(&mut self, frame: FrameView<'_>) {
        let metadata = (frame.kind.code(), frame.stream, frame.key_id);
        match &mut self.run {
            Some((current, frames)) if *current == metadata => *frames += 1,
            _ => {
                self.end_run();
                self.run = Some((metadata, 1));
            }
        }
        put_number(&mut self.lengths, frame.payload.len() as u64);
        self.payloads.extend_from_slice(frame.payload);
        self.frames += 1;
    }

    fn end_run(&mut self) {
        if let Some(((kind, stream, key_id), frames)) = self.run.take() {
            put_number(&mut self.runs, u64::from(frames));
            self.runs.push(kind);
            put_number(&mut self.runs, u64::from(stream));
            put_number(&mut self.runs, u64::from(key_id));
        }
    }

    /// Appends the columns to `out` and empties them.
    pub(super) fn pack(&mut self, out: &mut Vec<u8>) {
        self.end_run();
        for column in [&mut self.runs, &mut self.lengths, &mut self.payloads] {
            out.extend_from_slice(column);
            column.clear();
        }
        self.frames = 0;
    }
}

/// The frames of a block from its columns, or `None` when they are not what [`Columns::pack`]
/// gives.
pub(super) fn unpack(header: &BlockHeader, raw: &[u8]) -> Option<Batch> {
    let (mut rest, mut frames) = (raw, 0u32);
    let mut runs: Vec<(u32, u8, u16, u32)> = Vec::new();
    while frames < header.frames {
        let count = u32::try_from(take_number(&mut rest)?).ok().filter(|&count| count > 0)?;
        let (&kind, after) = rest.split_first()?;
        rest = after;
        let stream = u16::try_from(take_number(&mut rest)?).ok()?;
        let key_id = u32::try_from(take_number(&mut rest)?).ok()?;
        frames = frames.checked_add(count)?;
        runs.push((count, kind, stream, key_id));
    }
    if frames != header.frames {
        return None;
    }
    // A frame has a byte of length at least, so a lie about their number allocates nothing.
    let mut lengths = Vec::with_capacity((frames as usize).min(rest.len()));
    for _ in 0..frames {
        lengths.push(usize::try_from(take_number(&mut rest)?).ok()?);
    }
    let mut payload = Vec::with_capacity(rest.len() + lengths.len() * 24);
    let mut offsets = Vec::with_capacity(lengths.len());
    let mut lengths = lengths.into_iter();
    let mut seq = header.first_seq;
    for (count, kind, stream, key_id) in runs {
        let kind = FrameKind::from_code(kind);
        for len in lengths.by_ref().take(count as usize) {
            let (record, after) = rest.split_at_checked(len)?;
            rest = after;
            offsets.push(u32::try_from(payload.len()).ok()?);
            encode_frame(FrameView { seq, kind, stream, key_id, payload: record }, &mut payload);
            seq += 1;
        }
    }
    let committed_ms = header.committed_ms_max;
    let batch = || Batch::from_committed(header.first_seq, committed_ms, &payload, &offsets, &[]);
    rest.is_empty().then(batch)
}

/// Appends a number in groups of seven bits, the lowest first.
fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// Takes a number off the front. None of this crate's has more than five bytes.
fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in [0, 7, 14, 21, 28] {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(first_seq: u64, frames: u32) -> BlockHeader {
        BlockHeader {
            first_seq,
            frames,
            raw_bytes: 0,
            stored_bytes: 0,
            stored_crc: 0,
            committed_ms_min: 3,
            committed_ms_max: 9,
        }
    }

    proptest! {
        #[test]
        fn columns_come_back(
            first_seq in 1u64..1 << 44,
            frames in proptest::collection::vec(
                (1u8..4, 0u16..2, 0u32..2, proptest::collection::vec(any::<u8>(), 0..300)), 1..40),
        ) {
            let mut columns = Columns::default();
            let views = frames.iter().zip(first_seq..).map(|((kind, stream, key_id, payload), seq)| {
                let kind = FrameKind::from_code(*kind);
                FrameView { seq, kind, stream: *stream, key_id: *key_id, payload }
            });
            views.clone().for_each(|view| columns.push(view));
            let mut raw = Vec::new();
            let header = header(first_seq, columns.frames());
            columns.pack(&mut raw);
            let batch = unpack(&header, &raw).expect("packed a moment ago");
            prop_assert!(batch.frames().eq(views));
            prop_assert_eq!(batch.committed_ms(), 9);
            raw.push(0);
            prop_assert!(unpack(&header, &raw).is_none(), "trailing bytes");
        }

        #[test]
        fn any_bytes_unpack_without_panic(frames in 1u32.., raw: Vec<u8>) {
            let _ = unpack(&header(1, frames), &raw);
        }

        #[test]
        fn no_flip_in_a_header_passes(at in 0usize..BLOCK_HEADER_BYTES, bit in 0u8..8, crc: u32) {
            let header = header(5, 2);
            let mut bytes = header.encode(crc);
            prop_assert_eq!(BlockHeader::parse(&bytes, crc), Some(header));
            prop_assert_eq!(BlockHeader::parse(&bytes, crc ^ 1), None);
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(BlockHeader::parse(&bytes, crc), None);
        }
    }
}
