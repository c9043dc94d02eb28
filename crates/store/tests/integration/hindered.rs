//! An index that is whole but cannot be had: somebody else has it open, or descriptors are short.
//! Usages without keys are taken in meanwhile, and it is waited for, never removed.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use store::{AppendRefused, Config, IndexState, Store};

use crate::harness::*;

const USAGES: u64 = 500;
/// More attempts than an index that is at fault is given.
const ATTEMPTS: usize = 6;
const CHILD_DIR: &str = "STORE_TEST_HINDERED_DIR";

/// A closed store whose index holds [`USAGES`], the first with a key.
fn filled(dir: &Path) -> Config {
    let config = config(dir);
    let store = open(config.clone());
    post(&store, &nth(0).keyed("a")).expect("room");
    for n in 1..USAGES {
        post(&store, &nth(n)).expect("room");
        store.journal().commit_once().expect("commits");
        store.index_once();
    }
    while store.index_once() {}
    store.close().expect("closes");
    config
}

/// Only usages without keys are taken in while the index fails again and again.
fn check_hindered(store: &Store, why_not: &str) {
    for _ in 0..ATTEMPTS {
        store.index_once();
        match store.index_state() {
            IndexState::Failed { why } => assert!(why.contains(why_not), "{why}"),
            state => panic!("{state:?}"),
        }
    }
    let keyed = post(store, &nth(0).keyed("a"));
    assert_eq!(keyed, Err(AppendRefused::IndexUnavailable));
    post(store, &nth(USAGES)).expect("it has no key");
    store.journal().commit_once().expect("commits");
}

/// How many usages the index takes until it has all: one, unless it was made anew.
fn taken_until_ready(store: &Store) -> u64 {
    wait_until("the index catches up", || {
        store.index_once();
        store.status().index_cursor >= store.status().durable
    });
    assert!(post(store, &nth(0).keyed("a")).expect("known again").replayed);
    store.status().index_usages
}

#[test]
fn repro_an_index_that_another_process_has_open_is_waited_for() {
    let dir = folder();
    let config = filled(dir.path());
    let other = File::open(config.index_dir().join("v1/lock")).expect("the library's lock");
    other.try_lock().expect("nobody has it open");
    let store = open(config);
    check_hindered(&store, "still open");
    drop(other);
    assert_eq!(taken_until_ready(&store), 1);
}

/// The control: files that fail as often are made anew, and it shows.
#[test]
fn an_index_whose_files_fail_as_often_is_made_anew() {
    let dir = folder();
    let config = filled(dir.path());
    let version = config.index_dir().join("v1/version");
    std::fs::write(&version, "nothing that the library knows").expect("written");
    let store = open(config);
    assert_eq!(taken_until_ready(&store), USAGES);
}

/// What the child runs: no other test may share its descriptors.
#[test]
fn child_that_runs_out_of_descriptors() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let store = open(filled(Path::new(&dir)));
    // It lets go of its files, so that it needs others to be opened again.
    store.reopen_index("a test");
    store.index_once();
    let limit = getrlimit(Resource::Nofile);
    // Opening takes the lowest number that is free, so from here on none is.
    let free = File::open("/").expect("one is left");
    let none = Some(std::os::fd::AsRawFd::as_raw_fd(&free) as u64);
    setrlimit(Resource::Nofile, Rlimit { current: none, ..limit }).expect("lowered");
    drop(free);
    store.index_once();
    check_hindered(&store, "os error 24");
    setrlimit(Resource::Nofile, limit).expect("raised");
    assert_eq!(taken_until_ready(&store), 1);
}

#[test]
fn repro_an_index_that_descriptors_are_short_for_is_waited_for() {
    let dir = folder();
    let child = Command::new(std::env::current_exe().expect("known"))
        .args(["--exact", "hindered::child_that_runs_out_of_descriptors", "--nocapture"])
        .env(CHILD_DIR, dir.path())
        .output()
        .expect("starts");
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
}
