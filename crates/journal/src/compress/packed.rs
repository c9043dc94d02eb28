//! A compressed segment as readers see it: whole blocks, found by sequence through the table; or, if
//! the table or the footer is damaged, through the blocks' own headers.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::block::{BLOCK_HEADER_BYTES, BLOCK_MAGIC, BlockHeader, unpack};
use super::table::{FOOTER_BYTES, Footer, TABLE_ENTRY_BYTES, TableEntry};
use crate::disk::File;
use crate::error::ReadError;
use crate::format::{Batch, HEADER_PAGE_BYTES, SegmentHeader};

/// Decoded blocks kept for the next reader of the same segment.
const CACHED_BLOCKS: usize = 2;

/// An open compressed segment.
pub struct Packed {
    file: Arc<dyn File>,
    number: u64,
    page_crc: u32,
    table: Vec<TableEntry>,
    table_offset: u64,
    end_seq: u64,
    raw_bytes: u64,
    /// For a table made from the blocks: where each whole block ends in the file, in the same order.
    ends: Option<Vec<u64>>,
    cache: Mutex<VecDeque<Batch>>,
}

impl Packed {
    /// Reads the footer and the table of the segment with this header.
    pub fn open(file: Arc<dyn File>, header: &SegmentHeader) -> Result<Self, ReadError> {
        let mut packed = Self::unread(file, header);
        let at = HEADER_PAGE_BYTES as u64;
        let len = packed.file.len().map_err(|source| packed.io(source))?;
        let Some(footer_at) = len.checked_sub(FOOTER_BYTES as u64).filter(|&at_| at_ >= at) else {
            return Err(packed.damaged(len, header.first_seq, "the footer is missing"));
        };
        let mut bytes = [0u8; FOOTER_BYTES];
        packed.read(&mut bytes, footer_at, header.first_seq)?;
        let footer = Footer::parse(&bytes, packed.page_crc).ok_or_else(|| {
            packed.damaged(footer_at, header.first_seq, "the footer's checksum fails")
        })?;
        let table_bytes = u64::from(footer.blocks) * TABLE_ENTRY_BYTES as u64;
        if footer.table_offset.checked_add(table_bytes) != Some(footer_at) {
            return Err(packed.damaged(footer_at, header.first_seq, "the table has a wrong size"));
        }
        let mut bytes = vec![0u8; footer.blocks as usize * TABLE_ENTRY_BYTES];
        packed.read(&mut bytes, footer.table_offset, header.first_seq)?;
        if crc32c::crc32c(&bytes) != footer.table_crc {
            let at = footer.table_offset;
            return Err(packed.damaged(at, header.first_seq, "the table's checksum fails"));
        }
        packed.table = bytes.as_chunks().0.iter().map(TableEntry::parse).collect();
        packed.table_offset = footer.table_offset;
        packed.end_seq = footer.end_seq;
        packed.raw_bytes = footer.raw_bytes;
        packed.check_table(header.first_seq)?;
        Ok(packed)
    }

    /// A segment that [`Packed::open`] finds damaged, read through its blocks instead of its table.
    /// What no whole block holds, below `end_seq` or not, is damaged on reading. `None` if there is no
    /// whole block. Reads and decodes the whole file once.
    pub(crate) fn salvage(
        file: Arc<dyn File>,
        header: &SegmentHeader,
        end_seq: u64,
    ) -> io::Result<Option<Self>> {
        let bytes = read_at_most(&*file, header.segment_bytes.saturating_mul(2))?;
        let mut packed = Self { end_seq, ..Self::unread(file, header) };
        packed.table_offset = bytes.len() as u64;
        let mut ends = Vec::new();
        let mut next_seq = header.first_seq;
        for (offset, block, batch) in blocks(&bytes, packed.page_crc) {
            // A second copy of a block, behind the segment or within it, tells nothing new.
            if batch.first_seq() >= next_seq && batch.first_seq() < end_seq {
                next_seq = batch.end_seq();
                packed.table.push(block.entry(offset));
                ends.push(offset + block.len());
            }
        }
        packed.ends = Some(ends);
        Ok((!packed.table.is_empty()).then_some(packed))
    }

