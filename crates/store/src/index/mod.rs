//! The index: usages by patient and instant, sequences by idempotency key, and counts, kept in fjall.
//! It holds nothing that the journal does not, so its folder may be deleted at any time.
//!
//! **Parts.** The index is cut into parts, each the usages of a stretch of the journal: a new part
//! begins with a new day of receipt, or when a part is full. So what a usage costs does not grow with
//! history, a query passes over parts whose instants it cannot want, and expiry drops whole parts.
//! What each part does cost is a look by an open, by a key without a filter, and by a history that
//! asks for more than the newer parts have: about 4 µs of CPU for a patient's rows in it, a tenth of
//! that for none. Days are not put together into larger parts, because keys are forgotten by parts.
//!
//! **Runs.** Usages arrive in sorted runs of thousands, each ingested as one table per keyspace
//! beside a row that says how far the keyspace has come. A run is cut where a part ends. Within a
//! part the keyspaces take it in a fixed order, that of usages last, and each ingestion is synced
//! before the next begins; so after a crash the usages' cursor is the lowest, and what is applied
//! again is passed over by the keyspaces that have it already.
//!
//! **Completeness.** The library takes a keyspace for empty when its files are gone. So a manifest
//! beside them says how much each one holds at least; an open that finds less fails.
//!
//! **Snapshots** are made after a run is whole in all keyspaces, never in between.

mod counting;
mod counts;
mod error;
#[cfg(test)]
pub(crate) mod fault;
mod history;
mod key_filter;
mod keys;
mod manifest;
mod merger;
mod part;
mod refill;
mod rows;
mod snapshot;
mod verify;

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use usage::record;

use counting::KeptCounts;
use manifest::Manifest;
use merger::Merger;
use part::{Part, RUNS_LIMIT};
use refill::Refill;

pub use error::IndexError;
pub use history::IndexedUsage;
pub use snapshot::Snapshot;
pub use verify::IndexReport;

pub(crate) use verify::verify;

use snapshot::View;

/// Usages in a part at most. Larger parts are fewer to look into, above all for keys; smaller ones
/// are rewritten less by compaction.
const PART_USAGES_MAX: u64 = 16 << 20;
/// Parts from which on a day of receipt that goes back begins no more, or a clock that is set to and
/// fro would make one at each turn.
const PARTS_BACK_MAX: usize = 1000;
/// A keyspace beside the parts, written to in order that the library lets go of old tables.
const SPARE: &str = "spare";
/// A row of it that says that the index has a manifest.
const MANIFEST_ROW: [u8; 1] = [1];
const DAY_MS: u64 = 24 * 3600 * 1000;
/// How much less than other work the index's threads matter to the scheduler, as nice(2) has it.
const NICENESS: i32 = 5;

/// What an operator may choose about the index.
#[derive(Clone, Debug)]
pub struct IndexOptions {
    /// Memory for blocks that were read.
    pub cache_bytes: u64,
    /// Usages in a part; smaller in tests.
    pub part_usages_max: u64,
    /// Runs that a keyspace may have before merging comes first; smaller in tests.
    pub runs_limit: usize,
}

impl Default for IndexOptions {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20, part_usages_max: PART_USAGES_MAX, runs_limit: RUNS_LIMIT }
    }
}

/// A usage on its way into the index.
pub struct IndexEntry<'a> {
    /// Its place in the journal.
    pub seq: u64,
    /// Its record.
    pub payload: &'a [u8],
}

/// The index of one store. One thread applies runs; any number read.
pub struct Index {
    dir: PathBuf,
    database: Database,
    spare: Keyspace,
    options: IndexOptions,
    parts: Mutex<Parts>,
    view: RwLock<Arc<View>>,
    kept_counts: Arc<KeptCounts>,
    rebuilt: Option<String>,
}

