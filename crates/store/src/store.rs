//! The store itself: a journal, the tail of what its index has not taken yet, and the index.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use journal::disk::{Disk, RealDisk};
use journal::{Clock, Journal, Recovery, Threads};
use usage::CheckKey;

use crate::claims::Claims;
use crate::config::Config;
use crate::damage::Damages;
use crate::error::{AppendRefused, OpenError};
use crate::index::Index;
use crate::indexer::{Indexer, Step};
use crate::key_search::key_oldest_ms;
use crate::slot::{Failure, FoundIndex, IndexSlot, Owner, Stuck, remove_index, use_index};
use crate::status::{IndexState, Status};
use crate::tail::Tail;

/// An open store. Clones share it. Dropping it writes nothing: only [`Store::close`] does.
#[derive(Clone)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) journal: Journal,
    pub(crate) recovery: Recovery,
    pub(crate) store_number: u16,
    pub(crate) secret: CheckKey,
    /// From this sequence on an event id belongs to its patient; see [`crate::events`].
    pub(crate) events_from: u64,
    pub(crate) tail: Arc<Tail>,
    pub(crate) claims: Claims,
    pub(crate) slot: IndexSlot,
    pub(crate) damages: Damages,
    /// The lowest sequence that the index still needs from the journal.
    pub(crate) projection: Arc<AtomicU64>,
    pub(crate) index_usages: AtomicU64,
    pub(crate) index_runs: AtomicU64,
    indexer: Mutex<Indexer>,
    threads: Mutex<Option<(Threads, JoinHandle<()>)>>,
}

/// How long the end of a store waits for its index.
const INDEX_PATIENCE: Duration = Duration::from_secs(10);

impl Store {
    /// Opens or creates the store in `config.dir`. When this returns, everything ever acknowledged
    /// is durable, and if the index is not far behind, reads and keyed usages can be served at
    /// once. An index that is missing, damaged or far behind is made again in the background. No
    /// thread is started.
    pub fn open(config: Config, clock: Arc<dyn Clock>) -> Result<Self, OpenError> {
        let dir = config.journal_dir();
        let io_error =
            |source| OpenError::Io { doing: format!("opening {}", dir.display()), source };
        let disk = RealDisk::open(&dir).map_err(io_error)?;
        Self::open_on(config, Arc::new(disk), clock)
    }

    /// Opens a store whose journal is kept on `disk`; its index stands in `config.index_dir()`.
    pub fn open_on(
        config: Config,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        config.validate().map_err(OpenError::Config)?;
        let examined =
            Journal::examine(Arc::clone(&disk), Arc::clone(&clock), config.journal_options())?;
        let found = match config.index_enabled && !config.index_later {
            true => FoundIndex::open(&config.index_dir(), &config.index),
            false => Ok(None),
        };
        let witness = found.as_ref().ok().and_then(Option::as_ref).and_then(FoundIndex::witness);
        let (journal, recovery) = examined.open(witness.as_slice())?;
        let durable = journal.durable();
        // A later position costs more looks for former events, and changes no answer; an earlier one
        // would miss those of a batch that is yet to be proven.
        let end_seq = journal.unproven().map_or(durable, |batch| batch.end_seq());
        let events_from = crate::events::scoped_from(&*disk, end_seq).unwrap_or_else(|error| {
            tracing::warn!(%error, "the file `events` could not be read or written");
            end_seq
        });
        let index = if config.index_enabled && config.index_later {
            Err(Failure::unopened())
        } else if config.index_enabled {
            if let Err(error) = remove_index(&config.new_index_dir()) {
                // It is only in the way of space.
                tracing::warn!(%error, "what an interrupted rebuild has left could not be removed");
            }
            let owner = Owner { store_id: journal.meta().store_id, repairs: recovery.repairs };
            let kept = journal.first_seq()..durable;
            let opened = found.and_then(|found| {
                use_index(found, &config.index_dir(), &config.index, owner, kept)
            });
            // A new index has nothing to wait for below the oldest frame.
            let prepare = |index: Index| {
                index.advance(journal.first_seq())?;
                index.remember_keys(key_oldest_ms(&journal, &config, clock.wall_ms()))?;
                Ok(index)
            };
            opened.and_then(prepare).map_err(|error| Failure::from(&error))
        } else {
            Err(Failure::of_nothing("it is switched off"))
        };
        let cursor = index.as_ref().map_or(0, |index| index.cursor());
        let projection = Arc::new(AtomicU64::new(cursor));
        // Retention waits for nobody who never comes.
        if config.index_enabled {
            journal.register_projection("index", Arc::clone(&projection));
        }
        let (tail, claims) = crate::restore::restore(&journal, &config, cursor);
        let tail = Arc::new(tail);
        let pushed = Arc::clone(&tail);
        journal.on_commit(Box::new(move |batch| pushed.push(batch)));
        let meta = journal.meta();
        let (store_number, secret) = (meta.store_number, CheckKey(meta.check_key));
        Ok(Self {
            shared: Arc::new(Shared {
                clock,
                journal,
                recovery,
                store_number,
                secret,
                events_from,
                tail,
                claims,
                slot: IndexSlot::new(index),
                damages: Damages::default(),
                projection,
                index_usages: AtomicU64::new(0),
                index_runs: AtomicU64::new(0),
                indexer: Mutex::new(Indexer::new(config.index_later)),
                threads: Mutex::default(),
                config,
            }),
        })
    }

