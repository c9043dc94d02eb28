//! A store that is closed, lost its index, or is rebuilt, gives the same answers.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use jiff::tz::TimeZone;
use journal::accept::accept_loss;
use journal::disk::RealDisk;
use rustix::fs::{SeekFrom, seek};
use store::{
    AppendRefused, Config, HistoryQuery, IndexState, OpenError, Store, SummaryBy, SummaryQuery,
    SystemClock, index_witness, rebuild,
};

use crate::harness::*;
use crate::model::{Answers, PATIENTS, answers};

const USAGES: u64 = 2_000;

/// A closed store of some usages, a third of them keyed, and all its answers.
fn filled(dir: &Path) -> (Config, Answers) {
    filled_with(config(dir))
}

fn filled_with(config: Config) -> (Config, Answers) {
    let store = start(config.clone());
    for n in 0..USAGES {
        let sent = if n % 3 == 0 { nth(n).keyed(&n.to_string()) } else { nth(n) };
        while post(&store, &sent).is_err() {
            std::thread::yield_now();
        }
    }
    store.journal().wait_durable(USAGES, DEADLINE).expect("works");
    wait_indexed(&store);
    let answers = answers(&store);
    assert_eq!(answers.receipts.len() as u64, USAGES);
    store.close().expect("closes");
    (config, answers)
}

fn check_answers(store: &Store, expected: &Answers) {
    assert_eq!(answers(store), *expected);
    post_again(store).expect("answered");
}

/// Posts all keyed usages of [`filled`] again, none of which may be stored.
fn post_again(store: &Store) -> Result<(), AppendRefused> {
    for n in (0..USAGES).step_by(3) {
        let again = post(store, &nth(n).keyed(&n.to_string()))?;
        assert!(again.replayed, "{n} is stored twice");
    }
    Ok(())
}

/// Whether all of the index can be read, and knows every key. What is found damaged at that has it
/// opened anew, or made again.
fn is_served(store: &Store) -> bool {
    let mut patients = (0..PATIENTS).map(|patient| HistoryQuery {
        limit: usize::try_from(USAGES).expect("small"),
        ..history_of(&format!("patient-{patient}"))
    });
    let count = SummaryQuery { by: SummaryBy::Hour, from: None, to: None, tz: TimeZone::UTC };
    store.index_state() == IndexState::Ready
        && patients.all(|query| store.history(&query).is_ok())
        && store.summary(&count).is_ok()
        && post_again(store).is_ok()
}

#[test]
fn a_restart_changes_no_answer() {
    let dir = folder();
    let (config, expected) = filled(dir.path());
    for _ in 0..2 {
        let store = start(config.clone());
        assert_eq!(store.index_state(), IndexState::Ready, "at once");
        check_answers(&store, &expected);
        store.close().expect("closes");
    }
}

#[test]
fn without_its_index_folder_a_store_gives_the_same_answers() {
    let dir = folder();
    let (mut config, expected) = filled(dir.path());
    // Once all of it fits into the tail, which serves at once; once it does not.
    for tail_bytes_max in [4 << 20, 64 << 10] {
        config.tail_bytes_max = tail_bytes_max;
        std::fs::remove_dir_all(config.index_dir()).expect("removed");
        let store = open(config.clone());
        if tail_bytes_max == 4 << 20 {
            check_answers(&store, &expected);
        } else {
            let keyed = post(&store, &nth(0).keyed("0"));
            assert_eq!(keyed, Err(store::AppendRefused::IndexUnavailable));
            let history = store.history(&history_of("patient-1"));
            assert!(matches!(history, Err(store::ReadError::IndexUnavailable)), "{history:?}");
            assert!(matches!(store.index_state(), IndexState::CatchingUp { .. }));
        }
        store.start().expect("starts");
        wait_indexed(&store);
        check_answers(&store, &expected);
        store.close().expect("closes");
    }
}

#[test]
fn an_index_that_lost_files_is_made_again_from_where_they_are_missing() {
    let dir = folder();
    let mut config = config(dir.path());
    config.index.part_usages_max = 500;
    let (config, expected) = filled_with(config);
    for nth in 0..13 {
        // What was rebuilt has a folder of another number. The library's own keyspace is number 0.
        let folders = std::fs::read_dir(config.index_dir().join("v1/keyspaces")).expect("listed");
        let folders = folders.map(|folder| folder.expect("listed").path());
        let mut folders: Vec<_> = folders.filter(|folder| !folder.ends_with("0")).collect();
        folders.sort_unstable();
        assert!(folders.len() > 12, "four parts have three each, and there is a spare one");
        let folder = &folders[nth % folders.len()];
        std::fs::remove_file(folder.join("current")).expect("it was there");
        let store = start(config.clone());
        wait_indexed(&store);
        check_answers(&store, &expected);
        store.close().expect("closes");
    }
}

#[test]
fn an_index_of_another_store_is_not_believed() {
    let (dir, other) = (folder(), folder());
    let (config, expected) = filled(dir.path());
    let other_config = crate::harness::config(other.path());
    let store = start(other_config.clone());
    post_durably(&store, &nth(1));
    wait_indexed(&store);
    store.close().expect("closes");
    drop(store);
    std::fs::remove_dir_all(config.index_dir()).expect("removed");
    std::fs::rename(other_config.index_dir(), config.index_dir()).expect("moved");
    let store = start(config);
    wait_indexed(&store);
    check_answers(&store, &expected);
    store.close().expect("closes");
}

