//! Accepting that the end of a journal is lost: what the witnesses know to be missing is given up,
//! explicitly, and no sequence that may have been given out is ever given out again.
//!
//! The last segment is rewritten with padding up to the limit that the mark has reserved, by the
//! same atomic rename as any repair, so that opening and reading need no exception.

use std::fmt;

use crate::aside;
use crate::check::{CheckError, CheckReport, Damage, take_lock, unknown_header};
use crate::compress::{CompressError, replace_segment};
use crate::disk::Disk;
use crate::error::{OpenError, opening};
use crate::format::{Batch, SegmentHeader, segment_file_name};
use crate::layout::{Layout, survey};
use crate::limits::LOST_MARK_AHEAD;
use crate::mark::{self, Mark, MarkFile, Reading};
use crate::meta::StoreMeta;
use crate::repair::{COMPRESS_LEVEL, RepairError, pad};
use crate::repairs;
use crate::salvage::{Piece, Salvage};
use crate::scan::read_whole;
use crate::tail::{self, Tail};
use crate::witness::{Held, MissingEnd, Witness};

/// What is lost at the end of a journal, and where it goes on if that is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndLoss {
    /// One past the last sequence that can be read.
    pub end_seq: u64,
    /// What the witnesses miss; `None` when only the mark is lost, and how much is missing is not
    /// known.
    pub missing: Option<MissingEnd>,
    /// What is wrong with the mark, if it is lost.
    pub no_mark: Option<&'static str>,
    /// The sequence that the journal goes on with. Everything from `end_seq` on is padding.
    pub resume_seq: u64,
    /// The files that keep the last segments as they were.
    pub kept: Vec<String>,
}

impl fmt::Display for EndLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.missing, self.no_mark) {
            (Some(missing), _) => missing.fmt(f),
            (None, why) => f.write_str(&no_mark_text(why.unwrap_or_default())),
        }
    }
}

fn no_mark_text(why: &str) -> String {
    format!(
        "the file `mark`, which says how far the journal was durable, cannot be used: {why}; how \
         many frames are missing at the end is not known"
    )
}

/// Says what is lost at the end of the journal, and what accepting it would do. `None` when its
/// witnesses miss nothing. Changes nothing. Other damage has to be repaired before.
pub fn end_loss(disk: &dyn Disk, witnesses: &[Witness]) -> Result<Option<EndLoss>, RepairError> {
    let _lock = take_lock(disk)?;
    Ok(End::find(disk, witnesses)?.map(|end| end.loss))
}

/// Writes into the mark what the witnesses know, before a repair after which they count no longer.
pub fn keep_witnesses(disk: &dyn Disk, witnesses: &[Witness]) -> Result<(), RepairError> {
    let _lock = take_lock(disk)?;
    let meta = StoreMeta::load(disk)?;
    let Reading::Own(mark) = mark::read(disk, &meta.store_id)? else { return Ok(()) };
    let repairs = repairs::count_by(disk, Some(&mark)).map_err(opening("reading repairs"))?;
    let own = |found: &&Witness| found.store_id == meta.store_id && found.repairs >= repairs;
    let known = witnesses.iter().filter(own).map(|found| found.durable).max().unwrap_or(0);
    if mark.repairs != repairs || known <= mark.durable {
        return Ok(());
    }
    let mark = Mark { durable: known, limit: mark.limit.max(known), ..mark };
    let written = MarkFile::create(disk, mark).map(drop);
    Ok(written.map_err(opening("writing the file `mark`"))?)
}

/// Gives up what [`end_loss`] says. A crash at any step leaves a journal that is still refused, or
/// one that goes on where it should.
pub fn accept_loss(
    disk: &dyn Disk,
    witnesses: &[Witness],
    wall_ms: u64,
) -> Result<Option<EndLoss>, RepairError> {
    let _lock = take_lock(disk)?;
    let Some(end) = End::find(disk, witnesses)? else { return Ok(None) };
    for (segment, kept) in &end.keep {
        aside::keep_copy(disk, &segment_file_name(*segment), kept)?;
    }
    let mark = Mark {
        store_id: end.meta.store_id,
        repairs: end.repairs,
        // Past the end in any case, so that the journal is refused until it has been padded.
        durable: end.loss.missing.as_ref().map_or(end.loss.resume_seq, |missing| missing.durable),
        limit: end.loss.resume_seq,
        written_ms: wall_ms,
    };
    repairs::count_another(disk, end.repairs, Some(mark))
        .map_err(opening("counting the repair"))?;
    end.pad(disk)?;
    Ok(Some(end.loss))
}

