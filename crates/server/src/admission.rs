//! Budgets of bytes for bodies in memory. Who sends one that does not fit is refused before it is
//! read, so that overload costs little and never memory; who asks for one that does not is refused it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use store::{AppendRefused, Store};
use telemetry::Refusal;

/// Bytes of bodies that may be in memory at once, over all cores.
pub(crate) struct Admission {
    bytes_max: usize,
    bytes: AtomicUsize,
}

/// Bytes of large answers that may wait for their receivers, over all cores.
pub(crate) const ANSWERS_BYTES_MAX: usize = 64 << 20;

/// A share of the budget for as long as an answer needs it, given back when dropped.
pub(crate) struct Held {
    admission: Arc<Admission>,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.admission.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A share of the budget, given back when dropped.
pub(crate) struct Permit<'a> {
    admission: &'a Arc<Admission>,
    bytes: usize,
}

impl Admission {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: AtomicUsize::new(0) }
    }

    /// A permit for a body of `bytes`, or `None` when the budget is used up.
    pub(crate) fn admit(self: &Arc<Self>, bytes: usize) -> Option<Permit<'_>> {
        // Taking first and giving back on refusal needs one atomic step when there is room.
        let fits = self.take(bytes);
        let permit = Permit { admission: self, bytes };
        fits.then_some(permit)
    }

    /// The same for an answer, which outlives the call that it is for.
    pub(crate) fn hold(self: &Arc<Self>, bytes: usize) -> Option<Held> {
        let fits = self.take(bytes);
        let held = Held { admission: Arc::clone(self), bytes };
        fits.then_some(held)
    }

    fn take(&self, bytes: usize) -> bool {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        before.saturating_add(bytes) <= self.bytes_max
    }

    /// Bytes in use.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Permit<'_> {
    /// The same share, for work that goes on when its call is given up.
    pub(crate) fn detach(mut self) -> Held {
        let bytes = std::mem::take(&mut self.bytes);
        Held { admission: Arc::clone(self.admission), bytes }
    }

    /// Has the permit cover `bytes`, if there is room for what that adds.
    pub(crate) fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let fits = more == 0 || self.admission.take(more);
        self.bytes += more;
        fits
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.admission.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

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

    #[test]
    fn the_budget_is_given_out_and_comes_back() {
        let admission = Arc::new(Admission::new(100));
        let first = admission.admit(60).expect("there is room");
        assert!(admission.admit(60).is_none());
        assert_eq!(admission.bytes(), 60);
        let second = admission.admit(40).expect("the refused one gave its bytes back");
        drop(first);
        drop(second);
        assert_eq!(admission.bytes(), 0);
        assert!(admission.admit(101).is_none());
        let mut growing = admission.admit(10).expect("there is room");
        assert!(growing.grow_to(100));
        assert!(growing.grow_to(5), "it never shrinks");
        assert_eq!(admission.bytes(), 100);
        assert!(!growing.grow_to(101));
        let detached = growing.detach();
        assert_eq!(admission.bytes(), 101, "what was asked for last counts until it ends");
        drop(detached);
        assert_eq!(admission.bytes(), 0);
        let held = admission.hold(100).expect("there is room");
        assert!(admission.hold(1).is_none());
        drop(held);
        assert_eq!(admission.bytes(), 0);
    }
}
