//! A part: the usages of a stretch of the journal, in three keyspaces.

use fjall::compaction::Leveled;
use fjall::config::{
    BloomConstructionPolicy, CompressionPolicy, FilterPolicy, FilterPolicyEntry,
    PartitioningPolicy, PinningPolicy,
};
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, Readable as _, Snapshot};
use std::sync::Arc;
use usage::{Instant, UsageId};

use super::key_filter::{KeyFilter, Layer};
use super::manifest::{Extent, Manifest, PartExtent, check_rows, rows_at_most};
use super::rows::{OWN_ROW, patient_prefix, place, read_seq, usage_value};
use super::{DAY_MS, IndexEntry, IndexError, IndexOptions, counts, keys, peek};

/// Tables of single runs that gather before they are merged into the part's large ones. Many make
/// writing cheap, few make reading cheap: a read looks into each. A key that was never used is ruled
/// out before, by the part's filter.
const RUNS_MAX: u8 = 96;
/// Tables of single runs that a keyspace may have before whoever writes has to merge them. The
/// library's own thread begins far earlier, but falls behind without bound where it is starved; and
/// a keyspace with 256 runs cannot be opened again, because their number is kept in a byte.
pub(super) const RUNS_LIMIT: usize = 192;
/// Bytes of a table that a merge makes. With as many as this the part never gets a third level.
const TABLE_BYTES: u64 = 64 << 20;

/// What a part knows of itself, kept in the usages' own row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    /// One past the last sequence in it.
    pub(super) cursor: u64,
    /// Where the part before it ended; for the first of all, where the index began.
    pub(super) follows: u64,
    /// One past the last sequence in it that has a key; 0 when none has.
    pub(super) keys_cursor: u64,
    /// The day of receipt that it began with, counted from 1970.
    pub(super) day: u64,
    /// Usages in it.
    pub(super) usages: u64,
    /// The first and last instants of its usages, and their last receipt.
    pub(super) first: Instant,
    pub(super) last: Instant,
    pub(super) received_ms_max: u64,
}

const META_BYTES: usize = 72;

impl Meta {
    fn new(follows: u64, first_seq: u64, day: u64) -> Self {
        Self {
            cursor: first_seq,
            follows,
            keys_cursor: 0,
            day,
            usages: 0,
            first: Instant::MAX,
            last: Instant::MIN,
            received_ms_max: 0,
        }
    }

