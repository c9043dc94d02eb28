//! Waiting for durability on one core: one subscription to the journal wakes whoever waits there.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use journal::{Ended, Journal, Subscription};

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
    /// By (sequence, number), ascending. An entry goes when its frame is durable or the journal
    /// has ended, so there are no more than frames in flight.
    waiting: RefCell<VecDeque<Waiting>>,
    numbers: Cell<u64>,
    driver: RefCell<Option<Waker>>,
    ended: Cell<Option<Ended>>,
}

struct Waiting {
    seq: u64,
    number: u64,
    waker: Waker,
}

impl Tickets {
    /// The tickets of the calling thread's core.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        Self::of_journal(store.journal())
    }

    fn of_journal(journal: &Journal) -> Self {
        Self {
            core: Rc::new(Core {
                subscription: RefCell::new(Some(journal.subscribe())),
                journal: journal.clone(),
                waiting: RefCell::default(),
                numbers: Cell::new(0),
                driver: RefCell::default(),
                ended: Cell::new(None),
            }),
        }
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

    /// Ready when the frame `seq` is durable, or when that cannot be told any more.
    pub fn durable(&self, seq: u64) -> Durable {
        Durable { core: Rc::clone(&self.core), seq, number: None }
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

    fn outcome(&self, seq: u64) -> Option<Result<(), OutcomeUnknown>> {
        if self.journal.durable() > seq {
            return Some(Ok(()));
        }
        // Seen before the position was read, `ended` means that the position moves no more.
        self.ended.get().map(|_| Err(OutcomeUnknown))
    }

    /// Keeps `waker` under (`seq`, `number`), or under a new number.
    fn wait(&self, seq: u64, number: Option<u64>, waker: &Waker) -> u64 {
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
        waiting.insert(at, Waiting { seq, number, waker: waker.clone() });
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
    number: Option<u64>,
}

impl Future for Durable {
    type Output = Result<(), OutcomeUnknown>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(outcome) = self.core.outcome(self.seq) {
            return Poll::Ready(outcome);
        }
        self.number = Some(self.core.wait(self.seq, self.number, cx.waker()));
        Poll::Pending
    }
}
