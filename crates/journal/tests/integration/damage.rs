//! Damage of every kind to the files of a small journal. None may lose a frame silently: it is
//! refused at open, or reported when read, or it can only have hit the last batch, which nothing
//! later proves to have been durable.

use std::sync::Arc;

use journal::format::{
    BATCH_HEADER_BYTES, BatchHeader, FRAME_HEADER_BYTES, HEADER_PAGE_BYTES, SegmentHeader,
    segment_file_name,
};
use journal::{Journal, OpenError, ReadError};

use crate::helpers::{commit, open, options, try_open};
use crate::memory::MemoryDisk;

type Usages = Vec<(u64, Vec<u8>)>;

/// A journal of several segments and a spare, the last one with several batches, not closed.
struct Victim {
    disk: Arc<MemoryDisk>,
    usages: Usages,
    /// The first sequence of the last batch, where it starts, and in which file.
    last_batch: u64,
    last_offset: usize,
    last_file: String,
}

impl Victim {
    fn new() -> Self {
        let disk = MemoryDisk::new();
        let (journal, _) = open(&disk);
        let mut last_batch = 0;
        for n in 0..15u8 {
            last_batch = commit(&journal, &[&[n; 1500], &[n; 1000]]);
            journal.housekeep_once();
        }
        let usages = read_all(&journal).expect("readable");
        let segments = disk.segments();
        let last_file = segments[segments.len() - 2].clone();
        let bytes = disk.bytes(&last_file);
        let last_offset = batch_before(&bytes, bytes.len() - BATCH_HEADER_BYTES);
        Self { disk: disk.copy(), usages, last_batch, last_offset, last_file }
    }
}

/// Where the last batch below `end` starts.
fn batch_before(bytes: &[u8], end: usize) -> usize {
    let mut places = (4096..end).step_by(8);
    places.rfind(|&at| BatchHeader::parse(&bytes[at..]).is_ok()).expect("there are batches")
}

/// What became of a damaged journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Everything is there.
    Whole,
    /// It did not open.
    Refused,
    /// It opened, and reading reported the damage.
    Reported,
    /// It opened, and only the last batch is gone.
    LastBatchCut,
    /// Frames are gone or changed and nothing said so.
    SilentLoss,
}

fn fate(victim: &Victim, disk: Arc<MemoryDisk>) -> Fate {
    let Ok((journal, recovery)) = try_open(disk, options()) else { return Fate::Refused };
    match read_all(&journal) {
        Err(_) => Fate::Reported,
        Ok(found) if found == victim.usages => Fate::Whole,
        Ok(found) => {
            let kept = victim.usages.iter().filter(|(seq, _)| *seq < victim.last_batch);
            let only_last = recovery.durable == victim.last_batch && found.iter().eq(kept);
            if only_last { Fate::LastBatchCut } else { Fate::SilentLoss }
        }
    }
}

fn read_all(journal: &Journal) -> Result<Usages, ReadError> {
    let mut found = Vec::new();
    let mut reader = journal.reader(journal.first_seq());
    while let Some(batch) = reader.next_batch()? {
        found.extend(batch.frames().map(|frame| (frame.seq, frame.payload.to_vec())));
    }
    Ok(found)
}

/// Every byte of the headers and of the first batch's beginning, a sample of the rest.
fn places(bytes: &[u8]) -> impl Iterator<Item = usize> {
    (0..bytes.len()).filter(|&at| at < 100 || (4090..4260).contains(&at) || at % 29 == 0)
}

#[test]
fn no_bit_flip_is_a_silent_loss() {
    let victim = Victim::new();
    let mut counts = [0usize; 5];
    for name in victim.disk.segments() {
        for at in places(&victim.disk.bytes(&name)) {
            let disk = victim.disk.damaged(&name, |bytes| bytes[at] ^= 1 << (at % 8));
            let fate = fate(&victim, disk);
            assert_ne!(fate, Fate::SilentLoss, "{name}: byte {at}");
            counts[fate as usize] += 1;
        }
    }
    for at in 0..victim.disk.bytes("store.meta").len() {
        let disk = victim.disk.damaged("store.meta", |bytes| bytes[at] ^= 1);
        assert_eq!(fate(&victim, disk), Fate::Whole, "one copy of store.meta is forgiven");
    }
    // Each fate that may happen does, so the flips have reached every class of bytes.
    assert!(counts[..4].iter().all(|&count| count > 0), "{counts:?}");
}