/// The parts in the order of their sequences; the last one takes runs.
struct Parts {
    all: Vec<Part>,
    /// Everything below is in the index.
    cursor: u64,
    /// Whether anything was written since old tables were let go of.
    written: bool,
    /// Compactions that had been done at the last look, in this process.
    compactions: usize,
    merger: Merger,
    /// The manifest on disk.
    manifest: Option<Manifest>,
    refill: Refill,
}

impl Index {
    /// Opens or creates the index in `dir`. It fails with [`IndexError::Incomplete`] if there is less
    /// than the manifest says, or the manifest is missing; an older index gets one.
    pub fn open(dir: &Path, options: IndexOptions) -> Result<Self, IndexError> {
        let manifest = Manifest::read(dir)?;
        let database = open_database(dir, options.cache_bytes, 1)?;
        let all = part::find_all(&database, &promised(&database, manifest.clone())?)?;
        let cursor = all.last().map_or(0, |part| part.cursor());
        let spare = database.keyspace(SPARE, KeyspaceCreateOptions::default)?;
        let (merger, refill) = (Merger::default(), Refill::default());
        let mut parts =
            Parts { all, cursor, written: false, compactions: 0, merger, manifest, refill };
        parts.write_manifest(dir)?;
        mark_manifest(&spare)?;
        let kept_counts = Arc::new(KeptCounts::default());
        let view = View::new(&database, &parts.all, parts.cursor, Arc::clone(&kept_counts));
        let view = RwLock::new(Arc::new(view));
        let (dir, parts, rebuilt) = (dir.to_owned(), Mutex::new(parts), None);
        Ok(Self { dir, database, spare, options, parts, view, kept_counts, rebuilt })
    }

    /// Writes down how much the index holds, unless that stands there already. To be called now and
    /// then, and before the index is closed.
    pub(crate) fn write_manifest(&self) -> Result<(), IndexError> {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.write_manifest(&self.dir)
    }

    /// The same index as one that was begun anew for this reason.
    pub(crate) fn rebuilt_because(self, why: String) -> Self {
        Self { rebuilt: Some(why), ..self }
    }

    /// Why this index was begun anew, if it was because its files were at fault.
    pub(crate) fn rebuilt(&self) -> Option<&str> {
        self.rebuilt.as_deref()
    }

    /// Every frame below this sequence is in the index.
    pub fn cursor(&self) -> u64 {
        self.snapshot().cursor()
    }

    /// No usage below this sequence was ever in the index, or has expired from it.
    pub fn begins(&self) -> u64 {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.all.first().map_or(parts.cursor, |part| part.meta().follows)
    }

