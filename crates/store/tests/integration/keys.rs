//! One key is stored once, and a replay is answered like the first.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use store::{Accepted, AppendRefused, Key, Store};

use crate::harness::*;

const DAY_MS: u64 = 24 * 3600 * 1000;

fn keyed(key: &str) -> Sent {
    nth(1).keyed(key)
}

fn commit(store: &Store) {
    store.journal().commit_once().expect("commits");
}

/// Appends, expecting to hear of the frame `first`.
fn check_replay(store: &Store, sent: &Sent, first: Accepted) {
    let again = post(store, sent).expect("answered");
    assert_eq!(again, Accepted { replayed: true, ..first }, "{sent:?}");
}

fn check_reused(store: &Store, sent: &Sent) {
    assert_eq!(post(store, sent), Err(AppendRefused::KeyReused), "{sent:?}");
}

#[test]
fn a_key_is_known_wherever_its_usage_is() {
    let dir = folder();
    let mut store = open(config(dir.path()));
    let first = post(&store, &keyed("a")).expect("new");
    let other = Sent { medication: "Salmeterol".into(), ..keyed("a") };
    let check = |store: &Store| {
        check_replay(store, &keyed("a"), first);
        check_reused(store, &other);
    };
    check(&store); // pending
    commit(&store);
    check(&store); // in the tail
    while store.index_once() {}
    assert_eq!(store.status().keys_in_memory, 0);
    check(&store); // in the index
    for _ in 0..2 {
        store.close().expect("closes");
        drop(store);
        store = open(config(dir.path()));
        check(&store); // after a restart
        while store.index_once() {}
        check(&store);
    }
    assert_ne!(post(&store, &keyed("b")).expect("another key").seq, first.seq);
    let receipt = store.receipt(&first.id).expect("served").expect("stored");
    assert_eq!((receipt.seq, receipt.id), (first.seq, first.id));
}

#[test]
fn content_is_what_was_sent_and_principals_have_keys_of_their_own() {
    let dir = folder();
    let store = open(config(dir.path()));
    let append = |json: &str, principal: &str| {
        let usage = usage::decode(json.as_bytes(), usage::UnknownFields::Refuse).expect("valid");
        store.append_keyed(&usage, Key::Header { principal, key: "k" }, START_MS)
    };
    let sent = r#"{"patientId":"1","timestamp":"2026-11-01T00:00:00Z","medication":"A"}"#;
    let spaced =
        r#"{ "medication":"\u0041", "patientId":"1", "timestamp":"2026-11-01T00:00:00Z" }"#;
    let other_text =
        r#"{"patientId":"1","timestamp":"2026-11-01T00:00:00+00:00","medication":"A"}"#;
    let first = append(sent, "alice").expect("new");
    let replayed = Accepted { replayed: true, ..first };
    assert_eq!(append(spaced, "alice"), Ok(replayed), "the same, written in another way");
    assert_eq!(append(other_text, "alice"), Err(AppendRefused::KeyReused));
    let bob = append(sent, "bob").expect("new");
    assert!(!bob.replayed && bob.id != first.id);
}

#[test]
fn usages_without_a_key_are_never_taken_for_one_another() {
    let dir = folder();
    let store = open(config(dir.path()));
    let seqs: BTreeSet<u64> = (0..10).map(|_| post(&store, &nth(1)).expect("room").seq).collect();
    assert_eq!(seqs.len(), 10);
}

#[test]
fn a_batch_treats_its_own_keys_as_if_they_came_one_by_one() {
    let dir = folder();
    let store = open(config(dir.path()));
    let stored = post(&store, &keyed("old")).expect("new");
    commit(&store);
    while store.index_once() {}
    let other = Sent { medication: "Salmeterol".into(), ..keyed("a") };
    let old_other = Sent { medication: "Salmeterol".into(), ..keyed("old") };
    let batch =
        [keyed("a"), keyed("a"), other, nth(3), keyed("old"), old_other, keyed("b"), nth(3)];
    let results = post_batch(&store, &batch);
    let first = results[0].expect("new");
    assert!(!first.replayed);
    assert_eq!(results[1], Ok(Accepted { replayed: true, ..first }));
    assert_eq!(results[2], Err(AppendRefused::KeyReused));
    assert_eq!(results[4], Ok(Accepted { replayed: true, ..stored }));
    assert_eq!(results[5], Err(AppendRefused::KeyReused));
    let new: Vec<u64> = [0, 3, 6, 7].map(|at| results[at].expect("new").seq).into();
    assert_eq!(new, (first.seq..first.seq + 4).collect::<Vec<_>>(), "in order, nothing between");
    let frames = |committed| match committed {
        journal::Committed::Batch { frames, .. } => frames,
        journal::Committed::Nothing => 0,
    };
    assert_eq!(frames(store.journal().commit_once().expect("commits")), 4, "one group commit");
    let again = post_batch(&store, &batch);
    assert_eq!(again[6], Ok(Accepted { replayed: true, ..results[6].expect("new") }));
    assert!(!again[7].expect("keyless").replayed);
}

