//! Compression and retention as readers see them: the same frames, until they have expired.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use journal::disk::{Disk, SimDisk};
use journal::{Journal, Options, ReadError};

use crate::helpers::{ManualClock, commit, options, usages};
use crate::memory::MemoryDisk;

const HOUR_MS: u64 = 3_600_000;

struct Setting {
    disk: Arc<MemoryDisk>,
    clock: Arc<ManualClock>,
    journal: Journal,
}

fn retaining() -> Options {
    Options {
        compress_level: Some(1),
        retain: Some(Duration::from_millis(5 * HOUR_MS)),
        key_window: Duration::from_millis(2 * HOUR_MS),
        ..options()
    }
}

/// Several segments, all committed now.
fn setting(options: Options) -> Setting {
    let (disk, clock) = (MemoryDisk::new(), ManualClock::new());
    let (journal, _) = Journal::open(disk.clone(), clock.clone(), options).expect("opens");
    for n in 0..21u8 {
        commit(&journal, &[&[n; 1500], &[n; 1000]]);
    }
    Setting { disk, clock, journal }
}

impl ManualClock {
    /// Both clocks go on.
    fn advance(&self, ms: u64) {
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
        self.elapsed_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

#[test]
fn compressed_segments_read_the_same() {
    let Setting { disk, journal, .. } = setting(retaining());
    let before = usages(&journal, 1);
    let bytes = journal.status().bytes;
    let mut open_reader = journal.reader(1);
    open_reader.next_batch().expect("readable").expect("there");
    assert_eq!(journal.read(2).expect("durable").payload, before[1].1);
    let mut compressed = 0;
    while journal.housekeep_once().compressed.is_some() {
        compressed += 1;
    }
    assert!(compressed >= 4, "{compressed}");
    assert_eq!(journal.status().segments_compressed, compressed);
    assert!(journal.status().bytes < bytes);
    assert_eq!(usages(&journal, 1), before);
    for (seq, payload) in &before {
        assert_eq!(&journal.read(*seq).expect("durable").payload, payload);
        assert_eq!(usages(&journal, *seq)[0].0, *seq);
    }
    let mut count = open_reader.next_seq();
    while let Some(batch) = open_reader.next_batch().expect("readable") {
        assert_eq!(batch.first_seq(), count);
        count = batch.end_seq();
    }
    assert_eq!(count, journal.durable());
    let (journal, _) = Journal::open(disk.copy(), ManualClock::new(), retaining()).expect("opens");
    assert_eq!(usages(&journal, 1), before);
}

#[test]
fn retention_waits_for_age_projections_and_the_clock() {
    let Setting { disk, clock, journal } = setting(retaining());
    let all = usages(&journal, 1);
    let cursor = Arc::new(AtomicU64::new(10));
    journal.register_projection("index", cursor.clone());
    assert_eq!(journal.housekeep_once().removed, 0, "too young");
    clock.advance(HOUR_MS / 2);
    // The wall clock alone jumps: nothing goes until somebody has looked.
    clock.wall_ms.fetch_add(6 * HOUR_MS, Ordering::SeqCst);
    assert_eq!(journal.housekeep_once().removed, 0, "the clock is suspect");
    assert!(journal.status().clock_suspect.is_some());
    journal.confirm_clock();
    assert!(journal.status().clock_suspect.is_none());
    assert_eq!(journal.housekeep_once().removed, 1, "the projection needs the second segment");
    assert!(journal.first_seq() > 1 && journal.first_seq() <= 10);
    cursor.store(u64::MAX, Ordering::SeqCst);
    assert!(journal.housekeep_once().removed >= 3);
    let first = journal.first_seq();
    assert!(matches!(journal.read(1), Err(ReadError::Expired)));
    assert!(matches!(journal.reader(1).next_batch(), Err(ReadError::Expired)));
    let kept: Vec<_> = all.iter().filter(|(seq, _)| *seq >= first).cloned().collect();
    assert!(!kept.is_empty(), "the active segment stays");
    assert_eq!(usages(&journal, first), kept);
    let (journal, recovery) = Journal::open(disk.copy(), clock, retaining()).expect("opens");
    assert_eq!(recovery.first_seq, first);
    assert_eq!(usages(&journal, first), kept);
}

#[test]
fn nothing_goes_without_retention() {
    let Setting { clock, journal, .. } = setting(Options { retain: None, ..retaining() });
    for _ in 0..20 {
        clock.advance(HOUR_MS * 1000);
        journal.housekeep_once();
    }
    assert_eq!(journal.first_seq(), 1);
}

#[test]
fn damage_in_an_old_segment_is_reported_and_the_segment_is_left_alone() {
    let Setting { disk, journal, .. } = setting(retaining());
    let all = usages(&journal, 1);
    drop(journal);
    let name = disk.segments()[0].clone();
    let disk = disk.damaged(&name, |bytes| bytes[4096 + 200] ^= 1);
    let (journal, _) = Journal::open(disk.clone(), ManualClock::new(), retaining()).expect("opens");
    assert!(matches!(journal.read(1), Err(ReadError::Damaged { segment: 1, .. })));
    assert!(matches!(journal.reader(1).next_batch(), Err(ReadError::Damaged { .. })));
    let second = journal.reader(3).next_batch().expect("readable").expect("there");
    assert_eq!(second.first_seq(), 3, "what follows the damage can be read");
    while journal.housekeep_once().compressed.is_some() {}
    let before = disk.bytes(&name);
    for _ in 0..5 {
        journal.housekeep_once();
    }
    assert!(disk.bytes(&name) == before && before[12] == 1, "still raw, still damaged");
    assert!(journal.status().housekeeping_failure.expect("said").contains("segment 1"));
    assert_eq!(usages(&journal, 3), all[2..]);
}

/// A segment whose times cannot be read was kept for ever, and everything behind it. Once the segment
/// behind it has expired, it has expired, too; but what it is has to be certain.
#[test]
fn repro_a_damaged_segment_ended_retention() {
    fn check(damage: fn(&mut Vec<u8>), aside: bool, compress: bool) {
        let compress_level = compress.then_some(1);
        let Setting { disk, clock, journal } = setting(Options { compress_level, ..retaining() });
        while journal.housekeep_once().compressed.is_some() {}
        let name = disk.segments()[0].clone();
        let mut bytes = disk.bytes(&name);
        damage(&mut bytes);
        disk.put(&name, bytes.clone());
        clock.advance(HOUR_MS);
        assert_eq!(journal.housekeep_once().removed, 0, "too young");
        assert!(disk.bytes(&name) == bytes);
        clock.advance(5 * HOUR_MS);
        assert!(journal.housekeep_once().removed >= 4, "it and those behind it");
        assert!(!disk.segments().contains(&name));
        let kept = if aside { vec![name.clone()] } else { Vec::new() };
        assert_eq!(disk.list_aside().expect("lists"), kept);
        let note = journal.status().housekeeping_failure.expect("a note");
        assert!(note.contains("segment 1 has expired"), "{note}");
    }
    for compress in [false, true] {
        check(|bytes| bytes[4096 + 20] ^= 1, false, false);
        check(|bytes| bytes.truncate(4200), false, compress);
        check(|bytes| bytes[100] ^= 1, true, compress);
        check(|bytes| bytes.fill(7), true, compress);
    }
}

/// What stands in a raw segment past the end that it has for the journal is copied by an opening into
/// the next one. Where it is not, it is kept.
#[test]
fn a_compression_keeps_what_the_later_segments_do_not_hold() {
    fn check(damage_copy: bool, expected: usize) {
        let disk = MemoryDisk::new();
        let raw = || Options { compress_level: None, retain: None, ..retaining() };
        let open =
            |options| Journal::open(disk.clone(), ManualClock::new(), options).expect("opens").0;
        let journal = open(raw());
        for n in 0..3u8 {
            commit(&journal, &[&[n; 1500]]);
        }
        // Killed: the next opening copies the last batch.
        drop(journal);
        let journal = open(raw());
        for n in 3..9u8 {
            commit(&journal, &[&[n; 1500]]);
        }
        let second = disk.segments()[1].clone();
        drop(journal);
        let journal = open(Options { compress_level: Some(1), ..raw() });
        if damage_copy {
            let mut bytes = disk.bytes(&second);
            bytes[4096 + 200] ^= 1;
            disk.put(&second, bytes);
        }
        assert_eq!(journal.housekeep_once().compressed, Some(1));
        assert_eq!(disk.list_aside().expect("lists").len(), expected);
    }
    check(false, 0);
    check(true, 1);
}

/// Whichever sync of a compression fails, also the directory's after the new file has taken the old
/// one's place: every frame is read as before, at once and after a restart.
#[test]
fn a_failed_sync_of_a_compression_hides_nothing() {
    let mut failed = 0;
    for sync in 0..=4 {
        let disk = Arc::new(SimDisk::new(7));
        let clock = ManualClock::new();
        let open = || Journal::open(disk.clone(), clock.clone(), retaining()).expect("opens").0;
        let journal = open();
        for n in 0..21u8 {
            commit(&journal, &[&[n; 1500], &[n; 1000]]);
        }
        let before = usages(&journal, 1);
        // The next segment is there afterwards, so that the next round only compresses.
        assert!(journal.housekeep_once().compressed.is_some());
        disk.fail_sync_in(sync);
        journal.housekeep_once();
        disk.forget_faults();
        failed += usize::from(journal.status().housekeeping_failure.is_some());
        assert!(journal.status().poisoned.is_none());
        assert_eq!(usages(&journal, 1), before, "sync {sync}");
        // What failed is tried again after a while, and found done where it was.
        for _ in 0..100 {
            journal.housekeep_once();
        }
        let status = journal.status();
        assert!(status.segments_compressed + 2 >= status.segments, "sync {sync}: {status:?}");
        let damaged = status.housekeeping_failure.is_some_and(|why| !why.contains("os error 5"));
        assert!(!damaged, "sync {sync}: {:?}", journal.status().housekeeping_failure);
        assert_eq!(usages(&journal, 1), before, "sync {sync}");
        drop(journal);
        assert_eq!(usages(&open(), 1), before, "sync {sync}");
    }
    assert!(failed >= 2, "the file's and the directory's");
}
