//! Files under wrong names, copies, and what lies about: a start changes nothing, a check loses
//! nothing, a repair puts everything right, also when it is killed in between.

use std::sync::Arc;

use journal::check::{CheckReport, Holds, Loss, Misplaced, check};
use journal::disk::{ASIDE, Disk};
use journal::format::segment_file_name;
use journal::repair::{plan, repair};
use journal::{Journal, OpenError, Options, Sabotage};

use crate::helpers::{ManualClock, commit, open, options, try_open, usages};
use crate::memory::MemoryDisk;

type Usages = Vec<(u64, Vec<u8>)>;

const NONE: Loss = Loss { at_least: 0, at_most: Some(0) };

/// Four raw segments and a spare.
fn store() -> (Arc<MemoryDisk>, Usages) {
    let disk = MemoryDisk::new();
    let (journal, _) = open(&disk);
    for n in 0..16u8 {
        commit(&journal, &[&[n; 1500], &[n; 1000]]);
        journal.housekeep_once();
    }
    let stored = usages(&journal, 1);
    assert_eq!(disk.segments().len(), 5);
    (disk.copy(), stored)
}

fn name(number: u64) -> String {
    segment_file_name(number)
}

fn copy(disk: &MemoryDisk, from: u64, to: u64) {
    disk.put(&name(to), disk.bytes(&name(from)));
}

fn rename(disk: &MemoryDisk, from: &str, to: &str) {
    let bytes = disk.bytes(from);
    disk.take_away(from);
    disk.put(to, bytes);
}

fn swap(disk: &MemoryDisk, one: u64, two: u64) {
    let (first, second) = (disk.bytes(&name(one)), disk.bytes(&name(two)));
    disk.put(&name(one), second);
    disk.put(&name(two), first);
}

fn content(disk: &MemoryDisk) -> Vec<(String, Vec<u8>)> {
    let names = disk.list().expect("lists").into_iter();
    names.map(|name| (name.clone(), disk.bytes(&name))).collect()
}

fn checked(disk: &MemoryDisk) -> CheckReport {
    check(disk, &mut |_, _| {}).expect("checkable")
}

/// The start is refused and says what to do, nothing changes, a check finds `expected` misplaced and
/// nothing lost, and after a repair the store has every usage.
#[track_caller]
fn check_corrected(damage: impl Fn(&MemoryDisk), expected: &[(&str, Holds)]) {
    let (disk, stored) = store();
    damage(&disk);
    let before = content(&disk);
    let refused = try_open(disk.copy(), options()).map(|_| ()).expect_err("misplaced");
    assert!(matches!(refused, OpenError::Misplaced { .. }), "{refused}");
    assert!(refused.to_string().contains("inhale journal repair"), "{refused}");
    let tried = disk.copy();
    let _ = try_open(tried.clone(), options());
    assert_eq!(content(&tried), before, "a refused start changes nothing");
    let report = checked(&disk);
    let found: Vec<(&str, Holds)> =
        report.misplaced.iter().map(|file| (file.file.as_str(), file.holds)).collect();
    assert_eq!(found, expected);
    assert_eq!(Loss::of(&report.damages), NONE, "{report:?}");
    assert_eq!(report.usages(), stored.len() as u64);
    let plan = plan(&*disk).expect("a plan");
    assert!(plan.steps.is_empty(), "{plan:?}");
    repair(&*disk, &plan).expect("repaired");
    assert!(checked(&disk).is_sound());
    let (journal, recovery) = try_open(disk.clone(), options()).expect("opens");
    assert_eq!((usages(&journal, 1), recovery.repairs), (stored, 0));
}

#[test]
fn repro_a_copy_over_the_spare_had_three_intact_segments_deleted() {
    let (two, six) = (Holds::Copy(2), name(6));
    check_corrected(|disk| copy(disk, 2, 5), &[(&name(5), two)]);
    check_corrected(|disk| copy(disk, 2, 6), &[(&six, two)]);
    check_corrected(|disk| copy(disk, 4, 6), &[(&six, Holds::Copy(4))]);
    check_corrected(|disk| copy(disk, 4, 9), &[(&name(9), Holds::Copy(4))]);
}

#[test]
fn repro_two_swapped_names_cost_every_usage_in_between() {
    for one in 1..=5 {
        for two in 1..one {
            let expected = [(name(two), Holds::Segment(one)), (name(one), Holds::Segment(two))];
            let [first, second] = &expected;
            // In the order of the names that they get.
            let listed = [(second.0.as_str(), second.1), (first.0.as_str(), first.1)];
            check_corrected(|disk| swap(disk, one, two), &listed);
        }
    }
    check_corrected(
        |disk| {
            swap(disk, 1, 2);
            swap(disk, 2, 3);
        },
        &[
            (&name(3), Holds::Segment(1)),
            (&name(1), Holds::Segment(2)),
            (&name(2), Holds::Segment(3)),
        ],
    );
}

