//! Reading one link of the chain to its end, frame by frame and loss by loss.

use std::ops::Range;

use super::chain::{Chain, State, whole_file};
use super::{Damage, SegmentReport};
use crate::Cut;
use crate::disk::Disk;
use crate::error::OpenError;
use crate::format::{
    Batch, FrameKind, HEADER_PAGE_BYTES, SegmentHeader, SegmentKind, segment_file_name,
};
use crate::salvage::{Piece, Salvage};
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
}

struct Walk<'a, E> {
    walked: Walked,
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
                walk.walked.segment.file_bytes = whole_file(disk, number, |file| file.len())?;
                let bytes = walk.walked.segment.file_bytes;
                walk.damage(0, bytes, "nothing of it can be read");
                walk.lose_to(limit)?;
            }
            State::Whole(header) | State::Guessed(header) => {
                let bytes = whole_file(disk, number, read_whole)?;
                walk.walked.segment.file_bytes = bytes.len() as u64;
                walk.walked.segment.kind = Some(header.kind);
                if matches!(link.state, State::Guessed(_)) {
                    walk.damage(0, HEADER_PAGE_BYTES as u64, "the header page is damaged");
                    walk.read_guessed(header, &bytes, limit)?;
                } else {
                    walk.check_file(disk, header)?;
                    walk.read(&Salvage::new(header.clone(), &bytes), limit)?;
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
            Some(cut) => (cut.offset, cut.bytes),
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
        let walked = Walked { segment, damages: Vec::new(), torn: None };
        Self { walked, visit }
    }

    /// What the pieces do not tell: the file's length, and whether a table leads to its blocks.
    fn check_file(&mut self, disk: &dyn Disk, header: &SegmentHeader) -> Result<(), E>
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
        let name = segment_file_name(header.number);
        let file = disk.open(&name).map_err(crate::error::opening(format!("opening {name}")))?;
        if let Some((offset, why)) = Salvage::new(header.clone(), &[]).compressed_fault(file) {
            self.damage(offset, 0, &why);
        }
        Ok(())
    }

    fn read_guessed(&mut self, header: &SegmentHeader, bytes: &[u8], limit: u64) -> Result<(), E> {
        match Salvage::guess(header, bytes) {
            Some(salvage) => self.read(&salvage, limit),
            None => Ok(()),
        }
    }

    fn read(&mut self, salvage: &Salvage<'_>, limit: u64) -> Result<(), E> {
        for piece in salvage.pieces(limit) {
            match piece {
                Piece::Whole(batch) => self.take(&batch)?,
                Piece::Damaged { offset, bytes, why } => self.damage(offset, bytes, &why),
                Piece::Torn { offset, bytes, seq } => {
                    self.lose_to(seq)?;
                    let segment = self.walked.segment.number;
                    self.walked.torn = Some(Cut { segment, offset, bytes });
                }
            }
        }
        Ok(())
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
            why: why.to_owned(),
        });
    }

    /// Everything below `seq` that is not there is lost, by the damage that was found last.
    fn lose_to(&mut self, seq: u64) -> Result<(), E> {
        let end_seq = self.walked.segment.end_seq;
        if seq == u64::MAX || seq <= end_seq {
            return Ok(());
        }
        if let Some(damage) = self.walked.damages.last_mut() {
            damage.lost = end_seq..seq;
        }
        self.walked.segment.end_seq = seq;
        (self.visit)(Found::Lost(end_seq..seq))
    }
}
