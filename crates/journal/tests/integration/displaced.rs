//! A journal whose files are removed, renamed or replaced while it is open: nothing is acknowledged
//! that a later open would not find, and nobody else gets in.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use journal::disk::{Disk, RealDisk, SimDisk};
use journal::{AppendError, CommitError, Committed, OpenError, ReadError};

use crate::helpers::{append, commit, open, options, try_open, usages};

/// Opens a journal in a directory, has `displace` change it from outside, and commits once more:
/// what the commit came to, and why.
fn commit_after(displace: impl FnOnce(&Path)) -> (Result<Committed, CommitError>, Option<String>) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("journal");
    let disk = Arc::new(RealDisk::open(&path).expect("opens"));
    let (journal, _) = try_open(disk, options()).expect("opens");
    commit(&journal, &[b"one"]);
    append(&journal, &[b"two"]);
    displace(&path);
    let outcome = journal.commit_once();
    let moved = if outcome.is_ok() { 3 } else { 2 };
    assert_eq!(journal.durable(), moved, "the position moves with the acknowledgement alone");
    (outcome, journal.failure())
}

/// The newest segment's file.
fn active(path: &Path) -> std::path::PathBuf {
    let names = fs::read_dir(path).expect("there").map(|entry| entry.expect("readable").path());
    let segments = names.filter(|name| name.extension().is_some_and(|ending| ending == "seg"));
    segments.max().expect("there is a segment")
}

/// Puts a copy of a file in its place.
fn replace(file: &Path) {
    let copy = file.with_extension("copy");
    fs::copy(file, &copy).expect("copied");
    fs::rename(&copy, file).expect("renamed");
}

fn move_away(path: &Path) {
    fs::rename(path, path.with_extension("elsewhere")).expect("renamed");
}

#[test]
fn repro_usages_were_acknowledged_into_a_directory_that_was_gone() {
    fn check(displace: fn(&Path), expected: &str) {
        let (outcome, failure) = commit_after(displace);
        assert_eq!(outcome, Err(CommitError::Poisoned), "{expected}");
        assert_eq!(failure.as_deref(), Some(expected));
    }
    let directory = "the journal's directory was removed or renamed while the journal was open";
    check(|path| fs::remove_dir_all(path).expect("removed"), directory);
    check(move_away, directory);
    let replaced = "the journal's directory was replaced while the journal was open";
    let make_another = |path: &Path| {
        move_away(path);
        fs::create_dir(path).expect("made");
    };
    check(make_another, replaced);
    let lock = "the journal's lock file was removed or renamed while the journal was open";
    check(|path| fs::remove_file(path.join("lock")).expect("removed"), lock);
    let lock = "the journal's lock file was replaced while the journal was open";
    check(|path| replace(&path.join("lock")), lock);
    let segment =
        "the file 00000000000000000001.seg was removed or renamed while the journal was open";
    check(|path| fs::remove_file(active(path)).expect("removed"), segment);
    check(|path| move_away(&active(path)), segment);
    let segment = "the file 00000000000000000001.seg was replaced while the journal was open";
    check(|path| replace(&active(path)), segment);
}

/// The control: what leaves every file where its name leads to is no failure.
#[test]
fn a_directory_that_was_moved_and_linked_to_is_still_in_place() {
    let (outcome, failure) = commit_after(|path| {
        move_away(path);
        std::os::unix::fs::symlink(path.with_extension("elsewhere"), path).expect("linked");
        fs::write(path.join("a stranger's"), "").expect("written");
    });
    assert_eq!(outcome, Ok(Committed::Batch { frames: 1, durable: 3 }));
    assert_eq!(failure, None);
}

#[test]
fn a_removed_directory_is_noticed_while_nothing_is_written_and_is_named_when_a_segment_is_due() {
    let disk = Arc::new(SimDisk::new(1));
    let (journal, _) = open(&disk);
    commit(&journal, &[b"one"]);
    disk.displace();
    journal.housekeep_once();
    assert_eq!(journal.appender().map(drop).err(), Some(AppendError::Poisoned));

    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("journal");
    let (journal, _) = open(&Arc::new(RealDisk::open(&path).expect("opens")));
    append(&journal, &[&[1; 8000]]);
    journal.commit_once().expect("committed");
    append(&journal, &[&[1; 8000]]);
    fs::remove_dir_all(&path).expect("removed");
    assert_eq!(journal.commit_once(), Err(CommitError::Poisoned));
    let failure = journal.failure().expect("poisoned");
    assert!(failure.contains("the journal's directory was removed"), "{failure}");
}

#[test]
fn repro_a_second_process_opened_a_journal_whose_lock_file_was_removed() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let open = || try_open(Arc::new(RealDisk::open(dir.path()).expect("opens")), options());
    let (first, _) = open().expect("opens");
    commit(&first, &[b"one"]);
    fs::remove_file(dir.path().join("lock")).expect("removed");
    let refused = open().map(drop).expect_err("the first has it");
    assert!(matches!(refused, OpenError::Locked), "{refused}");
    assert!(!dir.path().join("lock").exists(), "a refused open creates no file");
    let disk = RealDisk::open(dir.path()).expect("opens");
    let refused = journal::check::check(&disk, &mut |_, _| {}).map(drop).expect_err("in use");
    assert!(matches!(refused, journal::check::CheckError::Locked), "{refused}");
    drop(first);
    assert_eq!(usages(&open().expect("the first is gone").0, 1).len(), 1);
}

#[test]
fn a_lock_lasts_until_every_duplicate_of_its_descriptors_is_closed() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let disk = RealDisk::open(dir.path()).expect("opens");
    let held = disk.lock("lock").expect("free");
    disk.lock("other").map(drop).expect_err("the directory is locked");
    let passed: Vec<_> = held
        .descriptors()
        .iter()
        .map(|descriptor| descriptor.try_clone_to_owned().expect("duplicated"))
        .collect();
    assert_eq!(passed.len(), 2);
    drop(held);
    disk.lock("lock").map(drop).expect_err("the duplicates hold it");
    drop(passed);
    disk.lock("lock").map(drop).expect("free");
}

/// Sealed segments and `store.meta` hold back no acknowledgement: usages that come are as safe as ever.
#[test]
fn a_sealed_segment_that_was_removed_reads_as_damage_and_store_meta_is_put_back() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let disk = Arc::new(RealDisk::open(dir.path()).expect("opens"));
    let (journal, _) = open(&disk);
    let last = (0..9).map(|n| commit(&journal, &[&[n; 3000]])).max().expect("some");
    fs::remove_file(dir.path().join("00000000000000000001.seg")).expect("removed");
    let meta = dir.path().join("store.meta");
    let written = fs::read(&meta).expect("there");
    fs::remove_file(&meta).expect("removed");
    commit(&journal, &[b"as safe as ever"]);
    assert_eq!(journal.read(last).expect("durable").payload, [8; 3000]);
    let damaged = journal.read(1).expect_err("it is gone");
    let ReadError::Damaged { segment: 1, .. } = damaged else { panic!("{damaged}") };
    journal.housekeep_once();
    assert_eq!(fs::read(&meta).expect("it is back"), written);
    let failure = journal.status().housekeeping_failure.expect("it is said");
    assert!(failure.contains("store.meta was removed"), "{failure}");
}
