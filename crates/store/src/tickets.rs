//! Waiting for durability on one core: one subscription to the journal wakes whoever waits there.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use journal::{Clock, Ended, Journal, Subscription};

use crate::error::OutcomeUnknown;
use crate::store::Store;

/// The tickets of one core. [`Tickets::drive`] has to run on it as a task, once; clones share it.
///
/// Between the journal and the many that wait stands one future per core, so that a batch costs
/// one wake-up across threads per core, whatever the number of requests it covers.
#[derive(Clone)]
pub struct Tickets {
    core: Rc<Core>,
}

struct Core {
    journal: Journal,
    subscription: RefCell<Option<Subscription>>,
    /// By (sequence, number), ascending. An entry goes when its frame is durable, the journal has
    /// ended, or its time is over, so there are no more than frames in flight.
    waiting: RefCell<VecDeque<Waiting>>,
    numbers: Cell<u64>,
    driver: RefCell<Option<Waker>>,
    ended: Cell<Option<Ended>>,
    clock: Arc<dyn Clock>,
    /// Coarse time, moved by [`Tickets::tick`].
    now: Cell<Duration>,
    /// How long a frame is waited for.
    patience: Duration,
}

struct Waiting {
    seq: u64,
    number: u64,
    since: Duration,
    waker: Waker,
}

impl Tickets {
    /// The tickets of the calling thread's core. A frame is waited for as long as `patience`.
    #[must_use]
    pub fn new(store: &Store, clock: Arc<dyn Clock>, patience: Duration) -> Self {
        Self {
            core: Rc::new(Core {
                subscription: RefCell::new(Some(store.journal().subscribe())),
                journal: store.journal().clone(),
                waiting: RefCell::default(),
                numbers: Cell::new(0),
                driver: RefCell::default(),
                ended: Cell::new(None),
                now: Cell::new(clock.monotonic()),
                clock,
                patience,
            }),
        }
    }

    /// The time by which waiting is measured, as of the last [`Tickets::tick`].
    #[must_use]
    pub fn now(&self) -> Duration {
        self.core.now.get()
    }

    /// Moves the time on, and ends the waiting of those whose patience is over. Called some times a
    /// second, which is the grain of the patience: a timer for each request would cost more than the
    /// rest of its waiting.
    pub fn tick(&self) {
        self.core.now.set(self.core.clock.monotonic());
        self.core.waiting.borrow_mut().retain(|waiting| {
            let over = self.core.is_over(waiting.since);
            if over {
                waiting.waker.wake_by_ref();
            }
            !over
        });
    }

    /// Wakes whoever waits, until the journal is closed or has failed. It listens to the journal
    /// only while somebody waits.
    ///
    /// # Panics
    /// When called a second time.
    pub fn drive(&self) -> impl Future<Output = ()> + use<> {
        let core = Rc::clone(&self.core);
        let mut subscription =
            core.subscription.borrow_mut().take().expect("a core's tickets are driven once");
        poll_fn(move |cx| core.poll(&mut subscription, cx))
    }

    /// Ready when the frame `seq` is durable, when that cannot be told any more, or when the patience,
    /// counted from `since` on by [`Tickets::now`], is over.
    pub fn durable(&self, seq: u64, since: Duration) -> Durable {
        Durable { core: Rc::clone(&self.core), seq, since, number: None }
    }
}

impl Core {
    fn poll(&self, subscription: &mut Subscription, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let first = self.waiting.borrow().front().map(|waiting| waiting.seq);
            let Some(first) = first else {
                if self.ended.get().is_some() {
                    return Poll::Ready(());
                }
                let mut driver = self.driver.borrow_mut();
                if !driver.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    *driver = Some(cx.waker().clone());
                }
                return Poll::Pending;
            };
            match subscription.poll_durable(cx, first) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(durable)) => self.wake_below(durable),
                Poll::Ready(Err(ended)) => {
                    self.ended.set(Some(ended));
                    self.wake_below(u64::MAX);
                    return Poll::Ready(());
                }
            }
        }
    }

    fn wake_below(&self, durable: u64) {
        let mut waiting = self.waiting.borrow_mut();
        while waiting.front().is_some_and(|first| first.seq < durable) {
            waiting.pop_front().expect("there is a first").waker.wake();
        }
    }

    fn is_over(&self, since: Duration) -> bool {
        self.now.get().saturating_sub(since) >= self.patience
    }

    fn outcome(&self, seq: u64, since: Duration) -> Option<Result<(), OutcomeUnknown>> {
        if self.journal.durable() > seq {
            return Some(Ok(()));
        }
        // Seen before the position was read, `ended` means that the position moves no more.
        if self.ended.get().is_some() {
            return Some(Err(OutcomeUnknown::Failed));
        }
        self.is_over(since).then_some(Err(OutcomeUnknown::TimedOut))
    }

    /// Keeps `waker` under (`seq`, `number`), or under a new number.
    fn wait(&self, seq: u64, since: Duration, number: Option<u64>, waker: &Waker) -> u64 {
        let mut waiting = self.waiting.borrow_mut();
        if let Some(number) = number
            && let Ok(at) = waiting.binary_search_by_key(&(seq, number), |w| (w.seq, w.number))
        {
            waiting[at].waker.clone_from(waker);
            return number;
        }
        let number = self.numbers.get();
        self.numbers.set(number + 1);
        // Nearly always the last: a core appends in order, only a replay waits for an older one.
        let at = waiting.partition_point(|other| (other.seq, other.number) < (seq, number));
        let driver_sleeps = at == 0;
        waiting.insert(at, Waiting { seq, number, since, waker: waker.clone() });
        drop(waiting);
        if driver_sleeps && let Some(driver) = self.driver.borrow().as_ref() {
            driver.wake_by_ref();
        }
        number
    }
}

/// Waits for one frame; see [`Tickets::durable`].
#[must_use = "a future does nothing unless it is polled"]
pub struct Durable {
    core: Rc<Core>,
    seq: u64,
    since: Duration,
    number: Option<u64>,
}

impl Future for Durable {
    type Output = Result<(), OutcomeUnknown>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(outcome) = self.core.outcome(self.seq, self.since) {
            return Poll::Ready(outcome);
        }
        self.number = Some(self.core.wait(self.seq, self.since, self.number, cx.waker()));
        Poll::Pending
    }
}