    /// Starts the journal's threads and the indexer's, once.
    pub fn start(&self) -> io::Result<()> {
        let mut threads = self.shared.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if threads.is_some() {
            return Ok(());
        }
        let journal = self.shared.journal.start()?;
        let shared = Arc::clone(&self.shared);
        let run = move || {
            let mut indexer = shared.indexer.lock().unwrap_or_else(PoisonError::into_inner);
            indexer.run(&shared);
        };
        let indexer = std::thread::Builder::new().name("indexer".into()).spawn(run)?;
        *threads = Some((journal, indexer));
        Ok(())
    }

    /// Refuses further usages and makes those that were accepted durable: the part of
    /// [`Store::close`] after which another process may write to the journal, if it has the lock.
    pub fn finish(&self) -> Result<(), journal::CommitError> {
        self.shared.journal.finish()
    }

    /// Closes the index after [`Store::close`], so that another process may open it although this
    /// store is still in use by reads. Waits for the index's merges.
    pub fn close_index(&self) {
        self.shared.slot.close();
    }

    /// Refuses further usages, makes those that were accepted durable, has the index take what is
    /// left, and ends the threads. An index that is in the middle of a long merge is waited for
    /// [`INDEX_PATIENCE`] at most: what it lacks then it takes at the next start. Only then may another
    /// process open the store: before, it would find the index in use. Safe to call twice.
    pub fn close(&self) -> Result<(), journal::CommitError> {
        let mut threads = self.shared.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let finished = self.shared.journal.finish();
        self.shared.tail.stop();
        if let Some((journal, indexer)) = threads.take() {
            journal.join();
            if !ends_within(&indexer, INDEX_PATIENCE) {
                tracing::info!("the index is still merging; it is caught up at the next start");
            } else if indexer.join().is_err() {
                tracing::error!(
                    "the indexer has panicked; the index is caught up at the next start"
                );
            }
        }
        self.shared.journal.unlock();
        finished
    }

    /// Has the index take one run without waiting; what the indexer's thread does all the time,
    /// for whoever does without threads. Returns whether there may be more to do at once.
    pub fn index_once(&self) -> bool {
        let mut indexer = self.shared.indexer.lock().unwrap_or_else(PoisonError::into_inner);
        match indexer.step(&self.shared, Duration::ZERO) {
            Step::Applied => true,
            Step::Idle | Step::Failed | Step::Stopped => false,
        }
    }

    /// Takes the index out of use, as if it had failed; the indexer opens it anew.
    pub fn reopen_index(&self, why: &str) {
        self.shared.slot.fail(Failure::of_files(why));
    }

    /// The journal underneath.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.shared.journal
    }

    /// What opening the journal found and did.
    #[must_use]
    pub fn recovery(&self) -> &Recovery {
        &self.shared.recovery
    }

    /// How the index does: whether reads and keyed usages are served.
    #[must_use]
    pub fn index_state(&self) -> IndexState {
        if !self.shared.config.index_enabled {
            return IndexState::Off;
        }
        // The tail first: the index only moves on meanwhile.
        let target = self.shared.tail.first_seq();
        match self.shared.slot.get() {
            Err(failure) if failure.unopened => IndexState::Opening,
            Err(failure) => IndexState::Failed { why: failure.why },
            Ok(index) if index.cursor() >= target => IndexState::Ready,
            Ok(index) => match self.shared.slot.stuck() {
                Some(Stuck { why, .. }) => IndexState::Failed { why },
                None => IndexState::CatchingUp { cursor: index.cursor(), target },
            },
        }
    }

    /// Why any usage would be refused now, whatever is in it. Takes the journal's locks: for a store
    /// that has refused already, not for every usage. The append decides.
    pub fn room(&self) -> Result<(), AppendRefused> {
        let shared = &*self.shared;
        if shared.tail.full() {
            return Err(AppendRefused::TailFull);
        }
        if shared.journal.unproven().is_some() {
            // What a retry is refused for depends on its key.
            return Ok(());
        }
        drop(shared.journal.appender()?);
        if self.stalled().is_some() {
            return Err(AppendRefused::Stuck);
        }
        let pending_bytes_max = shared.config.journal.pending_bytes_max;
        // Whether exactly one more fits is not known before its body is.
        if shared.journal.status().pending_bytes >= pending_bytes_max / 16 * 15 {
            return Err(AppendRefused::Full);
        }
        Ok(())
    }

    /// How long the disk has not completed a write although usages wait for it, if that is
    /// [`Config::stuck_after`] or longer.
    #[must_use]
    pub fn stalled(&self) -> Option<Duration> {
        let stalled = self.shared.journal.backlog().stalled;
        (stalled >= self.shared.config.stuck_after).then_some(stalled)
    }

    /// Why nothing is acknowledged any more, if a write or sync of the journal has failed: in words,
    /// of numbers and the operating system's answer only, so that it may be logged.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.shared.journal.failure()
    }

    /// What the store tells about itself.
    #[must_use]
    pub fn status(&self) -> Status {
        let shared = &*self.shared;
        let index = shared.slot.get().ok();
        let index_cursor = index.as_ref().map_or(0, |index| index.cursor());
        let durable = shared.journal.durable();
        let rebuilds = shared.slot.rebuilds();
        Status {
            durable,
            index_cursor,
            index_lag: durable.saturating_sub(index_cursor.max(shared.journal.first_seq())),
            index_state: self.index_state(),
            index_usages: shared.index_usages.load(Ordering::Relaxed),
            index_runs: shared.index_runs.load(Ordering::Relaxed),
            index_rebuilds: rebuilds.count,
            index_rebuilt: rebuilds.why,
            index_bytes: index.map_or(0, |index| index.disk_bytes()),
            damage: shared.damages.report(),
            tail_bytes: shared.tail.bytes(),
            tail_first_seq: shared.tail.first_seq(),
            keys_in_memory: shared.claims.len(),
            journal: shared.journal.status(),
        }
    }
}

