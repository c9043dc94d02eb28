//! Keeps a connection's task from waking itself while it reads a body.
//!
//! hyper hands a body over through a channel whose two ends are held by one task: taking the bytes
//! wakes the sending end, which is the same task, in the middle of its own poll. When the body has
//! ended there is nothing left to send, so the poll that follows does nothing, once for every request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Poll, Wake, Waker};

const FORWARD: u8 = 0;
const HOLD: u8 = 1;
const HELD: u8 = 2;

/// A task's waker with a way to hold its wakes for a moment.
pub(crate) struct Hush {
    task: Waker,
    state: AtomicU8,
}

impl Hush {
    pub(crate) fn new(task: Waker) -> Arc<Self> {
        Arc::new(Self { task, state: AtomicU8::new(FORWARD) })
    }

    /// Wakes the task.
    pub(crate) fn forward(&self) {
        self.task.wake_by_ref();
    }

    /// Runs `poll`, whose wakes are held until it returns, and forgotten when it says that nothing
    /// follows.
    pub(crate) fn during<T>(&self, poll: impl FnOnce() -> (Poll<T>, bool)) -> Poll<T> {
        self.state.store(HOLD, Ordering::Release);
        let (polled, finished) = poll();
        let held = self.state.swap(FORWARD, Ordering::AcqRel) == HELD;
        if held && !finished {
            self.task.wake_by_ref();
        }
        polled
    }
}

impl Wake for Hush {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // A wake by another thread may meet the end of the holding: then it is forwarded, or seen there.
        let held = self.state.compare_exchange(HOLD, HELD, Ordering::AcqRel, Ordering::Acquire);
        if held.is_err_and(|state| state == FORWARD) {
            self.task.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often the task is woken by one wake inside a poll that ends like this, and one after it.
    fn check(polled: Poll<()>, finished: bool, expected: (usize, usize)) {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let hush = Hush::new(Waker::from(Arc::clone(&count)));
        let waker = Waker::from(Arc::clone(&hush));
        let woken = || count.0.load(Ordering::Relaxed);
        let poll = || {
            waker.wake_by_ref();
            waker.wake_by_ref();
            assert_eq!(woken(), 0, "wakes are held");
            (polled, finished)
        };
        assert_eq!(hush.during(poll), polled);
        let inside = woken();
        waker.wake_by_ref();
        assert_eq!((inside, woken() - inside), expected, "{polled:?}, finished {finished}");
    }

    #[test]
    fn only_the_wakes_of_a_finished_body_are_forgotten() {
        check(Poll::Ready(()), true, (0, 1));
        check(Poll::Ready(()), false, (1, 1));
        check(Poll::Pending, false, (1, 1));
    }

    #[test]
    fn without_a_wake_there_is_none() {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let hush = Hush::new(Waker::from(Arc::clone(&count)));
        assert_eq!(hush.during(|| (Poll::Ready(()), false)), Poll::Ready(()));
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
    }
}