/// The damage that a journal shows which ends before its mark, or has lost it.
pub(crate) fn end_damage(
    disk: &dyn Disk,
    report: &CheckReport,
) -> Result<Option<Damage>, OpenError> {
    let meta = StoreMeta::load(disk)?;
    let reading = mark::read(disk, &meta.store_id)?;
    let held = Held {
        store_id: &meta.store_id,
        repairs: repairs::count_by(disk, reading.own()).map_err(opening("reading repairs"))?,
        end_seq: report.end_seq(),
        last_ms: report.committed_ms().map(|(_, last_ms)| last_ms),
        mark: reading.own(),
    };
    let (lost_to, more_max, why) = match (held.missing(&[]), &reading) {
        (Some(missing), _) => {
            let more_max = missing.limit.map(|limit| limit.saturating_sub(missing.durable));
            (missing.durable, more_max, missing.to_string())
        }
        (None, Reading::None(why)) if meta.marked => (held.end_seq, None, no_mark_text(why)),
        _ => return Ok(None),
    };
    let last = report.segments.last();
    Ok(Some(Damage {
        segment: last.map_or(1, |segment| segment.number),
        offset: last.map_or(0, |segment| segment.file_bytes),
        bytes: 0,
        expected_seq: held.end_seq,
        lost: held.end_seq..lost_to,
        more_max,
        why,
    }))
}

/// The end of a journal of which something is missing.
struct End {
    meta: StoreMeta,
    repairs: u64,
    /// The header of the last segment that holds a batch, or of the one to begin with.
    header: SegmentHeader,
    /// Segments to be kept as they are, and under which names.
    keep: Vec<(u64, String)>,
    loss: EndLoss,
}

impl End {
    fn find(disk: &dyn Disk, witnesses: &[Witness]) -> Result<Option<Self>, RepairError> {
        let meta = StoreMeta::load(disk)?;
        let layout = survey(disk, Some(&meta.store_id))?;
        layout.check_no_gap_behind()?;
        let tail = tail::find(disk, &layout, false)?;
        let reading = mark::read(disk, &meta.store_id)?;
        let repairs = repairs::count_by(disk, reading.own()).map_err(opening("reading repairs"))?;
        let held = Held {
            store_id: &meta.store_id,
            repairs,
            end_seq: tail.end_seq,
            last_ms: tail.last_ms,
            mark: reading.own(),
        };
        let missing = held.missing(witnesses);
        let no_mark = match reading {
            Reading::None(why) if meta.marked => Some(why),
            _ => None,
        };
        if missing.is_none() && no_mark.is_none() {
            return Ok(None);
        }
        let known = missing.as_ref().map_or(tail.end_seq, |missing| missing.durable);
        // A limit from before a repair holds too: nothing was ever written past it.
        let limit = missing.as_ref().and_then(|missing| missing.limit);
        let resume_seq = limit.unwrap_or(known.saturating_add(LOST_MARK_AHEAD));
        let reserved = reading.own().map_or(0, |mark| mark.limit);
        let header = Self::header(&layout, &tail, &meta);
        let mut names = aside::Names::new(disk).map_err(opening("listing what was set aside"))?;
        // Also those behind it: they hold no batch, but whatever else they hold is evidence.
        let used = layout.used.range(header.number..).map(|(&number, _)| number);
        let keep: Vec<_> =
            used.map(|number| (number, names.take(&segment_file_name(number)))).collect();
        let loss = EndLoss {
            end_seq: tail.end_seq,
            missing,
            no_mark,
            resume_seq: resume_seq.max(reserved),
            kept: keep.iter().map(|(_, name)| name.clone()).collect(),
        };
        Ok(Some(Self { meta, repairs, header, keep, loss }))
    }

    fn header(layout: &Layout, tail: &Tail, meta: &StoreMeta) -> SegmentHeader {
        let found = |number| layout.used.get(&number).and_then(|found| found.as_ref().ok());
        let alone = |header: SegmentHeader| SegmentHeader { previous: 0, source: 0, ..header };
        match (tail.segment.and_then(found), layout.newest().and_then(found)) {
            (Some(last), _) => last.header.clone(),
            // No batch at all: the newest segment holds all of the padding, and nothing precedes it.
            (None, Some(newest)) => alone(newest.header.clone()),
            (None, None) => unknown_header(meta),
        }
    }

    /// Rewrites the last segment as a compressed one: what it holds, then padding.
    fn pad(&self, disk: &dyn Disk) -> Result<(), RepairError> {
        let (header, segment) = (&self.header, self.header.number);
        let batches = self.batches(disk)?;
        let mut committed_ms = header.created_ms;
        replace_segment(disk, header, COMPRESS_LEVEL, |writer| {
            for batch in &batches {
                committed_ms = batch.committed_ms();
                for frame in batch.frames() {
                    writer.push(frame, committed_ms)?;
                }
            }
            pad(writer, self.loss.end_seq..self.loss.resume_seq, committed_ms)
        })
        .map(drop)
        .map_err(|source| RepairError::Rewrite { segment, source })
    }

    /// What the last segment holds.
    fn batches(&self, disk: &dyn Disk) -> Result<Vec<Batch>, RepairError> {
        let name = segment_file_name(self.header.number);
        let failed = |source| CheckError::Store(opening(format!("reading {name}"))(source));
        let bytes = match disk.open(&name).and_then(|file| read_whole(&*file)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error).into()),
        };
        let pieces = Salvage::new(self.header.clone(), &bytes).pieces(u64::MAX);
        let whole = |piece| match piece {
            Piece::Whole { batch, .. } => Some(Ok(batch)),
            Piece::Torn { .. } => None,
            Piece::Damaged { why, .. } => Some(Err(RepairError::Rewrite {
                segment: self.header.number,
                source: CompressError::ReadBack(why),
            })),
        };
        pieces.into_iter().filter_map(whole).collect()
    }
}