    /// The index as it is after the last whole run.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Takes a run: usages in the order of their sequences, none of which was left out since the
    /// cursor. Those below the cursor are passed over.
    pub fn apply(&self, run: &[IndexEntry<'_>]) -> Result<(), IndexError> {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rest = &run[run.partition_point(|entry| entry.seq < parts.cursor)..];
        while let Some(first) = rest.first() {
            let day = received_day(first)?;
            self.part_for(&mut parts, day, first.seq)?;
            let part = parts.all.last().expect("one was just made sure of");
            let room =
                usize::try_from(part.room(self.options.part_usages_max)).unwrap_or(usize::MAX);
            let days = parts.days();
            let mut length = 1;
            while length < rest.len().min(room) && days.contains(&received_day(&rest[length])?) {
                length += 1;
            }
            let (now, later) = rest.split_at(length);
            parts.written = true;
            let part = parts.all.last_mut().expect("one was just made sure of");
            part.apply(now, &self.options)?;
            parts.cursor = part.cursor();
            rest = later;
        }
        self.publish(&parts);
        Ok(())
    }

    /// Keeps filters in memory for the parts that have keys used at `oldest_ms` or later, and for no
    /// others. Keys are read into them in the background; until then, lookups need the tables. Call it
    /// after opening the index, and now and then.
    pub fn remember_keys(&self, oldest_ms: u64) -> Result<(), IndexError> {
        let mut guard = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = &mut *guard;
        parts.refill.look(&mut parts.all, oldest_ms)?;
        self.publish(parts);
        Ok(())
    }

    /// Moves the cursor past frames that are no usages. Not kept on disk: after a crash those
    /// frames are passed over again.
    pub fn advance(&self, to_seq: u64) -> Result<(), IndexError> {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        if to_seq > parts.cursor {
            parts.cursor = to_seq;
            self.publish(&parts);
        }
        Ok(())
    }

    /// Sums up the rows that runs have left behind in the newest part's counts, has a sealed part's
    /// keys merged, and lets go of old tables. To be called now and then while the index is busy.
    pub fn upkeep(&self) -> Result<(), IndexError> {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.merge_sealed()?;
        if parts.all.last_mut().is_some_and(counts::begin_fold) {
            // Before rows go, so that nobody misses them after a crash.
            parts.write_manifest(&self.dir)?;
            let part = parts.all.last_mut().expect("it was looked at just above");
            counts::fold(&self.database, part)?;
        }
        if !parts.all.is_empty() {
            self.publish(&parts);
            self.release_tables(&parts)?;
        }
        parts.write_manifest(&self.dir)
    }

    /// Lets go of tables that were merged into others since, once nothing is written or merged any
    /// more: else they would stay on the disk for as long as nothing follows. To be called now and
    /// then while the index is idle. Returns whether there was anything to do.
    pub fn rest(&self) -> Result<bool, IndexError> {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.merge_sealed()?;
        let compactions = self.database.compactions_completed();
        let calm = compactions == std::mem::replace(&mut parts.compactions, compactions)
            && self.database.active_compactions() == 0
            && parts.merger.part().is_none();
        if !(calm && parts.written) {
            return Ok(false);
        }
        parts.written = false;
        self.release_tables(&parts)?;
        parts.write_manifest(&self.dir)?;
        Ok(true)
    }

    /// Has the library delete the tables that no reader can see. By itself it does so only for a
    /// keyspace that it merges, which a sealed part's soon are no more, or for all whenever rows in
    /// memory, which there are none of here, become a table.
    fn release_tables(&self, parts: &Parts) -> Result<(), IndexError> {
        // Its thread would come to it late, and a write would wait for it before long.
        if self.database.active_compactions() > 0 {
            return Ok(());
        }
        // The moment that readers see is then later than the last merge, not the same.
        self.spare.insert(rows::OWN_ROW, [])?;
        self.publish(parts);
        self.spare.rotate_memtable()?;
        Ok(())
    }

    /// Drops every part whose last usage is below `first_seq`, the oldest that the journal keeps;
    /// one whose keys are being merged, and those behind it, at a later call. Returns whether none
    /// was left for that.
    pub fn expire(&self, first_seq: u64) -> Result<bool, IndexError> {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        // The newest part takes runs, so it stays.
        let gone = parts.all.iter().take(parts.all.len().saturating_sub(1));
        let expired = gone.take_while(|part| part.cursor() <= first_seq);
        let merging = parts.merger.part();
        let (gone, free) = expired.fold((0, true), |(gone, free), part| {
            let free = free && Some(part.number()) != merging;
            (gone + usize::from(free), free)
        });
        if gone > 0 {
            let expired: Vec<_> = parts.all.drain(..gone).collect();
            self.publish(&parts);
            parts.write_manifest(&self.dir)?;
            for part in expired {
                part.delete(&self.database)?;
            }
        }
        Ok(free)
    }

    /// Bytes of the index on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.database.disk_space().unwrap_or(0)
    }

