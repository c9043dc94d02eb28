//! A journal that has lost its end, by a disk that lies or a file that was put back, is refused,
//! and goes on only past every sequence that it may have given out.

use std::sync::Arc;
use std::time::Duration;

use journal::accept::{EndLoss, accept_loss, end_loss, keep_witnesses};
use journal::check::check;
use journal::disk::sim::Crash;
use journal::disk::{Disk, SimDisk};
use journal::format::segment_file_name;
use journal::limits::LOST_MARK_AHEAD;
use journal::scan::{RawSegment, read_header, read_whole};
use journal::{
    AppendError, Clock as _, CommitError, FrameKind, Journal, OpenError, Options, ReadError,
    Recovery, Sabotage, SystemClock, Witness,
};

use crate::helpers::{ManualClock, append, commit, options, try_open, usages};

/// Where the mark's limit is after an open of a new store with [`settings`].
const LIMIT: u64 = 1 + AHEAD;
const AHEAD: u64 = 5000;
/// Nothing here waits so long; it only keeps a failure from hanging.
const PATIENCE: Duration = Duration::from_secs(20);

fn settings() -> Options {
    Options { segment_bytes: 4 << 20, mark_ahead: AHEAD, ..options() }
}

fn open(disk: &SimDisk) -> Result<(Journal, Recovery), OpenError> {
    try_open(Arc::new(disk.clone()), settings())
}

/// A journal of so many batches of one usage each, marked, and killed.
fn killed(seed: u64, batches: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    let (journal, _) = open(&disk).expect("a new store");
    for seq in 1..=batches {
        commit(&journal, &[&seq.to_le_bytes()]);
    }
    assert!(journal.mark_once() && !journal.mark_once(), "once is enough");
    drop(journal);
    disk.crash(Crash::Kill);
    disk
}

/// Zeroes the first segment from the batch with this sequence on, durably.
fn lose_from(disk: &SimDisk, seq: u64) {
    let file = disk.open(&segment_file_name(1)).expect("the first segment");
    let header = read_header(&*file).expect("alive").expect("whole");
    let bytes = read_whole(&*file).expect("alive");
    let segment = RawSegment::new(&header, &bytes);
    let mut from = 0;
    let offset = loop {
        let batch = segment.find_batch(from).expect("the batch is there");
        if batch.header.first_seq == seq {
            break usize::try_from(batch.offset).expect("small");
        }
        from = batch.offset + 8;
    };
    file.write_all_at(&vec![0; bytes.len() - offset], offset as u64).expect("alive");
    file.sync_all().expect("alive");
}

fn accept(disk: &SimDisk) -> EndLoss {
    let planned = end_loss(disk, &[]).expect("a plan").expect("something is missing");
    let done = accept_loss(disk, &[], 7).expect("accepted").expect("something was missing");
    assert_eq!(planned, done);
    done
}

fn missing(opened: Result<(Journal, Recovery), OpenError>) -> (u64, Option<u64>) {
    match opened.map(drop).expect_err("its end is lost") {
        OpenError::EndsEarly(missing) => (missing.at_least(), missing.at_most()),
        error => panic!("{error}"),
    }
}

/// The journal holds the usages below `kept`, gives up the rest below the limit, and goes on there.
#[track_caller]
fn check_resumed(disk: &SimDisk, kept: u64, resume: u64) {
    let (journal, recovery) = open(disk).expect("the loss was accepted");
    assert_eq!(recovery.durable, resume);
    let found = usages(&journal, 1);
    assert_eq!(found.len() as u64, kept - 1);
    assert!(found.iter().all(|(seq, payload)| seq.to_le_bytes()[..] == payload[..]));
    for seq in [kept, resume - 1] {
        assert_eq!(journal.read(seq).expect("padding").kind, FrameKind::Padding);
    }
    assert!(matches!(journal.read(resume), Err(ReadError::NotYet)));
    assert_eq!(commit(&journal, &[b"on"]), resume, "no sequence is given out again");
    journal.close().expect("the disk is whole");
    let report = check(disk, &mut |_, _| {}).expect("checkable");
    assert!(report.is_sound(), "{:?}", report.damages);
    assert_eq!(report.lost_before(), resume - kept);
    assert_eq!(open(disk).expect("once more").1.durable, resume + 2);
}

