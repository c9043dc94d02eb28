//! Opening after a kill at any step, recovery's own steps included, and after what crashes leave
//! behind.

use std::sync::Arc;

use journal::disk::SimDisk;
use journal::disk::sim::Crash;
use journal::format::{HEADER_PAGE_BYTES, SegmentHeader};
use journal::{Committed, Journal, OpenError, Witness};

use crate::helpers::{ManualClock, append, commit, open, options, try_open, usages};
use crate::memory::MemoryDisk;

/// Opens, writes, rotates and keeps house until the disk dies. Adds what was acknowledged.
fn session(disk: &Arc<MemoryDisk>, acknowledged: &mut Vec<(u64, Vec<u8>)>) {
    let Ok((journal, _)) = try_open(disk.clone(), options()) else { return };
    let found = usages(&journal, 1);
    assert!(found.starts_with(acknowledged), "what was acknowledged is there again");
    // A frame that was written but not acknowledged may have survived; now it is there to stay.
    *acknowledged = found;
    for n in 0..9u8 {
        let payload = vec![n; 2300];
        let first = append_if_admitted(&journal, &payload);
        match (first, journal.commit_once()) {
            (Some(seq), Ok(Committed::Batch { .. })) => acknowledged.push((seq, payload)),
            _ => break,
        }
        if n % 2 == 0 {
            journal.housekeep_once();
        }
    }
    let closed = journal.close();
    assert!(closed.is_ok() || disk.is_dead(), "{closed:?}");
}

fn append_if_admitted(journal: &Journal, payload: &[u8]) -> Option<u64> {
    journal.appender().ok().map(|appender| {
        drop(appender);
        append(journal, &[payload])
    })
}

#[test]
fn a_kill_at_any_step_loses_nothing_acknowledged() {
    let mut kills = 0;
    for first_kill in 0.. {
        let disk = MemoryDisk::new();
        disk.kill_after(first_kill);
        let mut acknowledged = Vec::new();
        session(&disk, &mut acknowledged);
        let died = disk.is_dead();
        kills += 1;
        // Kill the next open as well, at each of its first steps, and the one after that not.
        for second_kill in [0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 14, 40, 1000] {
            let disk = disk.copy();
            let mut acknowledged = acknowledged.clone();
            disk.kill_after(second_kill);
            session(&disk, &mut acknowledged);
            let disk = disk.copy();
            let (journal, recovery) = open(&disk);
            let found = usages(&journal, 1);
            let context = format!("kills at {first_kill} and {second_kill}");
            assert!(found.starts_with(&acknowledged), "{context}");
            assert!(found.len() <= acknowledged.len() + 1, "{context}");
            assert_eq!(commit(&journal, &[b"on"]), recovery.durable, "{context}");
        }
        if !died {
            break;
        }
    }
    assert!(kills > 50, "the session has that many steps");
}

#[test]
fn the_unproven_batch_is_copied_and_its_source_may_rot() {
    let disk = MemoryDisk::new();
    let (journal, _) = open(&disk);
    commit(&journal, &[b"one"]);
    commit(&journal, &[b"two"]);
    drop(journal);
    let disk = disk.copy();
    let (_, recovery) = open(&disk);
    assert_eq!(recovery.frames_secured, 1);
    // The old file's copy of the batch never reached the disk, though the cache showed it.
    let names = disk.segments();
    let second = 4096 + (64 + 24 + 3usize).next_multiple_of(8);
    let disk = disk.damaged(&names[0], |bytes| bytes[second..second + 91].fill(0));
    let (journal, _) = open(&disk);
    assert_eq!(usages(&journal, 1), [(1, b"one".to_vec()), (2, b"two".to_vec())]);
    // The control: without the copy the batch would be gone, and is said to be.
    let disk = disk.copy();
    let fresh: Vec<String> = disk.segments().into_iter().skip(1).collect();
    fresh.iter().for_each(|name| disk.take_away(name));
    let (journal, _) = open(&disk);
    assert_eq!(usages(&journal, 1), [(1, b"one".to_vec())]);
}

#[test]
fn a_fresh_segment_without_its_batch_gives_way_to_its_source() {
    for batches in [1, 2, 3] {
        let disk = MemoryDisk::new();
        let (journal, _) = open(&disk);
        let mut expected = Vec::new();
        for n in 0..batches {
            expected.push((commit(&journal, &[&[n; 9]]), vec![n; 9]));
        }
        drop(journal);
        // Recovery is killed between the header of its fresh segment and the batch.
        let mut halfway = None;
        for steps in 0..40 {
            let killed = disk.copy();
            killed.kill_after(steps);
            let opened = try_open(killed.clone(), options()).is_ok();
            let names = killed.segments();
            let last = killed.bytes(names.last().expect("segments"));
            let page: &[u8; HEADER_PAGE_BYTES] = &last[..4096].try_into().expect("a page");
            if !opened && names.len() > 1 && SegmentHeader::parse(page).is_ok() {
                halfway.get_or_insert(killed);
            }
        }
        let (journal, _) = open(&halfway.expect("one of the kills hits that place").copy());
        assert_eq!(usages(&journal, 1), expected);
    }
}

