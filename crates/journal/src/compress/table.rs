//! The end of a compressed segment: a table from sequence to block, and a footer that leads to it.
//! Pure: no I/O.

/// Bytes of one entry of the table.
pub const TABLE_ENTRY_BYTES: usize = 32;
/// Bytes of the footer, the last of the file.
pub const FOOTER_BYTES: usize = 64;
const FOOTER_MAGIC: [u8; 8] = *b"inhJEND1";

/// Where a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableEntry {
    /// The sequence of its first frame.
    pub first_seq: u64,
    /// Where its header starts in the file.
    pub offset: u64,
    /// The earliest recorded time of a commit in it, milliseconds since the Unix epoch.
    pub committed_ms_min: u64,
    /// The latest one.
    pub committed_ms_max: u64,
}

impl TableEntry {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let fields = [self.first_seq, self.offset, self.committed_ms_min, self.committed_ms_max];
        fields.iter().for_each(|field| out.extend_from_slice(&field.to_le_bytes()));
    }

    pub(super) fn parse(bytes: &[u8; TABLE_ENTRY_BYTES]) -> Self {
        let u64_at = |at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().expect("in it"));
        Self {
            first_seq: u64_at(0),
            offset: u64_at(8),
            committed_ms_min: u64_at(16),
            committed_ms_max: u64_at(24),
        }
    }
}

/// What the footer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) table_offset: u64,
    pub(super) blocks: u32,
    /// CRC32C of the table.
    pub(super) table_crc: u32,
    /// One past the last sequence.
    pub(super) end_seq: u64,
    /// Bytes of packed frames before compression, of all blocks.
    pub(super) raw_bytes: u64,
}

impl Footer {
    /// The footer as written; its checksum begins with that of the segment's header page.
    pub(super) fn encode(&self, page_crc: u32) -> [u8; FOOTER_BYTES] {
        let mut bytes = [0u8; FOOTER_BYTES];
        bytes[0..8].copy_from_slice(&FOOTER_MAGIC);
        bytes[8..16].copy_from_slice(&self.table_offset.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.blocks.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.table_crc.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.end_seq.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.raw_bytes.to_le_bytes());
        let crc = crc32c::crc32c_append(page_crc, &bytes[..FOOTER_BYTES - 4]);
        bytes[FOOTER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn parse(bytes: &[u8; FOOTER_BYTES], page_crc: u32) -> Option<Self> {
        let u32_at = |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().expect("in it"));
        let u64_at = |at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().expect("in it"));
        if bytes[0..8] != FOOTER_MAGIC {
            return None;
        }
        let crc = crc32c::crc32c_append(page_crc, &bytes[..FOOTER_BYTES - 4]);
        if crc != u32_at(FOOTER_BYTES - 4) {
            return None;
        }
        Some(Self {
            table_offset: u64_at(8),
            blocks: u32_at(16),
            table_crc: u32_at(20),
            end_seq: u64_at(24),
            raw_bytes: u64_at(32),
        })
    }
}