/// The last 1,000 of 2,000 synced batches are zeroed. Every checksum that is left is right.
#[test]
fn repro_a_zeroed_half_of_the_newest_segment_went_unnoticed() {
    let disk = killed(1, 2000);
    lose_from(&disk, 1001);
    let operations = disk.operations();
    assert_eq!(missing(open(&disk)), (1000, Some(LIMIT - 1001)));
    let report = check(&disk, &mut |_, _| {}).expect("checkable");
    assert!(!report.is_sound());
    assert_eq!(report.damages[0].lost, 1001..2001, "{:?}", report.damages);
    assert_eq!(disk.operations(), operations, "nothing was changed");
    let loss = accept(&disk);
    assert_eq!((loss.end_seq, loss.resume_seq), (1001, LIMIT));
    assert!(loss.kept.iter().all(|name| disk.open(name).is_ok()), "{:?}", loss.kept);
    check_resumed(&disk, 1001, LIMIT);
    assert_eq!(end_loss(&disk, &[]).expect("a plan"), None);
}

/// The control: without witnesses the same journal opens, and gives out the sequences again.
#[test]
fn a_lost_end_is_noticed_by_its_witnesses_alone() {
    let disk = killed(1, 20);
    lose_from(&disk, 11);
    let sabotage = Sabotage { witnesses: true, ..Sabotage::default() };
    let opened = try_open(Arc::new(disk), Options { sabotage, ..settings() });
    assert_eq!(commit(&opened.expect("nobody looks").0, &[b"again"]), 11);
}

#[test]
fn after_a_clean_stop_the_loss_is_counted_exactly() {
    let disk = killed(2, 20);
    let (journal, _) = open(&disk).expect("whole");
    journal.close().expect("the disk is whole");
    // The closing frame is alone in the second segment, behind the batch that was copied.
    disk.remove(&segment_file_name(2)).expect("there");
    lose_from(&disk, 11);
    assert_eq!(missing(open(&disk)), (11, Some(11)));
    accept(&disk);
    check_resumed(&disk, 11, 22);
}

/// All of the batches, also with the header page and with the segments behind.
#[test]
fn a_journal_of_which_no_batch_is_left_goes_on_past_them() {
    fn check(lose: fn(&SimDisk)) {
        let disk = killed(3, 20);
        lose(&disk);
        assert_eq!(missing(open(&disk)), (20, Some(LIMIT - 1)));
        accept(&disk);
        check_resumed(&disk, 1, LIMIT);
    }
    check(|disk| lose_from(disk, 1));
    check(|disk| {
        let file = disk.open(&segment_file_name(1)).expect("there");
        file.write_all_at(&vec![0; 1 << 20], 0).expect("alive");
        file.set_len(1 << 20).expect("alive");
    });
}

#[test]
fn a_crash_at_any_step_of_accepting_a_loss_gives_no_sequence_out_again() {
    let mut refused = 0;
    for (halt, crash) in
        (0..30).flat_map(|halt| [Crash::Kill, Crash::Power].map(|crash| (halt, crash)))
    {
        // A lost mark costs millions of sequences, which takes its time in a debug build.
        let lost_marks = &[false, true][..if (halt, crash) == (12, Crash::Power) { 2 } else { 1 }];
        for &lost_mark in lost_marks {
            let disk = killed(halt, 20);
            lose_from(&disk, 11);
            if lost_mark {
                disk.remove("mark").expect("there");
            }
            disk.halt_in(halt);
            let done = accept_loss(&disk, &[], 7);
            disk.crash(crash);
            match open(&disk) {
                Ok((journal, recovery)) => {
                    assert!(recovery.durable >= LIMIT, "halt {halt} {crash:?} {lost_mark}");
                    drop(journal);
                }
                Err(OpenError::EndsEarly(_) | OpenError::NoMark { .. }) if done.is_err() => {
                    let loss = accept(&disk);
                    assert!(loss.resume_seq >= LIMIT, "halt {halt} {crash:?} {lost_mark}");
                    let (_, recovery) = open(&disk).expect("accepted");
                    assert_eq!(recovery.durable, loss.resume_seq);
                    refused += 1;
                }
                Err(error) => panic!("halt {halt} {crash:?}: {error} after {done:?}"),
            }
        }
    }
    assert!(refused > 20, "{refused}");
}

#[test]
fn a_mark_that_is_lost_is_no_licence_to_go_on() {
    fn check(lose: fn(&SimDisk), expected: &str) -> SimDisk {
        let disk = killed(4, 20);
        lose(&disk);
        let refused = open(&disk).map(drop).expect_err("how far it was is not known");
        assert!(matches!(refused, OpenError::NoMark { .. }), "{refused}");
        assert!(refused.to_string().contains(expected), "{refused}");
        assert!(!check_sound(&disk));
        disk
    }
    let disk = check(|disk| disk.remove("mark").expect("there"), "it is missing");
    let loss = accept(&disk);
    assert_eq!((loss.missing, loss.end_seq), (None, 21));
    assert_eq!(loss.resume_seq, 21 + LOST_MARK_AHEAD);
    assert_eq!(open(&disk).expect("accepted").1.durable, loss.resume_seq);
    let both = |disk: &SimDisk| {
        disk.flip_bit("mark", 40, 1);
        disk.flip_bit("mark", 4096 + 50, 1);
    };
    check(both, "both of its copies are damaged");
    // One copy is enough.
    let disk = killed(4, 20);
    disk.flip_bit("mark", 40, 1);
    assert_eq!(open(&disk).expect("a copy is left").1.durable, 21);
}

