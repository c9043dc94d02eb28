//! One error per operation.

use thiserror::Error;
use usage::UsageId;

/// Why a store did not open.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The settings contradict each other.
    #[error("the store's settings are wrong: {0}")]
    Config(String),
    /// The folder cannot be made or used.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The journal did not open.
    #[error(transparent)]
    Journal(#[from] journal::OpenError),
}

/// Why a usage was not taken in. Nothing was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AppendRefused {
    /// More arrives than the disk takes. Try again soon.
    #[error("more usages arrive than the disk takes")]
    Full,
    /// More arrives than the index takes. Try again soon.
    #[error("more usages arrive than the index takes")]
    TailFull,
    /// The disk's reserve or the cap on bytes is reached.
    #[error("no space is left for the journal")]
    NoSpace,
    /// The disk has not completed a write for [`Config::stuck_after`](crate::Config::stuck_after). Try
    /// again soon. Only [`Store::room`](crate::Store::room) says so.
    #[error("the disk does not complete its writes")]
    Stuck,
    /// The idempotency key was used before, for a usage with other content.
    #[error("the idempotency key was used for another usage")]
    KeyReused,
    /// The key was used by a usage that is not secured yet; see [`ReadError::Unproven`].
    #[error("the usage with this idempotency key is not secured yet")]
    Unproven,
    /// Whether the key was used before cannot be told now. Keyed usages only.
    #[error("the index of keys is not available")]
    IndexUnavailable,
    /// Whether the usage with this id is the one that used the key before cannot be told, because
    /// stored data is damaged. Keyed usages only; trying again does not help.
    #[error("stored data is damaged, so the usage that used the idempotency key cannot be read")]
    Damaged(UsageId),
    /// A write to the journal has failed: nothing is acknowledged by this process any more.
    #[error("a write to the journal has failed; nothing is acknowledged any more")]
    Poisoned,
    /// The store is closing.
    #[error("the store is closed")]
    Closed,
}

impl From<journal::AppendError> for AppendRefused {
    fn from(error: journal::AppendError) -> Self {
        match error {
            journal::AppendError::Full => Self::Full,
            journal::AppendError::NoSpace => Self::NoSpace,
            journal::AppendError::Poisoned => Self::Poisoned,
            journal::AppendError::Closed => Self::Closed,
        }
    }
}

/// Why it is unknown whether a usage is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OutcomeUnknown {
    /// The write or sync that was to cover it has failed.
    #[error("a write to the journal has failed; whether the usage is stored is unknown")]
    Failed,
    /// The disk did not complete the write in time. The usage may still become durable.
    #[error("a write to the journal takes too long; whether the usage is stored is unknown")]
    TimedOut,
}

/// Why a read has no answer.
#[derive(Debug, Error)]
pub enum ReadError {
    /// Retention has removed it.
    #[error("the usage has expired")]
    Expired,
    /// The usage is in the last batch before the start, which waits for room on the disk to be secured.
    /// Try again later.
    #[error("the usage is not secured yet")]
    Unproven,
    /// The index has failed or is being rebuilt. Try again later.
    #[error("the index is not available")]
    IndexUnavailable,
    /// The cursor is not one of this query.
    #[error("the cursor was not given out for this query by this store")]
    Cursor,
    /// The summary has more rows than are ever answered; a narrower range has fewer.
    #[error("makes more than {rows_max} rows; ask for fewer by a shorter range or another `by`")]
    TooManyRows {
        /// How many are answered at most.
        rows_max: usize,
    },
    /// The summary had to read more than it was allowed to.
    #[error("the summary reads more than it may")]
    TooSlow,
    /// What was once durable cannot be read any more, at this place. Trying again does not help.
    #[error("stored data is damaged: {0}")]
    Damaged(String),
    /// The disk failed.
    #[error("reading the journal: {0}")]
    Io(std::io::Error),
}

/// Why the index was not rebuilt.
#[derive(Debug, Error)]
pub enum RebuildError {
    /// The store did not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The journal could not be read.
    #[error(transparent)]
    Read(#[from] journal::ReadError),
    /// The old index could not be removed, or the new one not be made.
    #[error("the index: {0}")]
    Index(#[from] crate::index::IndexError),
    /// The journal could not be closed in order; the index is whole nevertheless.
    #[error("closing the journal: {0}")]
    Close(#[from] journal::CommitError),
}
