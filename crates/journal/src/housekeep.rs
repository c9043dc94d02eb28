//! The background work, one round at a time: watch the space, prepare the next segment, compress
//! a sealed one, let expired ones go.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::Ordering;

use crate::anchor;
use crate::aside::{self, make_way};
use crate::begin::Retry;
use crate::compress::{CompressError, compress_segment};
use crate::error::ReadError;
use crate::format::{SegmentKind, segment_file_name};
use crate::meta::META_FILE;
use crate::prepare::{prepare, remove_if_there};
use crate::reader::{newest_commit_ms, open_place};
use crate::retain::{Rules, TrustedClock};
use crate::shared::{Shared, lock};

/// What a call of [`Journal::housekeep_once`](crate::Journal::housekeep_once) did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Housekept {
    /// Whether the next segment was prepared.
    pub prepared: bool,
    /// The segment that was compressed, if one was.
    pub compressed: Option<u64>,
    /// How many segments retention has removed.
    pub removed: usize,
}

/// Rounds to wait after a failed compression: half a minute of the thread's.
const PAUSE_ROUNDS: u32 = 60;

/// The housekeeper's own state, behind its lock.
#[derive(Default)]
pub(crate) struct Housekeeper {
    /// Set by close: the directory may belong to another process from then on.
    pub(crate) stopped: bool,
    /// Segments that could not be compressed because they cannot be read. Not tried again.
    unreadable: BTreeSet<u64>,
    /// Rounds left before the next attempt to compress.
    pause_rounds: u32,
    /// The oldest segment and the newest time recorded in it, once it was looked for.
    oldest: Option<Oldest>,
    /// The segment whose removal is not durable yet. Nothing else goes before it has gone, or a
    /// power cut could bring it back in front of a hole.
    leaving: Option<Oldest>,
    /// When to begin, if the open had no room to.
    pub(crate) begin: Retry,
    /// What the file `clock` says, once this life of the journal has written it.
    anchored_ms: Option<u64>,
}

/// What retention knows of the oldest segment.
#[derive(Clone)]
struct Oldest {
    number: u64,
    /// The newest time recorded in it, or the latest that it can be where that cannot be read.
    newest_ms: u64,
    /// What is wrong with it.
    damage: Option<String>,
    /// Whether its header page, too, is not what it was, so that nothing proves what the file is.
    unknown: bool,
}

/// What the housekeeper shares with those who ask, behind a lock that is never held for long.
pub(crate) struct Notes {
    /// The last failure that stopped nothing for good.
    pub(crate) failure: Option<String>,
    pub(crate) clock: TrustedClock,
}

impl Shared {
    /// One round.
    pub(crate) fn housekeep_once(&self) -> Housekept {
        let mut housekeeper = lock(&self.housekeeper);
        let mut done = Housekept::default();
        if housekeeper.stopped || self.is_poisoned() {
            return done;
        }
        // The committer looks too; this is for a time in which no usage comes.
        if !self.is_in_place() {
            return done;
        }
        if !self.has_begun() && !self.begin_late(&mut housekeeper) {
            // Only what makes room is done until there is room.
            done.removed = self.let_expired_go(&mut housekeeper);
            return done;
        }
        self.keep_meta();
        self.count_aside();
        self.watch_space();
        done.prepared = self.prepare_next();
        done.compressed = self.compress_one(&mut housekeeper);
        done.removed = self.let_expired_go(&mut housekeeper);
        self.watch_space();
        done
    }

    /// Compresses the oldest raw segment whose successor holds more than one batch: a successor
    /// whose only batch is found torn may still turn out to be nothing, and then this segment is
    /// the end, with its own copy of that batch.
    fn compress_one(&self, housekeeper: &mut Housekeeper) -> Option<u64> {
        let level = self.options.compress_level?;
        if housekeeper.pause_rounds > 0 {
            housekeeper.pause_rounds -= 1;
            return None;
        }
        let proven = self.proven.load(Ordering::SeqCst);
        let (header, end_seq, later) = {
            let ledger = self.ledger();
            let headers = ledger.segments().map(|segment| &segment.header);
            let pairs = ledger.segments().zip(ledger.segments().skip(1));
            pairs
                .filter(|(segment, next)| {
                    segment.header.kind == SegmentKind::Raw
                        && next.header.first_seq < proven
                        && !housekeeper.unreadable.contains(&segment.header.number)
                })
                .map(|(segment, next)| (segment.header.clone(), next.header.first_seq))
                .next()
                .map(|(header, end_seq)| {
                    let later = headers.filter(|later| later.first_seq >= end_seq);
                    (header, end_seq, later.map(|later| (**later).clone()).collect::<Vec<_>>())
                })?
        };
        match compress_segment(&*self.disk, &header, end_seq, &later, level) {
            Ok(compressed) => {
                let number = compressed.header.number;
                self.ledger().replace(compressed.header, compressed.file_bytes);
                // An open file would keep the space of the raw one.
                lock(&self.lookups).forget(number);
                Some(number)
            }
            Err(error) => {
                match error {
                    // It stays as it is, and whoever reads it is told.
                    CompressError::Source(ReadError::Damaged { .. }) => {
                        housekeeper.unreadable.insert(header.number);
                    }
                    _ => housekeeper.pause_rounds = PAUSE_ROUNDS,
                }
                let failure = format!("compressing segment {}: {error}", header.number);
                lock(&self.notes).failure = Some(failure);
                None
            }
        }
    }

