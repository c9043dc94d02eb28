//! The part of the index that holds the usages received on one day.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, Readable, Snapshot};

use super::rows::{CURSOR_KEY, Extent, ROW, parse_number, patient_prefix, place};
use super::{Entry, IndexError};

/// Memory for a memtable: hardly used, because everything is ingested.
const MEMTABLE_BYTES: u64 = 1 << 20;

/// The keyspaces of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Usages,
    Keys,
    Counts,
}

impl Kind {
    const fn letter(self) -> &'static str {
        match self {
            Self::Usages => "u",
            Self::Keys => "k",
            Self::Counts => "c",
        }
    }

    fn name(self, day: u64) -> String {
        format!("{}{day}", self.letter())
    }

    /// The kind and day that a keyspace's name stands for.
    pub(crate) fn parse(name: &str) -> Option<(Self, u64)> {
        [Self::Usages, Self::Keys, Self::Counts].into_iter().find_map(|kind| {
            let day = name.strip_prefix(kind.letter())?;
            Some((kind, day.parse().ok()?))
        })
    }

    fn open(self, database: &Database, day: u64) -> Result<Keyspace, IndexError> {
        let options = || {
            KeyspaceCreateOptions::default()
                .manual_journal_persist(true)
                .max_memtable_size(MEMTABLE_BYTES)
        };
        Ok(database.keyspace(&self.name(day), options)?)
    }
}

/// One day of receipts.
pub(crate) struct Partition {
    day: u64,
    pub(crate) usages: Keyspace,
    pub(crate) counts: Keyspace,
    /// There is none on a day without keyed usages.
    keys: OnceLock<Keyspace>,
    /// At least as wide as the rows.
    extent: Mutex<Extent>,
    pub(super) runs_unfolded: AtomicU32,
}

impl Partition {
    /// Opens or creates the partition of `day`, in days since 1970.
    pub(crate) fn open(database: &Database, day: u64) -> Result<Self, IndexError> {
        let usages = Kind::Usages.open(database, day)?;
        let counts = Kind::Counts.open(database, day)?;
        let keys = match database.keyspace_exists(&Kind::Keys.name(day)) {
            true => OnceLock::from(Kind::Keys.open(database, day)?),
            false => OnceLock::new(),
        };
        let extent = match usages.get(CURSOR_KEY)? {
            Some(value) => Extent::parse(&value)?,
            None => Extent::EMPTY,
        };
        Ok(Self {
            day,
            usages,
            counts,
            keys,
            extent: Mutex::new(extent),
            runs_unfolded: AtomicU32::new(0),
        })
    }

    fn lock_extent(&self) -> MutexGuard<'_, Extent> {
        self.extent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One past the last sequence in it; 0 while it is empty.
    pub(crate) fn cursor(&self) -> u64 {
        self.lock_extent().cursor
    }

    pub(crate) fn extent(&self) -> Extent {
        *self.lock_extent()
    }

    pub(crate) fn day(&self) -> u64 {
        self.day
    }

    /// The keyspace of keys, if there is one.
    pub(crate) fn keys(&self) -> Option<&Keyspace> {
        self.keys.get()
    }

    /// How far the counts were at the time of the snapshot; 0 if there were none.
    pub(crate) fn counts_cursor(&self, snapshot: &Snapshot) -> Result<u64, IndexError> {
        let cursor = snapshot.get(&self.counts, CURSOR_KEY)?;
        Ok(cursor.map_or(0, |value| parse_number(&value)))
    }

    pub(crate) fn runs_unfolded(&self) -> u32 {
        self.runs_unfolded.load(Ordering::Relaxed)
    }

    /// Writes the keys among a run's usages, if there are any.
    pub(super) fn ingest_keys(
        &self,
        database: &Database,
        run: &[Entry<'_>],
    ) -> Result<(), IndexError> {
        let keyed = |entry: &Entry<'_>| entry.peek.key.map(|key| (key.to_bytes(), entry.seq));
        let mut rows: Vec<([u8; 16], u64)> = run.iter().filter_map(keyed).collect();
        if rows.is_empty() {
            return Ok(());
        }
        if self.keys.get().is_none() {
            let opened = Kind::Keys.open(database, self.day)?;
            self.keys.get_or_init(|| opened);
        }
        let keyspace = self.keys.get().expect("it has just been opened");
        // Should a key be there twice, the later usage is the one to find.
        rows.sort_unstable();
        let mut ingestion = keyspace.start_ingestion()?;
        for (at, (id, seq)) in rows.iter().enumerate() {
            if rows.get(at + 1).is_some_and(|(next, _)| next == id) {
                continue;
            }
            let mut key = [ROW; 17];
            key[1..].copy_from_slice(id);
            ingestion.write(key, &seq.to_be_bytes()[2..])?;
        }
        Ok(ingestion.finish()?)
    }

    /// Writes a run's usages and how far the partition is then.
    pub(super) fn ingest_usages(&self, run: &[Entry<'_>], end: u64) -> Result<(), IndexError> {
        // One buffer for all keys, and where each begins and ends in it.
        let mut keys = Vec::with_capacity(run.len() * 32);
        let mut rows = Vec::with_capacity(run.len());
        let mut extent = self.extent();
        extent.cursor = end;
        for entry in run {
            let begin = keys.len();
            patient_prefix(entry.peek.patient_id, &mut keys);
            place(entry.peek.instant, entry.seq, &mut keys);
            rows.push((begin, keys.len(), entry.payload));
            extent.first = extent.first.min(entry.peek.instant);
            extent.last = extent.last.max(entry.peek.instant);
        }
        rows.sort_unstable_by(|a, b| keys[a.0..a.1].cmp(&keys[b.0..b.1]));
        let mut ingestion = self.usages.start_ingestion()?;
        ingestion.write(CURSOR_KEY, extent.encode())?;
        for (begin, end, payload) in rows {
            ingestion.write(&keys[begin..end], payload)?;
        }
        // Before the rows can be seen, so that nobody takes the partition for narrower than it is.
        *self.lock_extent() = extent;
        Ok(ingestion.finish()?)
    }

    /// Removes the partition. Its files go when the last snapshot of it does.
    pub(super) fn delete(&self, database: &Database) -> Result<(), IndexError> {
        // The usages, with the cursor, last: what is left after a crash is found again by them.
        if let Some(keys) = self.keys.get() {
            database.delete_keyspace(keys.clone())?;
        }
        database.delete_keyspace(self.counts.clone())?;
        Ok(database.delete_keyspace(self.usages.clone())?)
    }
}
