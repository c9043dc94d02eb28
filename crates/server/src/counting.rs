//! Summaries that read much: one after the other on a thread of low priority, for a bounded time, so
//! that neither usages coming in nor other reads wait for them.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use edge::{Problem, ProblemKind};
use store::{Effort, ReadError, Store};
use tokio::sync::oneshot;

use crate::refusals;

/// Summaries that may wait for the thread; further ones get 503.
const WAITING_MAX: usize = 16;
/// How much less than other work the thread matters to the scheduler, as nice(2) has it: less than
/// the index's own, or else the index could fall behind.
const NICENESS: i32 = 10;

type Job = Box<dyn FnOnce(&Store) + Send>;

/// The thread that counts.
pub(crate) struct Counting {
    /// `None` once it is to end.
    jobs: Option<SyncSender<Job>>,
    patience: Duration,
    thread: Option<JoinHandle<()>>,
}

impl Counting {
    /// Starts the thread. A summary is given up `patience` after it was asked for.
    pub(crate) fn start(store: Store, patience: Duration) -> io::Result<Self> {
        let (jobs, waiting) = sync_channel(WAITING_MAX);
        let thread = std::thread::Builder::new()
            .name("counting".into())
            .spawn(move || work(&store, &waiting))?;
        Ok(Self { jobs: Some(jobs), patience, thread: Some(thread) })
    }

    /// Has the thread run `read`, in its turn. It is given an effort that is spent as soon as nobody
    /// waits for the answer any more.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store, &mut Effort<'_>) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Problem> {
        let (answer, answered) = oneshot::channel();
        let job = move |store: &Store| {
            let wanted = || !answer.is_closed();
            let result = read(store, &mut Effort::while_wanted(&wanted));
            // Nobody listens when the time was over just now.
            let _ = answer.send(result);
        };
        let jobs = self.jobs.as_ref().expect("it ends only when nobody can ask any more");
        if jobs.try_send(Box::new(job)).is_err() {
            return Err(ProblemKind::OVERLOADED.into());
        }
        match tokio::time::timeout(self.patience, answered).await {
            Err(_) => Err(refusals::too_slow()),
            // The thread panicked over it, which is logged by its place.
            Ok(Err(_)) => Err(ProblemKind::INTERNAL.into()),
            Ok(Ok(result)) => result.map_err(refusals::read),
        }
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        // What it still works on is wanted by nobody, and ends soon.
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            thread.join().expect("each job's panic is caught");
        }
    }
}

fn work(store: &Store, waiting: &Receiver<Job>) {
    // On Linux this is about the thread. Without the right to do so it competes like any other.
    let _ = rustix::process::nice(NICENESS);
    for job in waiting {
        let _ = catch_unwind(AssertUnwindSafe(|| job(store)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use store::{Config, SystemClock};

    const LONG: Duration = Duration::from_secs(60);

    fn counting(patience: Duration) -> (tempfile::TempDir, Counting) {
        let dir = tempfile::tempdir().expect("a folder");
        let mut config = Config::new(dir.path());
        config.journal.reserve_bytes = 0;
        let store = Store::open(config, Arc::new(SystemClock::new())).expect("opens");
        let counting = Counting::start(store, patience).expect("a thread");
        (dir, counting)
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().build().expect("a runtime").block_on(future)
    }

    /// Reads rows for as long as it is wanted.
    fn endless(effort: &mut Effort<'_>) -> Result<u64, ReadError> {
        while effort.row() {}
        Err(ReadError::TooSlow)
    }

    #[test]
    fn what_takes_too_long_is_given_up_and_makes_room() {
        let (_dir, counting) = counting(Duration::from_millis(20));
        let slow = block_on(counting.run(|_, effort| endless(effort))).expect_err("it is endless");
        assert_eq!(slow.kind, ProblemKind::TOO_SLOW);
        assert_eq!(slow.retry_after, Some(10));
        drop(counting);
    }

    #[test]
    fn one_after_the_other_and_no_more_wait_than_may() {
        let (_dir, counting) = counting(LONG);
        block_on(async {
            let (go_on, held) = std::sync::mpsc::sync_channel::<()>(1);
            let (begun, begins) = oneshot::channel();
            let mut first = std::pin::pin!(counting.run(move |_, _| {
                let _ = begun.send(());
                let _ = held.recv();
                Ok(1)
            }));
            // The thread has taken it, so that its place among those who wait is free.
            tokio::select! {
                _ = first.as_mut() => panic!("it is held"),
                begins = begins => begins.expect("it begins"),
            }
            let mut waiting: Vec<_> = (0..WAITING_MAX as u64)
                .map(|number| Box::pin(counting.run(move |_, _| Ok(number))))
                .collect();
            for read in &mut waiting {
                let polled = tokio::time::timeout(Duration::ZERO, read).await;
                assert!(polled.is_err(), "it waits");
            }
            let refused = counting.run(|_, _| Ok(0)).await.expect_err("no room");
            assert_eq!(refused.kind, ProblemKind::OVERLOADED);
            go_on.send(()).expect("it is held");
            assert_eq!(first.await.expect("it is answered"), 1);
            for (number, read) in (0..).zip(waiting) {
                assert_eq!(read.await.expect("it is answered"), number);
            }
        });
    }

    #[test]
    fn a_panic_costs_one_answer() {
        let (_dir, counting) = counting(LONG);
        let failed = counting.run(|_, _| -> Result<(), ReadError> { panic!("as asked") });
        assert_eq!(block_on(failed).expect_err("it failed").kind, ProblemKind::INTERNAL);
        assert_eq!(block_on(counting.run(|_, _| Ok(7))).expect("it goes on"), 7);
    }
}
