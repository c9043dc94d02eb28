//! One repair is enough, whatever is missing, and costs what its plan says; or there is none.

use std::sync::Arc;

use journal::check::{Loss, check};
use journal::format::{BATCH_HEADER_BYTES, BatchHeader, SegmentHeader, segment_file_name};
use journal::repair::{RepairAction, RepairError, RepairPlan, plan, repair};
use journal::{FrameKind, OpenError};

use crate::helpers::{commit, open, options, try_open};
use crate::memory::MemoryDisk;

/// Three lives, each ended by a kill: segment 1 holds the sequences 1 and 2, segment 2 a copy of 2
/// and then 3, segment 3 a copy of 3 and then 4. Segment 4 is prepared.
fn three_lives() -> Arc<MemoryDisk> {
    let mut disk = MemoryDisk::new();
    for payloads in [&[1u8, 2][..], &[3], &[4]] {
        let (journal, _) = open(&disk);
        for &n in payloads {
            commit(&journal, &[&[n; 200]]);
        }
        if payloads == [4] {
            journal.housekeep_once();
        }
        disk = disk.copy();
    }
    assert_eq!(disk.segments().len(), 4);
    disk
}

/// The disk with a segment of which nothing can be read.
fn spoilt(disk: &MemoryDisk, number: u64) -> Arc<MemoryDisk> {
    disk.damaged(&segment_file_name(number), |bytes| bytes.fill(0x5a))
}

/// Where a segment's second batch starts.
fn second_batch(bytes: &[u8]) -> usize {
    let first = BatchHeader::parse(&bytes[4096..]).expect("the first batch");
    (4096 + BATCH_HEADER_BYTES + first.bytes as usize).next_multiple_of(8)
}

/// Repairs once. The journal then opens with the usages `kept` and padding at the sequences `lost`.
fn check_mended(disk: &Arc<MemoryDisk>, kept: &[u64], lost: &[u64]) -> RepairPlan {
    assert!(try_open(disk.copy(), options()).is_err(), "there is something to repair");
    let found = check(&**disk, &mut |_, _| {}).expect("checkable");
    assert!(!found.is_sound(), "a check says why it does not open");
    let plan = plan(&**disk).expect("a plan");
    repair(&**disk, &plan).expect("repaired");
    check_whole(disk, kept, lost, &format!("{plan:?}"));
    plan
}

/// A check finds nothing, and the journal opens with `kept` and `lost`.
fn check_whole(disk: &Arc<MemoryDisk>, kept: &[u64], lost: &[u64], context: &str) {
    let report = check(&**disk, &mut |_, _| {}).expect("checkable");
    assert!(report.is_sound(), "{context}\n{:?}", report.damages);
    let (journal, _) = open(disk);
    let (mut usages, mut padding) = (Vec::new(), Vec::new());
    let mut reader = journal.reader(journal.first_seq());
    while let Some(batch) = reader.next_batch().expect("readable") {
        for frame in batch.frames() {
            match frame.kind {
                FrameKind::Padding => padding.push(frame.seq),
                _ => usages.push((frame.seq, frame.payload[0])),
            }
        }
    }
    assert!(usages.iter().all(|&(seq, n)| seq == u64::from(n)), "{usages:?}");
    let usages: Vec<u64> = usages.into_iter().map(|(seq, _)| seq).collect();
    assert_eq!((&usages[..], &padding[..]), (kept, lost), "{context}");
}

/// Nothing can be mended, and the plan says so instead of beginning anew with the same ids.
fn check_nothing_left(disk: &Arc<MemoryDisk>) {
    assert!(try_open(disk.copy(), options()).is_err());
    assert!(!check(&**disk, &mut |_, _| {}).expect("checkable").is_sound());
    assert!(matches!(plan(&**disk), Err(RepairError::NothingLeft)));
}

