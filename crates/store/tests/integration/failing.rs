//! What is refused, and what is still accepted, while something is full or broken.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use store::{AppendRefused, IndexState, ReadError, Store};

use crate::harness::*;
use crate::model::Model;

#[test]
fn a_full_tail_refuses_until_the_index_has_taken_some() {
    let dir = folder();
    let mut config = config(dir.path());
    config.tail_bytes_max = 4 * config.journal.pending_bytes_max;
    let store = open(config.clone());
    store.index_once();
    let mut model = Model::default();
    let mut refused = 0;
    for n in 0..2000 {
        match post(&store, &nth(n)) {
            Ok(accepted) => {
                model.usages.insert(accepted.seq, nth(n));
            }
            Err(why) => {
                assert_eq!(why, AppendRefused::TailFull);
                refused += 1;
            }
        }
        store.journal().commit_once().expect("commits");
        assert!(store.status().tail_bytes <= config.tail_bytes_max, "bounded");
    }
    assert!(refused > 0, "the tail was filled");
    assert_eq!(post_batch(&store, &[nth(1), nth(2)]), [Err(AppendRefused::TailFull); 2]);
    while store.index_once() {}
    let accepted = post(&store, &nth(1)).expect("room again");
    model.usages.insert(accepted.seq, nth(1));
    store.journal().commit_once().expect("commits");
    model.compare(&store);
}

/// Makes the index's folder unusable: a file stands in its place.
fn break_index(store: &Store, dir: &std::path::Path) {
    store.close().expect("closes");
    // Its own threads may still put a file there.
    wait_until("the index's folder is gone", || std::fs::remove_dir_all(dir).is_ok());
    std::fs::write(dir, "in the way").expect("written");
}

#[test]
fn without_an_index_usages_without_keys_are_accepted_and_all_comes_back() {
    let dir = folder();
    let mut config = config(dir.path());
    let store = start(config.clone());
    let mut model = Model::default();
    let post_one = |store: &Store, sent: Sent, model: &mut Model| {
        let accepted = post_durably(store, &sent);
        model.usages.insert(accepted.seq, sent);
        accepted
    };
    let first = post_one(&store, nth(1).keyed("a"), &mut model);
    break_index(&store, &config.index_dir());

    // So small a tail has to drop its oldest while nobody takes them.
    config.tail_bytes_max = 4 * config.journal.pending_bytes_max;
    let store = start(config.clone());
    assert!(matches!(store.index_state(), IndexState::Failed { .. }));
    for n in 0..1500 {
        post_one(&store, nth(n), &mut model);
        assert!(store.status().tail_bytes <= config.tail_bytes_max, "bounded");
    }
    assert!(store.status().tail_first_seq > first.seq + 1, "the oldest were dropped");
    assert_eq!(post(&store, &nth(1).keyed("a")), Err(AppendRefused::IndexUnavailable));
    assert_eq!(post(&store, &nth(1).keyed("b")), Err(AppendRefused::IndexUnavailable));
    let mixed = post_batch(&store, &[nth(5), nth(1).keyed("a")]);
    let accepted = mixed[0].expect("keyless");
    model.usages.insert(accepted.seq, nth(5));
    assert_eq!(mixed[1], Err(AppendRefused::IndexUnavailable));
    let history = store.history(&history_of("patient-1"));
    assert!(matches!(history, Err(ReadError::IndexUnavailable)), "{history:?}");
    let receipt = store.receipt(&first.id);
    assert!(matches!(receipt, Err(ReadError::IndexUnavailable)), "{receipt:?}");

    std::fs::remove_file(config.index_dir()).expect("removed");
    wait_indexed(&store);
    model.compare(&store);
    assert!(post(&store, &nth(1).keyed("a")).expect("known again").replayed);
    store.close().expect("closes");
}

