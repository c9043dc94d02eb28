//! Files of every format version, kept as they were written, are read by today's code.
//!
//! With `INHALE_WRITE_FIXTURES=1` the test writes those of the current version anew.

use std::fs;
use std::path::{Path, PathBuf};

use journal::{Journal, Options};

use crate::helpers::{commit, open, options, try_open, usages};
use crate::memory::MemoryDisk;

const RAW: &str = "v1-raw.seg";
const COMPRESSED: &str = "v1-compressed.seg";
const META: &str = "v1-store.meta";

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
    fs::write(path(META), disk.bytes("store.meta")).expect("written");
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
