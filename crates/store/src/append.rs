//! Taking usages in: admission, ids, and idempotency keys.
//!
//! **Keys.** Looking up, claiming and appending are one step per key. The locks of [`Claims`] are
//! held over the look at the claims, the append and the new claim; the index may be asked before,
//! outside the locks, because its answer can be proven to be still whole under them. The argument:
//! a claim is released only after the index has its frame, and after the tail's first sequence has
//! moved past it. So with the locks held and no claim found, every frame of this key that exists
//! lies below the tail's first sequence F as read now. An index snapshot whose cursor C is at
//! least F has all of those: if it holds none, there is none. If C is below F, the index has moved
//! on in between, or it is another one that is being rebuilt; then it is asked again under the
//! locks, where F cannot pass what is to be found, and if it still is below, keys are refused.
//!
//! That a snapshot holds none it mostly knows from filters in memory, without a look into tables. A
//! filter has every key that the snapshots of its part can show: those of each run are put in
//! before the run is published, and those found at a start before the filter is used.
//!
//! Nothing is claimed before it is appended, so a key is never burnt by a usage that was refused.

use journal::{Appender, FrameKind};
use usage::{Usage, UsageId, content_digest, record};

use crate::claims::Claim;
use crate::error::{AppendRefused, ReadError};
use crate::slot::Failure;
use crate::store::{Shared, Store};

#[cfg(doc)]
use crate::claims::Claims;

/// One usage of a batch.
#[derive(Clone, Copy)]
pub struct BatchItem<'a> {
    /// The usage.
    pub usage: &'a Usage<'a>,
    /// The principal and its idempotency key, if the client sent one.
    pub key: Option<(&'a str, &'a str)>,
}

/// A usage that was taken in, now or before. It is durable once the ticket for `seq` says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The usage's id.
    pub id: UsageId,
    /// Its place in the journal.
    pub seq: u64,
    /// Whether the same usage was taken in before under the same key.
    pub replayed: bool,
}

/// A usage's key, with what decides whether it was used for the same.
#[derive(Clone, Copy)]
struct Key {
    id: UsageId,
    digest: u128,
}

/// What the index knows of some keys: every frame of theirs below `cursor`.
struct Indexed {
    cursor: u64,
    seqs: Vec<Option<u64>>,
}

/// What is to be done with a keyed usage.
enum Decision {
    /// Its key was not used, or so long ago that it is forgotten.
    Append,
    /// It was taken in before.
    Replay(u64),
    /// Its key was used for something else.
    Reused,
    /// Its key was used by this frame, which has to be read to tell for what.
    Compare(u64),
}

impl Store {
    /// Takes in a usage without a key. Every call is a new usage, whatever its content.
    pub fn append(&self, usage: &Usage<'_>, received_ms: u64) -> Result<Accepted, AppendRefused> {
        let shared = &*self.shared;
        shared.admit()?;
        let mut appender = shared.journal.appender()?;
        let seq = encode(&mut appender, usage, received_ms, None)?;
        drop(appender);
        Ok(Accepted { id: shared.plain_id(received_ms, seq), seq, replayed: false })
    }

    /// Takes in a usage with the key that `principal` gave it. The same content under the same key
    /// is taken in once; each further call answers with the first one's place, which may not be
    /// durable yet.
    pub fn append_keyed(
        &self,
        usage: &Usage<'_>,
        principal: &str,
        key: &str,
        received_ms: u64,
    ) -> Result<Accepted, AppendRefused> {
        let shared = &*self.shared;
        let key = Key { id: UsageId::keyed(principal, key), digest: content_digest(usage) };
        let oldest_ms = shared.key_oldest_ms(received_ms);
        let mut indexed = shared.indexed(&[key.id], oldest_ms)?;
        let mut held = shared.claims.hold_one(key.id);
        let claim = held.get().filter(|claim| claim.received_ms >= oldest_ms);
        if claim.is_none() && shared.tail.first_seq() > indexed.cursor {
            indexed = shared.indexed(&[key.id], oldest_ms)?;
        }
        match decide(claim, indexed.seqs[0], key) {
            Decision::Append => {
                shared.admit()?;
                let mut appender = shared.journal.appender()?;
                let seq = encode(&mut appender, usage, received_ms, Some(key.id))?;
                drop(appender);
                held.claim(Claim::new(seq, received_ms, key.digest), shared.journal.durable());
                Ok(Accepted { id: key.id, seq, replayed: false })
            }
            Decision::Replay(seq) => Ok(Accepted { id: key.id, seq, replayed: true }),
            Decision::Reused => Err(AppendRefused::KeyReused),
            Decision::Compare(seq) => {
                drop(held);
                shared.compare(key, usage, seq)
            }
        }
    }