#[test]
fn one_key_from_many_threads_is_one_usage() {
    let dir = folder();
    let store = start(config(dir.path()));
    const THREADS: usize = 6;
    const KEYS: usize = 400;
    let barrier = std::sync::Barrier::new(THREADS);
    let answers: Vec<Vec<Accepted>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (store, barrier) = (&store, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let post_key = |n: usize| loop {
                        let sent = keyed(&n.to_string());
                        // Every other thread sends batches.
                        let result = match thread % 2 {
                            0 => post(store, &sent),
                            _ => post_batch(store, &[nth(3), sent]).remove(1),
                        };
                        match result {
                            Ok(accepted) => break accepted,
                            Err(AppendRefused::KeyReused) => panic!("the content is the same"),
                            Err(_) => std::thread::yield_now(),
                        }
                    };
                    (0..KEYS).map(post_key).collect()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    for n in 0..KEYS {
        let seqs: BTreeSet<u64> = answers.iter().map(|answers| answers[n].seq).collect();
        assert_eq!(seqs.len(), 1, "key {n}");
        let firsts = answers.iter().filter(|answers| !answers[n].replayed).count();
        assert_eq!(firsts, 1, "key {n} was new once");
    }
    wait_indexed(&store);
    // They are let go right after the index has told that it has them.
    wait_until("no key is held in memory", || store.status().keys_in_memory == 0);
    store.close().expect("closes");
}

#[test]
fn a_key_beyond_its_window_is_new_again() {
    let dir = folder();
    let clock = Arc::new(StillClock::default());
    clock.wall_ms.store(START_MS, Ordering::Relaxed);
    let after = |days: u64| {
        clock.wall_ms.store(START_MS + days * DAY_MS, Ordering::Relaxed);
        START_MS + days * DAY_MS
    };
    let store = open_at(&config(dir.path()), &clock);
    let first = post_at(&store, &keyed("a"), START_MS).expect("new");
    for indexed in [false, true] {
        if indexed {
            commit(&store);
            while store.index_once() {}
        }
        let within = post_at(&store, &keyed("a"), after(30)).expect("answered");
        assert_eq!(within, Accepted { replayed: true, ..first }, "indexed: {indexed}");
    }
    let new = post_at(&store, &keyed("a"), after(31)).expect("new again");
    assert!(!new.replayed && new.seq > first.seq && new.id == first.id);
    for indexed in [false, true] {
        if indexed {
            commit(&store);
            while store.index_once() {}
        }
        let again = post_at(&store, &keyed("a"), after(40)).expect("answered");
        assert_eq!(again, Accepted { replayed: true, ..new }, "indexed: {indexed}");
    }
    let receipt = store.receipt(&new.id).expect("served").expect("stored");
    assert_eq!(receipt.seq, new.seq, "the newest usage of the key");
}

#[test]
fn a_clock_that_jumps_ahead_makes_no_key_forgotten_until_it_is_confirmed() {
    let dir = folder();
    let clock = Arc::new(StillClock::default());
    clock.wall_ms.store(START_MS, Ordering::Relaxed);
    let config = config(dir.path());
    let mut store = open_at(&config, &clock);
    let first = post_at(&store, &keyed("a"), START_MS).expect("new");
    let replayed = Accepted { replayed: true, ..first };
    clock.jump(40 * DAY_MS);
    let now_ms = START_MS + 40 * DAY_MS;
    let answer = |store: &Store| post_at(store, &keyed("a"), now_ms).expect("answered");
    assert_eq!(answer(&store), replayed, "before the housekeeper has seen it");
    store.journal().housekeep_once();
    assert_eq!(answer(&store), replayed, "in memory");
    commit(&store);
    while store.index_once() {}
    assert_eq!(answer(&store), replayed, "in the index");
    let batch = [keyed("a"), keyed("b")];
    assert_eq!(post_batch_at(&store, &batch, now_ms)[0], Ok(replayed), "in a batch");
    store.close().expect("closes");
    drop(store);
    store = open_at(&config, &clock);
    while store.index_once() {}
    assert_eq!(answer(&store), replayed, "after a restart");
    store.journal().confirm_clock();
    assert!(!answer(&store).replayed, "forty days have passed");
}

#[test]
fn until_a_later_usage_of_a_key_is_durable_its_id_means_the_earlier_one() {
    let dir = folder();
    let clock = Arc::new(StillClock::default());
    clock.wall_ms.store(START_MS, Ordering::Relaxed);
    let after = |days: u64| {
        clock.wall_ms.store(START_MS + days * DAY_MS, Ordering::Relaxed);
        START_MS + days * DAY_MS
    };
    let store = open_at(&config(dir.path()), &clock);
    let first = post_at(&store, &keyed("a"), START_MS).expect("new");
    commit(&store);
    // Beyond the key's window, and before the index has taken the first.
    post_at(&store, &keyed("a"), after(40)).expect("new again");
    let second = post_at(&store, &keyed("a"), after(80)).expect("and again");
    let receipt = |store: &Store| store.receipt(&first.id).expect("served").expect("stored").seq;
    assert_eq!(receipt(&store), first.seq);
    while store.index_once() {}
    assert_eq!(receipt(&store), first.seq);
    commit(&store);
    assert_eq!(receipt(&store), second.seq);
    while store.index_once() {}
    assert_eq!(receipt(&store), second.seq);
}
