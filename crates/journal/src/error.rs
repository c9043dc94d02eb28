//! One error per operation, each saying what was being done, where, and what to do.

use std::io;

use thiserror::Error;

use crate::format::{HeaderError, segment_file_name};
use crate::prepare::{is_full, is_shortage};
use crate::witness::MissingEnd;

/// Why a journal did not open. Nothing has been changed that a later open could miss.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The settings contradict each other.
    #[error("the journal's settings are wrong: {0}")]
    Options(String),
    /// Another process has the store.
    #[error("another process has this store open (its `lock` file is held)")]
    Locked,
    /// The disk failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// `store.meta` cannot be trusted.
    #[error("store.meta: {0}; put back a copy of it, nothing else holds the store's secret")]
    Meta(String),
    /// `store.meta` is there, and no segment that was ever in use.
    #[error(
        "store.meta is there, but every segment that held usages is missing; put them back from a \
         copy, or begin a new store in another directory"
    )]
    NoSegments,
    /// Written by a program that knows more than this one.
    #[error(
        "{file} has format version {version}, which is newer than this inhale knows; use the \
             newer inhale that wrote it"
    )]
    Newer {
        /// Which file.
        file: String,
        /// Its version.
        version: u32,
    },
    /// The store carries another number than the settings ask for.
    #[error("the store has number {found}, the settings say {asked}; ids are made from it")]
    StoreNumber {
        /// The number in `store.meta`.
        found: u16,
        /// The number asked for.
        asked: u16,
    },
    /// A segment's header page is damaged though the segment holds data.
    #[error(
        "segment {segment}: {why}; `inhale journal check` shows the damage, \
         `inhale journal repair` says how it would correct this, and what is lost"
    )]
    Header {
        /// The segment's number.
        segment: u64,
        /// What is wrong.
        why: String,
    },
    /// A segment has the name of another file. No name proves anything, but names say what follows
    /// what.
    #[error(
        "{file} holds segment {segment}; `inhale journal check` lists the files that are misplaced, \
         `inhale journal repair` says how it corrects them without loss"
    )]
    Misplaced {
        /// The file.
        file: String,
        /// What its content is.
        segment: u64,
    },
    /// A segment that others build on is not there.
    #[error(
        "segment {segment} is missing between others that are there; put it back, or \
         `inhale journal repair` says what is lost without it"
    )]
    Missing {
        /// The missing segment's number.
        segment: u64,
    },
    /// Damage in front of data that was acknowledged.
    #[error(
        "segment {segment} is damaged at byte {offset}, where sequence {expected_seq} should \
         start, yet a later batch (sequence {later_seq} at byte {later_offset} of segment \
         {later_segment}) proves that it was once whole; `inhale journal check` shows the \
         damage, `inhale journal repair` says how it would correct this, and what is lost"
    )]
    Corruption {
        /// The damaged segment's number.
        segment: u64,
        /// Where in its file.
        offset: u64,
        /// The sequence expected there.
        expected_seq: u64,
        /// The segment that holds the proof.
        later_segment: u64,
        /// Where in that segment's file.
        later_offset: u64,
        /// The first sequence of the batch that proves it.
        later_seq: u64,
    },
    /// A witness shows that the journal was durable past its end.
    #[error(
        "{0}; restore the journal's files from a copy, or give these frames up with \
         `inhale journal repair --accept-loss`"
    )]
    EndsEarly(MissingEnd),
    /// The store's mark is lost, and with it how far the journal was durable.
    #[error(
        "the file `mark`, which says how far the journal was durable, cannot be used: {why}; \
         restore it from a copy, or go on past every sequence that may be lost with \
         `inhale journal repair --accept-loss`"
    )]
    NoMark {
        /// What is wrong with it.
        why: &'static str,
    },
}

