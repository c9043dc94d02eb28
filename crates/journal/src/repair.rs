//! Repair: makes a damaged journal open again, explicitly and at a price that it says first.
//!
//! A damaged segment is rewritten as a compressed one that holds every frame that can still be
//! read under its own sequence, and an empty frame of kind padding at each sequence that is lost.
//! So nothing is renumbered, every continuity check holds as it stands, and a later check counts
//! the lost range as known. A copy of the damaged segment, with the bytes that are cut off where
//! they stood, goes into the folder for files set aside, synced before the segment is touched.
//!
//! Before that, files whose names are not those of their contents get the right ones, without loss.
//! Each step leaves a directory that the next repair finishes.

use std::io;
use std::ops::Range;

use thiserror::Error;

use crate::aside::{self, Names};
use crate::check::{
    Chain, CheckError, Damage, Found, Holds, Link, Loss, Misplaced, State, take_lock,
    unknown_header,
};
use crate::compress::{CompressError, PackedWriter, replace_segment};
use crate::disk::Disk;
use crate::error::{OpenError, opening};
use crate::format::{FrameKind, FrameView, SegmentHeader, SegmentKind, segment_file_name};
use crate::identify::MOVED_SUFFIX;
use crate::mark;
use crate::meta::StoreMeta;
use crate::proof::Proof;
use crate::repairs;

/// More lost sequences than this in one place are not believed: a segment cannot have held them.
pub const LOST_FRAMES_MAX: u64 = 1 << 32;
pub(crate) const COMPRESS_LEVEL: i32 = 3;

/// What a repair would do, or has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairPlan {
    /// Files to be renamed or set aside, before anything else.
    pub moves: Vec<Misplaced>,
    /// Segments to be touched, oldest first. Empty when nothing is wrong.
    pub steps: Vec<RepairStep>,
}

impl RepairPlan {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.moves.is_empty() && self.steps.is_empty()
    }

    /// What it costs, beyond what earlier repairs have.
    #[must_use]
    pub fn loss(&self) -> Loss {
        Loss::of(self.steps.iter().flat_map(|step| &step.damages))
    }
}

/// What a repair does to one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairStep {
    /// The segment's number.
    pub segment: u64,
    /// The sequence that it begins with, then as before.
    pub first_seq: u64,
    /// Rewritten with what can be read, or set aside whole.
    pub action: RepairAction,
    /// What is wrong with it.
    pub damages: Vec<Damage>,
    /// The sequences that stay lost.
    pub lost: Vec<Range<u64>>,
    /// How many frames are kept.
    pub frames_kept: u64,
    /// The file that keeps the segment as it was; `None` when its file is missing.
    pub aside_file: Option<String>,
}

/// How a segment is mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepairAction {
    /// Rewritten under its own name.
    Rewrite,
    /// Set aside whole, if it is there: nothing of it can be read, and nobody knows what it held, or
    /// all that it held stands in other segments too. Spares behind it are removed.
    SetAside,
    /// Spares behind a lost segment are removed.
    RemoveSpares,
}

/// Why a repair was not done, or not to its end. What was done is whole.
#[derive(Debug, Error)]
pub enum RepairError {
    /// The journal cannot be read at all.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// The journal is not as it was when the plan was made.
    #[error("the journal has changed since the plan was made; nothing was done")]
    Changed,
    /// A range of lost sequences is too long to be true.
    #[error("segment {segment}: {frames} lost sequences are more than a segment can hold")]
    Impossible {
        /// The segment's number.
        segment: u64,
        /// How many would be lost.
        frames: u64,
    },
    /// No usage can be read any more. Beginning anew in this directory would give out the same ids
    /// once more, for other usages.
    #[error(
        "nothing of the journal can be read; put its files back from a copy, or begin a new store in \
         another directory"
    )]
    NothingLeft,
    /// A rewritten segment could not be written or did not read back.
    #[error("segment {segment}: {source}")]
    Rewrite {
        /// The segment's number.
        segment: u64,
        /// What went wrong.
        source: CompressError,
    },
}

impl From<OpenError> for RepairError {
    fn from(error: OpenError) -> Self {
        Self::Check(CheckError::Store(error))
    }
}

/// Says what a repair would do. Changes nothing.
pub fn plan(disk: &dyn Disk) -> Result<RepairPlan, RepairError> {
    let _lock = take_lock(disk)?;
    plan_locked(disk, &Chain::survey(disk)?)
}

