//! Histories that once went wrong, each named after what it broke.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use journal::Journal;
use journal::Options;
use journal::disk::SimDisk;
use journal::disk::sim::Crash;

use crate::helpers::{ManualClock, append, options, try_open};

/// Seed 22: the segment that each opening begins carries its time, and that time vouched for the
/// clock at the next opening.
#[test]
fn repro_two_openings_at_a_wrong_clock_let_retention_delete() {
    let disk = SimDisk::new(1);
    let clock = ManualClock::new();
    let options = Options {
        retain: Some(Duration::from_secs(3600)),
        key_window: Duration::from_secs(3600),
        ..options()
    };
    let open = || {
        let opened = Journal::open(Arc::new(disk.clone()), clock.clone(), options.clone());
        opened.expect("the journal opens").0
    };
    let journal = open();
    for n in 0..30u8 {
        append(&journal, &[&[n; 2000]]);
        journal.commit_once().expect("the disk is whole");
    }
    journal.housekeep_once();
    drop(journal);
    clock.wall_ms.fetch_add(40 * 24 * 3_600_000, Ordering::SeqCst);
    for opening in 0..3 {
        disk.crash(Crash::Kill);
        let journal = open();
        assert_eq!(journal.housekeep_once().removed, 0, "opening {opening}");
        assert!(journal.status().clock_suspect.is_some(), "opening {opening}");
        drop(journal);
    }
    // The clock was right after all.
    disk.crash(Crash::Kill);
    let journal = open();
    journal.confirm_clock();
    assert!(journal.housekeep_once().removed > 0);
}

/// Seed 967621: the removal of one expired segment failed halfway, the next round removed the one
/// behind it, and a power cut brought the first back in front of the hole.
#[test]
fn repro_a_removal_that_failed_left_a_hole_behind() {
    for seed in 0..60 {
        let disk = SimDisk::new(seed);
        let clock = ManualClock::new();
        let options = Options {
            retain: Some(Duration::from_secs(3600)),
            key_window: Duration::from_secs(3600),
            ..options()
        };
        let open = || Journal::open(Arc::new(disk.clone()), clock.clone(), options.clone());
        let (journal, _) = open().expect("a new store");
        for n in 0..40u8 {
            append(&journal, &[&[n; 2000]]);
            journal.commit_once().expect("the disk is whole");
        }
        journal.housekeep_once();
        clock.wall_ms.fetch_add(2 * 3_600_000, Ordering::SeqCst);
        clock.elapsed_ms.fetch_add(2 * 3_600_000, Ordering::SeqCst);
        // The directory's sync after the first removal fails, and the machine stops in the next.
        disk.fail_sync_in(0);
        journal.housekeep_once();
        disk.halt_in(1);
        journal.housekeep_once();
        drop(journal);
        disk.crash(Crash::Power);
        let opened = open();
        assert!(opened.is_ok(), "seed {seed}: {:?}", opened.err());
    }
}

/// Seed 56732: killed after the first segment had its name and before the directory was synced,
/// the next opening made `store.meta` durable while that name was not.
#[test]
fn repro_a_store_whose_creation_was_cut_short_twice_needed_a_hand() {
    for seed in 0..40 {
        for halt in 0..8 {
            let disk = SimDisk::new(seed * 8 + halt);
            disk.halt_in(halt);
            let first = try_open(Arc::new(disk.clone()), options());
            drop(first);
            disk.crash(Crash::Kill);
            disk.fail_sync_in(seed % 6);
            let second = try_open(Arc::new(disk.clone()), options());
            drop(second);
            disk.crash(Crash::Power);
            let third = try_open(Arc::new(disk), options());
            assert!(third.is_ok(), "seed {seed} halt {halt}: {:?}", third.err());
        }
    }
}