    /// Puts back a `store.meta` that somebody has removed: this process alone still knows the secret in
    /// it, and no later open does without.
    fn keep_meta(&self) {
        let missing = |error: io::Error| error.kind() == io::ErrorKind::NotFound;
        if self.disk.identity(META_FILE).is_err_and(missing) {
            let failure = match self.meta.create(&*self.disk) {
                Ok(()) => "store.meta was removed while the journal was open; it was written anew"
                    .to_owned(),
                Err(error) => format!("writing store.meta anew, which was removed: {error}"),
            };
            lock(&self.notes).failure = Some(failure);
        }
    }

    /// Tells retention that the wall clock is right.
    pub(crate) fn confirm_clock(&self) {
        let (wall_ms, monotonic) = (self.clock.wall_ms(), self.clock.monotonic());
        lock(&self.notes).clock.confirm(wall_ms, monotonic);
    }

    /// Writes down the believed time now and then, for the next open to judge the clock by.
    fn keep_anchor(&self, housekeeper: &mut Housekeeper, now_ms: u64) {
        let near = |ms: u64| ms.abs_diff(now_ms) < anchor::ANCHOR_STEP_MS;
        if housekeeper.anchored_ms.is_some_and(near) {
            return;
        }
        match anchor::store(&*self.disk, now_ms) {
            Ok(()) => housekeeper.anchored_ms = Some(now_ms),
            // Tried again in the next round; without it the next open trusts less.
            Err(error) => {
                lock(&self.notes).failure = Some(format!("writing the file `clock`: {error}"));
            }
        }
    }

    /// Removes the oldest segments as long as every rule allows it.
    fn let_expired_go(&self, housekeeper: &mut Housekeeper) -> usize {
        // The clock is looked at in every round, so that a jump is seen when it happens.
        let (wall_ms, monotonic) = (self.clock.wall_ms(), self.clock.monotonic());
        let trusted = lock(&self.notes).clock.now_ms(wall_ms, monotonic);
        if let Some(now_ms) = trusted {
            self.keep_anchor(housekeeper, now_ms);
        }
        let (Some(retain), Some(now_ms)) = (self.options.retain, trusted) else { return 0 };
        let rules = Rules { retain, key_window: self.options.key_window };
        let mut removed = 0;
        if let Err(error) = self.finish_leaving(housekeeper) {
            lock(&self.notes).failure = Some(format!("retention: {error}"));
            return 0;
        }
        while let Some((number, end_seq)) = self.oldest_sealed() {
            let cursors = lock(&self.projections);
            let cursor_min = cursors.iter().map(|(_, cursor)| cursor.load(Ordering::SeqCst)).min();
            drop(cursors);
            let outcome = self.look_at_oldest(housekeeper, number, end_seq).and_then(|oldest| {
                let may_go = |newest_ms| rules.may_go(now_ms, newest_ms, end_seq, cursor_min);
                if !may_go(oldest.newest_ms) {
                    return Ok(false);
                }
                // What was looked at may be another file by now.
                housekeeper.oldest = None;
                let oldest = self.look_at_oldest(housekeeper, number, end_seq)?;
                if !may_go(oldest.newest_ms) {
                    return Ok(false);
                }
                self.forget_oldest(housekeeper, oldest, end_seq);
                self.finish_leaving(housekeeper).map(|()| true)
            });
            match outcome {
                Ok(true) => removed += 1,
                Ok(false) => break,
                Err(error) => {
                    let failure = format!("retention of segment {number}: {error}");
                    lock(&self.notes).failure = Some(failure);
                    break;
                }
            }
        }
        removed
    }

    /// The oldest segment and its end, if its successor holds more than one batch.
    fn oldest_sealed(&self) -> Option<(u64, u64)> {
        let proven = self.proven.load(Ordering::SeqCst);
        let ledger = self.ledger();
        let mut segments = ledger.segments();
        let (oldest, next) = (segments.next()?, segments.next()?);
        let end_seq = next.header.first_seq;
        (end_seq < proven).then_some((oldest.header.number, end_seq))
    }

