//! Taking usages in: admission, ids, and idempotency keys.
//!
//! **Keys.** Looking up, claiming and appending are one step per key. The index is asked first,
//! without locks. The locks of [`Claims`] are then held over the look at the claims, the append and
//! the new claim, and under them the index's answer is proven to be still whole. The argument: a
//! claim is released only after the index has its frame, and after the tail's first sequence has
//! moved past it. So with the locks held and no claim found, every frame of this key that exists
//! lies below the tail's first sequence F as read now. An index snapshot whose cursor C is at
//! least F has all of those: if it holds none, there is none. If C is below F, the index has moved
//! on in between, or it is another one that is being rebuilt. Then a snapshot of now, whose cursor
//! is at least F, has to rule out in memory that the key is among its frames from C on; if it
//! cannot, the locks are dropped and everything is asked again.
//!
//! **The disk.** Nothing under the locks reads it. Nor does anything for a key that was never used:
//! filters in memory rule it out. A filter has every key that the snapshots of its part can show:
//! those of each run are put in before the run is published, and those found at a start before the
//! filter is used. Any other key needs tables, and the frame that used it: `try_append…` gives up
//! there, so that it may be called where nothing may wait.
//!
//! **Former event ids** ([`crate::events`]) stand only in frames that were durable before this
//! version opened the store, so whether one is used never changes and needs no lock.
//!
//! Nothing is claimed before it is appended, so a key is never burnt by a usage that was refused.

use journal::{Appender, FrameKind, Journal};
use usage::{Usage, UsageId, content_digest, record};

use crate::claims::{Claim, Held};
use crate::config::Config;
use crate::error::AppendRefused;
use crate::events::FormerEvent;
use crate::index::Snapshot;
use crate::slot::Failure;
use crate::store::{Shared, Store};

#[cfg(doc)]
use crate::claims::Claims;

/// How often keys are looked for while the index moves on before it counts as unavailable. It takes
/// a run a second, or one for tens of thousands of usages.
const LOOKS_MAX: u32 = 8;

/// One usage of a batch.
#[derive(Clone, Copy)]
pub struct BatchItem<'a> {
    /// The usage.
    pub usage: &'a Usage<'a>,
    /// Its idempotency key, if the client sent one.
    pub key: Option<Key<'a>>,
}

/// An idempotency key and whose it is.
#[derive(Clone, Copy)]
pub enum Key<'a> {
    /// That of an `Idempotency-Key` header. It belongs to the principal.
    Header {
        /// Who sends.
        principal: &'a str,
        /// The key.
        key: &'a str,
    },
    /// The usage's event id. It belongs to the principal and the usage's patient.
    Event {
        /// Who sends.
        principal: &'a str,
        /// The event id.
        event_id: &'a str,
    },
}

impl<'a> Key<'a> {
    fn id(self, usage: &Usage<'_>) -> UsageId {
        match self {
            Self::Header { principal, key } => UsageId::keyed(principal, key),
            Self::Event { principal, event_id } => {
                UsageId::event(principal, &usage.patient_id, event_id)
            }
        }
    }

    fn former(self) -> Option<FormerEvent<'a>> {
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

    /// Takes in a usage with a key. The same content under the same key is taken in once; each
    /// further call answers with the first one's place, which may not be durable yet. May wait for
    /// the disk.
    pub fn append_keyed(
        &self,
        usage: &Usage<'_>,
        key: Key<'_>,
        received_ms: u64,
    ) -> Result<Accepted, AppendRefused> {
        only(self.append_batch(&[BatchItem { usage, key: Some(key) }], received_ms))
    }

    /// As [`Store::append_keyed`], but never waits for the disk: `None`, and nothing is taken in,
    /// where it would have to.
    pub fn try_append_keyed(
        &self,
        usage: &Usage<'_>,
        key: Key<'_>,
        received_ms: u64,
    ) -> Option<Result<Accepted, AppendRefused>> {
        self.try_append_batch(&[BatchItem { usage, key: Some(key) }], received_ms).map(only)
    }

    /// Takes in many usages, all that are new in one group commit, in order. Each has a result of
    /// its own. A key that stands twice in the batch is treated as if it came in two calls. May wait
    /// for the disk.
    pub fn append_batch(
        &self,
        items: &[BatchItem<'_>],
        received_ms: u64,
    ) -> Vec<Result<Accepted, AppendRefused>> {
        let appended = self.shared.append_items(items, received_ms, Search::Disk);
        appended.expect("only a search in memory gives up")
    }

    /// As [`Store::append_batch`], but never waits for the disk: `None`, and nothing is taken in,
    /// where it would have to.
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

/// Where a key is looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Search {
    Memory,
    Disk,
}

/// A keyed usage, and the id that its key makes.
struct Sought<'a> {
    usage: &'a Usage<'a>,
    key: Key<'a>,
    id: UsageId,
}

