//! Waiting for the durable position: wakers for tasks, a condition variable for threads. Each is
//! woken once per batch, and only when somebody really waits.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::error::{Ended, WaitError};
use crate::limits::SUBSCRIPTIONS_MAX;
use crate::shared::{Shared, lock};

/// Those who wait.
#[derive(Default)]
pub(crate) struct Waiters {
    slots: Mutex<Vec<Weak<Slot>>>,
    threads: AtomicUsize,
    threads_lock: Mutex<()>,
    threads_woken: Condvar,
}

#[derive(Default)]
struct Slot {
    armed: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Waiters {
    /// Wakes whoever waits. The caller has moved the durable position, or ended the journal,
    /// before. All loads and stores here are sequentially consistent: a waiter arms itself and
    /// then looks at the position, this side moves the position and then looks who is armed, so
    /// one of the two always sees the other.
    pub(crate) fn wake_all(&self) {
        let mut due = Vec::new();
        lock(&self.slots).retain(|slot| {
            let Some(slot) = slot.upgrade() else { return false };
            if slot.armed.swap(false, Ordering::SeqCst) {
                due.extend(lock(&slot.waker).take());
            }
            true
        });
        // Outside the lock: a waker may run anything.
        due.into_iter().for_each(Waker::wake);
        if self.threads.load(Ordering::SeqCst) > 0 {
            drop(lock(&self.threads_lock));
            self.threads_woken.notify_all();
        }
    }
}

/// A way to wait for the durable position without a thread; see
/// [`Journal::subscribe`](crate::Journal::subscribe).
pub struct Subscription {
    shared: Arc<Shared>,
    slot: Arc<Slot>,
}

impl Subscription {
    /// # Panics
    /// When more than [`SUBSCRIPTIONS_MAX`] are alive: they are meant to be one per core.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let slot = Arc::new(Slot::default());
        let mut slots = lock(&shared.waiters.slots);
        if slots.len() >= SUBSCRIPTIONS_MAX {
            slots.retain(|slot| slot.strong_count() > 0);
        }
        assert!(slots.len() < SUBSCRIPTIONS_MAX, "subscriptions are for cores, not for requests");
        slots.push(Arc::downgrade(&slot));
        drop(slots);
        Self { shared, slot }
    }

    /// Ready with the durable position once it is above `beyond`; otherwise `cx` is woken when the
    /// next batch is durable or the journal has ended. Only the last waker is kept.
    pub fn poll_durable(&mut self, cx: &mut Context<'_>, beyond: u64) -> Poll<Result<u64, Ended>> {
        if let Some(ready) = self.ready(beyond) {
            return Poll::Ready(ready);
        }
        {
            let mut waker = lock(&self.slot.waker);
            match &mut *waker {
                Some(kept) => kept.clone_from(cx.waker()),
                None => *waker = Some(cx.waker().clone()),
            }
        }
        self.slot.armed.store(true, Ordering::SeqCst);
        // Again, now that a batch committed in between would have found the slot armed.
        match self.ready(beyond) {
            Some(ready) => {
                self.slot.armed.store(false, Ordering::SeqCst);
                Poll::Ready(ready)
            }
            None => Poll::Pending,
        }
    }

    fn ready(&self, beyond: u64) -> Option<Result<u64, Ended>> {
        // The end is read first: once it is seen, the position read after it is the last.
        let ended = self.shared.ended();
        let durable = self.shared.durable.load(Ordering::SeqCst);
        if durable > beyond { Some(Ok(durable)) } else { ended.map(Err) }
    }
}

/// Blocks until the frame `seq` is durable.
pub(crate) fn wait_durable(shared: &Shared, seq: u64, timeout: Duration) -> Result<(), WaitError> {
    let waiters = &shared.waiters;
    let deadline = shared.clock.monotonic().saturating_add(timeout);
    let mut guard = lock(&waiters.threads_lock);
    waiters.threads.fetch_add(1, Ordering::SeqCst);
    let outcome = loop {
        let ended = shared.ended();
        if shared.durable.load(Ordering::SeqCst) > seq {
            break Ok(());
        }
        match ended {
            Some(Ended::Poisoned) => break Err(WaitError::Poisoned),
            Some(Ended::Closed) => break Err(WaitError::Closed),
            None => {}
        }
        let rest = deadline.saturating_sub(shared.clock.monotonic());
        if rest.is_zero() {
            break Err(WaitError::TimedOut);
        }
        let woken = waiters.threads_woken.wait_timeout(guard, rest);
        guard = woken.unwrap_or_else(std::sync::PoisonError::into_inner).0;
    };
    waiters.threads.fetch_sub(1, Ordering::SeqCst);
    drop(guard);
    outcome
}
