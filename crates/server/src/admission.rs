//! A budget of bytes for request bodies in memory: who does not fit is refused before the body is
//! read, so that overload costs little and never memory.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of bodies that may be in memory at once, over all cores.
pub(crate) struct Admission {
    bytes_max: usize,
    bytes: AtomicUsize,
}

/// A share of the budget, given back when dropped.
pub(crate) struct Permit<'a> {
    admission: &'a Admission,
    bytes: usize,
}

impl Admission {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: AtomicUsize::new(0) }
    }

    /// A permit for a body of `bytes`, or `None` when the budget is used up.
    pub(crate) fn admit(&self, bytes: usize) -> Option<Permit<'_>> {
        // Taking first and giving back on refusal needs one atomic step when there is room.
        let fits = self.take(bytes);
        let permit = Permit { admission: self, bytes };
        fits.then_some(permit)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_given_out_and_comes_back() {
        let admission = Admission::new(100);
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
        drop(growing);
        assert_eq!(admission.bytes(), 0);
    }
}