/// An item of a batch on its way.
struct Item<'a> {
    usage: &'a Usage<'a>,
    key: Option<Sought<'a>>,
    looked: Looked,
}

impl<'a> Item<'a> {
    fn new(item: &BatchItem<'a>) -> Self {
        let usage = item.usage;
        let key = item.key.map(|key| Sought { usage, key, id: key.id(usage) });
        Self { usage, key, looked: Looked::Unused }
    }

    /// Its key, unless its outcome is decided.
    fn open(&self) -> Option<&Sought<'a>> {
        self.key.as_ref().filter(|_| !matches!(self.looked, Looked::Decided(_)))
    }

    /// Refuses it if it has a key: without an index nothing is known of that.
    fn refuse(&mut self) {
        if self.open().is_some() {
            self.looked = Looked::Decided(Err(AppendRefused::IndexUnavailable));
        }
    }
}

/// What is known of an item before its lock is taken.
enum Looked {
    /// Its outcome.
    Decided(Result<Accepted, AppendRefused>),
    /// No frame that the index has uses its key; or it has none.
    Unused,
    /// There was a claim on its key.
    Claimed,
}

/// What keys are looked for in.
struct Look<'a> {
    shared: &'a Shared,
    snapshot: Snapshot,
    oldest_ms: u64,
    /// The oldest sequence that the journal keeps. What retention has removed is beyond the window
    /// of keys.
    kept_from: u64,
    /// Whether former event ids may still be remembered, and whether the index lacks some of them.
    former: bool,
    unindexed: bool,
}

/// The claims on a key before the snapshot was taken.
#[derive(Clone, Copy, Default)]
struct Claimed {
    now: bool,
    /// The frame that claims its former id.
    former: Option<u64>,
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
        items.iter_mut().for_each(Item::refuse);
        self.append_looked(&items, 0, oldest_ms, received_ms)
    }

    /// Looks in one snapshot for all keys whose outcome is not decided; returns its cursor. `None` if
    /// the disk would have to be read and may not.
    fn look(&self, items: &mut [Item<'_>], oldest_ms: u64, search: Search) -> Option<u64> {
        // The order matters: see the argument at the head of this file.
        let unindexed = self.tail.first_seq() < self.events_from;
        let claims = |sought: &Sought<'_>| {
            let former = sought.key.former().filter(|_| unindexed);
            let former = former.and_then(|former| self.claim(former.id(), oldest_ms));
            Claimed { now: self.claim(sought.id, oldest_ms).is_some(), former }
        };
        let claimed: Vec<Claimed> = match search {
            Search::Memory => Vec::new(),
            Search::Disk => items.iter().filter_map(Item::open).map(claims).collect(),
        };
        let Ok(snapshot) = self.slot.snapshot(self.tail.first_seq()) else {
            items.iter_mut().for_each(Item::refuse);
            return Some(0);
        };
        let former = unindexed || snapshot.remembers_keys(oldest_ms, self.events_from);
        let kept_from = self.journal.first_seq();
        let look = Look { shared: self, snapshot, oldest_ms, kept_from, former, unindexed };
        let mut claimed = claimed.into_iter();
        for item in items {
            let Some(sought) = item.open() else { continue };
            item.looked = match claimed.next() {
                Some(claimed) => look.on_disk(sought, claimed),
                None if look.rules_out(sought) => Looked::Unused,
                None => return None,
            };
        }
        Some(look.snapshot.cursor())
    }

    /// The frame that claims a key.
    fn claim(&self, id: UsageId, oldest_ms: u64) -> Option<u64> {
        self.claims.get(id).filter(|claim| claim.received_ms >= oldest_ms).map(|claim| claim.seq)
    }

    /// Appends what is new. `None`, and nothing is appended, if more is to be known for that than
    /// what was found in a snapshot with `cursor`.
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

    /// With the locks of keys held that have no claim, and that no frame below `cursor` uses:
    /// whether memory alone tells that none uses them at all.
    fn still_unused(&self, ids: &[UsageId], cursor: u64, oldest_ms: u64) -> bool {
        let first_seq = self.tail.first_seq();
        if ids.is_empty() || first_seq <= cursor {
            return true;
        }
        let Ok(snapshot) = self.slot.snapshot(first_seq) else { return false };
        ids.iter().all(|id| snapshot.rules_out(*id, oldest_ms, cursor..u64::MAX))
    }

    /// Answers for a key that the frame `seq` has used under `id`. `None` if that is a former id,
    /// and the frame holds another event.
    fn compare(
        &self,
        sought: &Sought<'_>,
        id: UsageId,
        seq: u64,
    ) -> Result<Option<Accepted>, AppendRefused> {
        let frame = self.frame(seq).map_err(|_| AppendRefused::IndexUnavailable)?;
        let record = frame.as_ref().and_then(|frame| frame.record().ok());
        let Some(record) = record.filter(|record| record.key == Some(id)) else {
            let why = format_args!("a key leads to frame {seq}, which is not of it");
            self.slot.fail(Failure::of_files(why));
            return Err(AppendRefused::IndexUnavailable);
        };
        let same = |former: FormerEvent<'_>| former.is(&record.usage, sought.usage);
        if id != sought.id && !sought.key.former().is_some_and(same) {
            return Ok(None);
        }
        if content_digest(&record.usage) != content_digest(sought.usage) {
            return Err(AppendRefused::KeyReused);
        }
        Ok(Some(Accepted { id, seq, replayed: true }))
    }
}

