//! Counts of usages by quarter of an hour and medication, and the exact seconds within a quarter
//! for ranges that begin or end within one.
//!
//! A run writes a row per quarter and medication, never changing one that is there; a sum is made
//! by reading. Rows of many runs are folded into one, in the background. The row of a run is named
//! by the run's first sequence, so that what is written again after a crash is what was written.

use std::collections::BTreeMap;

use fjall::{Database, Readable, UserKey};
use std::sync::atomic::Ordering;
use usage::Instant;
use usage::limits::INSTANT_SECONDS_MIN;

use super::partition::Partition;
use super::rows::{CURSOR_KEY, DETAIL, ROW, parse_number};
use super::snapshot::Snapshot;
use super::{Entry, IndexError};

/// A quarter of an hour; every zone's hours have begun on one since 1972.
pub(crate) const QUARTER_SECONDS: i64 = 900;

/// Runs that a partition gathers before its counts are folded.
const RUNS_TO_FOLD: u32 = 64;

/// Offsets in one row of details at most.
const DETAILS_MAX: usize = 4096;

const QUARTER_BYTES: usize = 4;
const SEQ_BYTES: usize = 8;
/// Nanoseconds within a quarter: below 2^40.
const OFFSET_BYTES: usize = 5;

/// Quarters since the earliest instant there is.
fn quarter_of(instant: Instant) -> u32 {
    let quarter = (instant.seconds() - INSTANT_SECONDS_MIN) / QUARTER_SECONDS;
    u32::try_from(quarter).expect("8,000 years have few enough quarters")
}

fn start_of(quarter: u32) -> Result<Instant, IndexError> {
    let seconds = INSTANT_SECONDS_MIN + i64::from(quarter) * QUARTER_SECONDS;
    Instant::from_parts(seconds, 0).ok_or(IndexError::Row("a quarter out of range"))
}

/// Nanoseconds since the quarter's beginning.
fn offset_in(quarter: u32, instant: Instant) -> u64 {
    let start = INSTANT_SECONDS_MIN + i64::from(quarter) * QUARTER_SECONDS;
    instant.seconds().abs_diff(start) * 1_000_000_000 + u64::from(instant.nanos())
}

/// The key of a count: quarter, medication, and what tells rows of the same apart.
fn row_key(kind: u8, quarter: u32, medication: &[u8], seq: u64, part: u32) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + QUARTER_BYTES + medication.len() + SEQ_BYTES + 4);
    key.push(kind);
    key.extend_from_slice(&quarter.to_be_bytes());
    key.extend_from_slice(medication);
    key.extend_from_slice(&seq.to_be_bytes());
    if kind == DETAIL {
        key.extend_from_slice(&part.to_be_bytes());
    }
    key
}

/// The quarter and medication of a row.
fn parse_key(key: &[u8]) -> Result<(u32, &[u8]), IndexError> {
    let tail = if key.first() == Some(&DETAIL) { SEQ_BYTES + 4 } else { SEQ_BYTES };
    let damaged = || IndexError::Row("a count");
    let end = key.len().checked_sub(tail).filter(|end| *end > QUARTER_BYTES).ok_or_else(damaged)?;
    let quarter = u32::try_from(parse_number(&key[1..=QUARTER_BYTES])).map_err(|_| damaged())?;
    Ok((quarter, &key[1 + QUARTER_BYTES..end]))
}

