//! Reads a whole journal and verifies every checksum, chain and sequence. Changes nothing; takes
//! the store's lock, so that it never mistakes a batch that is being written for damage.

mod chain;
mod place;
mod walk;

use std::fmt;
use std::ops::Range;

use thiserror::Error;

pub(crate) use chain::{Chain, Link, State, unknown_header};
pub use place::{Holds, Misplaced};
pub(crate) use walk::Found;

use crate::aside::{self, AsideFile};
use crate::disk::Disk;
use crate::error::{OpenError, opening};
use crate::format::SegmentKind;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// The segments that make up the journal, oldest first.
    pub segments: Vec<SegmentReport>,
    /// Everything that is wrong, in the order of the journal.
    pub damages: Vec<Damage>,
    /// Bytes after the last whole batch, which the next open cuts off by itself: the write that a
    /// crash interrupted, never acknowledged.
    pub torn: Option<crate::Cut>,
    /// How many frames can have stood there and behind, if it was not a crash that has torn them.
    pub torn_frames_max: u64,
    /// Files whose names are not those of their contents; a repair puts them right.
    pub misplaced: Vec<Misplaced>,
    /// Segments at the end, without a whole batch or overwritten by another file, that may have held
    /// frames. Nothing in the journal shows whether they did; a crash leaves them, too.
    pub doubtful: Vec<u64>,
    /// Files that were set aside.
    pub aside: Vec<AsideFile>,
    /// Files that the next open removes by itself, or sets aside if nothing proves that they hold
    /// nothing of their own.
    pub leftovers: Vec<String>,
    /// Segments prepared for later.
    pub spares: Vec<u64>,
    /// Bytes read.
    pub bytes: u64,
}

/// One segment of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its number.
    pub number: u64,
    /// Raw or compressed; `None` when its file is missing or nothing of it can be read.
    pub kind: Option<SegmentKind>,
    /// The length of its file.
    pub file_bytes: u64,
    /// The sequence of its first frame.
    pub first_seq: u64,
    /// One past the sequence of its last frame.
    pub end_seq: u64,
    /// Batches, or blocks of a compressed one.
    pub batches: u64,
    /// Frames of kind usage.
    pub usages: u64,
    /// Marks of a close in order.
    pub closed: u64,
    /// Frames of other kinds.
    pub others: u64,
    /// Sequences whose frames an earlier repair found lost.
    pub lost_before: u64,
    /// The earliest and latest recorded time of a commit, milliseconds since the Unix epoch.
    pub committed_ms: Option<(u64, u64)>,
}

/// Something that was once durable and cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment's number.
    pub segment: u64,
    /// Where in its file.
    pub offset: u64,
    /// How many bytes cannot be read; 0 when the file ends or is missing there.
    pub bytes: u64,
    /// The sequence that should stand there.
    pub expected_seq: u64,
    /// The sequences that are lost by it; empty when every frame can be read nevertheless.
    pub lost: Range<u64>,
    /// How many frames it may have cost beyond those; `None` when nothing tells.
    pub more_max: Option<u64>,
    /// What is wrong.
    pub why: String,
}

/// How many frames are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// So many for certain.
    pub at_least: u64,
    /// No more than so many; `None` when nothing tells.
    pub at_most: Option<u64>,
}

impl Loss {
    /// The sum of what damages cost.
    #[must_use]
    pub fn of<'a>(damages: impl IntoIterator<Item = &'a Damage>) -> Self {
        let mut loss = Self { at_least: 0, at_most: Some(0) };
        for damage in damages {
            let lost = damage.lost.end.saturating_sub(damage.lost.start);
            loss.at_least += lost;
            let more = loss.at_most.zip(damage.more_max);
            loss.at_most = more.map(|(most, more)| most + lost + more);
        }
        loss
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self { at_least, at_most: Some(at_most) } if at_least == at_most => {
                write!(f, "{at_least}")
            }
            Self { at_least: 0, at_most: None } => write!(f, "an unknown number of"),
            Self { at_least, at_most: None } => write!(f, "at least {at_least}"),
            Self { at_least: 0, at_most: Some(most) } => write!(f, "at most {most}"),
            Self { at_least, at_most: Some(most) } => write!(f, "{at_least} to {most}"),
        }
    }
}

/// Why a journal could not be checked at all.
#[derive(Debug, Error)]
pub enum CheckError {
    /// A server has it open. Only it knows which batch is being written.
    #[error("another process has this store open (its `lock` file is held); stop it first")]
    Locked,
    /// The disk failed, or `store.meta` cannot be read.
    #[error(transparent)]
    Store(#[from] OpenError),
}

impl CheckReport {
    /// Whether nothing is wrong. Ranges lost to an earlier repair are known and not counted.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damages.is_empty() && self.misplaced.is_empty()
    }

