//! Appending usages: admission, ids, and idempotency keys.
//!
//! **Keys.** Lookup, claim and append form one critical section per key. The index is searched
//! first, without locks. Then the locks of [`Claims`] are held while the claims are read, the usage
//! is appended and its key claimed, and under them the index's answer is proven to be still complete.
//! The argument: a claim is released only after the index has its frame, and after the tail's first
//! sequence has moved past it. So with the locks held and no claim found, every frame of this key
//! lies below the tail's first sequence F as read now. An index snapshot whose cursor C is at least F
//! has all of those: if it holds none, there is none. If C is below F, the index has moved on in
//! between, or a different index is being rebuilt. Then a current snapshot, whose cursor is at least
//! F, must rule out in memory that the key is among its frames from C on. If it cannot, the locks are
//! dropped and the search starts again.
//!
//! **The disk** is never read under the locks. A key that was never used does not need it either:
//! filters in memory rule it out. A filter has every key that the snapshots of its part can show:
//! those of each run are inserted before the run is published, and those found at a start before the
//! filter is used. Any other key needs tables and the frame that used it. There `try_append…` gives
//! up, so that event loops may call it.
//!
//! **Former event ids** ([`crate::events`]) occur only in frames that were durable before this
//! version opened the store, so whether one was used never changes and needs no lock.
//!
//! Nothing is claimed before it is appended, so a refused usage never consumes its key.

use journal::{Appender, FrameKind};
use usage::{Usage, UsageId, content_digest, record};

use crate::claims::{Claim, Held};
use crate::error::{AppendRefused, ReadError};
use crate::events::FormerEvent;
use crate::key_search::{Item, Looked, Search, key_oldest_ms};
use crate::store::{Shared, Store};

#[cfg(doc)]
use crate::claims::Claims;

/// Searches per call while the index moves on, before it counts as unavailable. The index takes about
/// one run a second, or one per tens of thousands of usages.
const LOOKS_MAX: u32 = 8;

/// One usage of a batch.
#[derive(Clone, Copy)]
pub struct BatchItem<'a> {
    /// The usage.
    pub usage: &'a Usage<'a>,
    /// Its idempotency key, if the client sent one.
    pub key: Option<Key<'a>>,
}

/// An idempotency key and its owner.
#[derive(Clone, Copy)]
pub enum Key<'a> {
    /// From an `Idempotency-Key` header; belongs to the principal.
    Header {
        /// The sender.
        principal: &'a str,
        /// The key.
        key: &'a str,
    },
    /// The usage's event id; belongs to the principal and the usage's patient.
    Event {
        /// The sender.
        principal: &'a str,
        /// The event id.
        event_id: &'a str,
    },
}

impl<'a> Key<'a> {
    pub(crate) fn id(self, usage: &Usage<'_>) -> UsageId {
        match self {
            Self::Header { principal, key } => UsageId::keyed(principal, key),
            Self::Event { principal, event_id } => {
                UsageId::event(principal, &usage.patient_id, event_id)
            }
        }
    }

