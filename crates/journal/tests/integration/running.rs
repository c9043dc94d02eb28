//! The journal at work: observers, waiters, poison, space, and the threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use journal::disk::RealDisk;
use journal::{
    AppendError, Backlog, Clock, CommitError, Committed, Ended, FrameKind, Journal, Options,
    SystemClock, WaitError,
};

use crate::helpers::{ManualClock, append, commit, open, options, try_open, usages};
use crate::memory::MemoryDisk;

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_subscription_is_woken_once_per_batch_and_only_when_it_waits() {
    let (journal, _) = open(&MemoryDisk::new());
    let mut subscription = journal.subscribe();
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let mut cx = Context::from_waker(&waker);
    let woken = || count.0.load(Ordering::SeqCst);
    commit(&journal, &[b"nobody waits"]);
    assert_eq!(woken(), 0);
    assert_eq!(subscription.poll_durable(&mut cx, 1), Poll::Ready(Ok(2)));
    assert_eq!(subscription.poll_durable(&mut cx, 2), Poll::Pending);
    assert_eq!(subscription.poll_durable(&mut cx, 2), Poll::Pending);
    commit(&journal, &[b"two", b"three"]);
    assert_eq!(woken(), 1);
    commit(&journal, &[b"four"]);
    assert_eq!(woken(), 1, "it has not asked again");
    assert_eq!(subscription.poll_durable(&mut cx, 2), Poll::Ready(Ok(5)));
    assert_eq!(subscription.poll_durable(&mut cx, 9), Poll::Pending);
    journal.close().expect("closed");
    assert_eq!(woken(), 2, "the closing batch was enough");
    assert_eq!(subscription.poll_durable(&mut cx, 9), Poll::Ready(Err(Ended::Closed)));
}