impl Partition {
    /// Writes the counts of those usages of a run that are not counted yet.
    pub(super) fn ingest_counts(&self, run: &[Entry<'_>], counted: u64) -> Result<(), IndexError> {
        let mut groups: BTreeMap<(u32, &[u8]), Vec<u64>> = BTreeMap::new();
        let uncounted = &run[run.partition_point(|entry| entry.seq < counted)..];
        let (Some(first), Some(last)) = (uncounted.first(), uncounted.last()) else {
            return Ok(());
        };
        for entry in uncounted {
            let quarter = quarter_of(entry.peek.instant);
            let offset = offset_in(quarter, entry.peek.instant);
            groups.entry((quarter, entry.peek.medication)).or_default().push(offset);
        }
        let mut rows = Vec::with_capacity(2 * groups.len());
        for ((quarter, medication), offsets) in &groups {
            let key = row_key(ROW, *quarter, medication, first.seq, 0);
            rows.push((key, (offsets.len() as u64).to_be_bytes().to_vec()));
            for (part, offsets) in (0u32..).zip(offsets.chunks(DETAILS_MAX)) {
                let key = row_key(DETAIL, *quarter, medication, first.seq, part);
                let bytes = offsets.iter().flat_map(|offset| {
                    let [_, _, _, offset @ ..] = offset.to_be_bytes();
                    offset
                });
                rows.push((key, bytes.collect()));
            }
        }
        // A medication may end in bytes that look like another's sequence: sorted as bytes are.
        rows.sort_unstable();
        let mut ingestion = self.counts.start_ingestion()?;
        ingestion.write(CURSOR_KEY, (last.seq + 1).to_be_bytes())?;
        for (key, value) in rows {
            ingestion.write(key, value)?;
        }
        ingestion.finish()?;
        self.runs_unfolded.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Makes one row of all that count the same, in one ingestion, if there are many.
    pub(super) fn fold_counts(&self, database: &Database) -> Result<(), IndexError> {
        if self.runs_unfolded() < RUNS_TO_FOLD {
            return Ok(());
        }
        let snapshot = database.snapshot();
        let mut rows: Vec<(UserKey, Option<u64>)> = Vec::new();
        let mut group: Option<(u32, Vec<u8>, usize)> = None;
        for row in snapshot.range(&self.counts, [ROW]..[DETAIL]) {
            let (key, value) = row.into_inner()?;
            let (quarter, medication) = parse_key(&key)?;
            let count = parse_number(&value);
            match &group {
                Some((q, m, at)) if *q == quarter && *m == medication => {
                    let sum = rows[*at].1.as_mut().expect("the first of a group is kept");
                    *sum += count;
                    rows.push((key, None));
                }
                _ => {
                    group = Some((quarter, medication.to_vec(), rows.len()));
                    rows.push((key, Some(count)));
                }
            }
        }
        drop(snapshot);
        let mut ingestion = self.counts.start_ingestion()?;
        for (key, sum) in rows {
            match sum {
                Some(sum) => ingestion.write(key, sum.to_be_bytes())?,
                None => ingestion.write_tombstone(key)?,
            }
        }
        ingestion.finish()?;
        self.runs_unfolded.store(0, Ordering::Relaxed);
        Ok(())
    }
}

impl Snapshot {
    /// One past the last usage that [`Snapshot::counts`] counts.
    pub fn counts_cursor(&self) -> Result<u64, IndexError> {
        let mut cursor = self.cursor();
        for partition in &self.partitions {
            cursor = cursor.max(partition.counts_cursor(&self.rows)?);
        }
        Ok(cursor)
    }

    /// Calls `each` with counts of usages from `from` to below `to`: an instant in the quarter of
    /// an hour that all of them are in, their medication, how many. The same quarter and
    /// medication may come several times. Ends early when `each` returns false.
    pub fn counts(
        &self,
        from: Option<Instant>,
        to: Option<Instant>,
        each: &mut dyn FnMut(Instant, &[u8], u64) -> bool,
    ) -> Result<(), IndexError> {
        let from = from.unwrap_or(Instant::MIN);
        let to_quarter = to.map_or(u32::MAX, quarter_of);
        let from_quarter = quarter_of(from);
        let from_offset = offset_in(from_quarter, from);
        let to_offset = to.map_or(0, |to| offset_in(to_quarter, to));
        if to.is_some_and(|to| to <= from) {
            return Ok(());
        }
        // Whole quarters by their sums, a quarter that is cut by its details.
        let whole_begin = from_quarter + u32::from(from_offset > 0);
        for partition in &self.partitions {
            let extent = partition.extent();
            if extent.last < from || to.is_some_and(|to| extent.first >= to) {
                continue;
            }
            let mut go_on = true;
            if whole_begin < to_quarter {
                go_on = self.sums(partition, whole_begin, to_quarter, each)?;
            }
            let cut_by_from = from_offset > 0;
            if go_on && cut_by_from {
                let end = if from_quarter == to_quarter { to_offset } else { u64::MAX };
                go_on = self.details(partition, from_quarter, from_offset, end, each)?;
            }
            let cut_by_to = to_offset > 0 && !(cut_by_from && from_quarter == to_quarter);
            if go_on && cut_by_to {
                go_on = self.details(partition, to_quarter, 0, to_offset, each)?;
            }
            if !go_on {
                break;
            }
        }
        Ok(())
    }

    fn sums(
        &self,
        partition: &Partition,
        begin: u32,
        end: u32,
        each: &mut dyn FnMut(Instant, &[u8], u64) -> bool,
    ) -> Result<bool, IndexError> {
        let bound = |quarter: u32| row_key(ROW, quarter, &[], 0, 0)[..=QUARTER_BYTES].to_vec();
        for row in self.rows.range(&partition.counts, bound(begin)..bound(end)) {
            let (key, value) = row.into_inner()?;
            let (quarter, medication) = parse_key(&key)?;
            if !each(start_of(quarter)?, medication, parse_number(&value)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Counts the usages of one quarter whose offsets are from `begin` to below `end`.
    fn details(
        &self,
        partition: &Partition,
        quarter: u32,
        begin: u64,
        end: u64,
        each: &mut dyn FnMut(Instant, &[u8], u64) -> bool,
    ) -> Result<bool, IndexError> {
        let prefix = row_key(DETAIL, quarter, &[], 0, 0)[..=QUARTER_BYTES].to_vec();
        for row in self.rows.prefix(&partition.counts, prefix) {
            let (key, value) = row.into_inner()?;
            let (_, medication) = parse_key(&key)?;
            let within = value
                .chunks_exact(OFFSET_BYTES)
                .filter(|offset| (begin..end).contains(&parse_number(offset)))
                .count() as u64;
            if within > 0 && !each(start_of(quarter)?, medication, within) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
