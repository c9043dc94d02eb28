//! The index: what reads need beyond the journal, in fjall. It knows nothing of the tail, is made
//! from the journal's records alone, and may be deleted at any time.
//!
//! It stands in partitions by the day of receipt, so that what a query, a run or an expiry costs
//! does not grow with history. A partition has three keyspaces: usages by patient and instant,
//! keys, and counts. Runs are ingested as sorted tables, past fjall's own journal: there is
//! nothing in memory to flush and nothing to replay.
//!
//! fjall ingests into one keyspace at a time. So a run goes to keys, to counts and then to usages,
//! whose cursor row is the index's cursor: below it, everything is everywhere. After a crash in
//! between, keys are written once more, as they were; counts have a cursor of their own and pass
//! over what they have.

mod counts;
mod partition;
mod rows;
mod snapshot;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use fjall::Database;
use thiserror::Error;
use usage::RecordError;
use usage::record::{self};

use partition::{Kind, Partition};

pub use snapshot::{History, IndexedUsage, Snapshot};

const DAY_MS: u64 = 24 * 3600 * 1000;

/// The index's settings.
#[derive(Clone, Debug)]
pub struct IndexOptions {
    /// Memory for blocks that were read.
    pub cache_bytes: u64,
    /// Threads that compact in the background.
    pub worker_threads: usize,
    /// Files kept open.
    pub files_max: usize,
}

impl Default for IndexOptions {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20, worker_threads: 1, files_max: 256 }
    }
}

/// Why the index did not do what it was asked. It holds nothing that the journal does not, so it
/// may be opened anew, or removed and made again.
#[derive(Debug, Error)]
pub enum IndexError {
    /// fjall or the disk below it failed.
    #[error("the index's files: {0}")]
    Files(#[from] fjall::Error),
    /// A row is not as it was written.
    #[error("a row of the index is damaged: {0}")]
    Row(&'static str),
    /// A record of the journal cannot be understood.
    #[error("the record of sequence {seq}: {source}")]
    Record {
        /// Its sequence.
        seq: u64,
        /// What is wrong with it.
        source: RecordError,
    },
}

/// A frame that holds a usage.
#[derive(Clone, Copy)]
pub struct IndexEntry<'a> {
    /// Its sequence.
    pub seq: u64,
    /// The record.
    pub payload: &'a [u8],
}

/// An open index. One process at a time; one caller of [`Index::apply`], [`Index::fold_once`] and
/// [`Index::expire`] at a time, any number of snapshots.
pub struct Index {
    database: Database,
    partitions: RwLock<Partitions>,
    cursor: AtomicU64,
    /// Held by whoever writes; the cursor of the counts.
    writing: Mutex<u64>,
}

type Partitions = BTreeMap<u64, Arc<Partition>>;

impl Index {
    /// Opens or creates the index in `dir`.
    pub fn open(dir: &Path, options: IndexOptions) -> Result<Self, IndexError> {
        let database = Database::builder(dir)
            .cache_size(options.cache_bytes)
            .worker_threads(options.worker_threads)
            .max_cached_files(Some(options.files_max.max(10)))
            .manual_journal_persist(true)
            .open()?;
        let mut partitions = Partitions::new();
        for name in database.list_keyspace_names() {
            let Some((_, day)) = Kind::parse(&name) else { continue };
            if !partitions.contains_key(&day) {
                partitions.insert(day, Arc::new(Partition::open(&database, day)?));
            }
        }
        let (mut cursor, mut counted) = (0, 0);
        let snapshot = database.snapshot();
        for partition in partitions.values() {
            cursor = cursor.max(partition.cursor());
            counted = counted.max(partition.counts_cursor(&snapshot)?);
        }
        drop(snapshot);
        Ok(Self {
            database,
            partitions: RwLock::new(partitions),
            cursor: AtomicU64::new(cursor),
            writing: Mutex::new(counted),
        })
    }