#[test]
fn a_renamed_segment_is_found_under_any_name() {
    for number in 1..=4 {
        for to in [name(6), format!("{}.bak", name(number)), "copy of a file".to_owned()] {
            let expected = [(to.as_str(), Holds::Segment(number))];
            check_corrected(|disk| rename(disk, &name(number), &to), &expected);
        }
    }
    // Beside the one in its place a copy under a name of its own is in nobody's way.
    let (disk, stored) = store();
    disk.put("backup", disk.bytes(&name(2)));
    assert!(checked(&disk).is_sound());
    let (journal, _) = open(&disk);
    assert_eq!(usages(&journal, 1), stored);
    assert!(disk.bytes("backup") == disk.bytes(&name(2)), "left alone");
}

#[test]
fn a_copy_heals_what_is_damaged_in_its_place() {
    for page in [false, true] {
        let (disk, stored) = store();
        disk.put("backup", disk.bytes(&name(2)));
        let disk = disk.damaged(&name(2), |bytes| bytes[if page { 20 } else { 4200 }] ^= 1);
        let report = checked(&disk);
        assert_eq!(report.loss(), NONE);
        let plan = plan(&*disk).expect("a plan");
        assert!(plan.moves.iter().any(|file| file.file == "backup"), "{plan:?}");
        repair(&*disk, &plan).expect("repaired");
        let (journal, _) = open(&disk);
        assert_eq!(usages(&journal, 1), stored);
        assert_eq!(disk.list_aside().expect("lists"), [name(2)], "the damaged one is kept");
    }
}

/// The damaged original of a segment, under a higher number, was taken for the newest, and everything
/// behind the segment for superseded.
#[test]
fn repro_a_damaged_original_under_a_higher_number_hid_what_came_after_it() {
    let (disk, stored) = store();
    disk.put("backup", disk.bytes(&name(2)));
    let disk = disk.damaged(&name(2), |bytes| bytes[20] ^= 1);
    swap(&disk, 2, 5);
    let report = checked(&disk);
    let lost = Loss::of(&report.damages);
    assert_eq!((report.usages(), lost), (stored.len() as u64, NONE), "{report:?}");
    repair(&*disk, &plan(&*disk).expect("a plan")).expect("repaired");
    let (journal, _) = open(&disk);
    assert_eq!(usages(&journal, 1), stored);
}

#[test]
fn a_segment_of_another_store_is_set_aside() {
    let (disk, stored) = store();
    let other = MemoryDisk::new();
    let (journal, _) =
        try_open(other.clone(), Options { seed: Some(2), ..options() }).expect("opens");
    commit(&journal, &[b"of another store"]);
    disk.put(&name(6), other.bytes(&name(1)));
    assert!(matches!(try_open(disk.copy(), options()), Err(OpenError::Header { .. })));
    let report = checked(&disk);
    let to = format!("{ASIDE}/{}", name(6));
    let foreign = Misplaced { file: name(6), holds: Holds::OtherStore, to };
    assert_eq!((report.misplaced.clone(), report.loss()), (vec![foreign], NONE));
    repair(&*disk, &plan(&*disk).expect("a plan")).expect("repaired");
    let (journal, _) = open(&disk);
    assert_eq!(usages(&journal, 1), stored);
}

/// Names are exchanged by way of others. Whichever step is the last before a kill, no start takes
/// what it finds for the whole, and the next repair ends the exchange.
#[test]
fn a_kill_while_names_are_corrected_costs_nothing() {
    for damage in [
        (|disk: &MemoryDisk| swap(disk, 2, 4)) as fn(&MemoryDisk),
        |disk| {
            disk.take_away(&name(5));
            swap(disk, 3, 4);
        },
        |disk| {
            copy(disk, 1, 5);
            swap(disk, 1, 2);
        },
    ] {
        for steps in 0.. {
            let (disk, stored) = store();
            damage(&disk);
            disk.kill_after(steps);
            let _ = repair(&*disk, &plan(&*disk).expect("a plan"));
            let after = disk.copy();
            match try_open(after.copy(), options()) {
                Ok((journal, _)) => assert_eq!(usages(&journal, 1), stored, "after {steps}"),
                Err(refused) => assert!(!checked(&after).is_sound(), "after {steps}: {refused}"),
            }
            repair(&*after, &plan(&*after).expect("a plan")).expect("repaired");
            let (journal, _) = try_open(after.clone(), options()).expect("opens");
            assert_eq!(usages(&journal, 1), stored, "after {steps}");
            if !disk.is_dead() {
                break;
            }
        }
    }
}