#[test]
fn repro_the_spare_behind_an_unreadable_newest_segment_wanted_a_second_repair() {
    let disk = spoilt(&three_lives(), 3);
    let plan = check_mended(&disk, &[1, 2, 3], &[]);
    assert_eq!(plan.steps.len(), 1);
    // An open that was killed has begun segment 4 behind it.
    let disk = three_lives();
    let page = &disk.bytes(&segment_file_name(3))[..4096].try_into().expect("a page");
    let header = SegmentHeader::parse(page).expect("in use");
    let begun = SegmentHeader { number: 4, previous: 3, source: 3, first_seq: 4, ..header };
    let disk = spoilt(&disk, 3);
    let disk = disk.damaged(&segment_file_name(4), |bytes| {
        bytes[..4096].copy_from_slice(&begun.encode()[..]);
    });
    check_mended(&disk.copy(), &[1, 2, 3], &[]);
    // The same without segment 3's file.
    disk.take_away(&segment_file_name(3));
    check_mended(&disk, &[1, 2, 3], &[]);
    let gone = three_lives();
    gone.take_away(&segment_file_name(3));
    check_mended(&gone, &[1, 2, 3], &[]);
}

#[test]
fn repro_a_missing_segment_that_held_nothing_of_its_own_could_not_be_repaired() {
    let disk = three_lives();
    disk.take_away(&segment_file_name(2));
    let plan = check_mended(&disk, &[1, 2, 3, 4], &[]);
    assert!(plan.steps.iter().all(|step| step.lost.is_empty()), "{plan:?}");
    check_mended(&spoilt(&three_lives(), 2), &[1, 2, 3, 4], &[]);
}

#[test]
fn repro_a_missing_segment_behind_an_unreadable_oldest_could_not_be_repaired() {
    let disk = spoilt(&three_lives(), 1);
    disk.take_away(&segment_file_name(2));
    check_mended(&disk, &[3, 4], &[1, 2]);
}

#[test]
fn a_kill_in_a_repair_leaves_something_to_repair_or_nothing() {
    fn check_kills(disk: &Arc<MemoryDisk>, kept: &[u64], lost: &[u64]) {
        for steps in 0.. {
            let killed = disk.copy();
            let plan_before = plan(&*killed).expect("a plan");
            killed.kill_after(steps);
            let _ = repair(&*killed, &plan_before);
            let after = killed.copy();
            let sound = check(&*after, &mut |_, _| {}).expect("checkable").is_sound();
            assert_eq!(sound, try_open(after.copy(), options()).is_ok(), "killed after {steps}");
            let plan_after = plan(&*after).expect("a plan");
            repair(&*after, &plan_after).expect("repaired");
            check_whole(&after, kept, lost, &format!("killed after {steps}"));
            if !killed.is_dead() {
                break;
            }
        }
    }
    check_kills(&spoilt(&three_lives(), 3), &[1, 2, 3], &[]);
    check_kills(&spoilt(&three_lives(), 2), &[1, 2, 3, 4], &[]);
    let disk = spoilt(&three_lives(), 1);
    check_kills(&disk, &[2, 3, 4], &[1]);
    disk.take_away(&segment_file_name(2));
    check_kills(&disk, &[3, 4], &[1, 2]);
}

#[test]
fn repro_the_only_segment_was_set_aside_whole_for_one_bit_of_its_header_page() {
    let disk = MemoryDisk::new();
    let (journal, _) = open(&disk);
    for n in 1..=3 {
        commit(&journal, &[&[n; 200]]);
    }
    drop(journal);
    let disk = disk.damaged(&segment_file_name(1), |bytes| bytes[1000] ^= 1);
    let plan = check_mended(&disk, &[1, 2, 3], &[]);
    assert_eq!((plan.steps[0].action, plan.steps[0].frames_kept), (RepairAction::Rewrite, 3));
}

/// Where no header page and no first batch is left to tell the salt, what is found without it may be
/// a client's.
#[test]
fn a_forged_batch_is_not_taken_for_what_is_left_of_a_journal() {
    let forged = BatchHeader {
        salt: 0,
        epoch: 1,
        frames: 1,
        first_seq: 3,
        bytes: 0,
        payload_crc: crc32c::crc32c(&[]),
        prev_chain: 0,
        committed_ms: 0,
    };
    // At every alignment.
    let payload: Vec<u8> = (0..8).flat_map(|_| forged.encode().into_iter().chain([0; 1])).collect();
    let disk = MemoryDisk::new();
    let (journal, _) = open(&disk);
    commit(&journal, &[b"before"]);
    commit(&journal, &[&payload]);
    drop(journal);
    let disk = disk.damaged(&segment_file_name(1), |bytes| bytes[..4160].fill(0x5a));
    check_nothing_left(&disk);
}

