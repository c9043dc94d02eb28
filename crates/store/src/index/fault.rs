//! What tests have happen in the middle of looks for keys: that the index moves on, or panics.

use std::cell::RefCell;
use std::collections::VecDeque;

type Event = Box<dyn FnOnce()>;

thread_local! {
    static EVENTS: RefCell<VecDeque<Event>> = const { RefCell::new(VecDeque::new()) };
}

/// Has the next looks for a key on this thread begin with these.
pub(crate) fn at_looks(events: impl IntoIterator<Item = Event>) {
    EVENTS.with_borrow_mut(|due| due.extend(events));
}

/// Called by each look for a key.
pub(super) fn look() {
    if let Some(event) = EVENTS.with_borrow_mut(VecDeque::pop_front) {
        event();
    }
}
