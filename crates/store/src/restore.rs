//! Brings tail and claims back when a store is opened.

use std::sync::Arc;

use journal::{Batch, FrameKind, Journal};
use usage::{content_digest, record};

use crate::claims::{Claim, Claims};
use crate::config::Config;
use crate::tail::Tail;

/// Bytes of a usage's frame at the very least: what is further behind than the tail could hold is
/// not even read.
const FRAME_BYTES_MIN: usize = 48;

/// The tail from the index's `cursor` to the journal's end, with the keys used in it. If that does
/// not fit, both are empty but for the keys of a batch that waits to be secured: then the index has to catch up, from the journal, with the end as it is
/// now, and until it has, keys are refused and so none can be claimed that is not known here.
pub(crate) fn restore(journal: &Journal, config: &Config, cursor: u64) -> (Tail, Claims) {
    let claims = Claims::new();
    let tail = restore_tail(journal, config, cursor, &claims);
    if let Some(unproven) = journal.unproven() {
        restore_claims(&claims, &unproven);
    }
    (tail, claims)
}

fn restore_tail(journal: &Journal, config: &Config, cursor: u64, claims: &Claims) -> Tail {
    let bytes_max = config.tail_bytes_admitted();
    let new_tail =
        |first_seq| Tail::new(first_seq, config.tail_bytes_max, config.tail_bytes_admitted());
    let durable = journal.durable();
    let behind = usize::try_from(durable.saturating_sub(cursor)).unwrap_or(usize::MAX);
    if cursor < journal.first_seq() || behind > bytes_max / FRAME_BYTES_MIN {
        return new_tail(durable);
    }
    let tail = new_tail(cursor);
    let mut reader = journal.reader(cursor);
    while reader.next_seq() < durable {
        let batch = match reader.next_batch() {
            Ok(Some(batch)) if tail.bytes() + batch.bytes_len() <= bytes_max => Arc::new(batch),
            // Too much; or unreadable, which the indexer will meet again and report.
            _ => {
                claims.clear();
                return new_tail(durable);
            }
        };
        tail.push(&batch);
        restore_claims(claims, &batch);
    }
    tail.meet(cursor);
    tail
}

fn restore_claims(claims: &Claims, batch: &Batch) {
    for frame in batch.frames().filter(|frame| frame.kind == FrameKind::Usage) {
        restore_claim(claims, frame.seq, frame.payload);
    }
}

fn restore_claim(claims: &Claims, seq: u64, payload: &[u8]) {
    let keyed = record::peek(payload).is_ok_and(|peek| peek.key.is_some());
    if !keyed {
        return;
    }
    if let Ok(record) = record::decode(payload)
        && let Some(key) = record.key
    {
        let digest = content_digest(&record.usage);
        claims.restore(key, Claim::new(seq, record.received_ms, digest));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{Key, Store, SystemClock};

    const KEY: Key<'_> = Key::Header { principal: "default", key: "k" };

    const JSON: &[u8] =
        br#"{"patientId":"100","timestamp":"2026-11-01T00:00:00Z","medication":"Albuterol"}"#;

    fn open(dir: &Path) -> Store {
        let mut config = Config::new(dir);
        config.journal.segment_bytes = 64 << 10;
        config.journal.pending_bytes_max = 16 << 10;
        config.journal.reserve_bytes = 0;
        Store::open(config, Arc::new(SystemClock::new())).expect("opens")
    }

    /// Appends a keyed usage that no index has seen, opens the store again, lets `meanwhile` do
    /// its work, and appends it once more; returns whether the store knew it.
    fn known_after_restart(meanwhile: impl FnOnce(&Store)) -> bool {
        let dir = tempfile::tempdir().expect("a folder");
        let usage = usage::decode(JSON, usage::UnknownFields::Refuse).expect("valid");
        let store = open(dir.path());
        let first = store.append_keyed(&usage, KEY, 0).expect("new");
        store.close().expect("closes");
        drop(store);
        let store = open(dir.path());
        meanwhile(&store);
        let again = store.append_keyed(&usage, KEY, 0).expect("answered");
        assert_eq!(again.replayed, again.seq == first.seq);
        again.replayed
    }

    #[test]
    fn keys_that_the_index_has_not_seen_are_known_after_a_restart() {
        assert!(known_after_restart(|_| {}));
    }

    #[test]
    fn control_without_restored_claims_the_key_would_be_stored_twice() {
        assert!(!known_after_restart(|store| store.shared.claims.clear()));
    }
}
