//! A durable group-commit journal: frames are appended to memory, written in self-checking
//! batches, synced once per batch, and acknowledged only then. `docs/format.md` gives the bytes.
//!
//! [`Journal::open`] recovers what is on disk; [`Journal::start`] runs the committer and the
//! housekeeper as threads; the steps they run are public, so that a simulation can run them by
//! hand in any order.

pub mod accept;
pub mod aside;
pub mod check;
pub mod clock;
pub mod compress;
pub mod disk;
pub mod format;
pub mod layout;
pub mod limits;
pub mod repair;
pub mod retain;
pub mod scan;

mod anchor;
mod begin;
mod beside;
mod commit;
mod error;
mod housekeep;
mod identify;
mod journal;
mod ledger;
mod lookup;
mod mark;
mod marking;
mod meta;
mod number_file;
mod options;
mod pace;
mod packed;
mod pending;
mod prepare;
mod proof;
mod random;
mod reader;
mod recover;
mod repairs;
mod salvage;
mod shared;
mod status;
mod subscribe;
mod tail;
mod threads;
mod witness;

pub use beside::examine_beside_writer;
pub use clock::{Clock, SystemClock};
pub use commit::Committed;
pub use error::{AppendError, CommitError, Ended, OpenError, ReadError, WaitError};
pub use format::{Batch, FrameKind, FrameView, OwnedFrame};
pub use housekeep::Housekept;
pub use journal::Journal;
pub use meta::StoreMeta;
pub use number_file::NumberFile;
pub use options::{Options, Sabotage};
pub use pending::Appender;
pub use reader::Reader;
pub use recover::Examined;
pub use shared::{CommitObserver, SyncObserver};
pub use status::{Backlog, ClockSuspect, Cut, Recovery, Status};
pub use subscribe::Subscription;
pub use threads::Threads;
pub use witness::{MissingEnd, Witness};