/// Does what `plan` says, if the journal still is as it was then.
pub fn repair(disk: &dyn Disk, plan: &RepairPlan) -> Result<(), RepairError> {
    let _lock = take_lock(disk)?;
    let chain = Chain::survey(disk)?;
    if plan_locked(disk, &chain)? != *plan {
        return Err(RepairError::Changed);
    }
    if !plan.steps.is_empty() {
        let mark = mark::read(disk, &StoreMeta::load(disk)?.store_id)?;
        let before = repairs::count_by(disk, mark.own()).map_err(opening("reading repairs"))?;
        // The journal that is left has still been as far as the mark says.
        let kept = mark.own().copied().filter(|mark| mark.repairs == before);
        repairs::count_another(disk, before, kept).map_err(opening("counting the repair"))?;
    }
    correct_names(disk, &plan.moves).map_err(opening("correcting the names of files"))?;
    let chain = if plan.moves.is_empty() { chain } else { Chain::survey(disk)? };
    for step in &plan.steps {
        take_step(disk, &chain, plan, step)?;
    }
    Ok(())
}

/// Sets aside what belongs nowhere, and gives every segment its name; by way of a name that belongs
/// to nothing, for the right one may be another misplaced segment's.
fn correct_names(disk: &dyn Disk, moves: &[Misplaced]) -> io::Result<()> {
    let (renamed, aside): (Vec<_>, Vec<_>) =
        moves.iter().partition(|file| matches!(file.holds, Holds::Segment(_)));
    for file in aside {
        aside::set_aside_as(disk, &file.file, &file.to)?;
    }
    let between = |file: &Misplaced| format!("{}{MOVED_SUFFIX}", file.to);
    for file in &renamed {
        // Already there when an earlier repair ended in between.
        if file.file != between(file) {
            disk.rename(&file.file, &between(file))?;
            disk.sync_dir()?;
        }
    }
    for file in &renamed {
        disk.rename(&between(file), &file.to)?;
        disk.sync_dir()?;
    }
    Ok(())
}

fn take_step(
    disk: &dyn Disk,
    chain: &Chain,
    plan: &RepairPlan,
    step: &RepairStep,
) -> Result<(), RepairError> {
    let name = segment_file_name(step.segment);
    match (step.action, &step.aside_file) {
        (RepairAction::Rewrite, kept) => {
            if let Some(kept) = kept {
                aside::keep_copy(disk, &name, kept)?;
            }
            rewrite(disk, chain, plan, step)?;
        }
        (RepairAction::SetAside, kept) => {
            // Spares first: without it they would stand behind a gap.
            if chain.unreadable.contains(&step.segment) {
                clear_behind(disk, chain)?;
            }
            if let Some(kept) = kept {
                let moved = aside::set_aside_as(disk, &name, kept);
                moved.map_err(opening(format!("moving {name} to {kept}")))?;
            }
        }
        (RepairAction::RemoveSpares, _) => clear_behind(disk, chain)?,
    }
    Ok(())
}

/// Removes the files behind a segment that goes, one by one, each durably, if they hold nothing.
fn clear_behind(disk: &dyn Disk, chain: &Chain) -> Result<(), RepairError> {
    let whole = |link: &Link| match &link.state {
        State::Whole(header) => Some(header.clone()),
        _ => None,
    };
    let mut proof = Proof::new(disk, chain.links.iter().filter_map(whole).collect());
    for &number in &chain.behind {
        let name = segment_file_name(number);
        let cleared = proof.clear(&name).and_then(|()| disk.sync_dir());
        cleared.map_err(opening(format!("removing {name}")))?;
    }
    Ok(())
}

fn plan_locked(disk: &dyn Disk, chain: &Chain) -> Result<RepairPlan, RepairError> {
    let mut names = Names::new(disk).map_err(opening("listing what was set aside"))?;
    for file in &chain.misplaced {
        names.reserve(&file.to);
    }
    let mut plan = RepairPlan { moves: chain.misplaced.clone(), steps: Vec::new() };
    let mut seq = chain.first_seq();
    let mut previous_goes = false;
    for (index, link) in chain.links.iter().enumerate() {
        let mut lost = Vec::new();
        let walked = chain.walk(disk, index, seq, &mut |found| {
            if let Found::Lost(range) = found {
                lost.push(range);
            }
            Ok::<(), RepairError>(())
        })?;
        let segment = walked.segment;
        let frames_lost: u64 = lost.iter().map(|range| range.end - range.start).sum();
        if frames_lost > LOST_FRAMES_MAX {
            return Err(RepairError::Impossible { segment: link.number, frames: frames_lost });
        }
        let (first_seq, frames) = (seq, segment.end_seq - seq);
        seq = segment.end_seq;
        if walked.damages.is_empty() && !previous_goes {
            continue;
        }
        let there = !matches!(link.state, State::Missing);
        // Of an oldest segment that cannot be read nobody knows what it held: it goes, as if it
        // had expired. One in the middle held what others hold too: it goes, and the next one is
        // rewritten to follow the one before it.
        previous_goes = frames == 0 && index > 0;
        plan.steps.push(RepairStep {
            segment: link.number,
            first_seq,
            action: if frames == 0 { RepairAction::SetAside } else { RepairAction::Rewrite },
            damages: walked.damages,
            lost,
            frames_kept: frames - frames_lost,
            aside_file: there.then(|| names.take(&segment_file_name(link.number))),
        });
    }
    let hopeless = chain.hopeless(seq);
    if chain.links.is_empty() && !hopeless.is_empty() {
        return Err(RepairError::NothingLeft);
    }
    for damage in hopeless {
        let there = chain.unreadable.contains(&damage.segment);
        let action = if there { RepairAction::SetAside } else { RepairAction::RemoveSpares };
        plan.steps.push(RepairStep {
            segment: damage.segment,
            first_seq: seq,
            action,
            aside_file: there.then(|| names.take(&segment_file_name(damage.segment))),
            damages: vec![damage],
            lost: Vec::new(),
            frames_kept: 0,
        });
    }
    Ok(plan)
}