    pub(crate) fn former(self) -> Option<FormerEvent<'a>> {
        match self {
            Self::Header { .. } => None,
            Self::Event { principal, event_id } => Some(FormerEvent { principal, event_id }),
        }
    }
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

    /// Appends a usage with a key. The same content under the same key is stored once; each further
    /// call returns the first one's place, which may not be durable yet. May wait for the disk.
    pub fn append_keyed(
        &self,
        usage: &Usage<'_>,
        key: Key<'_>,
        received_ms: u64,
    ) -> Result<Accepted, AppendRefused> {
        only(self.append_batch(&[BatchItem { usage, key: Some(key) }], received_ms))
    }

    /// Like [`Store::append_keyed`], but never waits for the disk: returns `None` and appends nothing
    /// if it would have to.
    pub fn try_append_keyed(
        &self,
        usage: &Usage<'_>,
        key: Key<'_>,
        received_ms: u64,
    ) -> Option<Result<Accepted, AppendRefused>> {
        self.try_append_batch(&[BatchItem { usage, key: Some(key) }], received_ms).map(only)
    }

    /// Appends many usages, all new ones in one group commit, in order. Each has its own result. A key
    /// that occurs twice in the batch is treated as if it came in two calls. May wait for the disk.
    pub fn append_batch(
        &self,
        items: &[BatchItem<'_>],
        received_ms: u64,
    ) -> Vec<Result<Accepted, AppendRefused>> {
        let appended = self.shared.append_items(items, received_ms, Search::Disk);
        appended.expect("only a search in memory gives up")
    }

    /// Like [`Store::append_batch`], but never waits for the disk: returns `None` and appends nothing
    /// if it would have to.
    pub fn try_append_batch(
        &self,
        items: &[BatchItem<'_>],
        received_ms: u64,
    ) -> Option<Vec<Result<Accepted, AppendRefused>>> {
        self.shared.append_items(items, received_ms, Search::Memory)
    }
}

fn only(results: Vec<Result<Accepted, AppendRefused>>) -> Result<Accepted, AppendRefused> {
    results.into_iter().next().expect("each item has a result")
}

impl Shared {
    /// Refuses while the tail is full.
    fn admit(&self) -> Result<(), AppendRefused> {
        if self.tail.full() { Err(AppendRefused::TailFull) } else { Ok(()) }
    }

    fn append_items(
        &self,
        items: &[BatchItem<'_>],
        received_ms: u64,
        search: Search,
    ) -> Option<Vec<Result<Accepted, AppendRefused>>> {
        let mut items: Vec<Item<'_>> = items.iter().map(Item::new).collect();
        let oldest_ms = match items.iter().any(|item| item.key.is_some()) {
            true => key_oldest_ms(&self.journal, &self.config, received_ms),
            false => return self.append_looked(&items, 0, 0, received_ms),
        };
        for _ in 0..LOOKS_MAX {
            let cursor = self.look(&mut items, oldest_ms, search)?;
            let appended = self.append_looked(&items, cursor, oldest_ms, received_ms);
            if appended.is_some() || search == Search::Memory {
                return appended;
            }
        }
        items.iter_mut().for_each(|item| item.refuse(&ReadError::IndexUnavailable));
        self.append_looked(&items, 0, oldest_ms, received_ms)
    }

    /// Appends what is new, given a search in a snapshot with `cursor`. Returns `None` and appends
    /// nothing if that search is out of date.
    fn append_looked(
        &self,
        items: &[Item<'_>],
        cursor: u64,
        oldest_ms: u64,
        received_ms: u64,
    ) -> Option<Vec<Result<Accepted, AppendRefused>>> {
        let digest = |item: &Item<'_>| item.open().map(|sought| content_digest(sought.usage));
        let digests: Vec<Option<u128>> = items.iter().map(digest).collect();
        let mut held = self.claims.hold(items.iter().filter_map(Item::open).map(|key| key.id));
        let claim_of =
            |held: &mut Held<'_>, id| held.get(id).filter(|claim| claim.received_ms >= oldest_ms);
        let mut unclaimed = Vec::new();
        for item in items {
            if let Some(sought) = item.open()
                && claim_of(&mut held, sought.id).is_none()
            {
                if matches!(item.looked, Looked::Claimed) {
                    return None;
                }
                unclaimed.push(sought.id);
            }
        }
        if !self.still_unused(&unclaimed, cursor, oldest_ms) {
            return None;
        }
        // Asked once, so that a batch for which there is no room is refused as a whole.
        let room = self.admit();
        let mut appender = self.journal.appender();
        let append = |(item, digest): (&Item<'_>, Option<u128>)| {
            if let Looked::Decided(outcome) = item.looked {
                return outcome;
            }
            let key = item.key.as_ref().map(|sought| sought.id).zip(digest);
            if let Some((id, digest)) = key
                && let Some(claim) = claim_of(&mut held, id)
            {
                self.check_proven(claim)?;
                let replay = Accepted { id, seq: claim.seq, replayed: true };
                return (claim.digest == digest).then_some(replay).ok_or(AppendRefused::KeyReused);
            }
            room?;
            let appender = appender.as_mut().map_err(|error| AppendRefused::from(*error))?;
            let seq = encode(appender, item.usage, received_ms, key.map(|(id, _)| id))?;
            let Some((id, digest)) = key else {
                return Ok(Accepted { id: self.plain_id(received_ms, seq), seq, replayed: false });
            };
            held.claim(id, Claim::new(seq, received_ms, digest), self.journal.durable());
            Ok(Accepted { id, seq, replayed: false })
        };
        Some(items.iter().zip(digests).map(append).collect())
    }

    /// Refuses a key whose usage waits to be secured: it is neither durable nor free.
    fn check_proven(&self, claim: Claim) -> Result<(), AppendRefused> {
        if self.journal.is_unproven(claim.seq) { Err(AppendRefused::Unproven) } else { Ok(()) }
    }

    /// For keys that are locked, without a claim, and used by no frame below `cursor`: whether memory
    /// alone shows that no frame at all uses them.
    fn still_unused(&self, ids: &[UsageId], cursor: u64, oldest_ms: u64) -> bool {
        let first_seq = self.tail.first_seq();
        if ids.is_empty() || first_seq <= cursor {
            return true;
        }
        let Ok(snapshot) = self.slot.snapshot(first_seq) else { return false };
        ids.iter().all(|id| snapshot.rules_out(*id, oldest_ms, cursor..u64::MAX))
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
    use crate::index::fault;
    use crate::{Config, SystemClock};

    const JSON: &[u8] =
        br#"{"patientId":"100","timestamp":"2026-11-01T00:00:00Z","medication":"Albuterol"}"#;

    const KEY: Key<'_> = Key::Header { principal: "default", key: "k" };

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
        let first = store.append_keyed(&usage, KEY, 0).expect("new");
        if !matches!(place, Place::Pending) {
            store.journal().commit_once().expect("commits");
        }
        if matches!(place, Place::Index) {
            while store.index_once() {}
        }
        meanwhile(&store, first);
        let again = store.append_keyed(&usage, KEY, 0).expect("answered");
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

    fn small_store(dir: &std::path::Path) -> Store {
        let mut config = Config::new(dir);
        config.journal.reserve_bytes = 0;
        Store::open(config, Arc::new(SystemClock::new())).expect("opens")
    }

    fn append(store: &Store, key: Key<'_>) -> Result<Accepted, AppendRefused> {
        let usage = usage::decode(JSON, usage::UnknownFields::Refuse).expect("valid");
        store.append_keyed(&usage, key, 0)
    }

    fn try_append(store: &Store, key: Key<'_>) -> Option<Result<Accepted, AppendRefused>> {
        let usage = usage::decode(JSON, usage::UnknownFields::Refuse).expect("valid");
        store.try_append_keyed(&usage, key, 0)
    }

    fn index_all(store: &Store) {
        store.journal().commit_once().expect("commits");
        while store.index_once() {}
    }

    #[test]
    fn repro_a_panic_in_the_index_disables_no_key_and_no_index() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = small_store(dir.path());
        let mark = store.shared.config.index_dir().join("mark");
        std::fs::write(&mark, "of this index").expect("written");
        for number in 0..10 {
            let [other, key] = ["other", "key"].map(|name| format!("{name} {number}"));
            let [other, key] = [&other, &key].map(|key| Key::Header { principal: "default", key });
            append(&store, other).expect("new");
            let moves_on = store.clone();
            // The first look is without locks. The index moves on then, so a second follows under them.
            fault::at_looks([
                Box::new(move || index_all(&moves_on)) as Box<dyn FnOnce()>,
                Box::new(|| panic!("injected")),
            ]);
            let failed =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| append(&store, key)));
            assert!(failed.is_err());
            assert!(!append(&store, key).expect("the next request works").replayed);
            index_all(&store);
            assert_eq!(store.index_state(), crate::IndexState::Ready);
        }
        assert!(mark.exists(), "the index was not removed");
        assert_eq!(store.status().keys_in_memory, 0);
    }

    #[test]
    fn where_the_disk_is_needed_try_append_gives_up_and_appends_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = small_store(dir.path());
        let first = try_append(&store, KEY).expect("memory tells").expect("new");
        let replayed = Ok(Accepted { replayed: true, ..first });
        assert_eq!(try_append(&store, KEY), Some(replayed), "a claim tells");
        index_all(&store);
        let next = store.journal().durable();
        assert_eq!(try_append(&store, KEY), None);
        let usage = usage::decode(JSON, usage::UnknownFields::Refuse).expect("valid");
        let items = [None, Some(Key::Header { principal: "default", key: "new" }), Some(KEY)]
            .map(|key| BatchItem { usage: &usage, key });
        assert_eq!(store.try_append_batch(&items, 0), None);
        store.journal().commit_once().expect("commits");
        assert_eq!(store.journal().durable(), next, "nothing was appended");
        assert_eq!(append(&store, KEY), replayed);
        let results = store.append_batch(&items, 0);
        assert_eq!(results[2], replayed);
        assert!(results[..2].iter().all(|result| result.is_ok_and(|new| !new.replayed)));
    }

    #[test]
    fn a_key_used_and_indexed_between_the_look_and_the_lock_is_found() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = small_store(dir.path());
        let meanwhile = || {
            let store = store.clone();
            let used = move || {
                append(&store, KEY).expect("answered");
                index_all(&store);
            };
            fault::at_looks([Box::new(used) as Box<dyn FnOnce()>]);
        };
        meanwhile();
        assert_eq!(try_append(&store, KEY), None);
        meanwhile();
        assert!(append(&store, KEY).expect("answered").replayed);
        index_all(&store);
        assert_eq!(store.status().index_usages, 1);
    }
}