    /// Every usage with a sequence below this is indexed.
    #[must_use]
    pub fn cursor(&self) -> u64 {
        self.cursor.load(Ordering::Acquire)
    }

    /// Indexes a run of usages, in order of their sequences and without a gap between usages. What
    /// was applied before is passed over.
    pub fn apply(&self, run: &[IndexEntry<'_>]) -> Result<(), IndexError> {
        let mut counted = self.lock();
        let cursor = self.cursor();
        let mut entries = Vec::with_capacity(run.len());
        for entry in run.iter().filter(|entry| entry.seq >= cursor) {
            let peek = record::peek(entry.payload)
                .map_err(|source| IndexError::Record { seq: entry.seq, source })?;
            entries.push(Entry { seq: entry.seq, payload: entry.payload, peek });
        }
        // Each part of the run that was received on one day goes to one partition, in order, so
        // that a cursor in a partition speaks for everything before it in all of them.
        for part in entries.chunk_by(|a, b| a.day() == b.day()) {
            let day = part.first().expect("a chunk is not empty").day();
            let partition = self.partition(day)?;
            let end = part.last().expect("a chunk is not empty").seq + 1;
            partition.ingest_keys(&self.database, part)?;
            if *counted < end {
                partition.ingest_counts(part, *counted)?;
                *counted = end;
            }
            partition.ingest_usages(part, end)?;
            self.cursor.store(end, Ordering::Release);
        }
        Ok(())
    }

    /// Moves the cursor past frames that are not usages. It is written down with the next run; if
    /// it is not, those frames are passed over once more.
    pub fn advance(&self, to_seq: u64) -> Result<(), IndexError> {
        self.cursor.fetch_max(to_seq, Ordering::AcqRel);
        Ok(())
    }

    /// What the index holds now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        // In this order: the rows are at least as new as the cursor, the partitions and their
        // bounds at least as wide as the rows.
        let cursor = self.cursor();
        let rows = self.database.snapshot();
        let partitions = self.partitions.read().unwrap_or_else(PoisonError::into_inner);
        Snapshot::new(cursor, rows, partitions.values().map(Arc::clone).collect())
    }

    /// Merges rows of counts that many runs have left, in one partition at most.
    pub fn fold_once(&self) -> Result<(), IndexError> {
        let _writing = self.lock();
        let partitions: Vec<_> = self.read_partitions().values().map(Arc::clone).collect();
        match partitions.iter().max_by_key(|partition| partition.runs_unfolded()) {
            Some(partition) => partition.fold_counts(&self.database),
            None => Ok(()),
        }
    }

    /// Removes the partitions whose usages all have sequences below `first_seq`.
    pub fn expire(&self, first_seq: u64) -> Result<(), IndexError> {
        let _writing = self.lock();
        let mut partitions = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
        let expired: Vec<u64> = partitions
            .iter()
            .filter(|(_, partition)| partition.cursor() <= first_seq)
            .map(|(day, _)| *day)
            .collect();
        for day in expired {
            let partition = partitions.remove(&day).expect("found a moment ago");
            partition.delete(&self.database)?;
        }
        Ok(())
    }

    /// Bytes of the index's files.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.database.disk_space().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_partitions(&self) -> std::sync::RwLockReadGuard<'_, Partitions> {
        self.partitions.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn partition(&self, day: u64) -> Result<Arc<Partition>, IndexError> {
        if let Some(partition) = self.read_partitions().get(&day) {
            return Ok(Arc::clone(partition));
        }
        let partition = Arc::new(Partition::open(&self.database, day)?);
        let mut partitions = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
        partitions.insert(day, Arc::clone(&partition));
        Ok(partition)
    }
}

/// A usage on its way into the index.
pub(crate) struct Entry<'a> {
    seq: u64,
    payload: &'a [u8],
    peek: record::Peek<'a>,
}

impl Entry<'_> {
    fn day(&self) -> u64 {
        self.peek.received_ms / DAY_MS
    }
}