/// The control: a change that comes with the checksums that match it is what the checksums cannot
/// see, and the harness above calls it a silent loss.
#[test]
fn control_a_change_with_matching_checksums_is_a_silent_loss() {
    let victim = Victim::new();
    let start = victim.last_offset;
    let disk = victim.disk.damaged(&victim.last_file, |bytes| {
        let mut header = BatchHeader::parse(&bytes[start..]).expect("the last batch");
        let payload = start + BATCH_HEADER_BYTES;
        let end = payload + header.bytes as usize;
        let frame = &mut bytes[payload..payload + FRAME_HEADER_BYTES + 1500];
        frame[FRAME_HEADER_BYTES] ^= 1;
        let crc = crc32c::crc32c_append(
            crc32c::crc32c(&frame[..FRAME_HEADER_BYTES - 4]),
            &frame[FRAME_HEADER_BYTES..],
        );
        frame[FRAME_HEADER_BYTES - 4..FRAME_HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        header.payload_crc = crc32c::crc32c(&bytes[payload..end]);
        bytes[start..payload].copy_from_slice(&header.encode());
    });
    assert_eq!(fate(&victim, disk), Fate::SilentLoss);
}

#[test]
fn every_length_of_torn_tail_is_cut_without_a_hand() {
    let victim = Victim::new();
    let whole = victim.disk.bytes(&victim.last_file);
    let header = BatchHeader::parse(&whole[victim.last_offset..]).expect("the last batch");
    let end = victim.last_offset + BATCH_HEADER_BYTES + header.bytes as usize;
    for lost_from in (victim.last_offset..end).step_by(23) {
        for lost_to in [lost_from + 1, lost_from + 700, end] {
            // Pages of one write may be lost in any combination: here a hole within it.
            let range = lost_from..lost_to.min(end);
            let changed = whole[range.clone()].iter().any(|&byte| byte != 0);
            let disk = victim.disk.damaged(&victim.last_file, |bytes| bytes[range].fill(0));
            let expected = if changed { Fate::LastBatchCut } else { Fate::Whole };
            assert_eq!(fate(&victim, disk), expected, "{lost_from}..{lost_to}");
        }
    }
}

#[test]
fn damage_in_front_of_a_later_batch_is_refused_and_says_where() {
    let victim = Victim::new();
    let disk = victim.disk.damaged(&victim.last_file, |bytes| bytes[4096 + 70] ^= 1);
    let refused = try_open(disk, options()).map(|_| ()).expect_err("corrupt");
    assert!(matches!(refused, OpenError::Corruption { offset: 4096, .. }), "{refused}");
    assert!(refused.to_string().contains("journal repair"));
}

#[test]
fn a_missing_segment_is_refused_and_named() {
    let victim = Victim::new();
    let segments = victim.disk.segments();
    // The oldest may have expired; whatever is missing behind it is a loss.
    for (index, name) in segments.iter().enumerate().skip(1).take(segments.len() - 2) {
        let disk = victim.disk.copy();
        disk.take_away(name);
        let refused = try_open(disk, options()).map(|_| ()).expect_err("a hole");
        let number = index as u64 + 1;
        assert!(matches!(refused, OpenError::Missing { segment } if segment == number), "{name}");
    }
    let disk = victim.disk.copy();
    segments.iter().for_each(|name| disk.take_away(name));
    assert!(matches!(try_open(disk, options()), Err(OpenError::NoSegments)));
    let disk = victim.disk.copy();
    disk.take_away("store.meta");
    assert!(matches!(try_open(disk, options()), Err(OpenError::Meta(_))));
}

/// The prepared segment was taken for a sign that segments are there.
#[test]
fn repro_a_store_with_nothing_but_its_spare_opened_as_an_empty_one() {
    let victim = Victim::new();
    let mut segments = victim.disk.segments();
    segments.pop().expect("the spare");
    let disk = victim.disk.copy();
    segments.iter().for_each(|name| disk.take_away(name));
    let refused = try_open(disk, options()).map(|_| ()).expect_err("nothing is left");
    assert!(matches!(refused, OpenError::NoSegments), "{refused}");
    assert!(!refused.to_string().contains("put back a copy of it"), "not of store.meta: {refused}");
}

/// Batch k was acknowledged and is damaged, k+1 was being written when the power went. No whole batch
/// stands behind the damage, but k+1 was begun only after k was durable.
#[test]
fn repro_a_damaged_batch_before_a_torn_one_was_cut() {
    fn check(flipped: bool, torn: bool, expected: Option<Fate>) {
        let victim = Victim::new();
        let disk = victim.disk.damaged(&victim.last_file, |bytes| {
            let before = batch_before(bytes, victim.last_offset);
            bytes[before + BATCH_HEADER_BYTES + 50] ^= u8::from(flipped);
            let payload = victim.last_offset + BATCH_HEADER_BYTES;
            bytes[payload + 512..].fill(0);
            if !torn {
                bytes[victim.last_offset..].fill(0);
            }
        });
        match expected {
            Some(expected) => assert_eq!(fate(&victim, disk), expected),
            None => {
                let refused = try_open(disk, options()).map(|_| ()).expect_err("damaged");
                assert!(matches!(refused, OpenError::Corruption { .. }), "{refused}");
            }
        }
    }
    check(true, true, None);
    check(false, true, Some(Fate::LastBatchCut));
    // Control: it is the header of k+1 that tells. Without it the same loss cannot be seen.
    check(true, false, Some(Fate::SilentLoss));
}

/// An open that was killed has begun segment 3 with a copy of the last batch, and passed over segment
/// 2, which proves more: that this very batch was durable.
#[test]
fn repro_a_segment_that_was_passed_over_proved_nothing() {
    fn check(damaged: bool, expected: bool) {
        let disk = MemoryDisk::new();
        let (journal, _) = open(&disk);
        for n in 0..3 {
            commit(&journal, &[&[n; 100]]);
        }
        drop(journal);
        let first = segment_file_name(1);
        let page: &[u8; HEADER_PAGE_BYTES] =
            &disk.bytes(&first)[..4096].try_into().expect("a page");
        let header = SegmentHeader::parse(page).expect("in use");
        for (number, first_seq, epoch) in [(2, 4, header.epoch), (3, 3, header.epoch + 1)] {
            let empty = SegmentHeader {
                number,
                first_seq,
                epoch,
                source: 1,
                previous: 1,
                ..header.clone()
            };
            let mut bytes = empty.encode().to_vec();
            bytes.resize(disk.bytes(&first).len(), 0);
            disk.put(&segment_file_name(number), bytes);
        }
        let disk = disk.damaged(&first, |bytes| {
            let last = batch_before(bytes, bytes.len() - BATCH_HEADER_BYTES);
            bytes[last + BATCH_HEADER_BYTES + 50] ^= u8::from(damaged);
        });
        let checked = journal::check::check(&*disk, &mut |_, _| {}).expect("checkable");
        assert_eq!(checked.is_sound(), expected, "{:?}", checked.damages);
        match try_open(disk, options()) {
            Ok((journal, _)) => {
                assert_eq!((read_all(&journal).expect("whole").len(), expected), (3, true))
            }
            Err(OpenError::Corruption { later_segment: 2, .. }) => assert!(!expected),
            Err(error) => panic!("{error}"),
        }
    }
    check(false, true);
    check(true, false);
}

#[test]
fn a_newer_format_asks_for_the_newer_program() {
    fn check(name: &str, damage: fn(&mut Vec<u8>)) {
        let disk = Victim::new().disk.damaged(name, damage);
        let refused = try_open(disk.clone(), options()).map(|_| ()).expect_err("unknown");
        assert!(matches!(refused, OpenError::Newer { version: 2, .. }), "{refused}");
        assert!(refused.to_string().contains(name), "{refused}");
        let refused = journal::repair::plan(&*disk).expect_err("not ours to repair").to_string();
        assert!(refused.contains("use the newer inhale"), "{refused}");
    }
    fn renew(bytes: &mut [u8]) {
        let at = bytes.len() - 4;
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..at]);
        bytes[at..].copy_from_slice(&crc.to_le_bytes());
    }
    check("store.meta", |bytes| bytes.chunks_mut(512).for_each(renew));
    check(&segment_file_name(2), |bytes| renew(&mut bytes[..4096]));
}

