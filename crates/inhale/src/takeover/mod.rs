//! An upgrade without a lost request. The new process, the successor, asks the running one, its
//! predecessor, over a Unix socket in the store's directory:
//!
//! 1. The successor proves that it could serve, and says so. It receives the listening sockets and the
//!    store's lock, both of which the predecessor keeps as well.
//! 2. The predecessor has its clients give up their connections while it goes on accepting. Then it
//!    accepts no more, answers what it has, closes the journal, and says that the store is handed over.
//!    Meanwhile new connections wait in the sockets' queues.
//! 3. The successor opens the store and accepts. It opens the index when the predecessor has closed it.
//! 4. The predecessor sends requests to the sockets. Once they are answered it ends. If they are not
//!    answered within a second, it kills the successor and serves again.
//!
//! Whichever of the two dies, the other one serves. A side that is silent for four seconds before step 2
//! is over is given up, and nothing has changed. The lock is never free, and nobody writes to the journal
//! but who was handed it, or knows that the other process has ended.

mod door;
mod fault;
mod handing;
mod held;
mod peer;
mod probe;
mod successor;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use door::Door;
pub(crate) use fault::at as fault;
pub(crate) use handing::{DRAIN_MAX, Outcome, close_index, hand_over};
pub(crate) use held::Held;
pub(crate) use successor::{Claim, Inheritance};

/// What a successor says first. Another version of what follows needs another number.
const HELLO: &str = "successor 1";
/// What a successor says when it can serve.
const READY: &str = "ready";
/// What the predecessor says so that the successor goes on waiting.
const WAIT: &str = "wait";
/// What the predecessor says once it writes no more.
const YOURS: &str = "yours";
/// What the predecessor says, with the reason, when it goes on serving.
const NO: &str = "no ";

/// How long either side waits for a word of the other, so that a takeover from a process that does
/// not go on is given up within five seconds.
const WORD_WITHIN: Duration = Duration::from_secs(4);

fn socket_path(data: &Path) -> PathBuf {
    data.join("takeover.sock")
}