#[test]
fn leftovers_of_a_preparation_are_put_aside() {
    fn check(name: &str, bytes: Vec<u8>, expected: bool) {
        let disk = MemoryDisk::new();
        let (journal, _) = open(&disk);
        commit(&journal, &[b"one"]);
        commit(&journal, &[b"two"]);
        drop(journal);
        let disk = disk.copy();
        disk.put(name, bytes);
        match try_open(disk.clone(), options()) {
            Ok((journal, _)) => {
                assert!(expected, "{name} should be refused");
                assert_eq!(usages(&journal, 1).len(), 2);
                assert_eq!(disk.segments().len(), 2, "the leftover is gone or used");
            }
            Err(refused) => {
                assert!(!expected, "{name}: {refused}");
                assert!(matches!(refused, OpenError::Header { segment: 2, .. }), "{refused}");
            }
        }
    }
    let name = "00000000000000000002.seg";
    check(name, vec![0; 16 << 10], true);
    // Half zero-filled.
    check(name, vec![0; 9000], true);
    // Nothing has this name before its whole length is durable.
    check(name, vec![0; 100], false);
    check(name, Vec::new(), false);
    check("00000000000000000002.seg.tmp", vec![7; 100], true);
    // A torn activation: part of a header over nothing.
    let mut torn = vec![0; 16 << 10];
    torn[..8].copy_from_slice(b"inhJSEG1");
    check(name, torn.clone(), true);
    // Not what a crash leaves: data under a header that does not hold.
    torn[9000] = 1;
    check(name, torn, false);
    let mut written = vec![0; 16 << 10];
    written[9000] = 1;
    check(name, written, false);
}

#[test]
fn another_segment_size_takes_over_at_the_next_open() {
    let disk = MemoryDisk::new();
    let (journal, _) = open(&disk);
    commit(&journal, &[&[1; 8000]]);
    commit(&journal, &[&[2; 8000]]);
    journal.housekeep_once();
    drop(journal);
    for segment_bytes in [32 << 10, 16 << 10, 64 << 10] {
        let disk = disk.copy();
        let mut options = options();
        options.segment_bytes = segment_bytes;
        let (journal, _) = try_open(disk.clone(), options).expect("opens");
        assert_eq!(usages(&journal, 1).len(), 2);
        commit(&journal, &[&[3; 8000]]);
        assert_eq!(usages(&journal, 1).len(), 3);
    }
}

#[test]
fn a_second_open_is_refused_until_the_first_is_closed() {
    let disk = MemoryDisk::new();
    let (journal, _) = open(&disk);
    assert!(matches!(try_open(disk.clone(), options()), Err(OpenError::Locked)));
    journal.close().expect("closed");
    try_open(disk, options()).expect("opens");
}

#[test]
fn an_examination_finds_the_end_and_writes_nothing() {
    let disk = SimDisk::new(1);
    let examine =
        || Journal::examine(Arc::new(disk.clone()), ManualClock::new(), options()).expect("whole");
    let mut operations = disk.operations();
    assert_eq!(examine().end_seq(), 1, "of no store yet");
    assert_eq!(disk.operations(), operations);
    let (journal, _) = try_open(Arc::new(disk.clone()), options()).expect("opens");
    for n in 0..20u8 {
        commit(&journal, &[&[n; 2300]]);
    }
    drop(journal);
    disk.crash(Crash::Kill);
    operations = disk.operations();
    let examined = examine();
    assert_eq!((examined.first_seq(), examined.end_seq()), (1, 21));
    assert_eq!(disk.operations(), operations);
    let witness = |store_id, repairs, durable| Witness {
        name: "the test".to_owned(),
        store_id,
        repairs,
        durable,
    };
    let (own, foreign) = (examined.store_id(), [0; 16]);
    let refused = examined.open(&[witness(own, 0, 23), witness(own, 0, 22)]).map(drop);
    let expected = "at least 2 and at most";
    assert!(refused.expect_err("it ends early").to_string().contains(expected));
    assert_eq!(disk.operations(), operations);
    let opened = examine().open(&[witness(own, 0, 21), witness(foreign, 0, 99)]);
    assert_eq!(opened.expect("nothing is missing").1.durable, 21);
}
