//! A journal that an open found no room for: what holds until there is some.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use journal::{AppendError, Journal};

use super::{CAPACITY_BYTES, DAY_MS, World};

impl World {
    /// The disk had no room for what the open writes: what is proven durable can be read, and the last
    /// batch waits. Whether the journal has begun in the end; else it is to be opened again.
    pub(super) fn begins_late(
        &mut self,
        journal: &Journal,
        trace: &mut Vec<String>,
    ) -> Result<bool, String> {
        self.tally.full_opens += 1;
        // What expires meanwhile is not this part's subject.
        journal.register_projection("consumer", Arc::new(AtomicU64::new(0)));
        // Housekeeping writes down the time that it believes.
        if self.wall_ms() <= self.believed_ms + DAY_MS {
            self.believed_ms = self.believed_ms.max(self.wall_ms());
        }
        let unproven = journal.unproven();
        let end_seq = unproven.as_ref().map_or(journal.durable(), |batch| batch.end_seq());
        if end_seq < self.model.end_seq() {
            return Err(format!("LOST: with what is unproven the journal ends at {end_seq}"));
        }
        if journal.appender().map(drop) != Err(AppendError::NoSpace) {
            return Err("an append was admitted before the journal had begun".to_owned());
        }
        let mut reader = journal.reader(journal.first_seq());
        while let Some(batch) = reader.next_batch().map_err(|error| format!("full: {error}"))? {
            let settled = batch.frames().filter(|frame| frame.seq < self.model.end_seq());
            for frame in settled {
                self.model.check_frame(frame)?;
            }
        }
        if reader.next_seq() != journal.durable() {
            return Err("a reader stops before the durable position".to_owned());
        }
        for _ in 0..4 {
            match self.rng.below(6) {
                0 => {
                    journal.close().map_err(|error| format!("closing a full journal: {error}"))?;
                    trace.push("closed before it had begun".to_owned());
                    return Ok(false);
                }
                1 => self.plan_fault_in_open(trace),
                2 => self.disk.set_capacity(self.disk.used_bytes() + self.rng.below(40 << 10)),
                3 => self.disk.set_capacity(CAPACITY_BYTES),
                _ => {}
            }
            journal.housekeep_once();
            let dead = self.disk.is_halted() || journal.failure().is_some();
            if journal.status().begun && !dead {
                self.disk.forget_faults();
                return Ok(true);
            }
            if dead || self.rng.chance(1, 4) {
                let crash = self.any_crash();
                trace.push(format!("{crash:?} before it had begun, or while it did"));
                self.disk.crash(crash);
                return Ok(false);
            }
        }
        self.disk.forget_faults();
        self.disk.set_capacity(CAPACITY_BYTES);
        let begun = (0..30).any(|_| {
            journal.housekeep_once();
            journal.status().begun || journal.failure().is_some()
        });
        trace.push(format!("begun late: {:?}", journal.status()));
        self.excuse(begun && journal.unproven().is_none(), "the journal did not begin")?;
        Ok(journal.failure().is_none())
    }
}