    fn encode(&self) -> [u8; META_BYTES] {
        let mut bytes = [0; META_BYTES];
        let words = [
            self.cursor,
            self.follows,
            self.keys_cursor,
            self.day,
            self.usages,
            self.received_ms_max,
            self.first.seconds().cast_unsigned(),
            self.last.seconds().cast_unsigned(),
            u64::from(self.first.nanos()) << 32 | u64::from(self.last.nanos()),
        ];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, IndexError> {
        let damaged = IndexError::Damaged("a part's own row");
        if bytes.len() != META_BYTES {
            return Err(damaged);
        }
        let mut words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        let mut next = || words.next().unwrap_or_default();
        let (cursor, follows, keys_cursor) = (next(), next(), next());
        let (day, usages, received_ms_max) = (next(), next(), next());
        let (first, last, nanos) = (next().cast_signed(), next().cast_signed(), next());
        let half = |nanos: u64| u32::try_from(nanos).expect("it is half of 64 bits");
        let first = Instant::from_parts(first, half(nanos >> 32));
        let last = Instant::from_parts(last, half(nanos & u64::from(u32::MAX)));
        let (Some(first), Some(last)) = (first, last) else { return Err(damaged) };
        Ok(Self { cursor, follows, keys_cursor, day, usages, first, last, received_ms_max })
    }
}

/// A part and its keyspaces.
pub(super) struct Part {
    number: u32,
    meta: Meta,
    pub(super) usages: Keyspace,
    pub(super) keys: Keyspace,
    pub(super) counts: Keyspace,
    /// One past the last sequence that the counts have. After a crash it can be ahead of the usages.
    counts_cursor: u64,
    /// Rows of the keys and of the counts, at least. Of the keys those whose usages were received on
    /// the part's day: a key is never forgotten on the day that it is used, so each is another row.
    keys_rows: u64,
    pub(super) counts_rows: u64,
    /// Rows that runs have left in the counts since they were summed up.
    pub(super) counts_loose: u64,
    /// Rows that were left over then; 0 when that was before this start.
    pub(super) counts_summed: u64,
    /// Tells keys that were never used from others, if the part has keys within their window.
    pub(super) key_filter: Option<Arc<KeyFilter>>,
    /// Reused from run to run.
    scratch: Scratch,
}

/// Rows of a run, being sorted: keys and values behind one another, and where each begins.
#[derive(Default)]
struct Scratch {
    bytes: Vec<u8>,
    rows: Vec<Row>,
}

struct Row {
    /// The key's first sixteen bytes, which nearly always decide.
    head: u128,
    at: u32,
    key_bytes: u16,
    value_bytes: u32,
}

/// All whole parts in `database`, in order, without a gap between them, which have to hold what the
/// manifest says. A part that is not whole, and of which it says nothing, is removed, and with it
/// those behind it: a crash has left it half made or half deleted.
pub(super) fn find_all(database: &Database, manifest: &Manifest) -> Result<Vec<Part>, IndexError> {
    // What readers will see: rows that the library has on disk may be hidden from them.
    let moment = database.snapshot();
    let mut numbers: Vec<u32> = database
        .list_keyspace_names()
        .iter()
        .filter_map(|name| name.split_once('-').and_then(|(number, _)| number.parse().ok()))
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    let mut parts: Vec<Part> = Vec::with_capacity(numbers.len());
    let mut extents = Vec::with_capacity(numbers.len());
    let mut broken = Vec::new();
    for number in numbers {
        let mut part = Part::of(database, number, Meta::new(0, 0, 0))?;
        match part.recover(&moment, parts.last().map(Part::cursor))? {
            Some(extent) => {
                let promised = manifest.part(number).copied().unwrap_or_default();
                (part.keys_rows, part.counts_rows) = (promised.keys.rows, promised.counts.rows);
                parts.push(part);
                extents.push(extent);
            }
            None => broken.push(part),
        }
    }
    manifest.compare(&extents)?;
    for part in broken {
        tracing::warn!(number = part.number, "a part of the index is not whole; it is dropped");
        part.delete(database)?;
    }
    Ok(parts)
}

impl Part {
    pub(super) fn create(
        database: &Database,
        number: u32,
        follows: u64,
        first_seq: u64,
        day: u64,
    ) -> Result<Self, IndexError> {
        Self::of(database, number, Meta::new(follows, first_seq, day))
    }

    /// Reads what the part knows of itself. Returns how much is in it at most if it is whole: no
    /// keyspace lags behind that of usages, which takes each run last, and the part follows the one
    /// that ends at `before`, where there is one.
    fn recover(
        &mut self,
        moment: &Snapshot,
        before: Option<u64>,
    ) -> Result<Option<PartExtent>, IndexError> {
        let Some(row) = moment.get(&self.usages, OWN_ROW)? else { return Ok(None) };
        let Ok(meta) = Meta::decode(&row) else { return Ok(None) };
        self.meta = meta;
        let extent = |keyspace: &Keyspace| {
            let row = moment.get(keyspace, OWN_ROW)?;
            let cursor = row.map_or(Ok(0), |row| read_seq(&row))?;
            Ok::<_, IndexError>(Extent { cursor, rows: rows_at_most(keyspace) })
        };
        let (keys, counts) = (extent(&self.keys)?, extent(&self.counts)?);
        self.counts_cursor = counts.cursor;
        let whole = counts.cursor >= meta.cursor
            && keys.cursor >= meta.keys_cursor
            && before.is_none_or(|before| before == meta.follows);
        if !whole {
            return Ok(None);
        }
        check_rows("usages", self.number, rows_at_most(&self.usages), meta.usages)?;
        let usages = Extent { cursor: meta.cursor, rows: meta.usages };
        Ok(Some(PartExtent { number: self.number, usages, keys, counts }))
    }

