//! Reading one link of the chain to its end, frame by frame and loss by loss.

use std::ops::Range;

use super::chain::{Chain, State, whole_file};
use super::{Damage, SegmentReport};
use crate::Cut;
use crate::disk::Disk;
use crate::error::OpenError;
use crate::format::{Batch, FrameKind, HEADER_PAGE_BYTES, SegmentHeader, SegmentKind};
use crate::salvage::{Piece, Salvage, frames_max};
use crate::scan::read_whole;

/// What stands at the next sequences.
pub(crate) enum Found<'a> {
    /// Frames, from the next sequence on.
    Frames(&'a Batch),
    /// Nothing any more.
    Lost(Range<u64>),
}

/// What a walk over one link gives.
pub(crate) struct Walked {
    pub(crate) segment: SegmentReport,
    pub(crate) damages: Vec<Damage>,
    pub(crate) torn: Option<Cut>,
    /// How many frames can have stood there and behind.
    pub(crate) torn_frames_max: u64,
}

struct Walk<'a, E> {
    walked: Walked,
    /// Where what follows the last whole frames begins.
    end: u64,
    visit: &'a mut dyn FnMut(Found<'_>) -> Result<(), E>,
}

impl Chain {
    /// Reads the link at `index`, which begins with `seq`, and hands on everything in the order of
    /// the sequences, without a gap.
    pub(crate) fn walk<E: From<OpenError>>(
        &self,
        disk: &dyn Disk,
        index: usize,
        seq: u64,
        visit: &mut dyn FnMut(Found<'_>) -> Result<(), E>,
    ) -> Result<Walked, E> {
        let link = &self.links[index];
        let (number, limit) = (link.number, self.limit(index));
        let mut walk = Walk::new(number, seq, visit);
        match &link.state {
            State::Missing => {
                walk.damage(0, 0, "the file is missing");
                walk.lose_to(limit)?;
            }
            State::Unreadable => {
                let bytes = whole_file(disk, &link.file, |file| file.len())?;
                walk.walked.segment.file_bytes = bytes;
                walk.damage(0, bytes, "nothing of it can be read");
                if index == 0 && number > 1 {
                    // What came before it has expired, so that nothing tells where it began.
                    walk.may_lose(None);
                }
                walk.lose_to(limit)?;
            }
            State::Whole(header) | State::Guessed(header) => {
                let bytes = whole_file(disk, &link.file, read_whole)?;
                walk.walked.segment.file_bytes = bytes.len() as u64;
                walk.walked.segment.kind = Some(header.kind);
                let salvage = if matches!(link.state, State::Guessed(_)) {
                    walk.damage(0, HEADER_PAGE_BYTES as u64, "the header page is damaged");
                    Salvage::guess(header, &bytes)
                } else {
                    walk.check_file(disk, &link.file, header)?;
                    Some(Salvage::new(header.clone(), &bytes))
                };
                if let Some(salvage) = salvage {
                    let guessed = matches!(link.state, State::Guessed(_));
                    if guessed && index == 0 && number > 1 && !salvage.begins_whole() {
                        walk.may_lose(None);
                    }
                    walk.read(&salvage, limit)?;
                    walk.read_stated_end(&salvage, limit)?;
                    if index + 1 == self.links.len() {
                        walk.bound_end(&salvage);
                    }
                }
                self.end_link(&mut walk, index, limit)?;
            }
        }
        Ok(walk.walked)
    }

    /// What the next segment begins with must have been reached.
    fn end_link<E>(&self, walk: &mut Walk<'_, E>, index: usize, limit: u64) -> Result<(), E> {
        let due = match self.links.get(index + 1) {
            // A next segment without a whole header begins wherever this one has ended.
            Some(next) => match next.state {
                State::Whole(_) => limit,
                // Or where the first of its frames is, when of this one nothing is left.
                _ if walk.walked.segment.end_seq == walk.walked.segment.first_seq => limit,
                _ => return Ok(()),
            },
            None => self.reached_seq,
        };
        if walk.walked.segment.end_seq >= due {
            return Ok(());
        }
        let (offset, bytes) = match walk.walked.torn.take() {
            Some(cut) => {
                walk.walked.torn_frames_max = 0;
                (cut.offset, cut.bytes)
            }
            None => (walk.walked.segment.file_bytes, 0),
        };
        walk.damage(offset, bytes, "the segment ends before the next one begins");
        walk.lose_to(due)
    }
}

impl<'a, E> Walk<'a, E> {
    fn new(number: u64, seq: u64, visit: &'a mut dyn FnMut(Found<'_>) -> Result<(), E>) -> Self {
        let segment = SegmentReport {
            number,
            kind: None,
            file_bytes: 0,
            first_seq: seq,
            end_seq: seq,
            batches: 0,
            usages: 0,
            closed: 0,
            others: 0,
            lost_before: 0,
            committed_ms: None,
        };
        let walked = Walked { segment, damages: Vec::new(), torn: None, torn_frames_max: 0 };
        Self { walked, end: HEADER_PAGE_BYTES as u64, visit }
    }

