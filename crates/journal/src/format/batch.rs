//! A batch: the frames of one write and one sync, with a header that proves itself.

use std::fmt;

use thiserror::Error;

use super::frame::{FrameError, FrameView, parse_frame, view_checked};
use super::{u32_at, u64_at};

/// Bytes in front of a batch's payload.
pub const BATCH_HEADER_BYTES: usize = 64;
/// The first bytes of every batch.
pub const BATCH_MAGIC: u32 = u32::from_le_bytes(*b"inhB");

/// The header of a batch on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The salt of the segment's epoch.
    pub salt: u64,
    /// The epoch of the segment.
    pub epoch: u32,
    /// How many frames the payload holds; at least 1.
    pub frames: u32,
    /// The sequence of the first one.
    pub first_seq: u64,
    /// Bytes of payload, without padding.
    pub bytes: u32,
    /// CRC32C of the payload.
    pub payload_crc: u32,
    /// The chain value of the batch before, or the header page's checksum for the first.
    pub prev_chain: u32,
    /// Wall time of the commit, milliseconds since the Unix epoch.
    pub committed_ms: u64,
}

/// Why bytes are not a batch header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BatchHeaderError {
    /// The magic is not there.
    #[error("no batch starts here")]
    Magic,
    /// The header's checksum does not match.
    #[error("the batch header's checksum does not match")]
    Checksum,
    /// The checksum holds but a field has a value that is never written.
    #[error("the batch header holds an impossible value")]
    Impossible,
}

impl BatchHeader {
    /// The link to the next batch: covers everything that the frames' own checksums do not.
    #[must_use]
    pub fn chain(&self) -> u32 {
        let mut bytes = [0u8; 32];
        bytes[0..4].copy_from_slice(&self.prev_chain.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.first_seq.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.frames.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.committed_ms.to_le_bytes());
        crc32c::crc32c(&bytes)
    }

    /// One past the last sequence.
    #[must_use]
    pub fn end_seq(&self) -> u64 {
        self.first_seq.saturating_add(u64::from(self.frames))
    }

    /// The header as written.
    #[must_use]
    pub fn encode(&self) -> [u8; BATCH_HEADER_BYTES] {
        let mut bytes = [0u8; BATCH_HEADER_BYTES];
        bytes[0..4].copy_from_slice(&BATCH_MAGIC.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.salt.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.frames.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first_seq.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.bytes.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.prev_chain.to_le_bytes());
        bytes[44..48].copy_from_slice(&self.chain().to_le_bytes());
        bytes[48..56].copy_from_slice(&self.committed_ms.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the header at the start of `bytes`, which holds at least [`BATCH_HEADER_BYTES`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchHeaderError> {
        if u32_at(bytes, 0) != BATCH_MAGIC {
            return Err(BatchHeaderError::Magic);
        }
        if crc32c::crc32c(&bytes[8..BATCH_HEADER_BYTES]) != u32_at(bytes, 4) {
            return Err(BatchHeaderError::Checksum);
        }
        let header = Self {
            salt: u64_at(bytes, 8),
            epoch: u32_at(bytes, 16),
            frames: u32_at(bytes, 20),
            first_seq: u64_at(bytes, 24),
            bytes: u32_at(bytes, 32),
            payload_crc: u32_at(bytes, 36),
            prev_chain: u32_at(bytes, 40),
            committed_ms: u64_at(bytes, 48),
        };
        let impossible = header.frames == 0
            || header.first_seq == 0
            || header.chain() != u32_at(bytes, 44)
            || header.first_seq.checked_add(u64::from(header.frames)).is_none();
        if impossible { Err(BatchHeaderError::Impossible) } else { Ok(header) }
    }
}

/// An immutable committed batch: the frames as they stand on disk, with their offsets.
#[derive(Clone, PartialEq, Eq)]
pub struct Batch {
    first_seq: u64,
    committed_ms: u64,
    payload: Box<[u8]>,
    offsets: Box<[u32]>,
    tags: Box<[u64]>,
}

impl fmt::Debug for Batch {
    /// Never the payloads: they hold patients' data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("first_seq", &self.first_seq)
            .field("frames", &self.len())
            .field("bytes", &self.payload.len())
            .finish()
    }
}

impl Batch {
    /// A batch from the bytes of its frames, each checked, with sequences from `first_seq` on.
    pub fn from_payload(
        first_seq: u64,
        committed_ms: u64,
        payload: Box<[u8]>,
    ) -> Result<Self, FrameError> {
        let mut offsets = Vec::new();
        let (mut at, mut expected) = (0usize, first_seq);
        while at < payload.len() {
            let (frame, len) = parse_frame(&payload[at..])?;
            if frame.seq != expected {
                return Err(FrameError::Sequence { expected, found: frame.seq });
            }
            offsets.push(u32::try_from(at).map_err(|_| FrameError::Trailing)?);
            at += len;
            expected += 1;
        }
        Ok(Self { first_seq, committed_ms, payload, offsets: offsets.into(), tags: Box::new([]) })
    }

    /// A batch from parts that this process has encoded itself a moment ago.
    pub(crate) fn from_committed(
        first_seq: u64,
        committed_ms: u64,
        payload: &[u8],
        offsets: &[u32],
        tags: &[u64],
    ) -> Self {
        Self {
            first_seq,
            committed_ms,
            payload: payload.into(),
            offsets: offsets.into(),
            tags: tags.into(),
        }
    }

    /// The batch without its frames below `seq`. Unchanged when there are none.
    pub(crate) fn starting_at(mut self, seq: u64) -> Self {
        let skip = usize::try_from(seq.saturating_sub(self.first_seq)).unwrap_or(usize::MAX);
        let skip = skip.min(self.len());
        if skip > 0 {
            self.offsets = self.offsets[skip..].into();
            self.tags = self.tags.get(skip..).unwrap_or_default().into();
            self.first_seq += skip as u64;
        }
        self
    }

    /// The sequence of the first frame.
    #[must_use]
    pub fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// One past the sequence of the last frame.
    #[must_use]
    pub fn end_seq(&self) -> u64 {
        self.first_seq + self.offsets.len() as u64
    }

    /// How many frames.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there is no frame at all; a batch on disk always holds one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// The memory it occupies, in bytes.
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        size_of::<Self>() + self.payload.len() + self.offsets.len() * 4 + self.tags.len() * 8
    }

    /// Wall time of the commit in milliseconds since the Unix epoch. For a compressed block, that
    /// of its newest batch.
    #[must_use]
    pub fn committed_ms(&self) -> u64 {
        self.committed_ms
    }

    /// The tags given when the frames were appended; empty when read from disk.
    #[must_use]
    pub fn tags(&self) -> &[u64] {
        &self.tags
    }

    /// The frames in order.
    pub fn frames(&self) -> impl ExactSizeIterator<Item = FrameView<'_>> {
        self.offsets.iter().map(|&offset| view_checked(&self.payload[offset as usize..]))
    }

