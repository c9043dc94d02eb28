//! What an operator may choose about a journal.

use std::time::Duration;

use crate::format::BATCH_HEADER_BYTES;
use crate::limits;

/// The journal's settings. `Options::default()` suits a machine with a local SSD.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of a raw segment's file; one that an open finds no spare for is smaller.
    pub segment_bytes: u64,
    /// Least time between the starts of two syncs when more than one appender waits. A lone
    /// waiter is never delayed by it.
    pub spacing: Duration,
    /// Budget of the pending buffer: bytes of frames that may wait, and so the largest batch.
    pub pending_bytes_max: usize,
    /// Bytes of the file system to leave free beyond the next segment and one compression.
    pub reserve_bytes: u64,
    /// Cap on the bytes of all segment files: at the cap appends are refused, nothing is deleted.
    /// Only an open may pass it, by the small segment that it begins, for it has to secure the last
    /// batch somewhere.
    pub bytes_max: Option<u64>,
    /// Age at which a segment may go; `None` keeps everything for ever.
    pub retain: Option<Duration>,
    /// How long idempotency keys have to be remembered; no segment goes before.
    pub key_window: Duration,
    /// zstd level for sealed segments; `None` leaves them raw. Higher ones than the default cost two
    /// to four times the CPU for at most a tenth fewer bytes on small records.
    pub compress_level: Option<i32>,
    /// The number to give a store that is being created; one that exists must have it, when given.
    pub store_number: Option<u16>,
    /// How many sequences the file `mark` reserves ahead; few in a simulation, so that the limit is
    /// reached.
    #[doc(hidden)]
    pub mark_ahead: u64,
    /// Fixes salts and ids for a simulation. `None`, the default, takes them from the system's
    /// random source, which is what keeps a client from forging a batch.
    pub seed: Option<u64>,
    /// Protections of recovery switched off, so that a test can show that it would notice: what is
    /// believed of a file cannot be changed from outside, by a disk that lies. Never for data that
    /// anyone wants to keep.
    #[doc(hidden)]
    pub sabotage: Sabotage,
}

/// See [`Options::sabotage`]. The default switches nothing off.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sabotage {
    /// Recovery believes the last batch as it is read, instead of copying it into a fresh segment.
    pub unproven_tail: bool,
    /// Recovery cuts at the first damage, whatever valid batches come after it.
    pub later_batches: bool,
    /// Recovery believes the end that it finds, whatever the witnesses say.
    pub witnesses: bool,
    /// Recovery removes what its chain does not need without looking into it.
    pub removal_proof: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            spacing: Duration::from_millis(1),
            pending_bytes_max: 4 << 20,
            reserve_bytes: 256 << 20,
            bytes_max: None,
            retain: None,
            key_window: Duration::from_secs(30 * 24 * 3600),
            compress_level: Some(1),
            store_number: None,
            mark_ahead: limits::MARK_AHEAD,
            seed: None,
            sabotage: Sabotage::default(),
        }
    }
}

impl Options {
    /// Says what is wrong with the settings, if anything.
    pub fn validate(&self) -> Result<(), String> {
        let segments = limits::SEGMENT_BYTES_MIN..=limits::SEGMENT_BYTES_MAX;
        if !segments.contains(&self.segment_bytes) || !self.segment_bytes.is_multiple_of(4096) {
            return Err(format!(
                "the size of a segment (--segment-size) is {}; it must be a multiple of 4096 from {} to {}",
                self.segment_bytes,
                segments.start(),
                segments.end()
            ));
        }
        let pending = limits::PENDING_BYTES_MIN..=limits::PENDING_BYTES_MAX;
        if !pending.contains(&self.pending_bytes_max) {
            return Err(format!(
                "the memory for usages that wait for the disk (--pending-max) is {}; it must be from \
                 {} to {}",
                self.pending_bytes_max,
                pending.start(),
                pending.end()
            ));
        }
        let batch_bytes = (self.pending_bytes_max + BATCH_HEADER_BYTES) as u64;
        if batch_bytes > limits::segment_room(self.segment_bytes) {
            return Err(format!(
                "a write of {} bytes (--pending-max) does not fit a segment of {} (--segment-size)",
                self.pending_bytes_max, self.segment_bytes
            ));
        }
        if self.spacing > Duration::from_millis(limits::SPACING_MS_MAX) {
            return Err(format!(
                "the least time between two syncs (--commit-spacing) is {:?}; at most one second",
                self.spacing
            ));
        }
        if self.store_number.is_some_and(|number| number > limits::STORE_NUMBER_MAX) {
            let max = limits::STORE_NUMBER_MAX;
            return Err(format!("the store's number (--store-number) is above {max}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions_are_named() {
        fn check(change: impl FnOnce(&mut Options), expected: &str) {
            let mut options = Options::default();
            change(&mut options);
            match options.validate() {
                Ok(()) => assert_eq!(expected, "", "accepted"),
                Err(why) => assert!(!expected.is_empty() && why.contains(expected), "{why}"),
            }
        }
        check(|_| {}, "");
        check(|o| o.segment_bytes = 5000, "--segment-size");
        check(|o| o.segment_bytes = 1 << 40, "--segment-size");
        check(|o| o.pending_bytes_max = 1, "--pending-max");
        check(|o| o.segment_bytes = 1 << 20, "does not fit");
        check(|o| o.spacing = Duration::from_secs(2), "--commit-spacing");
        check(|o| o.store_number = Some(4096), "--store-number");
    }
}