#[test]
fn a_segment_of_another_store_is_refused() {
    let victim = Victim::new();
    let other = MemoryDisk::new();
    let mut options = options();
    options.seed = Some(2);
    drop(try_open(other.clone(), options.clone()).expect("opens"));
    other.put(&victim.last_file, victim.disk.bytes(&victim.last_file));
    assert!(matches!(try_open(other, options), Err(OpenError::Header { .. })));
}

/// What stands in a body cannot pass for a batch: it lacks the epoch's salt, which never leaves
/// the store.
#[test]
fn a_forged_batch_in_a_payload_changes_nothing() {
    /// Opens a journal whose last batch carries a forged batch and is torn right before it.
    fn check(salt_is_known: bool, expected: bool) {
        let disk = MemoryDisk::new();
        let (journal, _) = open(&disk);
        let name = disk.segments()[0].clone();
        let page: &[u8; 4096] = &disk.bytes(&name)[..4096].try_into().expect("a page");
        let header = journal::format::SegmentHeader::parse(page).expect("in use");
        let forged = BatchHeader {
            salt: if salt_is_known { header.salt } else { 0x1234_5678 },
            epoch: header.epoch,
            frames: 1,
            first_seq: 3,
            bytes: 8,
            payload_crc: crc32c::crc32c(&[9; 8]),
            prev_chain: 0,
            committed_ms: 0,
        };
        // At every alignment, so that one of them starts where a batch may.
        let mut payload = Vec::new();
        for pad in 0..8 {
            payload.resize(payload.len() + pad, b' ');
            payload.extend_from_slice(&forged.encode());
            payload.extend_from_slice(&[9; 8]);
        }
        commit(&journal, &[b"before"]);
        commit(&journal, &[&payload]);
        drop(journal);
        // Tear the second batch: the first byte of its payload never reached the disk.
        let torn = disk.damaged(&name, |bytes| {
            let second = 4096 + (BATCH_HEADER_BYTES + FRAME_HEADER_BYTES + 6).next_multiple_of(8);
            BatchHeader::parse(&bytes[second..]).expect("the second batch");
            bytes[second + BATCH_HEADER_BYTES] ^= 1;
        });
        let opened = try_open(torn, options());
        assert_eq!(opened.is_ok(), expected, "salt_is_known: {salt_is_known}");
    }
    check(false, true);
    // The control: with the salt the forgery would pass for a later batch.
    check(true, false);
}