fn rewrite(
    disk: &dyn Disk,
    chain: &Chain,
    plan: &RepairPlan,
    step: &RepairStep,
) -> Result<(), RepairError> {
    let segment = step.segment;
    let failed = |source| RepairError::Rewrite { segment, source };
    let index = chain.links.iter().position(|link| link.number == segment);
    let index = index.ok_or(RepairError::Changed)?;
    let seq = step.first_seq;
    let header = header_for(disk, chain, plan, index, seq)?;
    replace_segment(disk, &header, COMPRESS_LEVEL, |writer| {
        let mut committed_ms = header.created_ms;
        let walked = chain.walk(disk, index, seq, &mut |found| -> Result<(), Stopped> {
            match found {
                Found::Frames(batch) => {
                    committed_ms = batch.committed_ms();
                    for frame in batch.frames() {
                        writer.push(frame, committed_ms).map_err(CompressError::Io)?;
                    }
                }
                Found::Lost(range) => pad(writer, range, committed_ms)?,
            }
            Ok(())
        });
        walked.map(|_| ()).map_err(|stopped| stopped.0)
    })
    .map_err(failed)?;
    Ok(())
}

/// What ends the rewriting of a segment.
struct Stopped(CompressError);

impl From<CompressError> for Stopped {
    fn from(error: CompressError) -> Self {
        Self(error)
    }
}

impl From<OpenError> for Stopped {
    fn from(error: OpenError) -> Self {
        Self(CompressError::Io(std::io::Error::other(error)))
    }
}

pub(crate) fn pad(
    writer: &mut PackedWriter,
    lost: Range<u64>,
    committed_ms: u64,
) -> Result<(), CompressError> {
    for seq in lost {
        let kind = FrameKind::Padding;
        let frame = FrameView { seq, kind, stream: 0, key_id: 0, payload: &[] };
        writer.push(frame, committed_ms)?;
    }
    Ok(())
}

/// The header of the rewritten segment: its own, or one that fits between its neighbours. It
/// follows the nearest segment that stays.
fn header_for(
    disk: &dyn Disk,
    chain: &Chain,
    plan: &RepairPlan,
    index: usize,
    first_seq: u64,
) -> Result<SegmentHeader, RepairError> {
    let whole = |link: &Link| match &link.state {
        State::Whole(header) => Some(header.clone()),
        _ => None,
    };
    let goes = |number| {
        let set_aside = |step: &&RepairStep| step.action == RepairAction::SetAside;
        plan.steps.iter().filter(set_aside).any(|step| step.segment == number)
    };
    let link = &chain.links[index];
    let mut before = chain.links[..index].iter().rev().map(|link| link.number);
    let previous = before.find(|&number| !goes(number));
    if let Some(header) = whole(link) {
        return Ok(SegmentHeader { previous: previous.unwrap_or(header.previous), ..header });
    }
    // A raw segment's batches tell its epoch; without those it is that of a neighbour.
    let known = |link: &Link| match &link.state {
        State::Guessed(header) if header.kind == SegmentKind::Raw => Some(header.clone()),
        _ => whole(link),
    };
    let earlier = chain.links[..index].iter().rev().find_map(known);
    let neighbour = earlier.or_else(|| chain.links[index + 1..].iter().find_map(known));
    let fitting = match (&link.state, neighbour) {
        (State::Guessed(header), None) => header.clone(),
        (State::Guessed(header), _) if header.kind == SegmentKind::Raw => header.clone(),
        (State::Guessed(header), Some(near)) => {
            SegmentHeader { epoch: near.epoch, ..header.clone() }
        }
        (_, Some(near)) => near,
        (_, None) => unknown_header(&StoreMeta::load(disk)?),
    };
    let previous = previous.unwrap_or(0);
    Ok(SegmentHeader { number: link.number, previous, source: previous, first_seq, ..fitting })
}
