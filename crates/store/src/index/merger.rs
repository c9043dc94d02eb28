//! Merges the keys of parts that take no more runs, on a thread of its own: where no filter in memory
//! rules a key out, every keyed usage asks for it in vain, and each table costs a look.

use std::thread::JoinHandle;

use fjall::Keyspace;

use super::IndexError;
use super::part::Part;

/// Merges one part's keys at a time. Waits for that when it is dropped, which takes seconds for a
/// full part: the library cannot break a merge off.
#[derive(Default)]
pub(super) struct Merger {
    running: Option<(u32, JoinHandle<Result<(), fjall::Error>>)>,
    /// The disk or the library has failed; whoever reads or writes will tell.
    failed: bool,
}

impl Merger {
    /// Begins with the first of `sealed` that needs it, unless another is under way. Returns whether
    /// one has just ended, so that there are old tables to let go of.
    pub(super) fn look(&mut self, sealed: &[Part]) -> Result<bool, IndexError> {
        let ended = self.running.as_ref().is_some_and(|(_, thread)| thread.is_finished());
        if ended {
            self.wait();
        }
        if self.running.is_none()
            && !self.failed
            && let Some(part) = sealed.iter().find(|part| is_scattered(&part.keys))
        {
            let keys = part.keys.clone();
            let merge = move || {
                super::yield_to_others();
                keys.major_compact()
            };
            let thread = std::thread::Builder::new().name("index-merger".into()).spawn(merge)?;
            self.running = Some((part.number(), thread));
        }
        Ok(ended)
    }

    /// The part whose keys are being merged.
    pub(super) fn part(&self) -> Option<u32> {
        self.running.as_ref().map(|(number, _)| *number)
    }

    fn wait(&mut self) {
        let Some((number, thread)) = self.running.take() else { return };
        if let Err(error) = thread.join().unwrap_or(Err(fjall::Error::Poisoned)) {
            tracing::warn!(number, %error, "the keys of a part could not be merged");
            self.failed = true;
        }
    }
}

impl Drop for Merger {
    fn drop(&mut self) {
        self.wait();
    }
}

/// A merge leaves no tables of single runs, but one level of few large ones.
fn is_scattered(keys: &Keyspace) -> bool {
    keys.l0_table_count() > 1
}
