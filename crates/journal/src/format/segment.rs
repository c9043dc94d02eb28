//! The header page of a segment, and the names of segment files.

use thiserror::Error;

use super::{array, u16_at, u32_at, u64_at};

/// The first bytes of every used segment.
pub const SEGMENT_MAGIC: [u8; 8] = *b"inhJSEG1";
/// The version this code writes, and the newest it reads.
pub const FORMAT_VERSION: u32 = 1;
/// Size of the header page; the first batch or block starts right after.
pub const HEADER_PAGE_BYTES: usize = 4096;
const CRC_AT: usize = HEADER_PAGE_BYTES - 4;

/// How the frames of a segment are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// Batches as they were committed.
    Raw,
    /// Compressed blocks with a table, written in the background.
    Compressed,
}

/// What the header page of a segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Raw or compressed.
    pub kind: SegmentKind,
    /// The store it belongs to.
    pub store_id: [u8; 16],
    /// The store's number (12 bits), part of the ids made from its sequences.
    pub store_number: u16,
    /// The number in the file's name.
    pub number: u64,
    /// The number of the segment that comes before this one in the journal, 0 for the first.
    /// Holds once this segment has a valid batch; segments in between are then superseded.
    pub previous: u64,
    /// The number of the segment that ends the journal as long as this one has no valid batch.
    /// Other than `previous` only when recovery has copied all that the source held.
    pub source: u64,
    /// Counts the openings of the store.
    pub epoch: u32,
    /// Random per epoch: what a client puts in a body can never pass for a batch.
    pub salt: u64,
    /// The sequence of the first frame. Frames of earlier segments at or past it are superseded.
    pub first_seq: u64,
    /// Wall time of the activation, milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// The size a raw segment's file has. Kept when the segment is compressed.
    pub segment_bytes: u64,
}

/// Why a header page was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// Every byte is zero: the segment is prepared and unused.
    #[error("the header page is all zeros")]
    Unused,
    /// Neither zeros nor a page whose checksum holds.
    #[error("the header page's checksum does not match")]
    Damaged,
    /// The checksum holds but this code does not know the version.
    #[error("format version {0} is newer than this program knows")]
    Version(u32),
    /// The checksum holds but a field has a value that is never written.
    #[error("the header page holds an impossible value")]
    Impossible,
}

