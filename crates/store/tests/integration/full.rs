//! A store that is opened on a full disk: it serves what is proven durable and accepts nothing, until
//! there is room.

use std::sync::Arc;

use journal::disk::SimDisk;
use journal::disk::sim::Crash;
use store::{AppendRefused, Config, IndexState, ReadError, Store, SystemClock};

use crate::harness::*;

fn open_on(config: &Config, disk: &SimDisk) -> Store {
    let clock = Arc::new(SystemClock::new());
    Store::open_on(config.clone(), Arc::new(disk.clone()), clock).expect("the store opens")
}

/// What happens after the last usage and before the kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    OnlyWritten,
    Indexed,
    Marked,
}

fn check(last: Last) {
    let (dir, disk) = (folder(), SimDisk::new(1));
    let config = config(dir.path());
    let store = open_on(&config, &disk);
    let keyed = |n: u64, key: &str| nth(n).keyed(key);
    let posted = |sent: &[_]| {
        let accepted = post_batch(&store, sent);
        store.journal().commit_once().expect("there is room");
        accepted.into_iter().map(|one| one.expect("there is room")).collect::<Vec<_>>()
    };
    let early = posted(&[nth(1), keyed(2, "early")]);
    while store.index_once() {}
    // In the tail.
    posted(&[keyed(3, "later")]);
    let late = posted(&[nth(1), keyed(4, "late")]);
    match last {
        Last::OnlyWritten => {}
        Last::Indexed => while store.index_once() {},
        Last::Marked => assert!(store.journal().mark_once()),
    }
    drop(store);
    disk.crash(Crash::Kill);

    disk.full_in(Some(0));
    let store = open_on(&config, &disk);
    let proven = last != Last::OnlyWritten;
    assert!(store.recovery().full.is_some());
    let receipt = |accepted: &store::Accepted| store.receipt(&accepted.id);
    for accepted in &early {
        assert!(receipt(accepted).expect("served").is_some(), "{last:?}");
    }
    for accepted in &late {
        match receipt(accepted) {
            Ok(Some(_)) => assert!(proven, "{last:?}"),
            Err(ReadError::Unproven) => assert!(!proven, "{last:?}"),
            other => panic!("{last:?}: {other:?}"),
        }
    }
    assert_eq!(store.index_state(), IndexState::Ready, "{last:?}");
    let history = |store: &Store| whole_history(store, history_of("patient-1")).len();
    assert_eq!(history(&store), if proven { 2 } else { 1 });

    let replayed = |sent| post(&store, &sent).map(|accepted| accepted.replayed);
    assert_eq!(replayed(keyed(2, "early")), Ok(true));
    assert_eq!(replayed(keyed(3, "later")), Ok(true));
    let unproven = if proven { Ok(true) } else { Err(AppendRefused::Unproven) };
    assert_eq!(replayed(keyed(4, "late")), unproven);
    let reused = if proven { AppendRefused::KeyReused } else { AppendRefused::Unproven };
    assert_eq!(replayed(keyed(5, "late")), Err(reused), "{last:?}");
    assert_eq!(replayed(keyed(5, "new")), Err(AppendRefused::NoSpace));
    assert_eq!(replayed(nth(5)), Err(AppendRefused::NoSpace));
    let mixed = post_batch(&store, &[keyed(4, "late"), keyed(2, "early"), nth(5)]);
    let mixed: Vec<_> = mixed.into_iter().map(|one| one.map(|it| it.replayed)).collect();
    assert_eq!(mixed, [unproven, Ok(true), Err(AppendRefused::NoSpace)]);

    // The index leaves the full disk alone.
    let cursor = store.status().index_cursor;
    assert!(!store.index_once());
    assert_eq!((store.status().index_cursor, store.index_state()), (cursor, IndexState::Ready));

    disk.full_in(None);
    wait_until("the journal begins", || {
        store.journal().housekeep_once();
        store.status().journal.begun
    });
    for accepted in early.iter().chain(&late) {
        assert!(receipt(accepted).expect("served").is_some(), "{last:?}");
    }
    assert_eq!(replayed(keyed(4, "late")), Ok(true));
    assert_eq!(replayed(nth(5)), Ok(false));
    store.journal().commit_once().expect("there is room");
    while store.index_once() {}
    assert_eq!(history(&store), 2);
    let status = store.status();
    assert_eq!((status.index_cursor, status.keys_in_memory), (status.durable, 0), "{last:?}");
}

#[test]
fn repro_a_store_on_a_full_disk_did_not_open() {
    check(Last::OnlyWritten);
}

/// What the index or the mark has seen durable is served at once.
#[test]
fn a_witness_makes_the_last_batch_readable_on_a_full_disk() {
    check(Last::Indexed);
    check(Last::Marked);
}