    /// How many frames are lost that no earlier repair has counted.
    #[must_use]
    pub fn loss(&self) -> Loss {
        let Loss { at_least, at_most } = Loss::of(&self.damages);
        let at_most = at_most.filter(|_| self.doubtful.is_empty());
        Loss { at_least, at_most: at_most.map(|most| most + self.torn_frames_max) }
    }

    /// Holds the report against a record of how far the journal was durable once, up to the sequence
    /// `durable`: where it ends before that, the rest is lost.
    fn expect_durable(&mut self, durable: u64) {
        let end_seq = self.end_seq();
        if end_seq >= durable {
            return;
        }
        let last = self.segments.last();
        self.damages.push(Damage {
            segment: last.map_or(0, |segment| segment.number),
            offset: self
                .torn
                .map_or_else(|| last.map_or(0, |last| last.file_bytes), |cut| cut.offset),
            bytes: self.torn.take().map_or(0, |cut| cut.bytes),
            expected_seq: end_seq,
            lost: end_seq..durable,
            more_max: None,
            why: format!("the journal ends before sequence {durable}, up to which it was durable"),
        });
        self.torn_frames_max = 0;
    }

    /// The oldest sequence kept.
    #[must_use]
    pub fn first_seq(&self) -> u64 {
        self.segments.first().map_or(1, |segment| segment.first_seq)
    }

    /// One past the last sequence.
    #[must_use]
    pub fn end_seq(&self) -> u64 {
        self.segments.last().map_or(1, |segment| segment.end_seq)
    }

    /// How many usages can be read.
    #[must_use]
    pub fn usages(&self) -> u64 {
        self.segments.iter().map(|segment| segment.usages).sum()
    }

    /// Sequences whose frames an earlier repair found lost.
    #[must_use]
    pub fn lost_before(&self) -> u64 {
        self.segments.iter().map(|segment| segment.lost_before).sum()
    }

    /// The earliest and latest recorded time of a commit, milliseconds since the Unix epoch.
    #[must_use]
    pub fn committed_ms(&self) -> Option<(u64, u64)> {
        let times = self.segments.iter().filter_map(|segment| segment.committed_ms);
        times.reduce(|(a, b), (c, d)| (a.min(c), b.max(d)))
    }
}

/// Checks the journal in `disk`'s directory. `progress` is told how many bytes of how many are
/// done, after each segment.
///
/// # Errors
/// When the store is open elsewhere, has no readable `store.meta`, or the disk fails. Damage is no
/// error but part of the report.
pub fn check(
    disk: &dyn Disk,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<CheckReport, CheckError> {
    check_up_to(disk, None, progress)
}

/// The same, compared with a record of how far the journal was durable: one past the last sequence
/// that the record knows.
pub fn check_up_to(
    disk: &dyn Disk,
    durable_at_least: Option<u64>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<CheckReport, CheckError> {
    let _lock = take_lock(disk)?;
    let mut report = report(disk, &Chain::survey(disk)?, progress)?;
    if let Some(durable) = durable_at_least {
        report.expect_durable(durable);
    }
    Ok(report)
}

/// Walks the whole chain.
pub(crate) fn report(
    disk: &dyn Disk,
    chain: &Chain,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<CheckReport, OpenError> {
    let mut report = CheckReport {
        leftovers: chain.leftovers.clone(),
        spares: chain.spares.clone(),
        misplaced: chain.misplaced.clone(),
        doubtful: chain.doubtful.clone(),
        aside: aside::list(disk).map_err(opening("listing what was set aside"))?,
        ..CheckReport::default()
    };
    let mut seq = chain.first_seq();
    for index in 0..chain.links.len() {
        let walked = chain.walk(disk, index, seq, &mut |_| Ok::<(), OpenError>(()))?;
        seq = walked.segment.end_seq;
        report.bytes += walked.segment.file_bytes;
        report.torn = walked.torn;
        report.torn_frames_max = walked.torn_frames_max;
        report.segments.push(walked.segment);
        report.damages.extend(walked.damages);
        progress(report.bytes, chain.bytes);
    }
    report.damages.extend(chain.hopeless(seq));
    Ok(report)
}

/// Takes the store's lock as a server does.
pub(crate) fn take_lock(disk: &dyn Disk) -> Result<Box<dyn Send + Sync>, CheckError> {
    disk.lock(crate::recover::LOCK_FILE).map_err(|source| match source.kind() {
        std::io::ErrorKind::WouldBlock => CheckError::Locked,
        _ => {
            let doing = "taking the lock file".to_owned();
            CheckError::Store(OpenError::Io { doing, source })
        }
    })
}