    /// Takes in many usages, all that are new in one group commit, in order. Each has a result of
    /// its own. A key that stands twice in the batch is treated as if it came in two calls.
    pub fn append_batch(
        &self,
        items: &[BatchItem<'_>],
        received_ms: u64,
    ) -> Vec<Result<Accepted, AppendRefused>> {
        let shared = &*self.shared;
        let keys: Vec<Option<Key>> = items
            .iter()
            .map(|BatchItem { usage, key }| {
                let (principal, key) = (*key)?;
                Some(Key { id: UsageId::keyed(principal, key), digest: content_digest(usage) })
            })
            .collect();
        if keys.iter().all(Option::is_none) {
            return shared.append_plain(items, received_ms);
        }
        let mut results = shared.append_mixed(items, &keys, received_ms);
        // Reading from the journal holds up nobody: the locks are gone.
        for ((result, key), item) in results.iter_mut().zip(&keys).zip(items) {
            if let (Err(Undecided::Compare(seq)), Some(key)) = (&result, key) {
                *result = shared.compare(*key, item.usage, *seq).map_err(Undecided::Refused);
            }
        }
        let refused = |undecided| match undecided {
            Undecided::Refused(why) => why,
            Undecided::Compare(_) => unreachable!("every comparison has been made"),
        };
        results.into_iter().map(|result| result.map_err(refused)).collect()
    }
}

/// Why an item of a batch has no place yet.
enum Undecided {
    Refused(AppendRefused),
    Compare(u64),
}

impl From<AppendRefused> for Undecided {
    fn from(refused: AppendRefused) -> Self {
        Self::Refused(refused)
    }
}

impl Shared {
    /// Refuses while the tail is full.
    fn admit(&self) -> Result<(), AppendRefused> {
        if self.tail.full() { Err(AppendRefused::TailFull) } else { Ok(()) }
    }

    /// The earliest receipt that a key is remembered for: the first moment of a day in UTC, so
    /// that the answer is the same from memory and from the index, which forgets by days. A clock
    /// that jumps ahead makes nobody forget.
    fn key_oldest_ms(&self, received_ms: u64) -> u64 {
        const DAY_MS: u64 = 24 * 3600 * 1000;
        let now_ms = self.journal.believed_ms(received_ms);
        let window_ms = u64::try_from(self.config.key_window.as_millis()).unwrap_or(u64::MAX);
        now_ms.saturating_sub(window_ms) / DAY_MS * DAY_MS
    }

    fn append_plain(
        &self,
        items: &[BatchItem<'_>],
        received_ms: u64,
    ) -> Vec<Result<Accepted, AppendRefused>> {
        let begun = self.admit().and_then(|()| Ok(self.journal.appender()?));
        let mut appender = match begun {
            Ok(appender) => appender,
            Err(refused) => return vec![Err(refused); items.len()],
        };
        let mut append = |item: &BatchItem<'_>| {
            let seq = encode(&mut appender, item.usage, received_ms, None)?;
            Ok(Accepted { id: self.plain_id(received_ms, seq), seq, replayed: false })
        };
        items.iter().map(&mut append).collect()
    }

