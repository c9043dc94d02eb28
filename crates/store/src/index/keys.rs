//! Idempotency keys: which sequence a keyed usage has.

use fjall::Keyspace;
use usage::UsageId;

use super::rows::{OWN_ROW, keyed, read_seq, seq_value};
use super::{IndexEntry, IndexError, peek};

/// A run's keys and their sequences, ascending by these.
pub(super) fn of(run: &[IndexEntry<'_>]) -> Result<Vec<(UsageId, u64)>, IndexError> {
    let mut rows = Vec::new();
    for entry in run {
        if let Some(key) = peek(entry.payload)?.key {
            rows.push((key, entry.seq));
        }
    }
    Ok(rows)
}

/// Takes a run's keys. What the keyspace has already is passed over.
pub(super) fn apply(keyspace: &Keyspace, mut rows: Vec<(UsageId, u64)>) -> Result<(), IndexError> {
    // A part without keyed usages never gets a table here.
    let Some(end) = rows.last().map(|(_, seq)| seq + 1) else { return Ok(()) };
    let cursor = cursor(keyspace)?;
    rows.retain(|(_, seq)| *seq >= cursor);
    if rows.is_empty() {
        return Ok(());
    }
    // A key that was forgotten and used again may stand in a run twice: the later one counts.
    rows.sort_unstable_by_key(|(key, seq)| (key.to_bytes(), std::cmp::Reverse(*seq)));
    rows.dedup_by_key(|(key, _)| *key);
    let mut ingestion = keyspace.start_ingestion()?;
    ingestion.write(OWN_ROW, seq_value(end))?;
    for (key, seq) in rows {
        ingestion.write(keyed(key), seq_value(seq))?;
    }
    ingestion.finish()?;
    Ok(())
}

/// One past the last sequence that has a key, but for runs that had none.
pub(super) fn cursor(keyspace: &Keyspace) -> Result<u64, IndexError> {
    keyspace.get(OWN_ROW)?.map_or(Ok(0), |row| read_seq(&row))
}
