//! Counts by quarter of an hour and medication. A run leaves absolute rows of its own, which reads
//! add up; now and then they are summed up into one, so nothing is ever read to be written by a run.
//!
//! Quarters rather than hours, because every zone's hours and days begin on one: its offset has been
//! whole quarters since 1980. Only a change of the clocks may fall within one, as Newfoundland's did
//! until 2011 at a minute past midnight; that quarter counts for the hour and day that it begins in.

use std::collections::HashMap;

use fjall::{Database, Keyspace, Readable as _};

use super::part::Part;
use super::rows::{OWN_ROW, read_seq, seq_value};
use super::{IndexEntry, IndexError, peek};

pub(super) const QUARTER_SECONDS: i64 = 900;
/// Rows of runs that gather before they are summed up, at least.
const LOOSE_ROWS_MIN: u64 = 50_000;
/// Quarters are counted from this many before 1970, so that none is negative.
const QUARTERS_OFFSET: i64 = 1 << 31;

/// A count and what it is of.
pub(super) struct Count {
    pub(super) quarter: i64,
    pub(super) medication: Vec<u8>,
    pub(super) count: u64,
}

impl Count {
    fn adds_to(&self, sum: &Self) -> bool {
        self.quarter == sum.quarter && self.medication == sum.medication
    }
}

/// `[1][quarter][medication][run's last sequence]`.
fn key(quarter: i64, medication: &[u8], run: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(medication.len() + 11);
    key.push(1);
    let quarter = u32::try_from(quarter + QUARTERS_OFFSET)
        .expect("instants lie in the years 1900 to 9998, whose quarters fit 32 bits");
    key.extend_from_slice(&quarter.to_be_bytes());
    key.extend_from_slice(medication);
    key.extend_from_slice(&run.to_be_bytes()[2..]);
    key
}

/// The first key of a quarter, for ranges.
pub(super) fn quarter_key(quarter: i64) -> Vec<u8> {
    let mut key = key(quarter, &[], 0);
    key.truncate(5);
    key
}

pub(super) fn read_row(key: &[u8], value: &[u8]) -> Result<Count, IndexError> {
    let damaged = IndexError::Damaged("a count's key");
    let (Some(quarter), Some(medication)) =
        (key.get(1..5), key.get(5..key.len().saturating_sub(6)))
    else {
        return Err(damaged);
    };
    let quarter = quarter.iter().fold(0, |number, byte| number << 8 | i64::from(*byte));
    let medication = medication.to_vec();
    Ok(Count { quarter: quarter - QUARTERS_OFFSET, medication, count: read_seq(value)? })
}

/// One past the last sequence that is counted.
pub(super) fn cursor(keyspace: &Keyspace) -> Result<u64, IndexError> {
    keyspace.get(OWN_ROW)?.map_or(Ok(0), |row| read_seq(&row))
}

/// Counts a run, but for what the keyspace has already. Returns how many rows that made.
pub(super) fn apply(keyspace: &Keyspace, run: &[IndexEntry<'_>]) -> Result<u64, IndexError> {
    let cursor = cursor(keyspace)?;
    let mut counts: HashMap<(i64, &[u8]), u64> = HashMap::new();
    // Neighbours often fall into the same row.
    let mut last: Option<((i64, &[u8]), u64)> = None;
    for entry in &run[run.partition_point(|entry| entry.seq < cursor)..] {
        let peek = peek(entry.payload)?;
        let row = (peek.instant.seconds().div_euclid(QUARTER_SECONDS), peek.medication);
        match &mut last {
            Some((same, count)) if *same == row => *count += 1,
            _ => {
                if let Some((row, count)) = last.replace((row, 1)) {
                    *counts.entry(row).or_default() += count;
                }
            }
        }
    }
    let Some((row, count)) = last else { return Ok(0) };
    *counts.entry(row).or_default() += count;
    let end = run.last().expect("a run with a last row has a last entry").seq;
    let mut rows: Vec<_> = counts
        .into_iter()
        .map(|((quarter, medication), count)| (key(quarter, medication, end), count))
        .collect();
    rows.sort_unstable();
    let mut ingestion = keyspace.start_ingestion()?;
    ingestion.write(OWN_ROW, seq_value(end + 1))?;
    let made = rows.len() as u64;
    for (key, count) in rows {
        ingestion.write(key, seq_value(count))?;
    }
    ingestion.finish()?;
    Ok(made)
}

/// Whether what runs have left in a part is to be summed up: when it is as much as was left over the
/// last time. Then no more rows are promised than are certainly left.
pub(super) fn begin_fold(part: &mut Part) -> bool {
    let due = part.counts_loose >= LOOSE_ROWS_MIN.max(part.counts_summed);
    if due {
        part.counts_rows = part.counts_rows.min(1);
    }
    due
}

/// Sums up what runs have left in a part: one ingestion, which replaces the rows of which there are
/// several. So there are two rows to read for each that a run has left, and one sum to be kept in
/// memory, however many medications there are.
pub(super) fn fold(database: &Database, part: &mut Part) -> Result<(), IndexError> {
    (part.counts_loose, part.counts_summed) = (0, 0);
    let snapshot = database.snapshot();
    let rows = snapshot.range(&part.counts, quarter_key(-QUARTERS_OFFSET)..);
    let mut rows = rows
        .map(|row| {
            let (key, value) = row.into_inner()?;
            Ok::<_, IndexError>((read_row(&key, &value)?, key))
        })
        .peekable();
    let mut ingestion = None;
    while let Some(row) = rows.next() {
        let (mut sum, mut key) = row?;
        let mut alone = true;
        // The rows of one quarter and medication stand together; the sum takes the last one's place.
        while let Some(row) =
            rows.next_if(|row| row.as_ref().is_ok_and(|(row, _)| row.adds_to(&sum)))
        {
            let (count, next_key) = row?;
            sum.count += count.count;
            alone = false;
            let ingestion = match &mut ingestion {
                Some(begun) => begun,
                none => none.insert(part.counts.start_ingestion()?),
            };
            ingestion.write_tombstone(std::mem::replace(&mut key, next_key))?;
        }
        if let Some(ingestion) = ingestion.as_mut().filter(|_| !alone) {
            ingestion.write(key, seq_value(sum.count))?;
        }
        part.counts_summed += 1;
    }
    if let Some(ingestion) = ingestion {
        ingestion.finish()?;
    }
    part.counts_rows = part.counts_summed;
    Ok(())
}
