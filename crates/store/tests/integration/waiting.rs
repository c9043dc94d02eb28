//! Tickets: whoever waits on a core is woken when the frame is durable, or when it never will be.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use store::Tickets;

use crate::harness::*;

/// Counts how often a task was woken.
#[derive(Default)]
struct Bell {
    rung: AtomicBool,
    times: AtomicUsize,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::SeqCst);
        self.times.fetch_add(1, Ordering::SeqCst);
    }
}

struct Task<F: Future> {
    future: RefCell<Pin<Box<F>>>,
    bell: Arc<Bell>,
}

impl<F: Future> Task<F> {
    fn new(future: F) -> Self {
        Self { future: RefCell::new(Box::pin(future)), bell: Arc::default() }
    }
    fn poll(&self) -> Poll<F::Output> {
        self.bell.rung.store(false, Ordering::SeqCst);
        let waker = Waker::from(Arc::clone(&self.bell));
        self.future.borrow_mut().as_mut().poll(&mut Context::from_waker(&waker))
    }
    fn rung(&self) -> bool {
        self.bell.rung.load(Ordering::SeqCst)
    }
    fn times(&self) -> usize {
        self.bell.times.load(Ordering::SeqCst)
    }
}

/// Tickets with patience enough for any test.
fn patient(store: &store::Store) -> Tickets {
    Tickets::new(store, Arc::new(store::SystemClock::new()), Duration::from_secs(3600))
}

#[test]
fn a_batch_wakes_the_core_once_and_then_whoever_it_covers() {
    let dir = folder();
    let store = open(config(dir.path()));
    let tickets = patient(&store);
    let driver = Task::new(tickets.drive());
    assert!(driver.poll().is_pending());
    store.journal().commit_once().expect("nothing to do");
    assert_eq!(driver.times(), 0, "nobody waits");

    let seqs: Vec<u64> = (0..5).map(|n| post(&store, &nth(n)).expect("room").seq).collect();
    // Out of order, as replays wait.
    let waiting: Vec<_> =
        [3, 1, 4, 0, 2].map(|n| Task::new(tickets.durable(seqs[n], tickets.now()))).into();
    for task in &waiting {
        assert!(task.poll().is_pending());
        assert!(task.poll().is_pending(), "polled for another reason");
    }
    assert!(driver.rung(), "there is somebody to wait for");
    assert!(driver.poll().is_pending());
    let before = driver.times();
    store.journal().commit_once().expect("commits");
    assert_eq!(driver.times(), before + 1, "once for all of them");
    assert!(waiting.iter().all(|task| !task.rung()), "the core wakes its own");
    assert!(driver.poll().is_pending());
    for task in &waiting {
        assert_eq!(task.times(), 1);
        assert_eq!(task.poll(), Poll::Ready(Ok(())));
    }
    let late = Task::new(tickets.durable(seqs[0], tickets.now()));
    assert_eq!(late.poll(), Poll::Ready(Ok(())), "durable already");
}

/// A clock that a test moves.
#[derive(Default)]
struct HandMoved(std::sync::atomic::AtomicU64);

impl store::Clock for HandMoved {
    fn wall_ms(&self) -> u64 {
        0
    }
    fn monotonic(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::SeqCst))
    }
}

#[test]
fn repro_who_waits_for_a_stuck_disk_is_answered_in_time() {
    let dir = folder();
    let store = open(config(dir.path()));
    let clock = Arc::new(HandMoved::default());
    let at = |seconds| clock.0.store(seconds, Ordering::SeqCst);
    at(100);
    let tickets = Tickets::new(&store, Arc::<HandMoved>::clone(&clock), Duration::from_secs(10));
    let driver = Task::new(tickets.drive());
    let seqs: Vec<u64> = (0..3).map(|n| post(&store, &nth(n)).expect("room").seq).collect();
    let first = Task::new(tickets.durable(seqs[0], tickets.now()));
    assert!(first.poll().is_pending() && driver.poll().is_pending());
    at(105);
    tickets.tick();
    let second = Task::new(tickets.durable(seqs[1], tickets.now()));
    assert!(second.poll().is_pending());
    at(109);
    tickets.tick();
    assert!(!first.rung(), "its time is not over");
    at(110);
    tickets.tick();
    assert!(first.rung() && !second.rung());
    assert_eq!(first.poll(), Poll::Ready(Err(store::OutcomeUnknown::TimedOut)));
    // The disk comes back: what was given up is durable all the same, and nobody else suffers.
    store.journal().commit_once().expect("commits");
    assert!(driver.poll().is_pending());
    assert!(second.rung());
    assert_eq!(second.poll(), Poll::Ready(Ok(())));
    at(1000);
    tickets.tick();
    let late = Task::new(tickets.durable(seqs[2], Duration::ZERO));
    assert_eq!(late.poll(), Poll::Ready(Ok(())), "durable, however late it is asked");
}

#[test]
fn whoever_does_not_wait_any_more_holds_up_nobody() {
    let dir = folder();
    let store = open(config(dir.path()));
    let tickets = patient(&store);
    let driver = Task::new(tickets.drive());
    let first = post(&store, &nth(0)).expect("room");
    let dropped = Task::new(tickets.durable(first.seq, tickets.now()));
    assert!(dropped.poll().is_pending());
    drop(dropped);
    let second = post(&store, &nth(1)).expect("room");
    let waiting = Task::new(tickets.durable(second.seq, tickets.now()));
    assert!(waiting.poll().is_pending());
    assert!(driver.poll().is_pending());
    store.journal().commit_once().expect("commits");
    assert!(driver.rung() && driver.poll().is_pending());
    assert!(waiting.rung());
    assert_eq!(waiting.poll(), Poll::Ready(Ok(())));
}

#[test]
fn tickets_work_across_threads_and_end_with_the_store() {
    let dir = folder();
    let store = start(config(dir.path()));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let tickets = patient(&store);
                let driver = Task::new(tickets.drive());
                for n in 0..200 {
                    let accepted = post(&store, &nth(n)).expect("room");
                    let waiting = Task::new(tickets.durable(accepted.seq, tickets.now()));
                    let mut outcome = waiting.poll();
                    wait_until("the usage is durable", || {
                        assert!(driver.poll().is_pending());
                        if waiting.rung() {
                            outcome = waiting.poll();
                        }
                        outcome.is_ready()
                    });
                    assert_eq!(outcome, Poll::Ready(Ok(())));
                    assert!(store.journal().durable() > accepted.seq);
                }
            });
        }
    });
    let tickets = patient(&store);
    let driver = Task::new(tickets.drive());
    store.close().expect("closes");
    let never = Task::new(tickets.durable(u64::MAX - 1, tickets.now()));
    assert!(never.poll().is_pending());
    assert!(driver.poll().is_ready(), "the journal is closed");
    assert!(never.rung());
    assert_eq!(never.poll(), Poll::Ready(Err(store::OutcomeUnknown::Failed)));
}