    /// How much is in the part at least.
    pub(super) fn extent(&self) -> PartExtent {
        let Meta { cursor, keys_cursor, usages, .. } = self.meta;
        PartExtent {
            number: self.number,
            usages: Extent { cursor, rows: usages },
            keys: Extent { cursor: keys_cursor, rows: self.keys_rows },
            counts: Extent { cursor, rows: self.counts_rows },
        }
    }

    fn of(database: &Database, number: u32, meta: Meta) -> Result<Self, IndexError> {
        let keyspace =
            |name, points| database.keyspace(&format!("{number:08}-{name}"), || options(points));
        Ok(Self {
            number,
            meta,
            usages: keyspace("usages", false)?,
            keys: keyspace("keys", true)?,
            counts: keyspace("counts", false)?,
            counts_cursor: meta.cursor,
            keys_rows: 0,
            counts_rows: 0,
            counts_loose: 0,
            counts_summed: 0,
            key_filter: None,
            scratch: Scratch::default(),
        })
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn meta(&self) -> Meta {
        self.meta
    }

    pub(super) fn cursor(&self) -> u64 {
        self.meta.cursor
    }

    pub(super) fn counts_cursor(&self) -> u64 {
        self.counts_cursor.max(self.meta.cursor)
    }

    pub(super) fn day(&self) -> u64 {
        self.meta.day
    }

    pub(super) fn room(&self, usages_max: u64) -> u64 {
        usages_max.saturating_sub(self.meta.usages)
    }

    /// Takes a run whose usages all belong here, none of which the usages' keyspace has; before that
    /// merges what would have more runs than `options` allow. The order matters: see the head of this
    /// module.
    pub(super) fn apply(
        &mut self,
        run: &[IndexEntry<'_>],
        options: &IndexOptions,
    ) -> Result<(), IndexError> {
        for keyspace in [&self.usages, &self.keys, &self.counts] {
            if keyspace.l0_table_count() >= options.runs_limit {
                tracing::info!(keyspace = %keyspace.name(), "merging falls behind; it comes first");
                keyspace.major_compact()?;
            }
        }
        let keyed = keys::of(run)?;
        if !keyed.is_empty() {
            self.note_keys(&keyed);
            keys::apply(&self.keys, keyed)?;
            self.keys_rows += keyed_on(self.meta.day, run)?;
        }
        let made = counts::apply(&self.counts, run)?;
        self.counts_loose += made;
        self.counts_rows += made;
        self.apply_usages(run)
    }

    /// Puts keys into the filter, before anybody can see their rows. All of a run's: after a crash
    /// the keyspace may have some that the filter has not.
    fn note_keys(&mut self, keyed: &[(UsageId, u64)]) {
        if self.meta.keys_cursor == 0 && self.key_filter.is_none() {
            self.key_filter = Some(Arc::new(KeyFilter::new()));
        }
        if let Some(filter) = &mut self.key_filter {
            let filter = Arc::make_mut(filter);
            keyed.iter().for_each(|(id, _)| filter.insert(*id));
        }
    }

    /// Keeps a filter if the part ended at `oldest_ms` or later, or is `growing`; otherwise drops it.
    /// Returns the layer that the part's keys must be read into for that, if they `may_read` now.
    pub(super) fn remember_keys(
        &mut self,
        growing: bool,
        oldest_ms: u64,
        may_read: bool,
    ) -> Option<Arc<Layer>> {
        if self.meta.keys_cursor == 0 {
            return None;
        }
        if !growing && self.meta.received_ms_max < oldest_ms {
            self.key_filter = None;
            return None;
        }
        let mut filter = self.key_filter.as_mut().map(Arc::make_mut);
        if let Some(filter) = &mut filter {
            filter.settle();
            if growing || !filter.is_layered() {
                return None;
            }
        }
        if !may_read {
            return None;
        }
        let layer = Arc::new(Layer::unread(self.keys.approximate_len() as u64));
        match filter {
            Some(filter) => filter.fit(Arc::clone(&layer)),
            None => self.key_filter = Some(Arc::new(KeyFilter::of(Arc::clone(&layer)))),
        }
        Some(layer)
    }

    fn apply_usages(&mut self, run: &[IndexEntry<'_>]) -> Result<(), IndexError> {
        let mut meta = self.meta;
        let Scratch { bytes, rows } = &mut self.scratch;
        bytes.clear();
        rows.clear();
        for entry in run {
            let peek = peek(entry.payload)?;
            let at = bytes.len();
            patient_prefix(peek.patient_id, bytes);
            place(peek.instant, entry.seq, bytes);
            let key_end = bytes.len();
            usage_value(entry.payload, peek.patient_id, bytes);
            let key = &bytes[at..key_end];
            let mut head = [0; 16];
            let length = key.len().min(16);
            head[..length].copy_from_slice(&key[..length]);
            rows.push(Row {
                head: u128::from_be_bytes(head),
                at: u32::try_from(at).expect("a run is smaller than 4 GiB"),
                key_bytes: u16::try_from(key_end - at).expect("a key has fewer than 600 bytes"),
                value_bytes: u32::try_from(bytes.len() - key_end).expect("a record is a few KiB"),
            });
            meta.first = meta.first.min(peek.instant);
            meta.last = meta.last.max(peek.instant);
            meta.received_ms_max = meta.received_ms_max.max(peek.received_ms);
            meta.usages += 1;
            meta.cursor = entry.seq + 1;
            if peek.key.is_some() {
                meta.keys_cursor = meta.cursor;
            }
        }
        let key = |row: &Row| &bytes[row.at as usize..][..usize::from(row.key_bytes)];
        rows.sort_unstable_by(|a, b| a.head.cmp(&b.head).then_with(|| key(a).cmp(key(b))));
        let mut ingestion = self.usages.start_ingestion()?;
        ingestion.write(OWN_ROW, meta.encode())?;
        for row in rows.iter() {
            let value_at = row.at as usize + usize::from(row.key_bytes);
            ingestion.write(key(row), &bytes[value_at..][..row.value_bytes as usize])?;
        }
        ingestion.finish()?;
        self.meta = meta;
        Ok(())
    }

    /// Merges everything into as few tables as possible.
    pub(super) fn compact(&self) -> Result<(), IndexError> {
        for keyspace in [&self.usages, &self.keys, &self.counts] {
            keyspace.major_compact()?;
        }
        Ok(())
    }

    /// Removes the part from the disk, the usages first: without their own row it is no part.
    pub(super) fn delete(self, database: &Database) -> Result<(), IndexError> {
        for keyspace in [self.usages, self.keys, self.counts] {
            database.delete_keyspace(keyspace)?;
        }
        Ok(())
    }
}

/// How many usages of a run have a key and were received on `day`.
fn keyed_on(day: u64, run: &[IndexEntry<'_>]) -> Result<u64, IndexError> {
    run.iter().try_fold(0, |count, entry| {
        let peek = peek(entry.payload)?;
        Ok(count + u64::from(peek.key.is_some() && peek.received_ms / DAY_MS == day))
    })
}

/// How a keyspace is kept. Only those that are asked for single keys have filters in their tables,
/// ten bits a row; the others are read in ranges, which filters do not help.
fn options(points: bool) -> KeyspaceCreateOptions {
    let merging =
        Leveled::default().with_l0_threshold(RUNS_MAX).with_table_target_size(TABLE_BYTES);
    let filter = if points {
        let bits = BloomConstructionPolicy::BitsPerKey(10.0);
        FilterPolicy::all(FilterPolicyEntry::Bloom(bits))
    } else {
        FilterPolicy::disabled()
    };
    KeyspaceCreateOptions::default()
        .filter_policy(filter)
        .filter_block_pinning_policy(PinningPolicy::all(points))
        .filter_block_partitioning_policy(PartitioningPolicy::all(false))
        .data_block_compression_policy(CompressionPolicy::all(CompressionType::Lz4))
        .compaction_strategy(Arc::new(merging))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parts_own_row_survives() {
        let meta = Meta {
            cursor: 7,
            follows: 2,
            keys_cursor: 6,
            day: 20_000,
            usages: 5,
            first: Instant::from_parts(-5, 1).expect("in range"),
            last: Instant::from_parts(5, 999_999_999).expect("in range"),
            received_ms_max: 1_700_000_000_000,
        };
        assert_eq!(Meta::decode(&meta.encode()).expect("it reads"), meta);
        assert!(Meta::decode(&[0; 3]).is_err());
    }
}
