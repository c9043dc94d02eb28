//! Counts everything in the index, row by row, and compares it with what the index says of itself.

use std::path::Path;

use fjall::{Database, Keyspace, Readable as _, Snapshot};
use usage::record;

use super::manifest::{Manifest, incomplete};
use super::part::{self, Part};
use super::rows::{OWN_ROW, key_patient, read_place, read_usage_value};
use super::{DAY_MS, IndexError, counts, open_database, promised};

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexReport {
    /// Every frame below this sequence is in the index.
    pub cursor: u64,
    /// Its usages that have not expired.
    pub usages: u64,
    /// Its idempotency keys.
    pub keys: u64,
    /// What is wrong with it, one sentence for each part that has a fault.
    pub faults: Vec<String>,
}

/// Memory for blocks: each is read once.
const CACHE_BYTES: u64 = 1 << 20;

/// Counts the index in `dir`, which no process may have open, in full. Usages below `kept_from` have
/// expired. `None` where there is no index.
pub(crate) fn verify(dir: &Path, kept_from: u64) -> Result<Option<IndexReport>, IndexError> {
    if !dir.exists() {
        return Ok(None);
    }
    match count(dir, kept_from) {
        Ok(report) => Ok(Some(report)),
        Err(error) if error.blames_files() => {
            Ok(Some(IndexReport { faults: vec![error.to_string()], ..IndexReport::default() }))
        }
        Err(error) => Err(error),
    }
}

fn count(dir: &Path, kept_from: u64) -> Result<IndexReport, IndexError> {
    let manifest = Manifest::read(dir)?;
    // The library would make a new one.
    if !dir.join("version").exists() {
        return Err(incomplete("its version file is missing".to_owned()));
    }
    let database = open_database(dir, CACHE_BYTES, 0)?;
    let parts = part::find_all(&database, &promised(&database, manifest)?)?;
    let mut report = IndexReport::default();
    for part in &parts {
        report.cursor = part.cursor();
        if part.cursor() > kept_from {
            count_part(&database, part, kept_from, &mut report)?;
        }
    }
    Ok(report)
}

/// What a part's usages are.
#[derive(Default)]
struct Usages {
    all: u64,
    kept: u64,
    keyed: u64,
    /// Those with a key that were received on the part's day: each has a key of its own.
    keyed_on_day: u64,
}

fn count_part(
    database: &Database,
    part: &Part,
    kept_from: u64,
    report: &mut IndexReport,
) -> Result<(), IndexError> {
    let moment = database.snapshot();
    let usages = count_usages(&moment, part, kept_from)?;
    let mut keys = 0;
    each_row(&moment, &part.keys, |_, _| {
        keys += 1;
        Ok(())
    })?;
    let mut counted = 0;
    each_row(&moment, &part.counts, |key, value| {
        counted += counts::read_row(key, value)?.count;
        Ok(())
    })?;
    report.usages += usages.kept;
    report.keys += keys;
    let number = part.number();
    let expected = part.meta().usages;
    let mut faults = Vec::new();
    if usages.all != expected {
        faults.push(format!("{} usages, not {expected}", usages.all));
    }
    if keys < usages.keyed_on_day || keys > usages.keyed {
        faults.push(format!("{keys} keys for {} keyed usages", usages.keyed));
    }
    // The counts may be ahead of the usages, never behind.
    let ahead = part.counts_cursor() > part.cursor();
    if counted < usages.all || (!ahead && counted != usages.all) {
        faults.push(format!("counts that add up to {counted}, not {}", usages.all));
    }
    if !faults.is_empty() {
        report.faults.push(format!("part {number} has {}", faults.join(", ")));
    }
    Ok(())
}

fn count_usages(moment: &Snapshot, part: &Part, kept_from: u64) -> Result<Usages, IndexError> {
    let mut usages = Usages::default();
    each_row(moment, &part.usages, |key, value| {
        let (_, seq) = read_place(key)?;
        let payload = read_usage_value(value, key_patient(key)?)?;
        let record = record::decode(&payload);
        let record = record.map_err(|_| IndexError::Damaged("a record cannot be read"))?;
        let keyed = record.key.is_some();
        let on_day = record.received_ms / DAY_MS == part.day();
        usages.all += 1;
        usages.kept += u64::from(seq >= kept_from);
        usages.keyed += u64::from(keyed);
        usages.keyed_on_day += u64::from(keyed && on_day);
        Ok(())
    })?;
    Ok(usages)
}

/// Every row of a keyspace but its own.
fn each_row(
    moment: &Snapshot,
    keyspace: &Keyspace,
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), IndexError>,
) -> Result<(), IndexError> {
    let after_own_row = [OWN_ROW[0] + 1];
    for row in moment.range(keyspace, after_own_row..) {
        let (key, value) = row.into_inner()?;
        each(&key, &value)?;
    }
    Ok(())
}