fn check_sound(disk: &SimDisk) -> bool {
    check(disk, &mut |_, _| {}).expect("checkable").is_sound()
}

#[test]
fn a_mark_is_missed_in_a_directory_without_store_meta() {
    let disk = killed(5, 20);
    for name in disk.list().expect("alive") {
        if name != "mark" {
            disk.remove(&name).expect("there");
        }
    }
    let refused = open(&disk).map(drop).expect_err("a store was here");
    assert!(matches!(refused, OpenError::Meta(_)), "{refused}");
}

/// Witnesses that know less than the journal, or nothing of it, keep nobody from starting.
#[test]
fn an_older_mark_and_witnesses_of_other_journals_are_no_obstacle() {
    let disk = killed(6, 20);
    let copy = read_whole(&*disk.open("mark").expect("there")).expect("alive");
    let (journal, _) = open(&disk).expect("whole");
    commit(&journal, &[b"more"]);
    journal.close().expect("the disk is whole");
    disk.open("mark").expect("there").write_all_at(&copy, 0).expect("alive");
    assert_eq!(open(&disk).expect("the mark is older").1.durable, 23);
    // The index's word counts, unless it is of another store or from before a repair.
    let examined = Journal::examine(Arc::new(disk.clone()), ManualClock::new(), settings());
    let store_id = examined.expect("whole").store_id();
    let name = "the index".to_owned();
    let index = Witness { name, store_id, repairs: 0, durable: 30 };
    let loss = end_loss(&disk, std::slice::from_ref(&index)).expect("a plan");
    assert_eq!(loss.and_then(|loss| loss.missing).expect("its word counts").at_least(), 7);
    accept_loss(&disk, std::slice::from_ref(&index), 7).expect("accepted");
    assert_eq!(end_loss(&disk, &[index]).expect("a plan"), None, "it is from before a repair");
}

/// What `mark` and `store.meta` say of a store of the version before the mark.
fn forget_the_mark(disk: &SimDisk) {
    disk.remove("mark").expect("there");
    let file = disk.open("store.meta").expect("there");
    let mut copy = vec![0; 512];
    file.read_exact_at(&mut copy, 0).expect("alive");
    copy[56] = 0;
    let crc = crc32c::crc32c(&copy[..508]);
    copy[508..].copy_from_slice(&crc.to_le_bytes());
    file.write_all_at(&copy.repeat(2), 0).expect("alive");
    file.sync_all().expect("alive");
    disk.sync_dir().expect("alive");
}

#[test]
fn a_store_from_before_the_mark_opens_and_gets_one_whatever_step_crashes() {
    for (halt, crash) in
        (0..20).flat_map(|halt| [Crash::Kill, Crash::Power].map(|crash| (halt, crash)))
    {
        let disk = killed(halt, 20);
        forget_the_mark(&disk);
        disk.halt_in(halt);
        drop(open(&disk));
        disk.crash(crash);
        let (journal, recovery) = open(&disk).expect("no hand is needed");
        assert_eq!(recovery.durable, 21, "halt {halt} {crash:?}");
        drop(journal);
        // From then on it is missed.
        disk.remove("mark").expect("there");
        let refused = open(&disk).map(drop).expect_err("it was there");
        assert!(matches!(refused, OpenError::NoMark { .. }), "{refused}");
    }
}

#[test]
fn a_repair_takes_the_mark_along() {
    let disk = killed(7, 20);
    let file = disk.open(&segment_file_name(1)).expect("there");
    // The header page and all batches: nothing of the newest segment can be read.
    file.write_all_at(&[0x5a; 16 << 10], 0).expect("alive");
    assert!(open(&disk).is_err());
    let refused = journal::repair::plan(&disk).expect_err("there is nothing to go on from");
    assert!(matches!(refused, journal::repair::RepairError::NothingLeft), "{refused}");
    // With damage in front of what is left, the end stays missed after the repair.
    let disk = killed(8, 20);
    lose_from(&disk, 11);
    disk.flip_bit(&segment_file_name(1), 4096 + 70, 1);
    // What the index knows beyond the mark goes into it before the index counts no longer.
    let store_id = read_whole(&*disk.open("store.meta").expect("there")).expect("alive")[16..32]
        .try_into()
        .expect("sixteen bytes");
    let index = |store_id, repairs, durable| {
        let name = "the index".to_owned();
        [Witness { name, store_id, repairs, durable }]
    };
    for known in [index([0; 16], 0, 99), index(store_id, 0, 20), index(store_id, 0, 24)] {
        keep_witnesses(&disk, &known).expect("kept");
    }
    let plan = journal::repair::plan(&disk).expect("a plan");
    assert_eq!(plan.steps.len(), 1);
    journal::repair::repair(&disk, &plan).expect("repaired");
    assert_eq!(missing(open(&disk)), (13, Some(LIMIT - 11)));
    assert_eq!(accept(&disk).resume_seq, LIMIT);
    assert_eq!(open(&disk).expect("accepted").1.durable, LIMIT);
}

