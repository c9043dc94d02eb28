//! Where a part begins because of the day of receipt, whatever the clock does.

use super::super::{PARTS_BACK_MAX, days_of};
use super::*;

/// One usage for each of these days, all keyed.
fn received_on(days: &[u64]) -> Vec<Made> {
    let received_ms = |day: u64| START_MS + day * DAY_MS;
    let made = sample(days.len()).into_iter().zip(days);
    made.map(|(made, day)| Made { received_ms: received_ms(*day), keyed: true, ..made }).collect()
}

/// Each part's day, counted from the start, and how many usages it has.
fn parts(index: &Index) -> Vec<(u64, u64)> {
    let parts = index.parts.lock().expect("no holder panics");
    let metas = parts.all.iter().map(|part| part.meta());
    metas.map(|meta| (meta.day - START_MS / DAY_MS, meta.usages)).collect()
}

/// Usages received on these days make these parts, however runs are cut.
fn check_parts(days: &[u64], expected: &[(u64, u64)]) -> (tempfile::TempDir, Index) {
    let model = received_on(days);
    let made = [1, 3, 1000].map(|run| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let index = open(dir.path());
        apply(&index, &model, 1, run);
        assert_eq!(parts(&index), expected, "in runs of {run}");
        check(&index, &model, None, None).expect("every answer is the model's");
        (dir, index)
    });
    made.into_iter().next_back().expect("there are three")
}

#[test]
fn a_part_takes_a_day_and_what_crosses_midnight_out_of_order() {
    check_parts(&[0, 0, 0], &[(0, 3)]);
    check_parts(&[0, 0, 1, 0, 1, 1, 3], &[(0, 2), (1, 4), (3, 1)]);
    // A full part is followed by one of the same day.
    let around_midnight: Vec<u64> = (1..=50).map(|number| number % 2).collect();
    check_parts(&around_midnight, &[(1, 40), (1, 10)]);
}

#[test]
fn repro_a_clock_that_was_ahead_for_one_usage_does_not_end_the_days() {
    const AHEAD: u64 = 3650;
    let days = [0, 0, AHEAD, 0, 0, 1, 1, 2, 2];
    let expected = [(0, 2), (AHEAD, 1), (0, 2), (1, 2), (2, 2)];
    let (dir, index) = check_parts(&days, &expected);
    drop(index);
    let index = open(dir.path());
    assert_eq!(parts(&index), expected, "after a start");
    // Keys are forgotten by days, but for the one that says it is from then.
    let snapshot = index.snapshot();
    let oldest_ms = START_MS / DAY_MS * DAY_MS + 2 * DAY_MS;
    let known = |seq: &u64| snapshot.key(key(*seq), oldest_ms).expect("looked up").is_some();
    assert_eq!((1..=9).filter(known).collect::<Vec<_>>(), [3, 8, 9]);
    // And parts go when nothing in them is kept.
    assert!(index.expire(6).expect("they go"));
    assert_eq!(parts(&index), [(1, 2), (2, 2)]);
}

#[test]
fn a_clock_that_is_set_to_and_fro_makes_no_part_at_each_turn() {
    assert_eq!(days_of(20_000, PARTS_BACK_MAX - 1), 19_999..=20_000);
    assert_eq!(days_of(20_000, PARTS_BACK_MAX), 0..=20_000);
    assert_eq!(days_of(0, 1), 0..=0);
}
