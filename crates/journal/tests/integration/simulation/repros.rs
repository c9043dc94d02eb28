//! Histories that once went wrong, each named after what it broke.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use journal::disk::sim::Crash;
use journal::disk::{Disk, SimDisk};
use journal::{Clock, Journal, Options};

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

/// Commits carry the wall clock's time. Made at a wrong clock, they vouched for it at the next
/// opening, and a kill was all that stood between a jump and the removal of everything old.
#[test]
fn repro_commits_at_a_wrong_clock_vouched_for_it() {
    /// Removed after a jump of forty days, commits at that time, and a kill, when the file `clock`
    /// is left alone, is missing, or says what the newest commit says.
    fn removed(clock_file: fn(&SimDisk, &ManualClock)) -> usize {
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
        let commit = |journal: &Journal, n: u8| {
            append(journal, &[&[n; 2000]]);
            journal.commit_once().expect("the disk is whole");
        };
        let mut next = Some(open());
        let journal = next.as_ref().expect("just opened");
        (0..30).for_each(|n| commit(journal, n));
        journal.housekeep_once();
        clock.wall_ms.fetch_add(40 * 24 * 3_600_000, Ordering::SeqCst);
        let mut removed = 0;
        for _ in 0..4 {
            let journal = next.take().unwrap_or_else(open);
            // Before the housekeeper's round, so that nobody has seen the jump yet.
            (0..2).for_each(|n| commit(&journal, n));
            removed += journal.housekeep_once().removed;
            drop(journal);
            disk.crash(Crash::Kill);
            clock_file(&disk, &clock);
        }
        let journal = open();
        removed += journal.housekeep_once().removed;
        if removed == 0 {
            assert!(journal.status().clock_suspect.is_some());
            journal.confirm_clock();
            assert!(journal.housekeep_once().removed > 0, "the clock was right after all");
            // Its word holds over a restart.
            drop(journal);
            disk.crash(Crash::Power);
            assert!(open().status().clock_suspect.is_none());
        }
        removed
    }
    assert_eq!(removed(|_, _| {}), 0);
    assert_eq!(removed(|disk, _| drop(disk.remove("clock"))), 0);
    // Control: this is what believing the newest commit came to.
    assert!(removed(|disk, clock| believe(disk, clock.wall_ms())) > 0);
}

/// Writes the file `clock` as if `believed_ms` had been believed.
fn believe(disk: &SimDisk, believed_ms: u64) {
    let mut bytes = b"inhCLCK1".to_vec();
    bytes.extend_from_slice(&believed_ms.to_le_bytes());
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    disk.remove("clock").expect("there");
    let file = disk.create("clock").expect("alive");
    file.write_all_at(&bytes, 0).expect("alive");
    file.sync_all().expect("alive");
    disk.sync_dir().expect("alive");
}

/// Seed 9006: an open that was killed left a spare of a size that the next one had no use for, whose
/// own spare was numbered behind it; a power cut took the first and left the second behind a gap.
#[test]
fn repro_a_spare_of_another_size_left_a_gap() {
    let mut opened = 0;
    for seed in 0..20 {
        for (first, second) in (0..14).flat_map(|first| (0..14).map(move |second| (first, second)))
        {
            let disk = SimDisk::new(seed);
            let options =
                Options { segment_bytes: 32 << 10, pending_bytes_max: 2 << 10, ..options() };
            let open = |options: &Options| try_open(Arc::new(disk.clone()), options.clone());
            let (journal, _) = open(&options).expect("the journal opens");
            append(&journal, &[&[1; 100]]);
            journal.commit_once().expect("the disk is whole");
            drop(journal);
            disk.crash(Crash::Kill);
            for (halt_in, crash) in [(first, Crash::Kill), (second, Crash::Power)] {
                disk.halt_in(halt_in);
                let _ = open(&options);
                disk.crash(crash);
            }
            let (journal, _) = open(&options).expect("no hand is needed");
            assert_eq!(journal.read(1).expect("durable").payload, [1; 100]);
            opened += 1;
        }
    }
    assert_eq!(opened, 20 * 14 * 14);
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