#[test]
fn no_frame_passes_the_limit_before_a_higher_one_is_durable() {
    let disk = SimDisk::new(9);
    let (journal, _) =
        try_open(Arc::new(disk.clone()), Options { mark_ahead: 4, ..settings() }).expect("new");
    let batch = |operations: u64| {
        let before = disk.operations();
        append(&journal, &[b"a usage"]);
        let committed = journal.commit_once();
        assert_eq!(disk.operations() - before, operations);
        committed
    };
    // A batch is one write and one sync, whatever the mark does.
    for _ in 0..4 {
        batch(2).expect("the disk is whole");
    }
    // At the limit both copies of the mark are written before.
    batch(6).expect("the disk is whole");
    // In time, it is raised in the background.
    for _ in 0..20 {
        assert!(journal.mark_once());
        batch(2).expect("the disk is whole");
    }
}

#[test]
fn a_limit_that_cannot_be_raised_poisons_the_journal() {
    let disk = SimDisk::new(10);
    let (journal, _) =
        try_open(Arc::new(disk.clone()), Options { mark_ahead: 1, ..settings() }).expect("new");
    commit(&journal, &[b"below the limit"]);
    append(&journal, &[b"at it"]);
    disk.fail_sync_in(0);
    assert!(matches!(journal.commit_once(), Err(CommitError::Poisoned)));
    assert!(journal.failure().expect("poisoned").contains("`mark`"));
    assert!(matches!(journal.appender().map(drop), Err(AppendError::Poisoned)));
}

/// On a full disk the mark of the life before holds, and at its limit frames wait for room.
#[test]
fn a_full_disk_keeps_the_limit_and_nobody_from_starting() {
    let settings = || Options { mark_ahead: 3, ..options() };
    let disk = SimDisk::new(12);
    let open = || try_open(Arc::new(disk.clone()), settings()).expect("opens").0;
    let journal = open();
    commit(&journal, &[b"a usage"]);
    assert!(journal.housekeep_once().prepared, "an opening takes the spare");
    drop(journal);
    disk.crash(Crash::Kill);
    let limit = mark_of(&disk).1;
    disk.set_capacity(disk.used_bytes());
    let journal = open();
    assert_eq!(mark_of(&disk).1, limit);
    // Not even what the opening has removed makes room.
    disk.set_capacity(disk.used_bytes());
    while journal.durable() < limit {
        commit(&journal, &[b"below the limit"]);
    }
    append(&journal, &[b"at it"]);
    assert!(matches!(journal.commit_once(), Err(CommitError::NoSpace)));
    assert_eq!(journal.durable(), limit);
    disk.set_capacity(1 << 30);
    journal.commit_once().expect("there is room");
    assert_eq!((journal.durable(), journal.status().poisoned), (limit + 1, None));
    assert!(mark_of(&disk).1 > limit);
}

/// Durable position and limit, as the first copy of the mark says.
fn mark_of(disk: &SimDisk) -> (u64, u64) {
    let bytes = read_whole(&*disk.open("mark").expect("there")).expect("alive");
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight"));
    (number(40), number(48))
}

#[test]
fn a_running_journal_keeps_its_mark_and_a_clean_stop_makes_it_exact() {
    let disk = SimDisk::new(11);
    let clock = Arc::new(SystemClock::new());
    let opened = Journal::open(Arc::new(disk.clone()), clock.clone(), settings());
    let (journal, _) = opened.expect("a new store");
    let threads = journal.start().expect("threads start");
    for seq in 1..=3 {
        append(&journal, &[b"a usage"]);
        journal.wait_durable(seq, PATIENCE).expect("durable");
        let deadline = clock.monotonic() + PATIENCE;
        while mark_of(&disk).0 <= seq {
            assert!(clock.monotonic() < deadline, "{:?} at {seq}", mark_of(&disk));
            std::thread::yield_now();
        }
    }
    assert_eq!(mark_of(&disk), (4, LIMIT));
    journal.close().expect("the disk is whole");
    threads.join();
    assert_eq!(mark_of(&disk), (5, 5), "with the closing frame");
    journal.close().expect("once more changes nothing");
    assert!(!journal.mark_once());
}