#[test]
fn on_commit_sees_each_batch_before_the_position_moves() {
    let (journal, _) = open(&MemoryDisk::new());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (sink, handle) = (seen.clone(), journal.clone());
    journal.on_commit(Box::new(move |batch| {
        assert_eq!(handle.durable(), batch.first_seq());
        assert_eq!(batch.tags().len(), batch.len());
        sink.lock().expect("unpoisoned").push(batch.clone());
    }));
    commit(&journal, &[b"one", b"two"]);
    commit(&journal, &[b"three"]);
    let seen = seen.lock().expect("unpoisoned");
    assert_eq!(seen.iter().map(|batch| batch.len()).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(seen[0].get(2).expect("within").payload, b"two");
    assert_eq!(seen[1].committed_ms(), 1_478_009_511_000);
}

/// Appends and commits until something fails; says how many batches were acknowledged.
fn commit_until_failure(journal: &Journal) -> u64 {
    for n in 0..12u8 {
        let refused = journal.appender().map(|_| ()).err();
        if refused.is_some() {
            assert_eq!(refused, Some(AppendError::Poisoned));
            return u64::from(n);
        }
        append(journal, &[&[n; 3000]]);
        let before = journal.durable();
        if journal.commit_once() == Err(CommitError::Poisoned) {
            assert_eq!(journal.durable(), before);
            return u64::from(n);
        }
    }
    12
}

#[test]
fn the_first_failed_sync_ends_everything_and_is_never_retried() {
    let mut poisoned = 0;
    for nth in 1..30 {
        let disk = MemoryDisk::new();
        let (journal, _) = open(&disk);
        let mut subscription = journal.subscribe();
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        let mut cx = Context::from_waker(&waker);
        assert_eq!(subscription.poll_durable(&mut cx, 99), Poll::Pending);
        disk.fail_sync(nth);
        let acknowledged = commit_until_failure(&journal);
        if acknowledged == 12 {
            assert!(journal.status().poisoned.is_none());
            continue;
        }
        poisoned += 1;
        assert_eq!(journal.durable(), acknowledged + 1);
        assert!(journal.status().poisoned.expect("a cause").contains("EIO"));
        assert!(count.0.load(Ordering::SeqCst) > 0);
        assert_eq!(subscription.poll_durable(&mut cx, 99), Poll::Ready(Err(Ended::Poisoned)));
        assert_eq!(journal.wait_durable(99, Duration::ZERO), Err(WaitError::Poisoned));
        // The disk works again, but this process has lost the right to say so.
        let syncs = disk.syncs();
        assert_eq!(journal.commit_once(), Err(CommitError::Poisoned));
        assert_eq!(journal.close(), Err(CommitError::Poisoned));
        assert_eq!(disk.syncs(), syncs);
        let (journal, _) = open(&disk.copy());
        let found = usages(&journal, 1);
        assert!(found.len() as u64 >= acknowledged);
    }
    assert!(poisoned >= 15, "{poisoned}");
}

#[test]
fn a_full_disk_refuses_and_freed_space_resumes() {
    let disk = MemoryDisk::new();
    let (journal, _) = open(&disk);
    commit(&journal, &[&[1; 3000]]);
    disk.set_full(true);
    // The preparation fails for want of space: no poison, but no appends either.
    assert!(!journal.housekeep_once().prepared);
    assert_eq!(journal.appender().map(|_| ()).err(), None, "watching the space found enough");
    for n in 0..9u8 {
        if journal.appender().is_ok() {
            append(&journal, &[&[n; 3000]]);
        }
        let committed = journal.commit_once();
        assert!(!matches!(committed, Err(CommitError::Poisoned)));
    }
    assert_eq!(journal.appender().map(|_| ()).err(), Some(AppendError::NoSpace));
    assert_eq!(journal.commit_once(), Err(CommitError::NoSpace), "one batch is held");
    let durable = journal.durable();
    assert_eq!(usages(&journal, 1).len() as u64, durable - 1, "reads continue");
    disk.set_full(false);
    assert!(matches!(journal.commit_once(), Ok(Committed::Batch { .. })));
    journal.housekeep_once();
    commit(&journal, &[b"resumed"]);
    assert_eq!(journal.durable(), durable + 2);
}

/// The active segment is full while no descriptor is left for the next.
#[test]
fn repro_used_up_descriptors_poison_nothing_and_a_broken_disk_still_does() {
    // What stands for Linux's EMFILE, ENFILE, ENOMEM and EIO.
    let check = |errno: i32, resumes: bool| {
        let disk = MemoryDisk::new();
        let (journal, _) = open(&disk);
        disk.refuse_files(errno);
        let failed = loop {
            append(&journal, &[&[1; 3000]]);
            if let Err(error) = journal.commit_once() {
                break error;
            }
        };
        let durable = journal.durable();
        disk.refuse_files(0);
        if !resumes {
            assert_eq!(failed, CommitError::Poisoned, "{errno}");
            assert!(journal.failure().expect("a cause").contains(&format!("os error {errno}")));
            return;
        }
        assert_eq!(failed, CommitError::NoSpace, "{errno}");
        assert_eq!(journal.failure(), None);
        assert_eq!(journal.appender().map(|_| ()).err(), Some(AppendError::NoSpace));
        let noted = journal.status().housekeeping_failure.expect("it is told");
        assert!(noted.contains(&format!("os error {errno}")), "{noted}");
        assert!(matches!(journal.commit_once(), Ok(Committed::Batch { .. })), "what was held");
        journal.housekeep_once();
        commit(&journal, &[b"resumed"]);
        assert_eq!(journal.durable(), durable + 2);
        journal.close().expect("closes");
        drop(journal);
        let (journal, _) = open(&disk);
        assert_eq!(usages(&journal, 1).len() as u64, durable + 1, "each once");
    };
    check(24, true);
    check(23, true);
    check(12, true);
    check(5, false);
}

/// The same, met by the housekeeper, who prepares ahead.
#[test]
fn repro_used_up_descriptors_poison_nothing_while_keeping_house() {
    let disk = MemoryDisk::new();
    let (journal, _) = open(&disk);
    disk.refuse_files(24);
    assert!(!journal.housekeep_once().prepared);
    assert_eq!(journal.failure(), None);
    disk.refuse_files(0);
    assert!(journal.housekeep_once().prepared);
    commit(&journal, &[b"resumed"]);
}

#[test]
fn a_batch_that_met_a_full_disk_is_written_once_there_is_room() {
    let disk = MemoryDisk::new();
    let clock = Arc::new(SystemClock::new());
    let (journal, _) = Journal::open(disk.clone(), clock, options()).expect("opens");
    let threads = journal.start().expect("starts");
    disk.set_full(true);
    let held = loop {
        let seq = append(&journal, &[&[1; 3000]]);
        wait_until(|| journal.durable() > seq || journal.status().no_space);
        if journal.durable() <= seq {
            break seq;
        }
    };
    disk.set_full(false);
    // Nothing more is appended: those who wait for it are all that there is.
    journal.wait_durable(held, Duration::from_secs(20)).expect("written");
    journal.close().expect("closed");
    threads.join();
}

#[test]
fn the_reserve_refuses_appends_before_the_disk_is_full() {
    let disk = MemoryDisk::new();
    let options = Options { reserve_bytes: 1 << 20, ..options() };
    let (journal, _) = try_open(disk.clone(), options).expect("opens");
    journal.housekeep_once();
    commit(&journal, &[b"one"]);
    disk.set_free_bytes((1 << 20) - 1);
    journal.housekeep_once();
    assert_eq!(journal.appender().map(|_| ()).err(), Some(AppendError::NoSpace));
    assert_eq!(usages(&journal, 1).len(), 1);
    disk.set_free_bytes(1 << 20);
    journal.housekeep_once();
    commit(&journal, &[b"two"]);
}

#[test]
fn the_cap_refuses_and_is_never_exceeded() {
    let disk = MemoryDisk::new();
    let cap = 3 * options().segment_bytes;
    let options = Options { bytes_max: Some(cap), ..options() };
    let (journal, _) = try_open(disk.clone(), options).expect("opens");
    let mut accepted = 0;
    for n in 0..100u8 {
        let refused = match journal.appender() {
            Ok(mut guard) => {
                guard.append(FrameKind::Usage, 0, |_, out| out.resize(out.len() + 1000, n))
            }
            Err(refused) => Err(refused),
        };
        match refused {
            Ok(_) => accepted += 1,
            Err(refused) => assert_eq!(refused, AppendError::NoSpace),
        }
        if n % 3 == 0 {
            journal.commit_once().expect("what was accepted has a place");
            journal.housekeep_once();
        }
        assert!(journal.status().bytes <= cap);
    }
    assert!((25..40).contains(&accepted), "{accepted}");
    while journal.commit_once() != Ok(Committed::Nothing) {}
    assert_eq!(usages(&journal, 1).len(), accepted);
}

#[test]
fn the_budget_of_the_pending_buffer_holds() {
    let (journal, _) = open(&MemoryDisk::new());
    let mut guard = journal.appender().expect("admitted");
    let mut append =
        |bytes: usize| guard.append(FrameKind::Usage, 0, |_, out| out.resize(out.len() + bytes, 1));
    assert_eq!(append(4000), Ok(1));
    assert_eq!(append(5000), Err(AppendError::Full));
    assert_eq!(append(4000), Ok(2), "a refusal leaves no trace");
    assert_eq!(append(4000), Err(AppendError::Full));
    drop(guard);
    assert_eq!(journal.commit_once(), Ok(Committed::Batch { frames: 2, durable: 3 }));
    assert_eq!(usages(&journal, 1).len(), 2);
}

/// Waiting frames age. A stuck disk differs from a slow one in that no batch becomes durable.
#[test]
fn the_backlog_has_the_age_of_the_oldest_frame() {
    let clock = ManualClock::new();
    let at = |ms| clock.elapsed_ms.store(ms, Ordering::SeqCst);
    let ms = Duration::from_millis;
    let (journal, _) =
        Journal::open(MemoryDisk::new(), clock.clone(), options()).expect("the journal opens");
    let during = Arc::new(Mutex::new(None));
    let (seen, handle, meanwhile) = (during.clone(), journal.clone(), clock.clone());
    // The batch is written, and not acknowledged yet; it took until 5000.
    journal.on_commit(Box::new(move |batch| {
        if batch.first_seq() == 1 {
            append(&handle, &[b"three"]);
            meanwhile.elapsed_ms.store(5000, Ordering::SeqCst);
            *seen.lock().expect("unpoisoned") = Some(handle.backlog());
        }
    }));
    assert_eq!(journal.backlog(), Backlog::default(), "nothing waits");
    at(1000);
    append(&journal, &[b"one"]);
    at(1500);
    append(&journal, &[b"two"]);
    at(3000);
    assert_eq!(journal.backlog(), Backlog { oldest: ms(2000), stalled: ms(2000) });
    journal.commit_once().expect("committed");
    let while_written = during.lock().expect("unpoisoned").take();
    assert_eq!(while_written, Some(Backlog { oldest: ms(4000), stalled: ms(4000) }));
    at(5500);
    assert_eq!(journal.backlog(), Backlog { oldest: ms(2500), stalled: ms(500) });
    journal.commit_once().expect("committed");
    assert_eq!(journal.backlog(), Backlog::default());
}

#[test]
fn a_panic_while_encoding_leaves_no_half_frame() {
    let (journal, _) = open(&MemoryDisk::new());
    append(&journal, &[b"one"]);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut guard = journal.appender().expect("admitted");
        let _ = guard.append(FrameKind::Usage, 0, |_, out| {
            out.extend_from_slice(b"half");
            panic!("an encoder's fault");
        });
    }));
    assert!(panicked.is_err());
    append(&journal, &[b"two"]);
    journal.commit_once().expect("committed");
    assert_eq!(usages(&journal, 1), [(1, b"one".to_vec()), (2, b"two".to_vec())]);
}

