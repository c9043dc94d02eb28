//! The background work, one round at a time: watch the space, prepare the next segment, compress
//! a sealed one, let expired ones go.

use std::sync::atomic::Ordering;

use crate::prepare::{is_out_of_space, prepare};
use crate::shared::{Shared, lock};
use crate::status::ClockSuspect;

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

/// The housekeeper's own state, behind its lock.
#[derive(Default)]
pub(crate) struct Housekeeper {
    /// Set by close: the directory may belong to another process from then on.
    pub(crate) stopped: bool,
    /// The last failure of compression or retention.
    pub(crate) failure: Option<String>,
}

impl Shared {
    /// One round.
    pub(crate) fn housekeep_once(&self) -> Housekept {
        let mut housekeeper = lock(&self.housekeeper);
        let mut done = Housekept::default();
        if housekeeper.stopped || self.is_poisoned() {
            return done;
        }
        self.watch_space();
        done.prepared = self.prepare_next();
        let _ = &mut housekeeper;
        self.watch_space();
        done
    }

    /// What status tells of the housekeeping.
    pub(crate) fn housekeeping_status(&self) -> (Option<String>, Option<ClockSuspect>) {
        (None, None)
    }

    pub(crate) fn confirm_clock(&self) {}

    /// Refuses or admits appends by the free space. What is kept free: the next segment if it is
    /// not there yet, one compression, and the reserve for everything beside the journal.
    fn watch_space(&self) {
        let Ok(space) = self.disk.space() else { return };
        self.counters.free_bytes.store(space.free_bytes, Ordering::Relaxed);
        let segment_bytes = self.options.segment_bytes;
        let (missing, capped) = {
            let ledger = self.ledger();
            (ledger.next.is_none(), self.cap_reached(&ledger))
        };
        let mut needed = self.options.reserve_bytes;
        if missing && !capped {
            needed = needed.saturating_add(segment_bytes);
        }
        if self.options.compress_level.is_some() {
            needed = needed.saturating_add(segment_bytes);
        }
        let mut pending = self.pending();
        pending.no_space = space.free_bytes < needed;
        pending.next_blocked = missing && capped;
    }

    /// Prepares the next segment unless it is there, or there is no room for it.
    fn prepare_next(&self) -> bool {
        let _preparing = lock(&self.preparing);
        let number = {
            let ledger = self.ledger();
            if ledger.next.is_some() || self.cap_reached(&ledger) {
                return false;
            }
            ledger.active().header.number + 1
        };
        match prepare(&*self.disk, number, self.options.segment_bytes) {
            Ok(prepared) => {
                self.ledger().next = Some(prepared);
                true
            }
            Err(error) if is_out_of_space(&error) => {
                self.pending().no_space = true;
                false
            }
            Err(error) => {
                self.poison(format!("preparing segment {number}: {error}"));
                false
            }
        }
    }
}
