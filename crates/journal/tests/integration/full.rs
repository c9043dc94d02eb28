//! A disk that has no room, or runs out of it, while a journal is opened: what is proven durable is
//! read, and the rest follows as soon as there is room.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use journal::disk::SimDisk;
use journal::disk::sim::Crash;
use journal::{AppendError, Journal, Options, Sabotage};

use crate::helpers::{ManualClock, append, commit, open, options, try_open, usages};

/// A disk with a store whose last batch, of `last` frames, is in the page cache at best, and what is in
/// it.
fn unproven(seed: u64, spare: bool, last: usize) -> (Arc<SimDisk>, Vec<(u64, Vec<u8>)>) {
    unproven_in(options(), seed, spare, last)
}

fn unproven_in(
    options: Options,
    seed: u64,
    spare: bool,
    last: usize,
) -> (Arc<SimDisk>, Vec<(u64, Vec<u8>)>) {
    let disk = Arc::new(SimDisk::new(seed));
    let (journal, _) = try_open(disk.clone(), options).expect("opens");
    if spare {
        assert!(journal.housekeep_once().prepared);
    }
    for n in 0..3 {
        commit(&journal, &[&[n; 100]]);
    }
    let mut stored = usages(&journal, 1);
    let seq = append(&journal, &vec![&b"the last"[..]; last]);
    stored.extend((seq..).zip(vec![b"the last".to_vec(); last]));
    // Killed between the write and the end of the sync.
    disk.halt_in(1);
    assert!(journal.commit_once().is_err());
    drop(journal);
    disk.crash(Crash::Kill);
    (disk, stored)
}

/// Rounds until the journal has begun.
#[track_caller]
fn begin(journal: &Journal) {
    let begun = (0..30).any(|_| {
        journal.housekeep_once();
        journal.status().begun
    });
    assert!(begun, "{:?}", journal.status());
}

/// The disk is full from operation `step` of the open on. Whether the open still had what it needed.
fn open_on_full_disk(step: u64, spare: bool) -> bool {
    let (disk, stored) = unproven(step, spare, 2);
    let (before, last) = stored.split_at(3);
    disk.full_in(Some(step));
    let (journal, recovery) = try_open(disk.clone(), options()).expect("a full disk is no failure");
    let Some(why) = recovery.full else {
        assert_eq!(usages(&journal, 1), stored);
        return true;
    };
    assert!(why.contains("no storage space"), "{why}");
    assert_eq!((recovery.durable, journal.durable()), (4, 4), "step {step}");
    assert_eq!(usages(&journal, 1), before, "step {step}");
    assert_eq!(journal.read(3).expect("proven").payload, before[2].1);
    assert_eq!(journal.appender().map(drop).err(), Some(AppendError::NoSpace));
    let batch = journal.unproven().expect("it waits");
    assert_eq!((batch.first_seq(), batch.end_seq()), (4, 6));
    assert!(journal.is_unproven(5) && !journal.is_unproven(6) && !journal.is_unproven(3));
    let taken = Arc::new(Mutex::new(Vec::new()));
    let taking = Arc::clone(&taken);
    journal.on_commit(Box::new(move |batch| {
        let frames = batch.frames().map(|frame| (frame.seq, frame.payload.to_vec()));
        taking.lock().expect("whole").extend(frames);
    }));
    for _ in 0..25 {
        journal.housekeep_once();
    }
    let status = journal.status();
    assert!(
        !status.begun && status.no_space && status.poisoned.is_none(),
        "step {step}: {status:?}"
    );
    assert!(status.housekeeping_failure.is_some_and(|why| why.contains("no storage space")));

    disk.full_in(None);
    begin(&journal);
    assert_eq!((journal.durable(), journal.unproven().is_none()), (6, true));
    assert_eq!(*taken.lock().expect("whole"), last, "as any batch that becomes durable");
    assert_eq!(usages(&journal, 1), stored, "step {step}");
    assert_eq!(commit(&journal, &[b"one more"]), 6);
    drop(journal);
    disk.crash(Crash::Power);
    let (journal, _) = open(&disk);
    assert_eq!(usages(&journal, 1)[..5], stored, "step {step}");
    false
}

#[test]
fn repro_an_open_on_a_full_disk_was_refused() {
    for spare in [true, false] {
        let steps = (0..100).take_while(|&step| !open_on_full_disk(step, spare)).count();
        assert!((8..100).contains(&steps), "an open takes {steps} steps");
    }
}

/// A file system that overwrites in place needs nothing but the spare.
#[test]
fn an_open_on_a_full_disk_uses_the_spare_whatever_its_size() {
    for segment_bytes in [16 << 10, 32 << 10, 64 << 10] {
        let made = Options { segment_bytes: 32 << 10, ..options() };
        let (disk, stored) = unproven_in(made, 1, true, 2);
        disk.set_capacity(disk.used_bytes());
        let options = Options { segment_bytes, ..options() };
        let (journal, recovery) = try_open(disk, options).expect("opens");
        assert_eq!((recovery.full, recovery.frames_secured), (None, 2), "{segment_bytes}");
        assert_eq!(usages(&journal, 1), stored);
    }
    // The control: without it there is no room.
    let (disk, _) = unproven(1, false, 2);
    disk.set_capacity(disk.used_bytes());
    let (journal, recovery) = try_open(disk.clone(), options()).expect("opens");
    assert!(recovery.full.is_some());
    disk.set_capacity(1 << 20);
    begin(&journal);
}