    fn unread(file: Arc<dyn File>, header: &SegmentHeader) -> Self {
        Self {
            file,
            number: header.number,
            page_crc: header.page_crc(),
            table: Vec::new(),
            table_offset: 0,
            end_seq: header.first_seq,
            raw_bytes: 0,
            ends: None,
            cache: Mutex::new(VecDeque::new()),
        }
    }

    fn check_table(&self, first_seq: u64) -> Result<(), ReadError> {
        let rising = self
            .table
            .windows(2)
            .all(|pair| pair[0].first_seq < pair[1].first_seq && pair[0].offset < pair[1].offset);
        let first = self.table.first().map(|entry| entry.first_seq);
        let last = self.table.last().map_or(0, |entry| entry.first_seq);
        if !rising || first != Some(first_seq) || last >= self.end_seq {
            return Err(self.damaged(self.table_offset, first_seq, "the table is impossible"));
        }
        Ok(())
    }

    /// One past the last sequence.
    #[must_use]
    pub fn end_seq(&self) -> u64 {
        self.end_seq
    }

    /// Bytes of packed frames before compression, of all blocks.
    #[must_use]
    pub fn raw_bytes(&self) -> u64 {
        self.raw_bytes
    }

    /// Where each block is, in order.
    #[must_use]
    pub fn table(&self) -> &[TableEntry] {
        &self.table
    }

    /// The latest recorded time of a commit in the segment, milliseconds since the Unix epoch.
    #[must_use]
    pub fn committed_ms_max(&self) -> u64 {
        self.table.iter().map(|entry| entry.committed_ms_max).max().unwrap_or(0)
    }

    /// The block that holds `seq`, whole, as one batch.
    pub fn batch_with(&self, seq: u64) -> Result<Batch, ReadError> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(batch) = cache.iter().find(|batch| batch.get(seq).is_some()) {
            return Ok(batch.clone());
        }
        let batch = self.decode_block(seq)?;
        if cache.len() >= CACHED_BLOCKS {
            cache.pop_front();
        }
        cache.push_back(batch.clone());
        Ok(batch)
    }

    /// The same, past the cache.
    pub fn decode_block(&self, seq: u64) -> Result<Batch, ReadError> {
        let after = self.table.partition_point(|entry| entry.first_seq <= seq);
        let found = after.checked_sub(1).filter(|_| seq < self.end_seq);
        let Some((index, entry)) = found.and_then(|index| Some((index, self.table.get(index)?)))
        else {
            return Err(self.damaged(self.table_offset, seq, "no block holds the sequence"));
        };
        let next = self.table.get(after);
        let own_end = self.ends.as_ref().map(|ends| ends[index]);
        let next_at = next.map_or(self.table_offset, |next| next.offset);
        let block_end = own_end.unwrap_or(next_at);
        let end_seq = next.map_or(self.end_seq, |next| next.first_seq);
        let damaged = |why| self.damaged(entry.offset, seq, why);
        let bytes_len = usize::try_from(block_end.saturating_sub(entry.offset)).unwrap_or(0);
        let mut bytes = vec![0u8; bytes_len];
        self.read(&mut bytes, entry.offset, seq)?;
        let (head, stored) =
            bytes.split_first_chunk().ok_or_else(|| damaged("the block is cut short"))?;
        let header = BlockHeader::parse(head, self.page_crc)
            .ok_or_else(|| damaged("the block header's checksum fails"))?;
        if own_end.is_some() && seq >= header.end_seq() {
            return Err(self.damaged(block_end, seq, "no whole block is here"));
        }
        if header.first_seq != entry.first_seq
            || (own_end.is_none() && header.end_seq() != end_seq)
            || header.stored_bytes as usize != stored.len()
        {
            return Err(damaged("the block is not the one the table names"));
        }
        decode(&header, stored).map_err(damaged)
    }

    fn read(&self, buf: &mut [u8], offset: u64, seq: u64) -> Result<(), ReadError> {
        self.file.read_exact_at(buf, offset).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged(offset, seq, "the file ends too early"),
            _ => self.io(source),
        })
    }

    fn io(&self, source: io::Error) -> ReadError {
        ReadError::Io { segment: self.number, source }
    }

    fn damaged(&self, offset: u64, seq: u64, why: &str) -> ReadError {
        ReadError::Damaged { segment: self.number, offset, seq, why: why.to_owned() }
    }
}