    /// The frame with this sequence, if it is in this batch.
    #[must_use]
    pub fn get(&self, seq: u64) -> Option<FrameView<'_>> {
        let index = usize::try_from(seq.checked_sub(self.first_seq)?).ok()?;
        let offset = *self.offsets.get(index)? as usize;
        Some(view_checked(&self.payload[offset..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::frame::{FrameKind, encode_frame};
    use proptest::prelude::*;

    fn payload(first_seq: u64, payloads: &[Vec<u8>]) -> Box<[u8]> {
        let mut out = Vec::new();
        for (seq, payload) in (first_seq..).zip(payloads) {
            let kind = FrameKind::Usage;
            encode_frame(FrameView { seq, kind, stream: 0, key_id: 0, payload }, &mut out);
        }
        out.into()
    }

    proptest! {
        #[test]
        fn a_header_comes_back_as_written(
            salt: u64, epoch: u32, frames in 1u32.., first_seq in 1..u64::MAX / 2, bytes: u32,
            payload_crc: u32, prev_chain: u32, committed_ms: u64,
        ) {
            let header = BatchHeader {
                salt, epoch, frames, first_seq, bytes, payload_crc, prev_chain, committed_ms,
            };
            prop_assert_eq!(BatchHeader::parse(&header.encode()), Ok(header));
        }

        #[test]
        fn no_single_bit_flip_passes(at in 0usize..BATCH_HEADER_BYTES, bit in 0u8..8) {
            let header = BatchHeader {
                salt: 1, epoch: 2, frames: 3, first_seq: 4, bytes: 5, payload_crc: 6,
                prev_chain: 7, committed_ms: 8,
            };
            let mut bytes = header.encode();
            bytes[at] ^= 1 << bit;
            prop_assert!(BatchHeader::parse(&bytes).is_err());
        }

        #[test]
        fn frames_come_back_and_can_be_trimmed(
            payloads in proptest::collection::vec(any::<Vec<u8>>(), 1..20), from in 0u64..40,
        ) {
            let batch = Batch::from_payload(10, 99, payload(10, &payloads)).expect("valid frames");
            prop_assert_eq!(batch.len(), payloads.len());
            for (seq, payload) in (10..).zip(&payloads) {
                prop_assert_eq!(batch.get(seq).expect("within").payload, &payload[..]);
            }
            prop_assert!(batch.get(9).is_none() && batch.get(batch.end_seq()).is_none());
            let end = batch.end_seq();
            let trimmed = batch.starting_at(from);
            let expected: Vec<u64> = (from.clamp(10, end)..end).collect();
            let found: Vec<u64> = trimmed.frames().map(|frame| frame.seq).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_frame_out_of_sequence_is_refused() {
        let bytes = payload(10, &[vec![1], vec![2]]);
        let refused = Batch::from_payload(11, 0, bytes).expect_err("starts at 10");
        assert_eq!(refused, FrameError::Sequence { expected: 11, found: 10 });
    }
}