#[test]
fn leftovers_of_unfinished_writes_make_room_for_an_open() {
    use journal::disk::Disk;
    let (disk, stored) = unproven(1, false, 2);
    let leftover = disk.create("00000000000000000009.seg.tmp").expect("alive");
    leftover.write_all_at(&[0; 64 << 10], 0).expect("alive");
    disk.set_capacity(disk.used_bytes());
    let (journal, recovery) = try_open(disk, options()).expect("opens");
    assert_eq!(recovery.full, None);
    assert_eq!(usages(&journal, 1), stored);
}

/// Retention goes on meanwhile, and may be what makes room.
#[test]
fn what_expires_makes_room_for_an_open() {
    const HOURS: u64 = 3600 * 1000;
    let hours = |hours: u64| Duration::from_millis(hours * HOURS);
    let options = |retain| Options { retain, key_window: hours(1), ..options() };
    let (disk, clock) = (Arc::new(SimDisk::new(1)), ManualClock::new());
    let (journal, _) = Journal::open(disk.clone(), clock.clone(), options(None)).expect("opens");
    for n in 0..9 {
        commit(&journal, &[&[n; 6000]]);
    }
    drop(journal);
    disk.crash(Crash::Kill);
    disk.set_capacity(disk.used_bytes());
    clock.wall_ms.fetch_add(5 * HOURS, Ordering::SeqCst);
    let begun = |retain| {
        let disk = Arc::new(disk.fork());
        let opened = Journal::open(disk, clock.clone(), options(retain));
        let (journal, recovery) = opened.expect("a full disk is no failure");
        assert!(recovery.full.is_some());
        for _ in 0..30 {
            journal.housekeep_once();
        }
        (journal.status().begun, journal.first_seq() > 1)
    };
    assert_eq!(begun(Some(hours(2))), (true, true));
    // The control: what has not expired stays.
    assert_eq!(begun(Some(hours(20))), (false, false));
}

/// What the mark has seen durable needs no securing before it can be read.
#[test]
fn after_a_clean_stop_everything_is_read_on_a_full_disk() {
    let disk = Arc::new(SimDisk::new(1));
    let (journal, _) = open(&disk);
    commit(&journal, &[b"one", b"two"]);
    let stored = usages(&journal, 1);
    journal.close().expect("closed");
    drop(journal);
    disk.full_in(Some(0));
    let (journal, recovery) = try_open(disk.clone(), options()).expect("opens");
    assert!(recovery.full.is_some() && journal.unproven().is_none());
    assert_eq!(usages(&journal, 1), stored);
    // A stop changes nothing.
    journal.close().expect("there is nothing to write");
    drop(journal);
    let (journal, _) = try_open(disk.clone(), options()).expect("opens");
    assert_eq!(usages(&journal, 1), stored);
    disk.full_in(None);
    begin(&journal);
    assert_eq!(commit(&journal, &[b"three"]), 4, "after the closing frame");
}

#[test]
fn a_new_store_on_a_full_disk_is_refused_and_so_is_a_failing_disk() {
    let disk = Arc::new(SimDisk::new(1));
    disk.full_in(Some(0));
    let refused =
        try_open(disk.clone(), options()).map(drop).expect_err("there is nothing to read");
    assert!(refused.to_string().contains("no storage space"), "{refused}");
    let (disk, _) = unproven(1, true, 1);
    disk.fail_sync_in(0);
    let refused = try_open(disk, options()).map(drop).expect_err("the disk failed");
    assert!(refused.to_string().contains("os error 5"), "{refused}");
    // And so for an attempt in the background.
    let (disk, _) = unproven(1, true, 1);
    disk.full_in(Some(0));
    let (journal, _) = try_open(disk.clone(), options()).expect("opens");
    disk.full_in(None);
    disk.fail_sync_in(0);
    for _ in 0..30 {
        journal.housekeep_once();
    }
    assert!(journal.failure().is_some_and(|why| why.contains("os error 5")));
    assert!(journal.unproven().is_some(), "nothing was acknowledged");
}

/// The control: with the last batch believed as it is read, a power cut after the start loses it.
#[test]
fn control_a_last_batch_that_is_not_secured_is_lost() {
    let lost = |sabotage: Sabotage| {
        let loses = |seed: &u64| {
            let (disk, stored) = unproven(*seed, true, 20);
            disk.full_in(Some(0));
            let (journal, _) =
                try_open(disk.clone(), Options { sabotage, ..options() }).expect("opens");
            disk.full_in(None);
            begin(&journal);
            assert_eq!(journal.durable(), 24);
            drop(journal);
            disk.crash(Crash::Power);
            // A journal that ends before its fresh segment is refused.
            try_open(disk, options()).map_or(true, |(journal, _)| usages(&journal, 1) != stored)
        };
        (0..60).filter(loses).count()
    };
    assert_eq!(lost(Sabotage::default()), 0);
    assert!(lost(Sabotage { unproven_tail: true, ..Sabotage::default() }) > 5);
}