/// With a clock that stands still a spacing never ends, so whatever is committed was not delayed.
#[test]
fn a_lone_waiter_is_not_delayed_and_company_is() {
    let clock = ManualClock::new();
    let options = Options { spacing: Duration::from_secs(1), ..options() };
    let (journal, _) =
        Journal::open(MemoryDisk::new(), clock.clone(), options).expect("the journal opens");
    let (entered, is_entered) = std::sync::mpsc::sync_channel::<()>(0);
    let (release, released) = std::sync::mpsc::sync_channel::<()>(0);
    let (at, released) = (clock.clone(), Mutex::new(released));
    let commits = Arc::new(Mutex::new(Vec::new()));
    let seen = commits.clone();
    journal.on_commit(Box::new(move |batch| {
        let elapsed_ms = at.elapsed_ms.load(Ordering::SeqCst);
        seen.lock().expect("unpoisoned").push((batch.len(), elapsed_ms));
        if batch.end_seq() == 11 {
            entered.send(()).expect("the test waits");
            released.lock().expect("unpoisoned").recv().expect("the test releases");
        }
    }));
    let threads = journal.start().expect("starts");
    for _ in 0..10 {
        let seq = append(&journal, &[b"lone"]);
        if seq < 10 {
            wait_until(|| journal.durable() > seq);
        }
    }
    // Two append while the committer is at work: they are company.
    is_entered.recv().expect("the tenth batch is being acknowledged");
    append(&journal, &[b"two"]);
    append(&journal, &[b"of them"]);
    release.send(()).expect("the committer waits");
    wait_until(|| journal.durable() == 11);
    clock.elapsed_ms.store(1000, Ordering::SeqCst);
    wait_until(|| journal.durable() == 13);
    let mut expected = vec![(1, 0); 10];
    expected.push((2, 1000));
    assert_eq!(*commits.lock().expect("unpoisoned"), expected);
    journal.close().expect("closed");
    threads.join();
}

