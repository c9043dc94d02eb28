//! What an operator may choose about a store.

use std::path::PathBuf;
use std::time::Duration;

use crate::index::IndexOptions;

/// The settings of a store. [`Config::new`] suits a machine with a local SSD.
#[derive(Clone, Debug)]
pub struct Config {
    /// The store's folder: the journal's files stand in `journal/` in it, the index in `index/`.
    pub dir: PathBuf,
    /// The journal's settings. Its `key_window` is set from [`Config::key_window`].
    pub journal: journal::Options,
    /// Memory for usages that the index has not taken yet. Appends are refused above it.
    pub tail_bytes_max: usize,
    /// Whether there is an index. Without it there are receipts of plain ids, and nothing else is
    /// read; keyed usages are refused.
    pub index_enabled: bool,
    /// Whether the index is opened by the indexer's thread, after the store: while another process
    /// still has it open, or so that the store is open soon. Reads and keyed usages are refused until
    /// then.
    pub index_later: bool,
    /// The index's settings.
    pub index: IndexOptions,
    /// When the index takes what has gathered.
    pub run: RunOptions,
    /// How long an idempotency key is remembered, by days of receipt in UTC: a key may be
    /// remembered up to a day longer.
    pub key_window: Duration,
    /// The disk counts as stuck when no batch has become durable for so long although usages wait.
    pub stuck_after: Duration,
}

/// When the indexer takes what has gathered in the tail, as one sorted run.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// A run is taken at once when so many usages wait; no run is much larger.
    pub usages_max: usize,
    /// A run is taken when the oldest usage has waited so long.
    pub interval: Duration,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self { usages_max: 32 << 10, interval: Duration::from_secs(1) }
    }
}

impl Config {
    /// The defaults, for a store in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            journal: journal::Options::default(),
            tail_bytes_max: 64 << 20,
            index_enabled: true,
            index_later: false,
            index: IndexOptions::default(),
            run: RunOptions::default(),
            key_window: Duration::from_secs(30 * 24 * 3600),
            stuck_after: Duration::from_secs(2),
        }
    }

    /// The journal's folder.
    #[must_use]
    pub fn journal_dir(&self) -> PathBuf {
        self.dir.join("journal")
    }

    /// The index's folder, which may be deleted while no process has the store open.
    #[must_use]
    pub fn index_dir(&self) -> PathBuf {
        self.dir.join("index")
    }

    /// Where a rebuild makes the new index. What one that was interrupted has left there the next
    /// open of the store removes.
    pub(crate) fn new_index_dir(&self) -> PathBuf {
        self.dir.join("index.new")
    }

    /// Says what is wrong with the settings, if anything. The journal's are validated by itself.
    pub fn validate(&self) -> Result<(), String> {
        if self.tail_bytes_max < tail_bytes_min(&self.journal) {
            return Err(format!(
                "the memory for usages not yet in the index (--tail-max) is {}; it must be at least \
                 four times that of those that wait for the disk (--pending-max), {}",
                self.tail_bytes_max,
                tail_bytes_min(&self.journal)
            ));
        }
        if self.run.usages_max == 0 {
            return Err("run.usages_max is 0; it must be at least 1".into());
        }
        Ok(())
    }

    /// The journal's settings with the key window that this store needs: a day more, because keys
    /// are forgotten by whole days.
    pub(crate) fn journal_options(&self) -> journal::Options {
        let key_window = self.key_window + Duration::from_secs(24 * 3600);
        journal::Options { key_window, ..self.journal.clone() }
    }

    /// Where admission begins to refuse. Two buffers of the journal (one filling, one being
    /// written) and the offsets and tags beside them may still arrive in the tail after that.
    pub(crate) fn tail_bytes_admitted(&self) -> usize {
        self.tail_bytes_max - 3 * self.journal.pending_bytes_max
    }
}

/// The least memory for the tail: what is on its way to it has to fit, and leave room to work.
fn tail_bytes_min(journal: &journal::Options) -> usize {
    4 * journal.pending_bytes_max
}
