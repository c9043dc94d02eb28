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
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let permit = Permit { admission: self, bytes };
        // Taking first and giving back on refusal needs one atomic step when there is room.
        (before.saturating_add(bytes) <= self.bytes_max).then_some(permit)
    }

    /// Bytes in use.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
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
    }
}
