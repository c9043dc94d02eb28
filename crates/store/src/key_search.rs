//! Searches the index for keys, in memory only or also on the disk, without holding a lock.
//! [`crate::append`] explains why the answer still holds when the usage is appended.

use journal::Journal;
use usage::{Usage, UsageId, content_digest, record};

use crate::append::{Accepted, BatchItem, Key};
use crate::config::Config;
use crate::error::{AppendRefused, ReadError};
use crate::events::FormerEvent;
use crate::index::Snapshot;
use crate::slot::Failure;
use crate::store::Shared;

/// Where to search for keys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Search {
    Memory,
    Disk,
}

/// A keyed usage, and the id made from its key.
pub(crate) struct Sought<'a> {
    pub(crate) usage: &'a Usage<'a>,
    pub(crate) id: UsageId,
    key: Key<'a>,
}

/// An item of a batch, and what is known of it.
pub(crate) struct Item<'a> {
    pub(crate) usage: &'a Usage<'a>,
    pub(crate) key: Option<Sought<'a>>,
    pub(crate) looked: Looked,
}

impl<'a> Item<'a> {
    pub(crate) fn new(item: &BatchItem<'a>) -> Self {
        let usage = item.usage;
        let key = item.key.map(|key| Sought { usage, key, id: key.id(usage) });
        Self { usage, key, looked: Looked::Unused }
    }

    /// Its key, unless its outcome is decided.
    pub(crate) fn open(&self) -> Option<&Sought<'a>> {
        self.key.as_ref().filter(|_| !matches!(self.looked, Looked::Decided(_)))
    }

    /// Refuses the item if it has an undecided key: without an index nothing is known of keys.
    pub(crate) fn refuse(&mut self, why: &ReadError) {
        if let Some(sought) = self.open() {
            self.looked = Looked::Decided(Err(unavailable(why, sought.id)));
        }
    }
}

/// What is known of an item before its lock is taken.
pub(crate) enum Looked {
    /// The item's outcome.
    Decided(Result<Accepted, AppendRefused>),
    /// No frame in the index uses its key, or it has no key.
    Unused,
    /// There was a claim on its key.
    Claimed,
}

/// One search for the keys of a batch.
struct Look<'a> {
    shared: &'a Shared,
    snapshot: Snapshot,
    oldest_ms: u64,
    /// The oldest sequence that the journal keeps. What retention has removed is beyond the window
    /// of keys.
    kept_from: u64,
    /// Whether former event ids may still be remembered.
    former: bool,
    /// Whether the index lacks some of them.
    unindexed: bool,
}

/// The claims on a key before the snapshot was taken.
#[derive(Clone, Copy, Default)]
struct Claimed {
    now: bool,
    /// The frame that claims its former id.
    former: Option<u64>,
}

/// The earliest receipt that a key is remembered for: the first moment of a day in UTC, so that the
/// answer is the same from memory and from the index, which forgets by days. A clock that jumps
/// ahead forgets nothing.
pub(crate) fn key_oldest_ms(journal: &Journal, config: &Config, wall_ms: u64) -> u64 {
    const DAY_MS: u64 = 24 * 3600 * 1000;
    let now_ms = journal.believed_ms(wall_ms);
    let window_ms = u64::try_from(config.key_window.as_millis()).unwrap_or(u64::MAX);
    now_ms.saturating_sub(window_ms) / DAY_MS * DAY_MS
}

impl Shared {
    /// Searches one snapshot for all undecided keys; returns its cursor. `None` if only the disk could
    /// tell, and may not be read.
    pub(crate) fn look(
        &self,
        items: &mut [Item<'_>],
        oldest_ms: u64,
        search: Search,
    ) -> Option<u64> {
        // The order matters: claims, then the tail's first sequence, then the index.
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
        let snapshot = match self.slot.snapshot(self.tail.first_seq()) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                items.iter_mut().for_each(|item| item.refuse(&error));
                return Some(0);
            }
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

    /// The outcome for a key that the frame `seq` used under `id`. `None` if that is a former id and
    /// the frame holds a different event.
    fn compare(
        &self,
        sought: &Sought<'_>,
        id: UsageId,
        seq: u64,
    ) -> Result<Option<Accepted>, AppendRefused> {
        let frame = match self.frame(seq) {
            Ok(frame) => frame,
            Err(ReadError::Expired) => return Err(AppendRefused::IndexUnavailable),
            Err(ReadError::Unproven) => return Err(AppendRefused::Unproven),
            Err(error) => return self.compare_indexed(sought, id, seq, &error),
        };
        let record = frame.as_ref().and_then(|frame| frame.record().ok());
        let Some(record) = record.filter(|record| record.key == Some(id)) else {
            let why = format_args!("a key leads to frame {seq}, which is not of it");
            self.slot.fail(Failure::of_files(why));
            return Err(AppendRefused::IndexUnavailable);
        };
        self.compare_record(sought, id, seq, &record)
    }

    /// The same from the index's row, which holds the whole usage, where the frame cannot be read.
    fn compare_indexed(
        &self,
        sought: &Sought<'_>,
        id: UsageId,
        seq: u64,
        unread: &ReadError,
    ) -> Result<Option<Accepted>, AppendRefused> {
        let refused = || unavailable(unread, sought.id);
        let snapshot = self.slot.snapshot(self.tail.first_seq()).map_err(|_| refused())?;
        if snapshot.cursor() <= seq {
            return Err(refused());
        }
        let usage = sought.usage;
        let row = snapshot.usage(&usage.patient_id, usage.timestamp.instant, seq);
        let row = row.map_err(|error| {
            self.slot.fail(&error);
            refused()
        })?;
        // No row means that the usage that has used the key is another patient's or of another time. Of a
        // former id, that is another event.
        let Some(payload) = row else {
            return if id == sought.id { Err(AppendRefused::KeyReused) } else { Ok(None) };
        };
        match record::decode(&payload) {
            Ok(record) if record.key == Some(id) => self.compare_record(sought, id, seq, &record),
            _ => Err(refused()),
        }
    }

    fn compare_record(
        &self,
        sought: &Sought<'_>,
        id: UsageId,
        seq: u64,
        record: &record::Record<'_>,
    ) -> Result<Option<Accepted>, AppendRefused> {
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

/// Why nothing can be told about a key whose usage has this id, where `error` stands in the way.
fn unavailable(error: &ReadError, id: UsageId) -> AppendRefused {
    match error {
        ReadError::Damaged(_) => AppendRefused::Damaged(id),
        _ => AppendRefused::IndexUnavailable,
    }
}

impl Look<'_> {
    /// Whether memory alone shows that no frame in the snapshot has the key.
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