#[test]
fn an_index_that_loses_its_place_while_running_is_never_asked_about_keys() {
    let dir = folder();
    let clock = Arc::new(StillClock::default());
    clock.wall_ms.store(START_MS, Ordering::Relaxed);
    let config = config(dir.path());
    let store = Store::open(config.clone(), clock).expect("opens");
    post(&store, &nth(1).keyed("a")).expect("new");
    store.journal().commit_once().expect("commits");
    while store.index_once() {}
    assert_eq!(store.status().keys_in_memory, 0, "only the index knows the key");
    // A file stands in the folder's place, so that it fails again and again, then nothing does.
    store.reopen_index("a test");
    std::fs::remove_dir_all(config.index_dir()).expect("removed");
    for _ in 0..5 {
        store.index_once();
        let keyed = post(&store, &nth(1).keyed("a"));
        let known = keyed.is_ok_and(|accepted| accepted.replayed);
        assert!(known || keyed == Err(AppendRefused::IndexUnavailable), "{keyed:?}");
    }
    while store.index_state() != IndexState::Ready {
        store.index_once();
    }
    assert!(post(&store, &nth(1).keyed("a")).expect("known again").replayed);
}

#[test]
fn damage_in_the_journal_is_reported_and_not_passed_over() {
    let dir = folder();
    let mut config = config(dir.path());
    let store = open(config.clone());
    for n in 0..4000 {
        post(&store, &nth(n)).expect("room");
        if n % 50 == 49 {
            store.journal().commit_once().expect("commits");
            while store.index_once() {}
        }
    }
    store.close().expect("closes");
    drop(store);
    let segment = config.journal_dir().join("00000000000000000001.seg");
    let mut bytes = std::fs::read(&segment).expect("the first segment");
    bytes[20_000] ^= 1;
    std::fs::write(&segment, bytes).expect("written");
    // With its index the store serves; without, it can not be made again.
    let serves = || {
        let store = start(config.clone());
        assert_eq!(store.index_state(), IndexState::Ready);
        store.close().expect("closes");
    };
    serves();
    let clock = Arc::new(store::SystemClock::new());
    let failed = store::rebuild(&config, clock, |_| ()).expect_err("the journal is damaged");
    assert!(matches!(failed, store::RebuildError::Read(_)), "{failed}");
    assert!(!dir.path().join("index.new").exists(), "what was made of it is gone");
    serves();
    std::fs::remove_dir_all(config.index_dir()).expect("removed");
    config.tail_bytes_max = 4 * config.journal.pending_bytes_max;
    let store = start(config.clone());
    wait_until("the damage is met", || match store.index_state() {
        IndexState::Failed { why } => why.contains("segment 1"),
        _ => false,
    });
    post_durably(&store, &nth(1));
    let key = usage::UsageId::keyed("default", "a");
    assert_eq!(post(&store, &nth(1).keyed("a")), Err(AppendRefused::Damaged(key)));
    let batch = post_batch(&store, &[nth(1), nth(1).keyed("a")]);
    assert_eq!((batch[0].is_ok(), batch[1]), (true, Err(AppendRefused::Damaged(key))));
    let history = store.history(&history_of("patient-1"));
    assert!(matches!(history, Err(ReadError::Damaged(_))), "{history:?}");
    assert_eq!(store.status().damage.map(|damage| damage.places), Some(1));
    store.close().expect("closes");
}

/// Nothing commits what waits, as on a disk that hangs.
#[test]
fn a_disk_that_completes_nothing_counts_as_stuck() {
    let dir = folder();
    let mut config = config(dir.path());
    config.stuck_after = std::time::Duration::from_secs(2);
    let clock = Arc::new(StillClock::default());
    let pass = |ms| clock.wall_ms.fetch_add(ms, Ordering::Relaxed);
    let store = open_at(&config, &clock);
    pass(10_000);
    assert_eq!(store.room(), Ok(()), "nothing waits, however long");
    post(&store, &nth(1)).expect("room");
    pass(1_999);
    assert_eq!((store.room(), store.stalled()), (Ok(()), None));
    pass(1);
    assert_eq!(store.room(), Err(AppendRefused::Stuck));
    assert_eq!(store.stalled(), Some(config.stuck_after));
    store.journal().commit_once().expect("commits");
    assert_eq!((store.room(), store.stalled()), (Ok(()), None), "as soon as it completes one");
}
