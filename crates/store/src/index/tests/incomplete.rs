//! An index that holds less than it once did is found out when it is opened.

use std::path::PathBuf;

use fjall::Keyspace;

use super::super::IndexError;
use super::super::manifest::Manifest;
use super::super::rows::OWN_ROW;
use super::*;

/// The three keyspaces of part `at`: usages, keys, counts.
fn keyspaces(index: &Index, at: usize) -> [Keyspace; 3] {
    let parts = index.parts.lock().expect("no holder panics");
    let part = &parts.all[at];
    [&part.usages, &part.keys, &part.counts].map(Clone::clone)
}

fn folder(index: &Index, at: usize, which: usize) -> PathBuf {
    keyspaces(index, at)[which].path().to_owned()
}

/// Three parts of forty.
fn filled(dir: &Path, model: &[Made]) -> Index {
    let index = open(dir);
    apply(&index, model, 1, 10);
    index.write_manifest().expect("it is written");
    index
}

fn is_incomplete(dir: &Path) -> bool {
    match Index::open(dir, options()) {
        Ok(_) => false,
        Err(IndexError::Incomplete(_)) => true,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_keyspace_whose_files_are_gone_is_no_empty_one() {
    let without_current = |folder: &Path| std::fs::remove_file(folder.join("current"));
    let without_folder = |folder: &Path| std::fs::remove_dir_all(folder);
    let untouched = |_: &Path| Ok(());
    let check = |at, which, damage: &dyn Fn(&Path) -> std::io::Result<()>, expected| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let index = filled(dir.path(), &sample(100));
        let folder = folder(&index, at, which);
        drop(index);
        damage(&folder).expect("it is damaged");
        assert_eq!(is_incomplete(dir.path()), expected, "keyspace {which} of part {at}");
    };
    for (at, which) in (0..3).flat_map(|at| (0..3).map(move |which| (at, which))) {
        check(at, which, &without_current, true);
        check(at, which, &without_folder, true);
    }
    check(1, 0, &untouched, false);
}

#[test]
fn a_keyspace_set_back_to_an_older_state_is_found_out() {
    for which in 0..3 {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let older = tempfile::tempdir().expect("a temporary directory");
        let model = sample(60);
        let index = filled(dir.path(), &model[..20]);
        let folder = folder(&index, 0, which);
        drop(index);
        copy(&folder, older.path());
        drop(filled(dir.path(), &model));
        std::fs::remove_dir_all(&folder).expect("removed");
        copy(older.path(), &folder);
        assert!(is_incomplete(dir.path()), "keyspace {which}");
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("listed") {
        let entry = entry.expect("listed");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("copied");
        }
    }
}

/// Makes a keyspace again with its own row and all but one of the others.
fn lose_a_row(index: Index, at: usize, which: usize) {
    let old = keyspaces(&index, at)[which].clone();
    let name = old.name().to_string();
    let rows: Vec<_> = old.iter().map(|row| row.into_inner().expect("it reads")).collect();
    index.database.delete_keyspace(old).expect("deleted");
    let new = index.database.keyspace(&name, fjall::KeyspaceCreateOptions::default);
    let new = new.expect("made");
    let mut ingestion = new.start_ingestion().expect("begun");
    assert_eq!(rows[0].0[..], OWN_ROW);
    for (key, value) in
        rows.into_iter().enumerate().filter(|(nth, _)| *nth != 5).map(|(_, row)| row)
    {
        ingestion.write(key, value).expect("written");
    }
    ingestion.finish().expect("ended");
}

#[test]
fn rows_that_are_missing_below_the_cursor_are_found_out() {
    for (at, which) in (0..3).flat_map(|at| (0..3).map(move |which| (at, which))) {
        for promised in [true, false] {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let index = filled(dir.path(), &sample(100));
            index.settle().expect("it is compacted");
            lose_a_row(index, at, which);
            if !promised {
                Manifest::default().write(dir.path()).expect("written");
            }
            // The control: without a promise only the usages' own row tells of it.
            let expected = promised || which == 0;
            assert_eq!(is_incomplete(dir.path()), expected, "keyspace {which} of part {at}");
        }
    }
}

#[test]
fn an_index_made_before_there_were_manifests_gets_one() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let manifest = dir.path().join("manifest");
    let model = sample(100);
    let index = filled(dir.path(), &model);
    index.database.delete_keyspace(index.spare.clone()).expect("deleted");
    drop(index);
    std::fs::remove_file(&manifest).expect("removed");
    let index = open(dir.path());
    check(&index, &model, None, None).expect("it is the model's");
    drop(index);
    assert!(!is_incomplete(dir.path()));
    std::fs::remove_file(&manifest).expect("there is one now");
    assert!(is_incomplete(dir.path()), "from now on it may not be missing");
}

#[test]
fn nothing_that_the_index_does_itself_looks_like_a_loss() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let model: Vec<Made> =
        sample(120).into_iter().map(|made| Made { keyed: true, ..made }).collect();
    let index = open(dir.path());
    apply(&index, &model[..30], 1, 3);
    index.write_manifest().expect("written");
    // Counts are summed up, and the process ends before that is written down.
    {
        let mut parts = index.parts.lock().expect("no holder panics");
        let part = parts.all.last_mut().expect("one");
        part.counts_loose = u64::MAX;
        assert!(super::super::counts::begin_fold(part));
        parts.write_manifest(dir.path()).expect("written");
        let part = parts.all.last_mut().expect("one");
        super::super::counts::fold(&index.database, part).expect("summed up");
    }
    index.settle().expect("compacted");
    drop(index);
    assert!(!is_incomplete(dir.path()), "after summing up");
    let index = open(dir.path());
    apply(&index, &model, index.cursor(), 7);
    for _ in 0..3 {
        fold(&index);
        index.settle().expect("compacted");
        index.write_manifest().expect("written");
    }
    drop(index);
    assert!(!is_incomplete(dir.path()), "after merges");
    let index = open(dir.path());
    index.expire(41).expect("one part goes");
    drop(index);
    assert!(!is_incomplete(dir.path()), "after expiry");
}

#[test]
fn a_part_that_is_expired_may_be_deleted_in_part() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let index = filled(dir.path(), &sample(100));
    let usages = keyspaces(&index, 0)[0].clone();
    {
        let mut parts = index.parts.lock().expect("no holder panics");
        let expired = parts.all.remove(0);
        parts.write_manifest(dir.path()).expect("written");
        drop(expired);
    }
    index.database.delete_keyspace(usages).expect("deleted");
    drop(index);
    let index = open(dir.path());
    assert_eq!((index.begins(), index.cursor()), (41, 101));
}
