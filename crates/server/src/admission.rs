//! What is known of the store before a usage is read: overload has to cost little.

use std::sync::atomic::{AtomicBool, Ordering};

use store::{AppendRefused, Store};
use telemetry::Refusal;

/// Bytes of large answers that may wait for their receivers, over all cores.
pub(crate) const ANSWERS_BYTES_MAX: usize = 64 << 20;

/// Whether the store has lately refused for want of room or for good: only then is it asked before a
/// body is read, so that nothing but a load stands in the way of a usage that has room.
#[derive(Default)]
pub(crate) struct Refusing(AtomicBool);

impl Refusing {
    /// The store refuses.
    pub(crate) fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// The store refuses, if `reason` is one that the next usage would meet as well.
    pub(crate) fn note_if(&self, reason: Refusal) {
        if matches!(
            reason,
            Refusal::Overload
                | Refusal::TailFull
                | Refusal::NoSpace
                | Refusal::Poisoned
                | Refusal::Stuck
                | Refusal::Stopping
        ) {
            self.note();
        }
    }

    /// Why a usage would be refused whatever its body; asks the store only after a refusal.
    pub(crate) fn why(&self, store: &Store) -> Result<(), AppendRefused> {
        if self.0.load(Ordering::Relaxed) {
            store.room()?;
            self.0.store(false, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_refusal_the_store_is_asked_until_it_has_room() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut config = store::Config::new(dir.path());
        config.journal.reserve_bytes = 0;
        let clock = std::sync::Arc::new(store::SystemClock::new());
        let store = Store::open(config, clock).expect("opens");
        let refusing = Refusing::default();
        refusing.note_if(Refusal::Overload);
        assert_eq!(refusing.why(&store), Ok(()));
        assert!(!refusing.0.load(Ordering::Relaxed), "there was room again");
        store.close().expect("closes");
        assert_eq!(refusing.why(&store), Ok(()), "the control: nothing was refused yet");
        refusing.note_if(Refusal::KeyReused);
        assert_eq!(refusing.why(&store), Ok(()), "the next usage may have another key");
        refusing.note_if(Refusal::Stopping);
        assert_eq!(refusing.why(&store), Err(AppendRefused::Closed));
        assert_eq!(refusing.why(&store), Err(AppendRefused::Closed), "and again");
    }
}
