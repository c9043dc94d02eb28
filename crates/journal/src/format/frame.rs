//! A frame: one record of the journal with its kind, sequence and checksum.

use thiserror::Error;

use super::{u16_at, u32_at, u64_at};

/// Bytes in front of a frame's payload.
pub const FRAME_HEADER_BYTES: usize = 24;
const CRC_AT: usize = 20;

/// What a frame holds. Kinds not known here are kept and handed on, never an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// A usage.
    Usage,
    /// Reserved: a correction of an earlier usage.
    Correction,
    /// Reserved: an erasure.
    Erasure,
    /// Reserved: bytes that mean nothing.
    Padding,
    /// The journal was closed in order.
    Closed,
    /// Written by a newer version.
    Unknown(u8),
}

impl FrameKind {
    /// The byte on disk.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Usage => 1,
            Self::Correction => 2,
            Self::Erasure => 3,
            Self::Padding => 4,
            Self::Closed => 5,
            Self::Unknown(code) => code,
        }
    }

    /// The kind that a byte on disk stands for.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::Usage,
            2 => Self::Correction,
            3 => Self::Erasure,
            4 => Self::Padding,
            5 => Self::Closed,
            other => Self::Unknown(other),
        }
    }
}

/// A frame borrowed from the batch that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameView<'a> {
    /// Its place in the journal, from 1.
    pub seq: u64,
    /// What the payload is.
    pub kind: FrameKind,
    /// The stream it belongs to; 0 today.
    pub stream: u16,
    /// The key its payload is encrypted with; 0 for none.
    pub key_id: u32,
    /// The record.
    pub payload: &'a [u8],
}

/// A frame that owns its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedFrame {
    /// Its place in the journal, from 1.
    pub seq: u64,
    /// What the payload is.
    pub kind: FrameKind,
    /// The stream it belongs to; 0 today.
    pub stream: u16,
    /// The key its payload is encrypted with; 0 for none.
    pub key_id: u32,
    /// The record.
    pub payload: Vec<u8>,
}

impl From<FrameView<'_>> for OwnedFrame {
    fn from(view: FrameView<'_>) -> Self {
        let FrameView { seq, kind, stream, key_id, payload } = view;
        Self { seq, kind, stream, key_id, payload: payload.to_vec() }
    }
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The bytes end before the frame does.
    #[error("the frame is cut short")]
    Short,
    /// The checksum does not match.
    #[error("the frame's checksum does not match")]
    Checksum,
    /// The checksum holds but the sequence is not the expected one.
    #[error("the frame's sequence is {found}, not {expected}")]
    Sequence {
        /// The sequence that has to stand here.
        expected: u64,
        /// The sequence that stands here.
        found: u64,
    },
    /// Bytes are left over after the last frame.
    #[error("bytes are left over after the last frame")]
    Trailing,
}

/// Makes room for a frame's header at the end of `out`; the caller then appends the payload and
/// calls [`finish_frame`] with the returned start. So a payload is encoded in place.
pub fn begin_frame(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    start
}

/// Fills in the header of the frame that starts at `start` and ends at the end of `out`.
///
/// # Panics
/// When the payload is 4 GiB or more; the budget of the pending buffer is far below.
pub fn finish_frame(
    out: &mut [u8],
    start: usize,
    kind: FrameKind,
    stream: u16,
    key_id: u32,
    seq: u64,
) {
    let (header, payload) = out[start..].split_at_mut(FRAME_HEADER_BYTES);
    let len = u32::try_from(payload.len()).expect("the pending budget bounds a payload");
    header[0..4].copy_from_slice(&len.to_le_bytes());
    header[4] = kind.code();
    header[5] = 0;
    header[6..8].copy_from_slice(&stream.to_le_bytes());
    header[8..12].copy_from_slice(&key_id.to_le_bytes());
    header[12..20].copy_from_slice(&seq.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..CRC_AT]), payload);
    header[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
}

/// Appends a whole frame to `out`.
pub fn encode_frame(frame: FrameView<'_>, out: &mut Vec<u8>) {
    let start = begin_frame(out);
    out.extend_from_slice(frame.payload);
    finish_frame(out, start, frame.kind, frame.stream, frame.key_id, frame.seq);
}

/// Reads the frame at the start of `bytes` and checks its checksum. Returns it with its length in
/// bytes, header included.
pub fn parse_frame(bytes: &[u8]) -> Result<(FrameView<'_>, usize), FrameError> {
    if bytes.len() < FRAME_HEADER_BYTES {
        return Err(FrameError::Short);
    }
    let len = u32_at(bytes, 0) as usize;
    let end = FRAME_HEADER_BYTES.checked_add(len).ok_or(FrameError::Short)?;
    let payload = bytes.get(FRAME_HEADER_BYTES..end).ok_or(FrameError::Short)?;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..CRC_AT]), payload);
    if crc != u32_at(bytes, CRC_AT) {
        return Err(FrameError::Checksum);
    }
    Ok((view(bytes, payload), end))
}

/// The frame at the start of `bytes`, which an earlier [`parse_frame`] has accepted.
pub(super) fn view_checked(bytes: &[u8]) -> FrameView<'_> {
    let len = u32_at(bytes, 0) as usize;
    view(bytes, &bytes[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + len])
}

fn view<'a>(header: &[u8], payload: &'a [u8]) -> FrameView<'a> {
    FrameView {
        seq: u64_at(header, 12),
        kind: FrameKind::from_code(header[4]),
        stream: u16_at(header, 6),
        key_id: u32_at(header, 8),
        payload,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_frame_comes_back_as_written(
            seq: u64, kind: u8, stream: u16, key_id: u32, payload: Vec<u8>, after: Vec<u8>,
        ) {
            let kind = FrameKind::from_code(kind);
            let frame = FrameView { seq, kind, stream, key_id, payload: &payload };
            let mut bytes = Vec::new();
            encode_frame(frame, &mut bytes);
            let len = bytes.len();
            bytes.extend_from_slice(&after);
            prop_assert_eq!(parse_frame(&bytes), Ok((frame, len)));
            prop_assert_eq!(view_checked(&bytes), frame);
        }

        #[test]
        fn no_single_bit_flip_passes(payload in proptest::collection::vec(any::<u8>(), 0..80),
                                     at: proptest::sample::Index, bit in 0u8..8) {
            let kind = FrameKind::Usage;
            let frame = FrameView { seq: 7, kind, stream: 0, key_id: 0, payload: &payload };
            let mut bytes = Vec::new();
            encode_frame(frame, &mut bytes);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(parse_frame(&bytes).is_err());
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let _ = parse_frame(&bytes);
        }
    }

    #[test]
    fn every_code_is_its_own_kind() {
        for code in 0..=u8::MAX {
            assert_eq!(FrameKind::from_code(code).code(), code);
        }
    }
}