    /// What the pieces do not tell: the file's length, and whether a table leads to its blocks.
    fn check_file(&mut self, disk: &dyn Disk, name: &str, header: &SegmentHeader) -> Result<(), E>
    where
        E: From<OpenError>,
    {
        if header.kind == SegmentKind::Raw {
            let file_bytes = self.walked.segment.file_bytes;
            if file_bytes != header.segment_bytes {
                let why = format!("the file has {file_bytes} bytes, not {}", header.segment_bytes);
                self.damage(file_bytes, 0, &why);
            }
            return Ok(());
        }
        let file = disk.open(name).map_err(crate::error::opening(format!("opening {name}")))?;
        if let Some((offset, why)) = Salvage::new(header.clone(), &[]).compressed_fault(file) {
            self.damage(offset, 0, &why);
        }
        Ok(())
    }

    fn read(&mut self, salvage: &Salvage<'_>, limit: u64) -> Result<(), E> {
        for piece in salvage.pieces(limit) {
            match piece {
                Piece::Whole { batch, end } => {
                    self.end = end;
                    self.take(&batch)?;
                }
                Piece::Damaged { offset, bytes, why } => self.damage(offset, bytes, &why),
                Piece::Torn { offset, bytes, seq } => {
                    self.lose_to(seq)?;
                    let segment = self.walked.segment.number;
                    self.walked.torn = Some(Cut { segment, offset, bytes });
                    // What stood behind them may be zero now.
                    let rest = self.walked.segment.file_bytes - offset;
                    self.walked.torn_frames_max = frames_max(rest);
                }
            }
        }
        Ok(())
    }

    /// The footer of a compressed segment says how far it went.
    fn read_stated_end(&mut self, salvage: &Salvage<'_>, limit: u64) -> Result<(), E> {
        match salvage.stated_end() {
            Some(end_seq) if end_seq.min(limit) > self.walked.segment.end_seq => {
                self.damage(self.end, 0, "the last blocks cannot be read");
                self.lose_to(end_seq.min(limit))
            }
            _ => Ok(()),
        }
    }

    /// How much may be lost behind the last whole frames of the journal, where nothing comes after.
    fn bound_end(&mut self, salvage: &Salvage<'_>) {
        if salvage.header.kind == SegmentKind::Compressed {
            if salvage.stated_end().is_none() {
                self.may_lose(None);
            }
            return;
        }
        let file_bytes = self.walked.segment.file_bytes;
        let written = self.walked.torn.map_or(self.end, |torn| torn.offset + torn.bytes);
        let is_cut = match salvage.header_whole {
            true => file_bytes < salvage.header.segment_bytes,
            // How long the file was, nobody knows.
            false => written >= file_bytes,
        };
        if !is_cut || (self.walked.torn.is_none() && file_bytes > self.end) {
            // Batches stand back to back: nothing was ever written behind what is zero.
            return;
        }
        (self.walked.torn, self.walked.torn_frames_max) = (None, 0);
        let whole_bytes = Some(salvage.header.segment_bytes).filter(|_| salvage.header_whole);
        self.may_lose(whole_bytes.map(|bytes| frames_max(bytes.saturating_sub(self.end))));
    }

    /// The damage found first, that of the whole file, may have cost more frames than those counted.
    fn may_lose(&mut self, more_max: Option<u64>) {
        if let Some(damage) = self.walked.damages.first_mut() {
            damage.more_max = more_max;
        }
    }

    fn take(&mut self, batch: &Batch) -> Result<(), E> {
        if batch.first_seq() > self.walked.segment.end_seq {
            if self.walked.damages.is_empty() {
                self.damage(HEADER_PAGE_BYTES as u64, 0, "the first sequences are not there");
            }
            self.lose_to(batch.first_seq())?;
        }
        let segment = &mut self.walked.segment;
        if batch.first_seq() < segment.end_seq {
            // Superseded, or a second copy: the first one counts.
            return Ok(());
        }
        segment.end_seq = batch.end_seq();
        segment.batches += 1;
        for frame in batch.frames() {
            match frame.kind {
                FrameKind::Usage => segment.usages += 1,
                FrameKind::Closed => segment.closed += 1,
                FrameKind::Padding => segment.lost_before += 1,
                _ => segment.others += 1,
            }
        }
        let ms = batch.committed_ms();
        let (earliest, latest) = segment.committed_ms.unwrap_or((ms, ms));
        segment.committed_ms = Some((earliest.min(ms), latest.max(ms)));
        (self.visit)(Found::Frames(batch))
    }

    fn damage(&mut self, offset: u64, bytes: u64, why: &str) {
        let expected_seq = self.walked.segment.end_seq;
        self.walked.damages.push(Damage {
            segment: self.walked.segment.number,
            offset,
            bytes,
            expected_seq,
            lost: expected_seq..expected_seq,
            more_max: Some(0),
            why: why.to_owned(),
        });
    }

    /// Everything below `seq` that is not there is lost, by the damage that was found last.
    fn lose_to(&mut self, seq: u64) -> Result<(), E> {
        let end_seq = self.walked.segment.end_seq;
        if seq == u64::MAX || seq <= end_seq {
            return Ok(());
        }
        if self.walked.damages.last().is_some_and(|damage| !damage.lost.is_empty()) {
            self.damage(self.end, 0, "the next sequences are not there");
        }
        if let Some(damage) = self.walked.damages.last_mut() {
            damage.lost = end_seq..seq;
        }
        self.walked.segment.end_seq = seq;
        (self.visit)(Found::Lost(end_seq..seq))
    }
}