#[test]
fn repro_an_index_ahead_of_its_journal_hid_the_loss() {
    let dir = folder();
    let (config, expected) = filled(dir.path());
    // A copy of the journal is kept, more is stored, and the copy put back.
    let kept = dir.path().join("kept");
    copy_dir(&config.journal_dir(), &kept);
    let store = start(config.clone());
    for n in 0..500 {
        post_durably(&store, &nth(n));
    }
    wait_indexed(&store);
    store.close().expect("closes");
    drop(store);
    std::fs::remove_dir_all(config.journal_dir()).expect("removed");
    std::fs::rename(&kept, config.journal_dir()).expect("moved");
    let witness = index_witness(&config).expect("the index is there");
    for _ in 0..2 {
        let open = Store::open(config.clone(), Arc::new(SystemClock::new())).map(drop);
        let Err(OpenError::Journal(journal::OpenError::EndsEarly(missing))) = open else {
            panic!("the index has read more: {open:?}");
        };
        assert_eq!((missing.durable, &missing.witness[..]), (witness.durable, "the index"));
        rebuild(&config, Arc::new(SystemClock::new()), |_| {}).expect_err("nor is it rebuilt");
    }
    // Accepted, the journal goes on past what the index has read, and the index is made again.
    let disk = RealDisk::open(config.journal_dir()).expect("there");
    let loss = accept_loss(&disk, std::slice::from_ref(&witness), 7).expect("accepted");
    let loss = loss.expect("something was missing");
    assert!(loss.resume_seq >= witness.durable);
    let store = start(config);
    wait_indexed(&store);
    check_answers(&store, &expected);
    assert!(post_durably(&store, &nth(1)).seq >= loss.resume_seq);
    store.close().expect("closes");
}

#[test]
fn rebuild_makes_the_index_again_and_says_how_far_it_is() {
    let dir = folder();
    let (config, expected) = filled(dir.path());
    let mut seen = Vec::new();
    let clock = Arc::new(SystemClock::new());
    let done = rebuild(&config, clock, |progress| seen.push(progress)).expect("rebuilt");
    assert_eq!((done.usages, done.done_seq), (USAGES, done.end_seq));
    assert_eq!(seen.last(), Some(&done));
    assert!(seen.len() > 1 && seen.is_sorted_by_key(|progress| progress.done_seq));
    // As one that was interrupted would have left it.
    let left = dir.path().join("index.new");
    copy_dir(&config.index_dir(), &left);
    let store = open(config);
    assert!(!left.exists());
    assert!(store.status().index_lag <= 2, "only what the close and the open have added");
    check_answers(&store, &expected);
}

#[test]
fn an_index_with_lost_or_damaged_files_is_made_again() {
    let dir = folder();
    let (config, expected) = filled(dir.path());
    let whole = dir.path().join("whole");
    copy_dir(&config.index_dir(), &whole);
    let mut files = files_below(&whole);
    // A keyspace without this file is taken for a new one by fjall, which writes it atomically and
    // syncs it: no crash removes it.
    files.retain(|file| file.file_name().is_some_and(|name| name != "current"));
    assert!(files.len() >= 8, "{files:?}");
    for (nth, file) in files.iter().step_by(files.len() / 6).enumerate() {
        std::fs::remove_dir_all(config.index_dir()).expect("removed");
        copy_dir(&whole, &config.index_dir());
        let file = config.index_dir().join(file.strip_prefix(&whole).expect("below it"));
        if nth % 2 == 0 {
            std::fs::remove_file(&file).expect("removed");
        } else {
            let bytes = std::fs::read(&file).expect("read");
            std::fs::write(&file, &bytes[..bytes.len() / 2]).expect("written");
        }
        let store = start(config.clone());
        let damaged = file.display();
        wait_until(&format!("answers are there again without {damaged}"), || is_served(&store));
        assert_eq!(answers(&store), expected, "without {damaged}");
        store.close().expect("closes");
    }
}

/// Copies a folder. Files of the index are long and nearly all hole, so only what is in them.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("created");
    for entry in std::fs::read_dir(from).expect("listed") {
        let entry = entry.expect("listed");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            copy_file(&entry.path(), &target);
        }
    }
}

fn copy_file(from: &Path, to: &Path) {
    use std::os::unix::fs::FileExt as _;
    let source = File::open(from).expect("opened");
    let target = File::create(to).expect("created");
    let len = source.metadata().expect("known").len();
    target.set_len(len).expect("sized");
    let mut at = 0;
    // Behind the last data there is only hole, which is an error to this call.
    while let Ok(start) = seek(&source, SeekFrom::Data(at)) {
        at = seek(&source, SeekFrom::Hole(start)).expect("the end is a hole");
        let mut bytes = vec![0; usize::try_from(at - start).expect("it fits memory")];
        source.read_exact_at(&mut bytes, start).expect("read");
        target.write_all_at(&bytes, start).expect("written");
    }
}

pub(crate) fn files_below(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).expect("listed") {
            let entry = entry.expect("listed");
            if entry.file_type().expect("known").is_dir() {
                dirs.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    files
}
