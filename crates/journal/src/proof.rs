//! Proof that a file may go: it holds no frame, or each frame of it stands in the journal's chain
//! too, read and compared. Whatever cannot be proven is set aside.

use std::collections::HashMap;
use std::io;

use crate::aside;
use crate::compress::digest_frame;
use crate::disk::Disk;
use crate::format::{
    Batch, FrameKind, HEADER_PAGE_BYTES, HeaderError, SegmentHeader, SegmentKind, segment_number,
};
use crate::prepare::remove_if_there;
use crate::salvage::Salvage;
use crate::scan::{is_zero, read_whole};

/// Frames by their sequence, each as a digest of all that a frame is.
pub(crate) type Frames = HashMap<u64, u32>;

/// The frames of some batches, without padding, which holds nothing.
pub(crate) fn frames_of<'a>(batches: impl IntoIterator<Item = &'a Batch>) -> Frames {
    let frames = batches.into_iter().flat_map(Batch::frames);
    let real = frames.filter(|frame| frame.kind != FrameKind::Padding);
    real.map(|frame| (frame.seq, digest_frame(0, frame))).collect()
}

/// What stays in the journal, to hold other files against.
pub(crate) struct Proof<'a> {
    disk: &'a dyn Disk,
    /// The segments that stay, oldest first.
    chain: Vec<SegmentHeader>,
    /// The segment of the chain that was read last, and its frames.
    loaded: Option<(usize, Frames)>,
    /// Every removal counts as proven: the negative control.
    believes: bool,
}

impl<'a> Proof<'a> {
    pub(crate) fn new(disk: &'a dyn Disk, chain: Vec<SegmentHeader>) -> Self {
        Self { disk, chain, loaded: None, believes: false }
    }

    /// Believes everything, so that a test can show that it would notice.
    pub(crate) fn believing(self, believes: bool) -> Self {
        Self { believes, ..self }
    }

    /// Removes the file if nothing is lost with it, and sets it aside otherwise. Neither is durable
    /// before the directory is synced.
    pub(crate) fn clear(&mut self, name: &str) -> io::Result<()> {
        match self.may_go(name) {
            Ok(true) => remove_if_there(self.disk, name),
            Ok(false) => aside::set_aside(self.disk, name).map(drop),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether nothing is lost with the file.
    pub(crate) fn may_go(&mut self, name: &str) -> io::Result<bool> {
        if self.believes {
            return Ok(true);
        }
        let bytes = read_whole(&*self.disk.open(name)?)?;
        match self.batches(name, &bytes) {
            Some(batches) => self.holds(&batches),
            None => Ok(false),
        }
    }

    /// Every batch that can be read in a file; `None` when it may hold some that cannot.
    fn batches(&self, name: &str, bytes: &[u8]) -> Option<Vec<Batch>> {
        let Some((page, body)) = bytes.split_first_chunk::<HEADER_PAGE_BYTES>() else {
            return Some(Vec::new());
        };
        match SegmentHeader::parse(page) {
            Err(HeaderError::Version(_)) => None,
            _ if is_zero(body) => Some(Vec::new()),
            Ok(header) => {
                let own = self.chain.first().is_none_or(|first| first.store_id == header.store_id);
                let batches = own.then(|| Salvage::new(header, bytes).batches())?;
                // Under a page that none of it goes with may stand batches of another one.
                if batches.is_empty() {
                    self.guessed(bytes).or(Some(batches))
                } else {
                    Some(batches)
                }
            }
            // A power cut may take the first page of a file that was not finished.
            Err(_) => self.guessed(bytes).or_else(|| self.unfinished(name, bytes)),
        }
    }

    /// What can be read without the header page.
    fn guessed(&self, bytes: &[u8]) -> Option<Vec<Batch>> {
        let guessed = self.chain.iter().find_map(|template| Salvage::guess(template, bytes))?;
        Some(guessed.batches())
    }

    /// The blocks of a compression that was cut short: of which segment its name says, and that
    /// segment's header gives the checksum that every block begins with.
    fn unfinished(&self, name: &str, bytes: &[u8]) -> Option<Vec<Batch>> {
        let number = segment_number(name.strip_suffix(".tmp")?)?;
        let header = self.chain.iter().find(|header| header.number == number)?.clone();
        let header = SegmentHeader { kind: SegmentKind::Compressed, ..header };
        Some(Salvage::new(header, bytes).batches())
    }

    /// Whether each frame of these batches stands in the chain too.
    pub(crate) fn holds(&mut self, batches: &[Batch]) -> io::Result<bool> {
        let mut frames: Vec<(u64, u32)> = frames_of(batches).into_iter().collect();
        frames.sort_unstable();
        for (seq, digest) in frames {
            let after = self.chain.partition_point(|header| header.first_seq <= seq);
            let Some(index) = after.checked_sub(1) else { return Ok(false) };
            if self.load(index)?.get(&seq) != Some(&digest) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The frames of a segment of the chain.
    fn load(&mut self, index: usize) -> io::Result<&Frames> {
        if self.loaded.as_ref().is_none_or(|(loaded, _)| *loaded != index) {
            let header = &self.chain[index];
            let bytes = read_whole(&*self.disk.open(&header.file_name())?)?;
            // A segment may have been compressed since its header was read.
            let page = bytes.first_chunk().map(SegmentHeader::parse);
            let found = page
                .and_then(Result::ok)
                .filter(|found| *found == SegmentHeader { kind: found.kind, ..header.clone() });
            let frames = found.map(|found| frames_of(&Salvage::new(found, &bytes).batches()));
            self.loaded = Some((index, frames.unwrap_or_default()));
        }
        Ok(&self.loaded.as_ref().expect("loaded just above").1)
    }
}
