//! How much room the journal takes: the cap, a disk that is nearly full, and what a close leaves to
//! the next process.

use std::sync::Arc;

use journal::disk::RealDisk;
use journal::{AppendError, CommitError, Committed, FrameKind, Journal, Options};

use crate::helpers::{ManualClock, SEGMENT_BYTES, commit, open, options, try_open, usages};
use crate::memory::MemoryDisk;

fn append_bytes(journal: &Journal, bytes: usize) -> Result<u64, AppendError> {
    let mut appender = journal.appender()?;
    appender.append(FrameKind::Usage, 0, |_, out| out.resize(out.len() + bytes, 7))
}

/// Fills what the cap allows to the last byte, with ever smaller batches.
fn fill_up(journal: &Journal) {
    for bytes in [4000, 1000, 100, 10, 1, 0] {
        while append_bytes(journal, bytes).is_ok() {
            journal.commit_once().expect("what was accepted has a place");
        }
    }
}

/// Nobody keeps house between two commits: whatever is promised in between has a place all the same.
#[test]
fn repro_the_cap_was_passed_when_nobody_had_kept_house_since_the_last_commit() {
    let cap = 2 * SEGMENT_BYTES;
    let options = Options { bytes_max: Some(cap), ..options() };
    let (journal, _) = try_open(MemoryDisk::new(), options).expect("opens");
    let mut accepted = 0;
    for _ in 0..100 {
        accepted += u64::from(append_bytes(&journal, 1000).is_ok());
        journal.commit_once().expect("what was accepted has a place");
        assert!(journal.status().bytes <= cap, "after {accepted} of 1000 bytes");
    }
    assert!((18..24).contains(&accepted), "{accepted}");
}

#[test]
fn repro_the_closing_frame_passed_the_cap() {
    let disk = MemoryDisk::new();
    let cap = 2 * SEGMENT_BYTES;
    let options = Options { bytes_max: Some(cap), ..options() };
    let (journal, _) = try_open(disk.clone(), options.clone()).expect("opens");
    fill_up(&journal);
    let usages_before = usages(&journal, 1);
    journal.close().expect("closed");
    assert!(journal.status().bytes <= cap, "{}", journal.status().bytes);
    drop(journal);
    // Only the open's own segment comes on top, and no close puts one behind it.
    for _ in 0..4 {
        let (journal, _) = try_open(disk.clone(), options.clone()).expect("opens at the cap");
        assert_eq!(usages(&journal, 1), usages_before);
        journal.housekeep_once();
        journal.close().expect("closed");
        assert!(journal.status().bytes <= cap + 2 * SEGMENT_BYTES, "{}", journal.status().bytes);
    }
}

/// The file system has room for a part of a segment: it is left as it is.
#[test]
fn repro_a_nearly_full_disk_was_filled_up_again_and_again() {
    let disk = MemoryDisk::new();
    let (journal, _) = open(&disk);
    disk.set_free_bytes(SEGMENT_BYTES - 1);
    assert!(!journal.housekeep_once().prepared);
    let (syncs, files) = (disk.syncs(), disk.segments());
    assert!(!journal.housekeep_once().prepared);
    assert_eq!((disk.syncs(), disk.segments()), (syncs, files), "nothing was written");
    assert_eq!(append_bytes(&journal, 1), Err(AppendError::NoSpace));
    disk.set_free_bytes(SEGMENT_BYTES);
    assert!(journal.housekeep_once().prepared);
    commit(&journal, &[b"resumed"]);
    // The committer, when nobody has prepared another.
    disk.set_free_bytes(SEGMENT_BYTES - 1);
    let files = disk.segments();
    let refused = (0..12).find_map(|_| {
        append_bytes(&journal, 3000).expect("admitted");
        journal.commit_once().err()
    });
    assert_eq!((refused, disk.segments()), (Some(CommitError::NoSpace), files));
}

/// A closing frame that met a full disk is no longer tried: the number it would have a segment
/// prepared under is that of the next process's segment.
#[test]
fn repro_a_commit_after_the_close_replaced_the_segment_of_the_next_process() {
    let disk = MemoryDisk::new();
    let (journal, _) = open(&disk);
    // Room for less than a closing frame stays in the active segment.
    for bytes in [8000, 4050] {
        append_bytes(&journal, bytes).expect("admitted");
        journal.commit_once().expect("committed");
    }
    disk.set_full(true);
    journal.close().expect("every usage is durable");
    disk.set_full(false);
    let (next, _) = open(&disk);
    commit(&next, &[b"the next process's"]);
    let files = disk.segments();
    let before: Vec<_> = files.iter().map(|name| disk.bytes(name)).collect();
    assert_eq!(journal.commit_once(), Ok(Committed::Nothing));
    assert_eq!(disk.segments(), files);
    let after: Vec<_> = files.iter().map(|name| disk.bytes(name)).collect();
    assert!(before == after, "a segment has changed");
    assert_eq!(usages(&open(&disk.copy()).0, 1).len(), 3);
}

/// Files of the directory that are open in this process and have no name any more.
fn nameless_files(dir: &std::path::Path) -> usize {
    let files = std::fs::read_dir("/proc/self/fd").expect("Linux tells what is open");
    let targets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    let nameless = |path: &std::path::PathBuf| path.to_string_lossy().ends_with(" (deleted)");
    targets.filter(|path| path.starts_with(dir) && nameless(path)).count()
}

#[test]
fn repro_a_segment_that_was_looked_into_kept_its_space_after_its_compression() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().canonicalize().expect("there");
    let disk = Arc::new(RealDisk::open(&path).expect("opens"));
    let options = Options { compress_level: Some(1), ..options() };
    let (journal, _) = Journal::open(disk, ManualClock::new(), options).expect("opens");
    for n in 0..21 {
        commit(&journal, &[&[n; 2500]]);
    }
    let mut reader = journal.reader(1);
    reader.next_batch().expect("readable").expect("there");
    (1..journal.durable()).for_each(|seq| drop(journal.read(seq).expect("durable")));
    while journal.housekeep_once().compressed.is_some() {}
    assert!(journal.status().segments_compressed >= 3);
    // A reader in the middle of a raw segment goes on with it: the count sees what is open.
    assert_eq!(nameless_files(&path), 1);
    drop(reader);
    assert_eq!(nameless_files(&path), 0);
    assert_eq!(journal.read(1).expect("durable").payload, [0; 2500]);
}
