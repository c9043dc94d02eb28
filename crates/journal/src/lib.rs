//! A durable group-commit journal: frames are appended to memory, written in self-checking
//! batches, synced once per batch, and acknowledged only then. `docs/format.md` gives the bytes.
//!
//! [`Journal::open`] recovers what is on disk; [`Journal::start`] runs the committer and the
//! housekeeper as threads; the steps they run are public, so that a simulation can run them by
//! hand in any order.

pub mod check;
pub mod clock;
pub mod compress;
pub mod disk;
pub mod format;
pub mod limits;
pub mod repair;
pub mod retain;
pub mod scan;

mod error;
mod journal;
mod meta;
mod options;
mod status;

pub use clock::{Clock, SystemClock};
pub use error::{AppendError, CommitError, Ended, OpenError, ReadError, WaitError};
pub use format::{Batch, FrameKind, FrameView, OwnedFrame};
pub use journal::{Appender, Committed, Housekept, Journal, Reader, Subscription, Threads};
pub use meta::StoreMeta;
pub use options::Options;
pub use status::{ClockSuspect, Cut, Recovery, Status};