    fn append_mixed(
        &self,
        items: &[BatchItem<'_>],
        keys: &[Option<Key>],
        received_ms: u64,
    ) -> Vec<Result<Accepted, Undecided>> {
        let ids: Vec<UsageId> = keys.iter().flatten().map(|key| key.id).collect();
        let oldest_ms = self.key_oldest_ms(received_ms);
        let mut indexed = self.indexed(&ids, oldest_ms);
        let mut held = self.claims.hold(ids.iter().copied());
        if indexed.as_ref().is_ok_and(|indexed| self.tail.first_seq() > indexed.cursor) {
            indexed = self.indexed(&ids, oldest_ms);
        }
        // Asked once, so that a batch for which there is no room is refused as a whole.
        let room = self.admit();
        let mut appender = self.journal.appender();
        let mut nth_key = 0;
        let mut append_one = |(item, key): (&BatchItem<'_>, &Option<Key>)| {
            if let Some(key) = key {
                let known = indexed.as_ref().map(|indexed| indexed.seqs[nth_key]);
                nth_key += 1;
                let known = known.map_err(|refused| match refused {
                    AppendRefused::Damaged(_) => AppendRefused::Damaged(key.id),
                    refused => *refused,
                })?;
                let claim = held.get(key.id).filter(|claim| claim.received_ms >= oldest_ms);
                match decide(claim, known, *key) {
                    Decision::Append => {}
                    Decision::Replay(seq) => {
                        return Ok(Accepted { id: key.id, seq, replayed: true });
                    }
                    Decision::Reused => return Err(AppendRefused::KeyReused.into()),
                    Decision::Compare(seq) => return Err(Undecided::Compare(seq)),
                }
            }
            room?;
            let appender = appender.as_mut().map_err(|error| AppendRefused::from(*error))?;
            let seq = encode(appender, item.usage, received_ms, key.map(|key| key.id))?;
            let id = match key {
                Some(key) => {
                    let claim = Claim::new(seq, received_ms, key.digest);
                    held.claim(key.id, claim, self.journal.durable());
                    key.id
                }
                None => self.plain_id(received_ms, seq),
            };
            Ok(Accepted { id, seq, replayed: false })
        };
        items.iter().zip(keys).map(&mut append_one).collect()
    }

    /// What the index says about keys that were used at `oldest_ms` or later.
    fn indexed(&self, ids: &[UsageId], oldest_ms: u64) -> Result<Indexed, AppendRefused> {
        // The order matters: see the argument at the head of this file.
        let first_seq = self.tail.first_seq();
        let unavailable = |error| unavailable(&error, ids[0]);
        let snapshot = self.slot.snapshot(first_seq).map_err(unavailable)?;
        let kept_from = self.journal.first_seq();
        let look = |id: &UsageId| {
            let seq = snapshot.key(*id, oldest_ms).map_err(|error| {
                self.slot.fail(&error);
                AppendRefused::IndexUnavailable
            })?;
            // What retention has removed is beyond the window of keys.
            Ok(seq.filter(|seq| *seq >= kept_from))
        };
        let seqs = ids.iter().map(look).collect::<Result<_, AppendRefused>>()?;
        Ok(Indexed { cursor: snapshot.cursor(), seqs })
    }

    /// Answers for a key that the frame `seq` has used and that comes again with `usage`.
    fn compare(&self, key: Key, usage: &Usage<'_>, seq: u64) -> Result<Accepted, AppendRefused> {
        let frame = match self.frame(seq) {
            Ok(frame) => frame,
            Err(ReadError::Expired) => return Err(AppendRefused::IndexUnavailable),
            Err(error) => return self.compare_indexed(key, usage, seq, &error),
        };
        let record = frame.as_ref().and_then(|frame| frame.record().ok());
        match record.filter(|record| record.key == Some(key.id)) {
            Some(record) if content_digest(&record.usage) == key.digest => {
                Ok(Accepted { id: key.id, seq, replayed: true })
            }
            Some(_) => Err(AppendRefused::KeyReused),
            None => {
                let why = format_args!("a key leads to frame {seq}, which is not of it");
                self.slot.fail(Failure::of_files(why));
                Err(AppendRefused::IndexUnavailable)
            }
        }
    }
}

impl Shared {
    /// The same from the index's row, which holds the whole usage, where the frame cannot be read.
    fn compare_indexed(
        &self,
        key: Key,
        usage: &Usage<'_>,
        seq: u64,
        unread: &ReadError,
    ) -> Result<Accepted, AppendRefused> {
        let refused = || unavailable(unread, key.id);
        let snapshot = self.slot.snapshot(self.tail.first_seq()).map_err(|_| refused())?;
        if snapshot.cursor() <= seq {
            return Err(refused());
        }
        let row = snapshot.usage(&usage.patient_id, usage.timestamp.instant, seq);
        let row = row.map_err(|error| {
            self.slot.fail(&error);
            refused()
        })?;
        // No row means that the usage that has used the key is another patient's or of another time.
        let Some(payload) = row else { return Err(AppendRefused::KeyReused) };
        match record::decode(&payload) {
            Ok(record) if record.key != Some(key.id) => Err(refused()),
            Ok(record) if content_digest(&record.usage) == key.digest => {
                Ok(Accepted { id: key.id, seq, replayed: true })
            }
            Ok(_) => Err(AppendRefused::KeyReused),
            Err(_) => Err(refused()),
        }
    }
}

/// Why nothing can be told about a key whose usage has this id, where `error` stands in the way.
fn unavailable(error: &ReadError, id: UsageId) -> AppendRefused {
    match error {
        ReadError::Damaged(_) => AppendRefused::Damaged(id),
        _ => AppendRefused::IndexUnavailable,
    }
}

/// Decides from what memory and the index know about a key within its window.
fn decide(claim: Option<Claim>, indexed: Option<u64>, key: Key) -> Decision {
    match (claim, indexed) {
        (Some(claim), _) if claim.digest == key.digest => Decision::Replay(claim.seq),
        (Some(_), _) => Decision::Reused,
        (None, Some(seq)) => Decision::Compare(seq),
        (None, None) => Decision::Append,
    }
}

/// Appends one frame.
fn encode(
    appender: &mut Appender<'_>,
    usage: &Usage<'_>,
    received_ms: u64,
    key: Option<UsageId>,
) -> Result<u64, AppendRefused> {
    let tag = record::patient_tag(&usage.patient_id);
    let write = |_, out: &mut Vec<u8>| record::encode(usage, received_ms, key, out);
    Ok(appender.append(FrameKind::Usage, tag, write)?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Config, SystemClock};

    const JSON: &[u8] =
        br#"{"patientId":"100","timestamp":"2026-11-01T00:00:00Z","medication":"Albuterol"}"#;

    /// Where a keyed usage is when it comes again.
    #[derive(Clone, Copy, Debug)]
    enum Place {
        Pending,
        Tail,
        Index,
    }

    /// Appends a keyed usage, lets `meanwhile` do its work when it has come to `place`, and appends
    /// it again; returns how many are stored in the end.
    fn stored(place: Place, meanwhile: impl FnOnce(&Store, Accepted)) -> usize {
        let dir = tempfile::tempdir().expect("a folder");
        let mut config = Config::new(dir.path());
        config.journal.segment_bytes = 64 << 10;
        config.journal.pending_bytes_max = 16 << 10;
        config.journal.reserve_bytes = 0;
        let store = Store::open(config, Arc::new(SystemClock::new())).expect("opens");
        let usage = usage::decode(JSON, usage::UnknownFields::Refuse).expect("valid");
        let first = store.append_keyed(&usage, "default", "k", 0).expect("new");
        if !matches!(place, Place::Pending) {
            store.journal().commit_once().expect("commits");
        }
        if matches!(place, Place::Index) {
            while store.index_once() {}
        }
        meanwhile(&store, first);
        let again = store.append_keyed(&usage, "default", "k", 0).expect("answered");
        store.close().expect("closes");
        while store.index_once() {}
        let query = crate::HistoryQuery {
            patient_id: "100".into(),
            from: None,
            to: None,
            medication: None,
            limit: 10,
            cursor: None,
        };
        let stored = store.history(&query).expect("served").usages.len();
        assert_eq!(stored == 1, again.replayed, "{place:?}");
        stored
    }

    #[test]
    fn a_key_is_stored_once_wherever_its_usage_is() {
        for place in [Place::Pending, Place::Tail, Place::Index] {
            assert_eq!(stored(place, |_, _| {}), 1, "{place:?}");
        }
    }

    #[test]
    fn control_a_claim_released_before_the_index_has_its_usage_is_stored_twice() {
        let release =
            |store: &Store, first: Accepted| store.shared.claims.release(first.id, first.seq);
        assert_eq!(stored(Place::Pending, release), 2);
        assert_eq!(stored(Place::Tail, release), 2);
        assert_eq!(stored(Place::Index, release), 1, "by then the index answers");
    }
}
