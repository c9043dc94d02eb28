//! Reads a whole journal and verifies every checksum, chain and sequence. Changes nothing; takes
//! the store's lock, so that it never mistakes a batch that is being written for damage.

mod chain;
mod walk;

use std::ops::Range;

use thiserror::Error;

pub(crate) use chain::{Chain, Link, State, unknown_header};
pub(crate) use walk::Found;

use crate::disk::{Disk, Lock};
use crate::error::OpenError;
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
    /// Files that the next open removes by itself.
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
    /// What is wrong.
    pub why: String,
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
        self.damages.is_empty()
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
    let _lock = take_lock(disk)?;
    Ok(report(disk, &Chain::survey(disk)?, progress)?)
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
        ..CheckReport::default()
    };
    let mut seq = chain.first_seq();
    for index in 0..chain.links.len() {
        let walked = chain.walk(disk, index, seq, &mut |_| Ok::<(), OpenError>(()))?;
        seq = walked.segment.end_seq;
        report.bytes += walked.segment.file_bytes;
        report.torn = walked.torn;
        report.segments.push(walked.segment);
        report.damages.extend(walked.damages);
        progress(report.bytes, chain.bytes);
    }
    report.damages.extend(chain.hopeless(seq));
    Ok(report)
}

/// Takes the store's lock as a server does.
pub(crate) fn take_lock(disk: &dyn Disk) -> Result<Box<dyn Lock>, CheckError> {
    disk.lock(crate::recover::LOCK_FILE).map_err(|source| match source.kind() {
        std::io::ErrorKind::WouldBlock => CheckError::Locked,
        _ => {
            let doing = "taking the lock file".to_owned();
            CheckError::Store(OpenError::Io { doing, source })
        }
    })
}