/// Why an append was refused. Nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AppendError {
    /// The pending buffer's budget is used up: more arrives than the disk takes. Try again soon.
    #[error("the pending buffer is full")]
    Full,
    /// The disk's reserve or the cap on bytes is reached. Reads continue; freed space resumes.
    #[error("no space is left for the journal")]
    NoSpace,
    /// A write or sync has failed: nothing is acknowledged any more by this process.
    #[error("a write to the journal has failed; nothing is acknowledged any more")]
    Poisoned,
    /// The journal is closing.
    #[error("the journal is closed")]
    Closed,
}

/// Why a commit did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CommitError {
    /// The next segment could not be prepared for want of space; the batch is kept and the next
    /// call tries again.
    #[error("no space is left to prepare the next segment")]
    NoSpace,
    /// A write or sync has failed, now or earlier.
    #[error("a write to the journal has failed; nothing is acknowledged any more")]
    Poisoned,
}

/// Why waiting for durability ended without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WaitError {
    /// The time allowed is over; the outcome is still open.
    #[error("not durable within the time allowed")]
    TimedOut,
    /// A write or sync has failed: whether the frame is durable is unknown.
    #[error("a write to the journal has failed; the outcome is unknown")]
    Poisoned,
    /// The journal was closed, and nothing appended before that is left to wait for.
    #[error("the journal is closed")]
    Closed,
}

/// Why a frame or batch could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// Retention has removed it.
    #[error("the segment that held it has expired")]
    Expired,
    /// It is not durable yet, or was never appended.
    #[error("no durable frame has this sequence")]
    NotYet,
    /// What was once durable cannot be read any more.
    #[error("segment {segment} is damaged at byte {offset} (sequence {seq}): {why}")]
    Damaged {
        /// The segment's number.
        segment: u64,
        /// Where in its file, as near as is known.
        offset: u64,
        /// The sequence that was sought.
        seq: u64,
        /// What is wrong.
        why: String,
    },
    /// The disk failed.
    #[error("reading segment {segment}: {source}")]
    Io {
        /// The segment's number.
        segment: u64,
        /// The operating system's answer.
        source: io::Error,
    },
}

impl ReadError {
    /// The damaged place, if what was once durable cannot be read: numbers and the operating system's
    /// answer only. `None` for what is no damage, as where this process is short of descriptors.
    #[must_use]
    pub fn damage(&self) -> Option<String> {
        match self {
            Self::Damaged { segment, offset, why, .. } => {
                Some(format!("segment {segment} at byte {offset}: {why}"))
            }
            Self::Io { source, .. } if is_damage(source) => Some(self.to_string()),
            Self::Io { .. } | Self::Expired | Self::NotYet => None,
        }
    }
}

/// Whether a read fails because of what is stored: a file is missing, the medium cannot be read, or
/// the file system has found its own checksums or structures wrong.
fn is_damage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    const DAMAGES: [Errno; 5] =
        [Errno::NOENT, Errno::IO, Errno::BADMSG, Errno::UCLEAN, Errno::NODATA];
    Errno::from_io_error(error).is_some_and(|errno| DAMAGES.contains(&errno))
}

/// The end of what a subscription can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Ended {
    /// A write or sync has failed: what was not durable before has an unknown outcome.
    #[error("a write to the journal has failed; the outcome is unknown")]
    Poisoned,
    /// The journal was closed; everything appended before is durable.
    #[error("the journal is closed")]
    Closed,
}

impl OpenError {
    /// Whether space, descriptors or memory have run out.
    pub(crate) fn is_shortage(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_shortage(source))
    }

    /// Whether only room on the disk is missing.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_full(source))
    }

    /// Why a segment cannot do without the header page that is not accepted.
    pub(crate) fn header(segment: u64, why: HeaderError) -> Self {
        match why {
            HeaderError::Version(version) => {
                Self::Newer { file: segment_file_name(segment), version }
            }
            why => Self::Header { segment, why: why.to_string() },
        }
    }
}

/// Turns an I/O error into an [`OpenError`] that says what was being done.
pub(crate) fn opening(doing: impl Into<String>) -> impl FnOnce(io::Error) -> OpenError {
    let doing = doing.into();
    move |source| OpenError::Io { doing, source }
}