fn wait_until(condition: impl Fn() -> bool) {
    let clock = SystemClock::new();
    while !condition() {
        assert!(clock.monotonic() < Duration::from_secs(30), "the condition never held");
        std::thread::yield_now();
    }
}

#[test]
fn threads_commit_what_many_append_and_order_holds() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let disk = Arc::new(RealDisk::open(dir.path()).expect("opens"));
    let options = Options { segment_bytes: 64 << 10, ..options() };
    let (journal, _) =
        Journal::open(disk.clone(), Arc::new(SystemClock::new()), options.clone()).expect("opens");
    let threads = journal.start().expect("starts");
    assert!(journal.start().is_err(), "once");
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let journal = &journal;
            scope.spawn(move || {
                let mut last = 0;
                for n in 0..50u8 {
                    let seq = append(journal, &[&[thread, n], &[thread, n]]);
                    journal.wait_durable(seq + 1, Duration::from_secs(20)).expect("durable");
                    assert!(seq > last && journal.durable() > seq + 1);
                    assert_eq!(journal.read(seq).expect("durable").payload, [thread, n]);
                    last = seq;
                }
            });
        }
    });
    journal.close().expect("closed");
    threads.join();
    let (journal, recovery) =
        Journal::open(disk, Arc::new(SystemClock::new()), options).expect("opens");
    assert!(recovery.clean);
    assert_eq!(usages(&journal, 1).len(), 400);
}