    /// Looks for the newest time recorded in the oldest segment, once. Of a damaged one it is not
    /// later than what the segment after it was begun with and holds.
    fn look_at_oldest(
        &self,
        housekeeper: &mut Housekeeper,
        number: u64,
        end_seq: u64,
    ) -> Result<Oldest, ReadError> {
        if let Some(oldest) = housekeeper.oldest.as_ref().filter(|oldest| oldest.number == number) {
            return Ok(oldest.clone());
        }
        let locate = |seq| self.ledger().locate(seq).ok_or(ReadError::Expired);
        let (place, next) = (locate(end_seq - 1)?, locate(end_seq)?);
        let mut oldest = Oldest { number, newest_ms: 0, damage: None, unknown: false };
        match newest_commit_ms(self, &place, &mut oldest.newest_ms) {
            Ok(()) => {}
            Err(error) if is_lasting(&error) => {
                oldest.unknown = open_place(self, &place).is_err();
                oldest.damage = Some(error.to_string());
                let begun_ms = place.header.created_ms.max(next.header.created_ms);
                oldest.newest_ms = oldest.newest_ms.max(begun_ms);
                // As far as it can be read, and not at all while it is written to.
                let _ = newest_commit_ms(self, &next, &mut oldest.newest_ms);
            }
            Err(error) => return Err(error),
        }
        housekeeper.oldest = Some(oldest.clone());
        Ok(oldest)
    }

    /// The position moves first, so that readers find the segment expired and not missing.
    fn forget_oldest(&self, housekeeper: &mut Housekeeper, leaving: Oldest, end_seq: u64) {
        self.first_seq.store(end_seq, Ordering::SeqCst);
        if self.ledger().forget_oldest().is_some() {
            lock(&self.lookups).forget_below(leaving.number + 1);
            housekeeper.leaving = Some(leaving);
        }
    }

    /// One segment at a time, each removal durable before the next, so that no hole can appear;
    /// also when a step has failed and is tried again a round later.
    fn finish_leaving(&self, housekeeper: &mut Housekeeper) -> Result<(), ReadError> {
        let Some(leaving) = &housekeeper.leaving else { return Ok(()) };
        let (segment, name) = (leaving.number, segment_file_name(leaving.number));
        let removed = if leaving.unknown {
            make_way(&*self.disk, &name)
        } else {
            remove_if_there(&*self.disk, &name)
        };
        removed
            .and_then(|()| self.disk.sync_dir())
            .map_err(|source| ReadError::Io { segment, source })?;
        if let Some(damage) = &leaving.damage {
            let how = if leaving.unknown { "set aside" } else { "removed" };
            let note = format!("segment {segment} has expired and was {how} though {damage}");
            lock(&self.notes).failure = Some(note);
        }
        housekeeper.leaving = None;
        Ok(())
    }

    /// Counts the files that were set aside, which may have become more by a round's work.
    pub(crate) fn count_aside(&self) {
        if let Ok(bytes) = aside::bytes(&*self.disk) {
            self.ledger().aside_bytes = bytes;
        }
    }

    /// Refuses or admits appends by the free space. What is kept free: the next segment if it is
    /// not there yet, one compression, and the reserve for everything beside the journal.
    fn watch_space(&self) {
        let Ok(space) = self.disk.space() else { return };
        self.counters.free_bytes.store(space.free_bytes, Ordering::Relaxed);
        let segment_bytes = self.options.segment_bytes;
        let missing = {
            let ledger = self.ledger();
            let number = ledger.newest() + 1;
            ledger.next.is_none() && !self.is_over_cap(&ledger, number)
        };
        let mut needed = self.options.reserve_bytes;
        if missing {
            needed = needed.saturating_add(segment_bytes);
        }
        if self.options.compress_level.is_some() {
            needed = needed.saturating_add(segment_bytes);
        }
        self.pending().no_space = space.free_bytes < needed;
        self.watch_cap();
    }

    /// Tells appenders whether what they append may need a segment that the cap on bytes forbids.
    pub(crate) fn watch_cap(&self) {
        let mut pending = self.pending();
        let blocked = self.is_over_cap(&self.ledger(), pending.segment + 1);
        pending.next_blocked = blocked;
    }

    /// Prepares the next segment unless it is there, or there is no room for it.
    fn prepare_next(&self) -> bool {
        let _preparing = lock(&self.preparing);
        let number = {
            let ledger = self.ledger();
            let number = ledger.newest() + 1;
            if ledger.next.is_some() || self.is_over_cap(&ledger, number) {
                return false;
            }
            number
        };
        match prepare(&*self.disk, number, self.options.segment_bytes) {
            Ok(prepared) => {
                self.ledger().next = Some(prepared);
                true
            }
            Err(error) => {
                self.not_prepared(number, &error);
                false
            }
        }
    }
}

/// Whether a segment cannot be read and never will be.
fn is_lasting(error: &ReadError) -> bool {
    match error {
        ReadError::Damaged { .. } => true,
        ReadError::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        ReadError::Expired | ReadError::NotYet => false,
    }
}
