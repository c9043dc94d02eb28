//! Files of every format version, kept as they were written, are read by today's code.
//!
//! With `INHALE_WRITE_FIXTURES=1` the test writes those of the current version anew.

use std::fs;
use std::path::{Path, PathBuf};

use journal::disk::Disk as _;
use journal::{Journal, OpenError, Options};

use crate::helpers::{commit, open, options, try_open, usages};
use crate::memory::MemoryDisk;

const RAW: &str = "v1-raw.seg";
const COMPRESSED: &str = "v1-compressed.seg";
/// From before there was a mark.
const META: &str = "v1-store.meta";
const MARKED_META: &str = "v1-store-marked.meta";
const MARK: &str = "v1-mark";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The usages in every fixture of version 1.
fn expected() -> Vec<(u64, Vec<u8>)> {
    let payload = |seq: u64| format!("usage number {seq}").repeat(1 + (seq % 3) as usize);
    (1..=12).map(|seq| (seq, payload(seq).into_bytes())).collect()
}

/// Four batches of three usages each.
fn write(journal: &Journal) {
    for batch in expected().chunks(3) {
        let payloads: Vec<&[u8]> = batch.iter().map(|(_, payload)| &payload[..]).collect();
        commit(journal, &payloads);
    }
}

fn write_fixtures() {
    let disk = MemoryDisk::new();
    let (journal, _) = open(&disk);
    write(&journal);
    fs::create_dir_all(path("")).expect("the directory");
    fs::write(path(MARKED_META), disk.bytes("store.meta")).expect("written");
    assert!(journal.mark_once());
    fs::write(path(MARK), disk.bytes("mark")).expect("written");
    fs::write(path(RAW), disk.bytes(&disk.segments()[0])).expect("written");
    drop(journal);
    let disk = disk.copy();
    let options = Options { compress_level: Some(3), ..options() };
    let (journal, _) = try_open(disk.clone(), options).expect("opens");
    commit(&journal, &[b"proves the copied batch"]);
    while journal.housekeep_once().compressed.is_some() {}
    fs::write(path(COMPRESSED), disk.bytes(&disk.segments()[0])).expect("written");
}

/// A store made of one fixture segment.
fn store(segment: &str) -> std::sync::Arc<MemoryDisk> {
    let disk = MemoryDisk::new();
    let file = |name: &str| fs::read(path(name)).expect("the fixture is kept with the test");
    disk.put("store.meta", file(META));
    disk.put("00000000000000000001.seg", file(segment));
    disk
}

#[test]
fn version_1_raw_is_read() {
    if std::env::var_os("INHALE_WRITE_FIXTURES").is_some() {
        write_fixtures();
    }
    let (journal, recovery) = open(&store(RAW));
    assert_eq!((recovery.durable, recovery.epoch), (13, 2));
    assert_eq!(usages(&journal, 1), expected());
    assert_eq!(journal.read(7).expect("durable").payload, expected()[6].1);
    assert_eq!(journal.meta().store_number, 0);
}

/// Compressed, the first segment ends before the batch that recovery moved to the next.
#[test]
fn version_1_compressed_is_read() {
    let (journal, recovery) = open(&store(COMPRESSED));
    assert_eq!(recovery.durable, 10);
    assert_eq!(usages(&journal, 1), expected()[..9]);
    assert_eq!(journal.read(7).expect("durable").payload, expected()[6].1);
    commit(&journal, &[b"on"]);
    assert_eq!(usages(&journal, 10), [(10, b"on".to_vec())]);
}

/// The layout is fixed: what is written today is, byte for byte, what was written when the
/// version was made.
#[test]
fn version_1_raw_is_written_the_same() {
    let disk = MemoryDisk::new();
    let (journal, _) = open(&disk);
    write(&journal);
    let kept = fs::read(path(RAW)).expect("the fixture is kept with the test");
    assert!(disk.bytes(&disk.segments()[0]) == kept, "the format has changed without a version");
}

#[test]
fn version_1_mark_is_read() {
    let file = |name: &str| fs::read(path(name)).expect("the fixture is kept with the test");
    let disk = store(RAW);
    disk.put("mark", file(MARK));
    disk.put("store.meta", file(MARKED_META));
    let (_, recovery) = open(&disk.copy());
    assert_eq!(recovery.durable, 13);
    // The compressed segment ends before what the mark has seen.
    disk.put("00000000000000000001.seg", file(COMPRESSED));
    match try_open(disk.copy(), options()).map(drop).expect_err("three usages are missing") {
        OpenError::EndsEarly(missing) => assert_eq!((missing.end_seq, missing.durable), (10, 13)),
        error => panic!("{error}"),
    }
    disk.remove("mark").expect("there");
    let refused = try_open(disk, options()).map(drop).expect_err("it must have one");
    assert!(matches!(refused, OpenError::NoMark { .. }), "{refused}");
}

#[test]
fn version_1_mark_is_written_the_same() {
    let disk = MemoryDisk::new();
    let (journal, _) = open(&disk);
    write(&journal);
    assert!(journal.mark_once());
    for (name, fixture) in [("mark", MARK), ("store.meta", MARKED_META)] {
        let kept = fs::read(path(fixture)).expect("the fixture is kept with the test");
        assert!(disk.bytes(name) == kept, "the format of {name} has changed without a version");
    }
}