/// The earliest receipt that a key is remembered for: the first moment of a day in UTC, so that the
/// answer is the same from memory and from the index, which forgets by days. A clock that jumps
/// ahead makes nobody forget.
pub(crate) fn key_oldest_ms(journal: &Journal, config: &Config, wall_ms: u64) -> u64 {
    const DAY_MS: u64 = 24 * 3600 * 1000;
    let now_ms = journal.believed_ms(wall_ms);
    let window_ms = u64::try_from(config.key_window.as_millis()).unwrap_or(u64::MAX);
    now_ms.saturating_sub(window_ms) / DAY_MS * DAY_MS
}

impl Look<'_> {
    /// Whether memory alone tells that no frame in the snapshot has the key.
    fn rules_out(&self, sought: &Sought<'_>) -> bool {
        let rules_out = |id, below| self.snapshot.rules_out(id, self.oldest_ms, 0..below);
        rules_out(sought.id, u64::MAX)
            && sought.key.former().filter(|_| self.former).is_none_or(|former| {
                !self.unindexed && rules_out(former.id(), self.shared.events_from)
            })
    }

    fn on_disk(&self, sought: &Sought<'_>, claimed: Claimed) -> Looked {
        match self.stored(sought, claimed) {
            // A key beyond its window may have been used anew since.
            Ok(_) if claimed.now => Looked::Claimed,
            Ok(Some(stored)) => Looked::Decided(Ok(stored)),
            Ok(None) => Looked::Unused,
            Err(refused) => Looked::Decided(Err(refused)),
        }
    }

    /// What was stored under the key, if its content is the same.
    fn stored(
        &self,
        sought: &Sought<'_>,
        claimed: Claimed,
    ) -> Result<Option<Accepted>, AppendRefused> {
        if claimed.now {
            return Ok(None);
        }
        if let Some(seq) = self.seq(sought.id, u64::MAX)? {
            return self.shared.compare(sought, sought.id, seq);
        }
        let Some(former) = sought.key.former().filter(|_| self.former) else { return Ok(None) };
        let events_from = self.shared.events_from;
        let seq = match claimed.former.filter(|seq| *seq < events_from) {
            Some(seq) => Some(seq),
            None => self.seq(former.id(), events_from)?,
        };
        seq.map_or(Ok(None), |seq| self.shared.compare(sought, former.id(), seq))
    }

    /// The frame below the sequence `below` that used the key.
    fn seq(&self, id: UsageId, below: u64) -> Result<Option<u64>, AppendRefused> {
        let found = self.snapshot.key(id, self.oldest_ms).map_err(|error| {
            self.shared.slot.fail(&error);
            AppendRefused::IndexUnavailable
        })?;
        Ok(found.filter(|seq| (self.kept_from..below).contains(seq)))
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
    use crate::SystemClock;
    use crate::index::fault;

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
            // The first look is without locks; that the index moves on makes a second under them.
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
    fn what_memory_cannot_tell_is_left_to_who_may_wait_and_appends_nothing() {
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
