//! Filters of keys: what they rule out, and that they hide no key.

use std::sync::Arc;

use super::super::key_filter::KeyFilter;
use super::*;

/// Has the filters read, whatever the window of keys.
fn remember_keys(index: &Index, oldest_ms: u64) {
    // The second time, what was read replaces what it was read for.
    for _ in 0..2 {
        index.remember_keys(oldest_ms).expect("it begins");
        index.parts.lock().expect("no holder panics").refill.wait();
    }
}

/// Whether each part rules out in memory a key that was never used.
fn ruled_out(index: &Index) -> Vec<bool> {
    let parts = index.parts.lock().expect("no holder panics");
    let filters = parts.all.iter().map(|part| part.key_filter.as_ref());
    filters.map(|filter| filter.is_some_and(|filter| !filter.may_hold(key(9999)))).collect()
}

#[test]
fn every_part_within_the_window_rules_out_keys_in_memory() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut model: Vec<Made> =
        sample(240).into_iter().map(|made| Made { keyed: true, ..made }).collect();
    // Six parts of forty, received within a millisecond for each usage.
    for (number, made) in (0..).zip(&mut model) {
        made.received_ms = START_MS + number;
    }
    let index = open(dir.path());
    apply(&index, &model[..230], 1, 20);
    assert_eq!(ruled_out(&index), [true; 6]);
    drop(index);
    let index = open(dir.path());
    assert_eq!(ruled_out(&index), [false; 6], "nothing is known yet");
    index.remember_keys(0).expect("it begins");
    // What comes while keys are still being read is put in beside them.
    apply(&index, &model, 231, 10);
    remember_keys(&index, 0);
    assert_eq!(ruled_out(&index), [true; 6]);
    check(&index, &model, None, None).expect("it is the model's");
    // The third part ends with the last usage of the window's first moment.
    remember_keys(&index, START_MS + 119);
    assert_eq!(ruled_out(&index), [false, false, true, true, true, true]);
    remember_keys(&index, START_MS + 120);
    assert_eq!(ruled_out(&index), [false, false, false, true, true, true]);
    check(&index, &model, None, None).expect("it is the model's");
}

#[test]
fn a_sealed_parts_filter_is_replaced_by_one_that_fits_and_hides_no_key() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let options = IndexOptions { part_usages_max: 9000, ..options() };
    let index = Index::open(dir.path(), options).expect("it opens");
    let model: Vec<Made> =
        sample(9040).into_iter().map(|made| Made { keyed: true, ..made }).collect();
    apply(&index, &model, 1, 1000);
    let layered = |index: &Index| {
        let parts = index.parts.lock().expect("no holder panics");
        parts.all[0].key_filter.as_ref().expect("it has one").is_layered()
    };
    assert!(layered(&index), "it has grown");
    remember_keys(&index, 0);
    assert!(!layered(&index));
    let snapshot = index.snapshot();
    let oldest_ms = START_MS;
    for seq in 1..=9040 {
        assert!(!snapshot.rules_out(key(seq), oldest_ms, 0..u64::MAX), "{seq}");
    }
    assert!((10_000..10_100).any(|seq| snapshot.rules_out(key(seq), oldest_ms, 0..u64::MAX)));
    // The last part has the keys from 9001 on.
    assert!((1..100).any(|seq| snapshot.rules_out(key(seq), oldest_ms, 9001..u64::MAX)));
    assert!((9010..9040).any(|seq| snapshot.rules_out(key(seq), oldest_ms, 0..9001)));
    assert!(snapshot.rules_out(key(1), START_MS + 10_000, 0..u64::MAX), "beyond the window");
}

#[test]
fn control_a_filter_that_lacks_a_key_hides_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let index = open(dir.path());
    let made = sample(1).pop().expect("one");
    apply(&index, &[Made { keyed: true, ..made }], 1, 1);
    let found = |index: &Index| index.snapshot().key(key(1), 0).expect("looked up");
    assert_eq!(found(&index), Some(1));
    let mut parts = index.parts.lock().expect("no holder panics");
    parts.all[0].key_filter = Some(Arc::new(KeyFilter::new()));
    index.publish(&parts);
    drop(parts);
    assert_eq!(found(&index), None);
}
