//! Counts and keys that are ahead of the usages, as a crash between the keyspaces of a run leaves them.

use std::sync::Arc;

use jiff::tz::TimeZone;

use super::super::{counts, keys};
use super::*;
use crate::{Config, Store, SummaryBy, SummaryQuery, SystemClock};

/// Gives the index the counts and keys of the usages from `from` (a sequence) on, but not these.
fn get_ahead(index: &Index, model: &[Made], from: u64) {
    let first = usize::try_from(from - 1).expect("small");
    let ahead: Vec<_> =
        (from..).zip(&model[first..]).map(|(seq, made)| (seq, made.payload(seq))).collect();
    let entries: Vec<_> =
        ahead.iter().map(|(seq, payload)| IndexEntry { seq: *seq, payload }).collect();
    let parts = index.parts.lock().expect("no holder panics");
    let part = parts.all.last().expect("there is a part");
    let keyed = keys::of(&entries).expect("they read");
    keys::apply(&part.keys, keyed).expect("keyed");
    counts::apply(&part.counts, &entries).expect("counted");
}

#[test]
fn a_keyspace_that_is_ahead_passes_over_what_it_has() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let index = open(dir.path());
    let model = sample(30);
    apply(&index, &model[..10], 1, 10);
    get_ahead(&index, &model[..20], 11);
    drop(index);
    let index = open(dir.path());
    assert_eq!((index.cursor(), index.snapshot().counts_cursor()), (11, 21));
    apply(&index, &model, 11, 20);
    assert_eq!(index.snapshot().counts_cursor(), 31);
    check(&index, &model, None, None).expect("it is the model's");
}

fn open_store(dir: &Path) -> Store {
    let mut config = Config::new(dir);
    config.journal.segment_bytes = 64 << 10;
    config.journal.pending_bytes_max = 16 << 10;
    config.journal.reserve_bytes = 0;
    Store::open(config, Arc::new(SystemClock::new())).expect("opens")
}

fn append(store: &Store, model: &[Made]) {
    for made in model {
        store.append(&made.usage(), made.received_ms).expect("there is room");
    }
    store.journal().commit_once().expect("the disk works");
}

/// How many usages the summaries have, by hour and by medication.
fn summed(store: &Store, from: Option<Instant>, to: Option<Instant>) -> [u64; 2] {
    [SummaryBy::Hour, SummaryBy::Medication].map(|by| {
        let query = SummaryQuery { by, from, to, tz: TimeZone::UTC };
        store.summary(&query).expect("it is served").iter().map(|row| row.count).sum()
    })
}

#[test]
fn repro_a_summary_misses_no_usage_whose_counts_are_ahead() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut model = sample(20);
    // What is ahead lies an hour after and before what the index has.
    for (number, made) in model[10..].iter_mut().enumerate() {
        made.instant_ms += if number % 2 == 0 { 3_600_000 } else { -3_600_000 };
    }
    let store = open_store(dir.path());
    append(&store, &model[..10]);
    while store.index_once() {}
    append(&store, &model[10..]);
    get_ahead(&store.shared.slot.get().expect("it works"), &model, 11);
    drop(store);
    let store = open_store(dir.path());
    let snapshot = store.shared.slot.get().expect("it works").snapshot();
    assert_eq!((snapshot.cursor(), snapshot.counts_cursor()), (11, 21), "it is ahead");
    let ms = START_MS.cast_signed();
    // Before, between and behind them, on a quarter of an hour and within one.
    let bounds = [-7_200_000, -1_800_000, 5000, 1_800_000, 7_200_000]
        .map(|after| ms + after)
        .into_iter()
        .flat_map(|ms| [ms, ms / 900_000 * 900_000])
        .map(Instant::from_millis);
    let check = |when: &str| {
        for (from, to) in bounds.clone().flat_map(|bound| [(bound, None), (None, bound)]) {
            let expected = model_counts(&model, from, to).values().sum::<u64>();
            assert_eq!(summed(&store, from, to), [expected; 2], "{when}, {from:?} to {to:?}");
        }
        assert_eq!(summed(&store, None, None), [20; 2], "{when}");
    };
    check("ahead");
    while store.index_once() {}
    check("no longer ahead");
}