    /// Waits until no compaction runs or is due, for measurements.
    pub fn settle(&self) -> Result<(), IndexError> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        for part in &parts.all {
            part.compact()?;
        }
        // Or reads would keep to the tables that were merged.
        self.publish(&parts);
        Ok(())
    }

    /// Makes sure that the last part may take a usage received on `day`.
    fn part_for(&self, parts: &mut Parts, day: u64, first_seq: u64) -> Result<(), IndexError> {
        let fits = parts.days().contains(&day);
        let room = parts.all.last().map_or(0, |part| part.room(self.options.part_usages_max));
        if !fits || room == 0 {
            let number = parts.all.last().map_or(1, |part| part.number() + 1);
            // One that is only full is followed by one of the same day.
            let day = if fits { *parts.days().end() } else { day };
            let follows = parts.all.last().map_or(parts.cursor, Part::cursor);
            parts.all.push(Part::create(&self.database, number, follows, first_seq, day)?);
        }
        Ok(())
    }

    fn publish(&self, parts: &Parts) {
        let kept_counts = Arc::clone(&self.kept_counts);
        let view = Arc::new(View::new(&self.database, &parts.all, parts.cursor, kept_counts));
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = view;
    }
}

/// What the manifest promises. One that is missing is itself a loss if there ever was one.
fn promised(database: &Database, found: Option<Manifest>) -> Result<Manifest, IndexError> {
    if found.is_none() && database.keyspace_exists(SPARE) {
        let spare = database.keyspace(SPARE, KeyspaceCreateOptions::default)?;
        if spare.get(MANIFEST_ROW)?.is_some() {
            return Err(manifest::incomplete("its manifest is missing".to_owned()));
        }
    }
    Ok(found.unwrap_or_default())
}

/// Notes durably that the index has a manifest.
fn mark_manifest(spare: &Keyspace) -> Result<(), IndexError> {
    if spare.get(MANIFEST_ROW)?.is_none() {
        let mut ingestion = spare.start_ingestion()?;
        ingestion.write(MANIFEST_ROW, [])?;
        ingestion.finish()?;
    }
    Ok(())
}

/// Days of receipt that the last of so many parts takes, which began with `day`: also the one before,
/// since usages cross midnight out of order. One further back begins a part, or one usage from a
/// clock that was far ahead would make a single part of all that follow until that day.
fn days_of(day: u64, parts: usize) -> RangeInclusive<u64> {
    let first = if parts < PARTS_BACK_MAX { day.saturating_sub(1) } else { 0 };
    first..=day
}

fn received_day(entry: &IndexEntry<'_>) -> Result<u64, IndexError> {
    Ok(peek(entry.payload)?.received_ms / DAY_MS)
}

fn peek(payload: &[u8]) -> Result<record::Peek<'_>, IndexError> {
    record::peek(payload).map_err(|_| IndexError::Damaged("a record cannot be read"))
}

/// Opens the database from a thread of low priority, which its worker threads inherit: compaction
/// must not delay an answer. Without `workers` nothing is merged.
fn open_database(dir: &Path, cache_bytes: u64, workers: usize) -> Result<Database, IndexError> {
    let dir = dir.to_owned();
    let open = move || {
        yield_to_others();
        Database::builder(dir).cache_size(cache_bytes).worker_threads_unchecked(workers).open()
    };
    let opened = std::thread::Builder::new().name("index-open".into()).spawn(open)?.join();
    Ok(opened.map_err(|_| IndexError::Damaged("opening the index panicked"))??)
}

/// Makes this thread, and those it starts, matter less to the scheduler than others.
fn yield_to_others() {
    // Without the right to do so it competes like any other.
    let _ = rustix::process::nice(NICENESS);
}

impl Parts {
    /// Days of receipt that the last part takes.
    fn days(&self) -> RangeInclusive<u64> {
        self.all.last().map_or(0..=0, |last| days_of(last.day(), self.all.len()))
    }

    fn write_manifest(&mut self, dir: &Path) -> Result<(), IndexError> {
        let now = Manifest::of(&self.all);
        if self.manifest.as_ref() != Some(&now) {
            now.write(dir)?;
            self.manifest = Some(now);
        }
        Ok(())
    }

    fn merge_sealed(&mut self) -> Result<(), IndexError> {
        let sealed = self.all.len().saturating_sub(1);
        self.written |= self.merger.look(&self.all[..sealed])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