/// The frames of a block whose header holds.
fn decode(header: &BlockHeader, stored: &[u8]) -> Result<Batch, &'static str> {
    if crc32c::crc32c(stored) != header.stored_crc {
        return Err("the block's checksum fails");
    }
    let raw = zstd::bulk::decompress(stored, header.raw_bytes as usize)
        .map_err(|_| "the block does not decompress")?;
    if raw.len() != header.raw_bytes as usize {
        return Err("the block decompresses to another size than it says");
    }
    unpack(header, &raw).ok_or("the block does not unpack")
}

/// One past the last sequence of a compressed segment in memory, if its footer is whole.
pub(crate) fn footer_end_seq(bytes: &[u8], page_crc: u32) -> Option<u64> {
    Some(Footer::parse(bytes.last_chunk()?, page_crc)?.end_seq)
}

/// Every whole block in the bytes of a compressed segment's file, without its table: what can be
/// saved of a damaged one. Each with its offset and its header.
pub(crate) fn blocks(
    bytes: &[u8],
    page_crc: u32,
) -> impl Iterator<Item = (u64, BlockHeader, Batch)> {
    let magic = BLOCK_MAGIC.to_le_bytes();
    let mut at = HEADER_PAGE_BYTES;
    std::iter::from_fn(move || {
        while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= BLOCK_HEADER_BYTES) {
            let offset = at as u64;
            if rest[..4] == magic
                && let Some((head, rest)) = rest.split_first_chunk()
                && let Some(header) = BlockHeader::parse(head, page_crc)
                && let Some(stored) = rest.get(..header.stored_bytes as usize)
                && let Ok(batch) = decode(&header, stored)
            {
                at += BLOCK_HEADER_BYTES + stored.len();
                return Some((offset, header, batch));
            }
            at += 1;
        }
        None
    })
}

/// The same at once, each block with its length in bytes instead of its header.
pub(crate) fn find_blocks(bytes: &[u8], page_crc: u32) -> Vec<(u64, usize, Batch)> {
    let length = |header: BlockHeader| usize::try_from(header.len()).unwrap_or(usize::MAX);
    blocks(bytes, page_crc).map(|(at, header, batch)| (at, length(header), batch)).collect()
}

/// Where the footer of a compressed segment ends and how many bytes follow it, if any do.
pub(crate) fn after_footer(
    file: &dyn File,
    header: &SegmentHeader,
) -> io::Result<Option<(u64, u64)>> {
    let bytes = read_at_most(file, header.segment_bytes.saturating_mul(2))?;
    let page_crc = header.page_crc();
    let mut places = bytes.windows(FOOTER_BYTES).enumerate().skip(HEADER_PAGE_BYTES);
    let footer = places.find(|(_, bytes)| {
        bytes.first_chunk().is_some_and(|bytes| Footer::parse(bytes, page_crc).is_some())
    });
    let Some((at, _)) = footer else { return Ok(None) };
    let end = (at + FOOTER_BYTES) as u64;
    Ok(file.len()?.checked_sub(end).filter(|&more| more > 0).map(|more| (end, more)))
}

/// The first bytes of a file, as many as it has, but not more than `bytes_max`.
fn read_at_most(file: &dyn File, bytes_max: u64) -> io::Result<Vec<u8>> {
    let len = usize::try_from(file.len()?.min(bytes_max))
        .map_err(|_| io::Error::new(io::ErrorKind::FileTooLarge, "larger than memory"))?;
    let mut bytes = vec![0u8; len];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
