//! Negative controls: with a protection switched off, the same histories must show a loss.

use std::sync::Arc;

use journal::disk::sim::{Crash, Lie};
use journal::disk::{Disk, File, SimDisk};
use journal::format::{BatchHeader, encode_frame, segment_file_name};
use journal::scan::{RawSegment, read_header, read_whole};
use journal::{FrameKind, FrameView, OpenError, Options, Sabotage};

use super::run;
use super::world::Settings;
use crate::helpers::{commit, options, try_open, usages};

/// The first seed below `seeds` whose history shows a loss, or a journal that does not open.
fn first_failure(settings: &Settings, seeds: u64) -> Option<u64> {
    (0..seeds).find(|&seed| {
        let Err(why) = run(seed, settings) else { return false };
        let first_line = why.lines().next().unwrap_or_default();
        first_line.contains("LOST") || first_line.contains("the open failed")
    })
}

#[test]
fn syncs_that_do_nothing_are_found_out() {
    let settings = Settings { lie: Lie::Data, ..Settings::default() };
    assert!(first_failure(&settings, 50).is_some(), "skipped data syncs went unnoticed");
}

#[test]
fn directory_syncs_that_do_nothing_are_found_out() {
    let settings = Settings { lie: Lie::Directory, ..Settings::default() };
    assert!(first_failure(&settings, 50).is_some(), "skipped directory syncs went unnoticed");
}

#[test]
fn an_unproven_tail_that_is_believed_is_found_out() {
    let sabotage = Sabotage { unproven_tail: true, ..Sabotage::default() };
    let settings = Settings { sabotage, ..Settings::default() };
    assert!(first_failure(&settings, 1000).is_some(), "a tail in the page cache was good enough");
}

#[test]
fn failed_syncs_that_are_acknowledged_are_found_out() {
    let settings = Settings { lie: Lie::Failure, ..Settings::default() };
    assert!(first_failure(&settings, 300).is_some(), "acknowledged after a failed sync");
}

#[test]
fn witnesses_that_are_not_heard_are_found_out() {
    let sabotage = Sabotage { witnesses: true, ..Sabotage::default() };
    let settings = Settings { sabotage, ..Settings::default() };
    let unheard =
        |seed| run(seed, &settings).is_err_and(|why| why.contains("LOST: the end of the journal"));
    assert!((0..200).any(unheard), "a lost end went unnoticed");
}

#[test]
fn keys_that_are_forgotten_early_are_found_out() {
    let settings = Settings { forgetful: true, ..Settings::default() };
    let found =
        (0..50).any(|seed| run(seed, &settings).is_err_and(|why| why.contains("stored again")));
    assert!(found, "keys were stored twice, and nobody noticed");
}

/// A journal that was killed after three batches, and its segment's file and offsets.
fn three_batches() -> (SimDisk, Box<dyn File>, Vec<u64>) {
    let disk = SimDisk::new(1);
    let (journal, _) = try_open(Arc::new(disk.clone()), options()).expect("opens");
    for n in 0..3u8 {
        commit(&journal, &[&[n; 100]]);
    }
    drop(journal);
    disk.crash(Crash::Power);
    let file = disk.open(&segment_file_name(1)).expect("the first segment");
    let header = read_header(&*file).expect("alive").expect("whole");
    let bytes = read_whole(&*file).expect("alive");
    let segment = RawSegment::new(&header, &bytes);
    let mut offsets = Vec::new();
    while let Some(found) = segment.find_batch(offsets.last().map_or(0, |offset| offset + 1)) {
        offsets.push(found.offset);
    }
    (disk, file, offsets)
}

#[test]
fn damage_before_a_later_batch_is_cut_only_when_that_batch_is_ignored() {
    fn check(options: Options, expected: Option<usize>) {
        let (disk, _, offsets) = three_batches();
        assert_eq!(offsets.len(), 3);
        disk.flip_bit(&segment_file_name(1), offsets[1] + 70, 1);
        match try_open(Arc::new(disk), options) {
            Ok((journal, _)) => assert_eq!(Some(usages(&journal, 1).len()), expected),
            Err(OpenError::Corruption { offset, .. }) => {
                assert_eq!((offset, expected), (offsets[1], None));
            }
            Err(error) => panic!("{error}"),
        }
    }
    check(options(), None);
    let sabotage = Sabotage { later_batches: true, ..Sabotage::default() };
    check(Options { sabotage, ..options() }, Some(1));
}

#[test]
fn only_the_salt_tells_a_forged_batch_from_a_real_one() {
    fn check(knows_salt: bool, opens: bool) {
        let (disk, file, offsets) = three_batches();
        let header = read_header(&*file).expect("alive").expect("whole");
        let (kind, payload) = (FrameKind::Usage, &b"forged"[..]);
        let mut frame = Vec::new();
        encode_frame(FrameView { seq: 9, kind, stream: 0, key_id: 0, payload }, &mut frame);
        let forged = BatchHeader {
            salt: header.salt ^ u64::from(!knows_salt),
            epoch: header.epoch,
            frames: 1,
            first_seq: 9,
            bytes: u32::try_from(frame.len()).expect("small"),
            payload_crc: crc32c::crc32c(&frame),
            prev_chain: 0,
            committed_ms: 0,
        };
        // As the body of a torn batch: what is before it never reached the disk.
        let at = offsets[2] + 512;
        file.write_all_at(&forged.encode(), at).expect("alive");
        file.write_all_at(&frame, at + 64).expect("alive");
        let opened = try_open(Arc::new(disk), options());
        assert_eq!(opened.is_ok(), opens, "{:?}", opened.err());
    }
    check(false, true);
    check(true, false);
}