#[test]
fn repro_a_check_took_a_damaged_batch_before_a_torn_one_for_torn() {
    let disk = three_lives();
    let disk = disk.damaged(&segment_file_name(3), |bytes| {
        let second = second_batch(bytes);
        bytes[4096 + BATCH_HEADER_BYTES] ^= 1;
        bytes[second + BATCH_HEADER_BYTES..].fill(0);
    });
    // What segment 3 has copied stands in segment 2 too, but is superseded there.
    check_mended(&disk, &[1, 2], &[3]);
}

#[test]
fn repro_a_store_without_any_used_segment_was_found_sound() {
    let disk = three_lives();
    (1..=3).for_each(|number| disk.take_away(&segment_file_name(number)));
    check_nothing_left(&disk);
    disk.take_away(&segment_file_name(4));
    check_nothing_left(&disk);
    assert!(matches!(try_open(disk, options()), Err(OpenError::NoSegments)));
    let spoilt = (1..=3).fold(three_lives(), |disk, n| spoilt(&disk, n));
    check_nothing_left(&spoilt);
}

/// Of what was cut off nothing tells how much it was; that it may be something has to be said.
#[test]
fn repro_a_truncated_newest_segment_lost_nothing_in_a_check() {
    // Segment 2 still holds what segment 3 has copied from it, so that one usage is lost.
    fn check_cut(len: usize, is_bounded: bool) {
        let disk = three_lives().damaged(&segment_file_name(3), |bytes| bytes.truncate(len));
        let report = check(&*disk, &mut |_, _| {}).expect("checkable");
        assert!(!report.is_sound());
        assert!(report.torn.is_none(), "not what a crash leaves");
        let Loss { at_least, at_most } = report.loss();
        assert!(at_least <= 1 && at_most.is_none_or(|most| 1 <= most), "{len}: {report:?}");
        assert_eq!(at_most.is_some(), is_bounded, "{len}: {report:?}");
    }
    let second = second_batch(&three_lives().bytes(&segment_file_name(3)));
    check_cut(second + 100, true);
    check_cut(second, true);
    check_cut(4200, false);
    check_cut(4096, false);
    check_cut(100, false);
    check_cut(0, false);
    // Control: where zeros follow the last batch, nothing came after it.
    let disk = three_lives().damaged(&segment_file_name(3), |bytes| bytes.truncate(9000));
    let report = check(&*disk, &mut |_, _| {}).expect("checkable");
    assert!(!report.is_sound(), "the file is cut");
    assert_eq!(report.loss(), Loss { at_least: 0, at_most: Some(0) });
}

/// A compressed segment ends the journal after a repair of the newest. Its footer says how far it went.
#[test]
fn the_last_blocks_of_a_compressed_newest_segment_are_counted() {
    let repaired = || {
        let disk = three_lives().damaged(&segment_file_name(3), |bytes| {
            bytes[4096 + BATCH_HEADER_BYTES] ^= 1;
        });
        repair(&*disk, &plan(&*disk).expect("a plan")).expect("repaired");
        disk
    };
    let loss = |disk: &MemoryDisk| check(disk, &mut |_, _| {}).expect("checkable").loss();
    let disk = repaired().damaged(&segment_file_name(3), |bytes| bytes[4096 + 50] ^= 1);
    assert_eq!(loss(&disk), Loss { at_least: 2, at_most: Some(2) });
    let disk = disk.damaged(&segment_file_name(3), |bytes| {
        let footer = bytes.len() - 20;
        bytes[footer] ^= 1;
    });
    assert_eq!(loss(&disk), Loss { at_least: 0, at_most: None });
}

/// Of segment 2 nothing can be read but its last batch, which segment 3 has copied: it begins where
/// that does, was skipped, and the journal did not open after a repair.
#[test]
fn repro_a_segment_with_nothing_but_what_the_next_one_copied_could_not_be_repaired() {
    let disk = MemoryDisk::new();
    let (journal, _) = open(&disk);
    for n in 1..=6 {
        commit(&journal, &[&[n; 3500]]);
    }
    drop(journal);
    let disk = disk.copy();
    drop(open(&disk));
    let disk = disk.copy();
    assert_eq!(disk.segments().len(), 3);
    let disk = disk.damaged(&segment_file_name(2), |bytes| {
        let last = 4096 + 2 * (second_batch(bytes) - 4096);
        bytes[..last].fill(0x5a);
    });
    check_mended(&disk, &[1, 2, 3, 6], &[4, 5]);
}