/// What an opening finds beside the journal and cannot prove needless is set aside: here the only
/// intact copy of a damaged segment, under a name that was removed unseen.
#[test]
fn repro_a_start_removed_what_nothing_else_held() {
    fn check(removal_proof: bool, kept: bool) {
        let (disk, _) = store();
        let tmp = format!("{}.tmp", name(2));
        let intact = disk.bytes(&name(2));
        disk.put(&tmp, intact.clone());
        let disk = disk.damaged(&name(2), |bytes| bytes[4200] ^= 1);
        let sabotage = Sabotage { removal_proof, ..Sabotage::default() };
        let (journal, _) =
            try_open(disk.clone(), Options { sabotage, ..options() }).expect("opens");
        assert!(!disk.list().expect("lists").contains(&tmp));
        let aside = disk.list_aside().expect("lists");
        assert_eq!(aside, if kept { vec![tmp.clone()] } else { Vec::new() });
        if kept {
            assert!(disk.bytes(&format!("{ASIDE}/{tmp}")) == intact);
            let status = journal.status();
            assert_eq!(status.bytes_aside, intact.len() as u64, "it counts as used disk");
            assert!(status.bytes > status.bytes_aside);
        }
    }
    check(false, true);
    check(true, false);
}

#[test]
fn what_is_proven_needless_goes_and_nothing_is_left_aside() {
    let (disk, stored) = store();
    // A compression that was cut short, at every length, its first page lost or not.
    let compressed = MemoryDisk::new();
    let (journal, _) =
        try_open(compressed.clone(), Options { compress_level: Some(1), ..options() })
            .expect("opens");
    for n in 0..16u8 {
        commit(&journal, &[&[n; 1500], &[n; 1000]]);
        journal.housekeep_once();
    }
    drop(journal);
    let whole = compressed.bytes(&name(1));
    assert_eq!(whole[12], 2, "compressed");
    for len in [0, 100, 4096, 4200, whole.len() - 70, whole.len()] {
        for page in [true, false] {
            let disk = disk.copy();
            let mut bytes = whole[..len].to_vec();
            if !page {
                bytes.iter_mut().take(4096).for_each(|byte| *byte = 0);
            }
            disk.put(&format!("{}.tmp", name(1)), bytes);
            let (journal, _) = open(&disk);
            assert_eq!(usages(&journal, 1), stored);
            assert_eq!(disk.list_aside().expect("lists"), Vec::<String>::new(), "{len} {page}");
        }
    }
}

/// A running journal prepares the next segment, and an opening renames the spare there and back: a
/// file that has taken one of these names is not replaced.
#[test]
fn a_file_under_a_name_that_is_needed_is_set_aside() {
    for to in [name(5), format!("{}.tmp", name(5))] {
        let disk = MemoryDisk::new();
        let (journal, _) = open(&disk);
        for n in 0..16u8 {
            commit(&journal, &[&[n; 1500], &[n; 1000]]);
        }
        let copied = disk.bytes(&name(2));
        disk.put(&to, copied.clone());
        assert!(journal.housekeep_once().prepared);
        let aside = disk.list_aside().expect("lists");
        assert_eq!(aside, [to]);
        assert!(disk.bytes(&format!("{ASIDE}/{}", aside[0])) == copied);
    }
}

/// Bytes set aside count against the cap.
#[test]
fn what_is_set_aside_counts_against_the_cap() {
    let (disk, _) = store();
    let used = disk.segments().len() as u64 * crate::helpers::SEGMENT_BYTES;
    let capped = Options { bytes_max: Some(used + 40_000), ..options() };
    let fill = |disk: &Arc<MemoryDisk>| {
        let opened = Journal::open(disk.clone(), ManualClock::new(), capped.clone());
        let (journal, _) = opened.expect("opens");
        (0..40u8)
            .take_while(|n| {
                let admitted = journal.appender().is_ok_and(|mut appender| {
                    let usage = journal::FrameKind::Usage;
                    appender.append(usage, 0, |_, out| out.extend_from_slice(&[*n; 2000])).is_ok()
                });
                admitted && journal.commit_once().is_ok() && journal.housekeep_once().removed == 0
            })
            .count()
    };
    let free = fill(&disk.copy());
    disk.put(&format!("{ASIDE}/kept"), vec![1; 40_000]);
    assert!(fill(&disk) < free, "{free}");
}
