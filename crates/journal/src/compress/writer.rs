//! Writes a compressed segment from its first block to its footer.

use std::io;

use zstd::bulk::Compressor;

use super::block::{BlockHeader, Columns};
use super::table::{Footer, TableEntry};
use super::{BLOCK_FRAMES_MAX, BLOCK_RAW_BYTES, digest_frame};
use crate::disk::File;
use crate::format::{FrameView, HEADER_PAGE_BYTES, SegmentHeader};

/// Puts frames, in order and without a gap, into a compressed segment.
pub struct PackedWriter {
    file: Box<dyn File>,
    compressor: Compressor<'static>,
    page_crc: u32,
    next_seq: u64,
    columns: Columns,
    committed_ms: (u64, u64),
    table: Vec<TableEntry>,
    raw: Vec<u8>,
    stored: Vec<u8>,
    offset: u64,
    written: Written,
}

/// What a finished segment holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// How many frames.
    pub frames: u64,
    /// Bytes of packed frames before compression.
    pub raw_bytes: u64,
    /// A digest of all frames in order.
    pub digest: u32,
}

impl PackedWriter {
    /// Begins with the header page, in an empty file.
    pub(super) fn create(
        file: Box<dyn File>,
        header: &SegmentHeader,
        level: i32,
    ) -> io::Result<Self> {
        let page = header.encode();
        file.write_all_at(&page[..], 0)?;
        Ok(Self {
            file,
            compressor: Compressor::new(level)?,
            page_crc: header.page_crc(),
            next_seq: header.first_seq,
            columns: Columns::default(),
            committed_ms: (u64::MAX, 0),
            table: Vec::new(),
            raw: Vec::new(),
            stored: Vec::new(),
            offset: HEADER_PAGE_BYTES as u64,
            written: Written::default(),
        })
    }

    /// Adds a frame that was committed at this recorded time.
    ///
    /// # Panics
    /// When the frame does not follow the one before it.
    pub fn push(&mut self, frame: FrameView<'_>, committed_ms: u64) -> io::Result<()> {
        assert_eq!(frame.seq, self.next_seq, "frames are packed in order, without a gap");
        let full = self.columns.bytes_len() + frame.payload.len() > BLOCK_RAW_BYTES;
        if self.columns.frames() > 0 && (full || self.columns.frames() >= BLOCK_FRAMES_MAX) {
            self.end_block()?;
        }
        let (earliest, latest) = self.committed_ms;
        self.committed_ms = (earliest.min(committed_ms), latest.max(committed_ms));
        self.columns.push(frame);
        self.written.digest = digest_frame(self.written.digest, frame);
        self.written.frames += 1;
        self.next_seq += 1;
        Ok(())
    }

    fn end_block(&mut self) -> io::Result<()> {
        let frames = self.columns.frames();
        self.raw.clear();
        self.columns.pack(&mut self.raw);
        self.stored.clear();
        self.stored.reserve(zstd::zstd_safe::compress_bound(self.raw.len()));
        self.compressor.compress_to_buffer(&self.raw, &mut self.stored)?;
        let size = |bytes: &Vec<u8>| {
            u32::try_from(bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))
        };
        let (committed_ms_min, committed_ms_max) =
            std::mem::replace(&mut self.committed_ms, (u64::MAX, 0));
        let first_seq = self.next_seq - u64::from(frames);
        let header = BlockHeader {
            first_seq,
            frames,
            raw_bytes: size(&self.raw)?,
            stored_bytes: size(&self.stored)?,
            stored_crc: crc32c::crc32c(&self.stored),
            committed_ms_min,
            committed_ms_max,
        };
        let offset = self.offset;
        self.table.push(TableEntry { first_seq, offset, committed_ms_min, committed_ms_max });
        self.write(&header.encode(self.page_crc))?;
        let stored = std::mem::take(&mut self.stored);
        self.write(&stored)?;
        self.stored = stored;
        self.written.raw_bytes += self.raw.len() as u64;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Writes the table and the footer and makes the file durable, under whatever name it has.
    pub(super) fn finish(mut self) -> io::Result<Written> {
        if self.columns.frames() > 0 {
            self.end_block()?;
        }
        let mut end = Vec::new();
        self.table.iter().for_each(|entry| entry.encode(&mut end));
        let footer = Footer {
            table_offset: self.offset,
            blocks: u32::try_from(self.table.len()).expect("a block holds more than one byte"),
            table_crc: crc32c::crc32c(&end),
            end_seq: self.next_seq,
            raw_bytes: self.written.raw_bytes,
        };
        end.extend_from_slice(&footer.encode(self.page_crc));
        self.write(&end)?;
        self.file.sync_all()?;
        Ok(self.written)
    }
}