impl SegmentHeader {
    /// The page as written, its checksum in the last four bytes.
    #[must_use]
    pub fn encode(&self) -> Box<[u8; HEADER_PAGE_BYTES]> {
        let mut page = Box::new([0u8; HEADER_PAGE_BYTES]);
        let kind: u32 = match self.kind {
            SegmentKind::Raw => 1,
            SegmentKind::Compressed => 2,
        };
        page[0..8].copy_from_slice(&SEGMENT_MAGIC);
        page[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        page[12..16].copy_from_slice(&kind.to_le_bytes());
        page[16..32].copy_from_slice(&self.store_id);
        page[32..34].copy_from_slice(&self.store_number.to_le_bytes());
        page[36..40].copy_from_slice(&self.epoch.to_le_bytes());
        page[40..48].copy_from_slice(&self.number.to_le_bytes());
        page[48..56].copy_from_slice(&self.salt.to_le_bytes());
        page[56..64].copy_from_slice(&self.first_seq.to_le_bytes());
        page[64..72].copy_from_slice(&self.created_ms.to_le_bytes());
        page[72..80].copy_from_slice(&self.segment_bytes.to_le_bytes());
        page[80..88].copy_from_slice(&self.previous.to_le_bytes());
        page[88..96].copy_from_slice(&self.source.to_le_bytes());
        let crc = crc32c::crc32c(&page[..CRC_AT]);
        page[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        page
    }

    /// Reads a header page of [`HEADER_PAGE_BYTES`] bytes.
    pub fn parse(page: &[u8; HEADER_PAGE_BYTES]) -> Result<Self, HeaderError> {
        if page.iter().all(|&byte| byte == 0) {
            return Err(HeaderError::Unused);
        }
        if page[0..8] != SEGMENT_MAGIC || crc32c::crc32c(&page[..CRC_AT]) != u32_at(page, CRC_AT) {
            return Err(HeaderError::Damaged);
        }
        let version = u32_at(page, 8);
        if version != FORMAT_VERSION {
            return Err(HeaderError::Version(version));
        }
        let kind = match u32_at(page, 12) {
            1 => SegmentKind::Raw,
            2 => SegmentKind::Compressed,
            _ => return Err(HeaderError::Impossible),
        };
        let header = Self {
            kind,
            store_id: array(page, 16),
            store_number: u16_at(page, 32),
            epoch: u32_at(page, 36),
            number: u64_at(page, 40),
            salt: u64_at(page, 48),
            first_seq: u64_at(page, 56),
            created_ms: u64_at(page, 64),
            segment_bytes: u64_at(page, 72),
            previous: u64_at(page, 80),
            source: u64_at(page, 88),
        };
        let linked = header.previous <= header.source && header.source < header.number;
        if header.first_seq == 0 || header.number == 0 || !linked {
            return Err(HeaderError::Impossible);
        }
        Ok(header)
    }

    /// The checksum of this header's page: where the chain of the segment's batches starts.
    #[must_use]
    pub fn page_crc(&self) -> u32 {
        u32_at(&self.encode()[..], CRC_AT)
    }

    /// The name of the segment's file.
    #[must_use]
    pub fn file_name(&self) -> String {
        segment_file_name(self.number)
    }
}

/// `00000000000000000042.seg`: twenty digits, so that names sort as numbers do.
#[must_use]
pub fn segment_file_name(number: u64) -> String {
    format!("{number:020}.seg")
}

/// The number in a segment's file name, if it is one.
#[must_use]
pub fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(number: u64, first_seq: u64, salt: u64, epoch: u32) -> SegmentHeader {
        SegmentHeader {
            kind: SegmentKind::Raw,
            store_id: [7; 16],
            store_number: 9,
            number,
            previous: number - 1,
            source: number - 1,
            epoch,
            salt,
            first_seq,
            created_ms: 1_478_009_511_000,
            segment_bytes: 1 << 20,
        }
    }

    proptest! {
        #[test]
        fn a_header_comes_back_as_written(
            number in 1u64.., first_seq in 1u64.., salt: u64, epoch: u32,
        ) {
            let header = header(number, first_seq, salt, epoch);
            prop_assert_eq!(SegmentHeader::parse(&header.encode()), Ok(header));
        }

        #[test]
        fn no_single_bit_flip_passes(at in 0usize..HEADER_PAGE_BYTES, bit in 0u8..8) {
            let mut page = header(3, 40, 5, 2).encode();
            page[at] ^= 1 << bit;
            prop_assert_eq!(SegmentHeader::parse(&page), Err(HeaderError::Damaged));
        }
    }

    #[test]
    fn zeros_mean_unused_and_a_newer_version_is_named() {
        assert_eq!(SegmentHeader::parse(&[0; HEADER_PAGE_BYTES]), Err(HeaderError::Unused));
        let mut page = header(3, 40, 5, 2).encode();
        page[8] = 2;
        let crc = crc32c::crc32c(&page[..CRC_AT]);
        page[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::parse(&page), Err(HeaderError::Version(2)));
    }

    #[test]
    fn names_and_numbers_agree() {
        fn check(name: &str, expected: Option<u64>) {
            assert_eq!(segment_number(name), expected, "{name}");
        }
        check(&segment_file_name(42), Some(42));
        check("00000000000000000042.seg", Some(42));
        check("00000000000000000042.seg.tmp", None);
        check("42.seg", None);
        check("0000000000000000004x.seg", None);
        check("store.meta", None);
    }
}