/// Waits for a thread to end, but no longer than `patience`; whether it has.
fn ends_within(thread: &JoinHandle<()>, patience: Duration) -> bool {
    const LOOK: Duration = Duration::from_millis(5);
    let looks = patience.as_millis() / LOOK.as_millis();
    for _ in 0..looks {
        if thread.is_finished() {
            return true;
        }
        std::thread::sleep(LOOK);
    }
    thread.is_finished()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_does_not_end_is_waited_for_only_so_long() {
        let (end, ended) = std::sync::mpsc::sync_channel::<()>(0);
        let long = std::thread::spawn(move || ended.recv().unwrap_or_default());
        assert!(!ends_within(&long, Duration::from_millis(20)));
        drop(end);
        assert!(ends_within(&long, Duration::from_secs(60)));
    }

    #[test]
    fn an_index_that_is_still_open_elsewhere_is_opened_later() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut config = Config::new(dir.path());
        config.journal.segment_bytes = 1 << 20;
        config.journal.pending_bytes_max = 64 << 10;
        let open = |index_later| {
            let config = Config { index_later, ..config.clone() };
            Store::open(config, Arc::new(journal::SystemClock::new())).expect("opens")
        };
        let usage = br#"{"patientId":"1","timestamp":1700000000000,"medication":"a"}"#;
        let usage = usage::decode(usage, usage::UnknownFields::Refuse).expect("valid");
        let key = crate::Key::Header { principal: "default", key: "k" };
        let first = open(false);
        let seq = first.append_keyed(&usage, key, 0).expect("new").seq;
        // The journal is closed and unlocked; the index is not closed.
        first.close().expect("closes");
        let next = open(true);
        assert_eq!(next.index_state(), IndexState::Opening);
        assert!(!next.index_once(), "it is still open");
        assert_eq!(next.index_state(), IndexState::Opening);
        let refused = next.append_keyed(&usage, key, 0).map(|_| ());
        assert_eq!(refused.expect_err("not known"), AppendRefused::IndexUnavailable);
        first.close_index();
        assert!(matches!(first.index_state(), IndexState::Failed { .. }));
        // One step opens it, the others catch up.
        for _ in 0..4 {
            next.index_once();
        }
        assert_eq!(next.index_state(), IndexState::Ready);
        let again = next.append_keyed(&usage, key, 0).expect("known");
        assert_eq!((again.replayed, again.seq), (true, seq));
    }

    #[test]
    fn repro_nobody_may_open_a_store_whose_indexer_has_not_ended() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut config = Config::new(dir.path());
        config.journal.segment_bytes = 1 << 20;
        config.journal.pending_bytes_max = 64 << 10;
        let open = || Store::open(config.clone(), Arc::new(journal::SystemClock::new()));
        let store = open().expect("opens");
        // The indexer waits for this, as it would for a merge.
        let merge = store.shared.indexer.lock().expect("nobody has panicked");
        store.start().expect("starts");
        let closing = std::thread::spawn({
            let store = store.clone();
            move || store.close()
        });
        while !store.shared.tail.wait_stopped(Duration::from_millis(1)) {}
        let early = open().map(|_| ()).expect_err("the index is not ended");
        assert!(matches!(early, OpenError::Journal(journal::OpenError::Locked)), "{early}");
        drop(merge);
        closing.join().expect("no panic").expect("closes");
        drop(store);
        let next = open().expect("it was let go");
        assert_eq!(next.index_state(), IndexState::Ready);
    }
}
