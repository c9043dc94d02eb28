//! Budgets of bytes. A request for more than is left is refused before any of it is used, so overload
//! costs little and never memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that may be in use at once, over all cores.
#[derive(Debug)]
pub struct Budget {
    bytes_max: usize,
    bytes: AtomicUsize,
}

/// A share of the budget for as long as an answer needs it, given back when dropped.
#[derive(Debug)]
pub struct Held {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

/// A share of the budget, given back when dropped.
#[derive(Debug)]
pub struct Permit<'a> {
    budget: &'a Arc<Budget>,
    bytes: usize,
}

impl Budget {
    /// A budget of `bytes_max`, all of it free.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: AtomicUsize::new(0) }
    }

    /// A permit for `bytes`, or `None` when the budget is used up.
    pub fn admit(self: &Arc<Self>, bytes: usize) -> Option<Permit<'_>> {
        self.take(bytes).then(|| Permit { budget: self, bytes })
    }

    /// The same for an answer, which outlives the call that it is for.
    pub fn hold(self: &Arc<Self>, bytes: usize) -> Option<Held> {
        self.take(bytes).then(|| Held { budget: Arc::clone(self), bytes })
    }

    /// Takes `bytes`, to be given back by hand, or nothing when they do not fit.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        // Taking first and giving back on refusal needs one atomic step when there is room.
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= self.bytes_max;
        if !fits {
            self.give_back(bytes);
        }
        fits
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Permit<'_> {
    /// The same share, for work that goes on when its call is given up.
    pub fn detach(mut self) -> Held {
        let bytes = std::mem::take(&mut self.bytes);
        Held { budget: Arc::clone(self.budget), bytes }
    }

    /// Has the permit cover `bytes`, if there is room for what that adds.
    pub fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let fits = more == 0 || self.budget.take(more);
        if fits {
            self.bytes += more;
        }
        fits
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_given_out_and_comes_back() {
        let budget = Arc::new(Budget::new(100));
        let first = budget.admit(60).expect("there is room");
        assert!(budget.admit(60).is_none());
        assert_eq!(budget.bytes(), 60);
        let second = budget.admit(40).expect("the refused one gave its bytes back");
        drop(first);
        drop(second);
        assert_eq!(budget.bytes(), 0);
        assert!(budget.admit(101).is_none());
        let mut growing = budget.admit(10).expect("there is room");
        assert!(growing.grow_to(100));
        assert!(growing.grow_to(5), "it never shrinks");
        assert_eq!(budget.bytes(), 100);
        assert!(!growing.grow_to(101));
        let detached = growing.detach();
        assert_eq!(budget.bytes(), 100);
        drop(detached);
        assert_eq!(budget.bytes(), 0);
        let budget = Arc::new(budget);
        let held = budget.hold(100).expect("there is room");
        assert!(budget.hold(1).is_none());
        drop(held);
        assert_eq!(budget.bytes(), 0);
    }
}
