//! The index against a model: whatever runs, parts, restarts and replays come before, every question
//! has the answer that a plain list of the usages gives.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use usage::{Instant, Timestamp, Usage, UsageId, record};

use super::{DAY_MS, Index, IndexEntry, IndexOptions};
use crate::effort::Effort;

mod ahead;
mod counting;
mod days;
mod filters;
mod incomplete;

const START_MS: u64 = 1_700_000_000_000;

/// A usage of the model.
#[derive(Clone, Debug)]
struct Made {
    patient: u8,
    medication: u8,
    /// Milliseconds from the start.
    instant_ms: i64,
    received_ms: u64,
    keyed: bool,
}

impl Made {
    fn instant(&self) -> Instant {
        Instant::from_millis(START_MS.cast_signed() + self.instant_ms).expect("in range")
    }

    fn patient(&self) -> String {
        // Some are the beginning of others.
        "p".repeat(usize::from(self.patient) + 1)
    }

    fn medication(&self) -> String {
        format!("m{}", self.medication)
    }

    fn usage(&self) -> Usage<'static> {
        Usage {
            patient_id: self.patient().into(),
            timestamp: Timestamp::from_epoch_ms(self.instant().millis()).expect("in range"),
            medication: self.medication().into(),
            event_id: None,
            attributes: None,
        }
    }

    fn payload(&self, seq: u64) -> Vec<u8> {
        let mut payload = Vec::new();
        record::encode(&self.usage(), self.received_ms, self.keyed.then(|| key(seq)), &mut payload);
        payload
    }
}

fn key(seq: u64) -> UsageId {
    UsageId::keyed("default", &seq.to_string())
}

fn made() -> impl Strategy<Value = Made> {
    let day = DAY_MS.cast_signed();
    (0_u8..5, 0_u8..3, -day..day, 0_u64..3 * DAY_MS, any::<bool>()).prop_map(
        |(patient, medication, instant_ms, received, keyed)| Made {
            patient,
            medication,
            instant_ms,
            received_ms: START_MS + received,
            keyed,
        },
    )
}

fn options() -> IndexOptions {
    IndexOptions { cache_bytes: 1 << 20, part_usages_max: 40, ..IndexOptions::default() }
}

fn open(dir: &Path) -> Index {
    Index::open(dir, options()).expect("the index opens")
}

/// Applies what the model has from `from` (a sequence) on, in runs of `run` usages. The sequences
/// begin with 1.
fn apply(index: &Index, model: &[Made], from: u64, run: usize) {
    let first = usize::try_from(from.max(1) - 1).expect("small");
    let payloads: Vec<_> =
        (from.max(1)..).zip(&model[first..]).map(|(seq, made)| (seq, made.payload(seq))).collect();
    for run in payloads.chunks(run) {
        let entries: Vec<_> =
            run.iter().map(|(seq, payload)| IndexEntry { seq: *seq, payload }).collect();
        index.apply(&entries).expect("the run is applied");
    }
}

fn model_counts(
    model: &[Made],
    from: Option<Instant>,
    to: Option<Instant>,
) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for made in model {
        let instant = made.instant();
        if from.is_none_or(|from| instant >= from) && to.is_none_or(|to| instant < to) {
            *counts.entry(made.medication()).or_default() += 1;
        }
    }
    counts
}

/// Sums up the newest part's counts, however few rows there are.
fn fold(index: &Index) {
    if let Some(part) = index.parts.lock().expect("no holder panics").all.last_mut() {
        part.counts_loose = u64::MAX;
    }
    index.upkeep().expect("counts are summed up");
}

/// Asks everything and compares.
fn check(
    index: &Index,
    model: &[Made],
    from: Option<Instant>,
    to: Option<Instant>,
) -> Result<(), TestCaseError> {
    let snapshot = index.snapshot();
    prop_assert_eq!(snapshot.cursor(), model.len() as u64 + 1);
    for patient in 0..5_u8 {
        let id = "p".repeat(usize::from(patient) + 1);
        let mut expected: Vec<_> = (1..)
            .zip(model)
            .filter(|(_, made)| made.patient == patient)
            .map(|(seq, made)| (made.instant(), seq, made.payload(seq)))
            .filter(|(instant, ..)| {
                from.is_none_or(|from| *instant >= from) && to.is_none_or(|to| *instant < to)
            })
            .collect();
        expected.sort_unstable_by(|a, b| b.cmp(a));
        let found: Vec<_> = snapshot
            .history(&id, from, to, None, u64::MAX)
            .map(|row| row.map(|row| (row.instant, row.seq, row.payload)))
            .collect::<Result<_, _>>()
            .expect("the rows are read");
        prop_assert_eq!(&found, &expected);
        // From the middle on, and only the older half of the sequences.
        if let Some((instant, seq, _)) = expected.get(expected.len() / 2) {
            let below = model.len() as u64 / 2;
            let rest: Vec<_> = snapshot
                .history(&id, from, to, Some((*instant, *seq)), below)
                .map(|row| row.expect("the rows are read").seq)
                .collect();
            let wanted: Vec<_> = expected[expected.len() / 2 + 1..]
                .iter()
                .map(|(_, seq, _)| *seq)
                .filter(|seq| *seq < below)
                .collect();
            prop_assert_eq!(rest, wanted);
        }
    }
    for (seq, made) in (1_u64..).zip(model) {
        let found = snapshot.key(key(seq), 0).expect("the key is looked up");
        prop_assert_eq!(found, made.keyed.then_some(seq));
    }
    let mut counts = BTreeMap::new();
    snapshot
        .counts(from, to, &mut Effort::rows(u64::MAX), &mut |_, medication, count| {
            *counts.entry(String::from_utf8_lossy(medication).into_owned()).or_default() += count;
            true
        })
        .expect("the counts are read");
    prop_assert_eq!(counts, model_counts(model, from, to));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_the_models_after_any_runs_and_a_restart_between_them(
        model in proptest::collection::vec(made(), 1..160),
        restart_after in 1_usize..160,
        (run, run_after) in (1_usize..60, 1_usize..60),
        bounds in (-(DAY_MS as i64)..DAY_MS as i64, 0..DAY_MS as i64),
    ) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let restart_after = restart_after.min(model.len());
        let index = open(dir.path());
        apply(&index, &model[..restart_after], 1, run);
        drop(index);
        let index = open(dir.path());
        prop_assert_eq!(index.cursor(), restart_after as u64 + 1);
        apply(&index, &model, index.cursor(), run_after);
        fold(&index);
        let at = |ms: i64| Instant::from_millis(START_MS.cast_signed() + ms);
        check(&index, &model, None, None)?;
        check(&index, &model, at(bounds.0), at(bounds.0 + bounds.1))?;
        // A part that is sealed stays whole when everything is merged.
        index.settle().expect("it is compacted");
        check(&index, &model, at(bounds.0), None)?;
    }
}

fn sample(count: usize) -> Vec<Made> {
    (0..count as u64)
        .map(|number| Made {
            patient: (number % 5) as u8,
            medication: (number % 3) as u8,
            instant_ms: number.cast_signed() * 1000,
            received_ms: START_MS + number,
            keyed: number % 2 == 0,
        })
        .collect()
}

#[test]
fn a_run_applied_twice_counts_once() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let index = open(dir.path());
    let model = sample(30);
    apply(&index, &model, 1, 10);
    apply(&index, &model, 1, 7);
    check(&index, &model, None, None).expect("it is the model's");
}

#[test]
fn a_snapshot_does_not_see_what_comes_after_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let index = open(dir.path());
    let model = sample(20);
    apply(&index, &model[..10], 1, 10);
    let before = index.snapshot();
    apply(&index, &model, 11, 10);
    let count =
        |snapshot: &super::Snapshot| snapshot.history("p", None, None, None, u64::MAX).count();
    assert_eq!((before.cursor(), count(&before)), (11, 2));
    assert_eq!((index.snapshot().cursor(), count(&index.snapshot())), (21, 4));
    let mut sum = 0;
    before
        .counts(None, None, &mut Effort::rows(u64::MAX), &mut |_, _, count| {
            sum += count;
            true
        })
        .expect("counted");
    assert_eq!(sum, 10);
}

#[test]
fn parts_expire_whole_and_only_below_what_is_kept() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let index = open(dir.path());
    let model = sample(100);
    apply(&index, &model, 1, 10);
    // Parts of forty: 1 to 40, 41 to 80, 81 to 100.
    let count = |index: &Index| index.snapshot().history("p", None, None, None, u64::MAX).count();
    index.expire(40).expect("nothing goes");
    assert_eq!(count(&index), 20);
    index.expire(41).expect("one part goes");
    assert_eq!(count(&index), 12);
    index.expire(1000).expect("the newest stays");
    assert_eq!(count(&index), 4);
    drop(index);
    let index = open(dir.path());
    assert_eq!((count(&index), index.cursor()), (4, 101));
}

#[test]
fn counts_leave_out_exactly_what_is_no_longer_kept() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let index = open(dir.path());
    let model = sample(100);
    apply(&index, &model, 1, 10);
    let count = |kept_from: u64, from: Option<Instant>| {
        let mut sum = 0;
        let snapshot = index.snapshot().kept_from(kept_from);
        let counted =
            snapshot.counts(from, None, &mut Effort::rows(u64::MAX), &mut |_, _, count| {
                sum += count;
                true
            });
        counted.expect("counted");
        sum
    };
    let middle = model[50].instant();
    for kept_from in 0..=101 {
        let kept = (1..).zip(&model).filter(|(seq, _)| *seq >= kept_from);
        let kept = kept.map(|(_, made)| made.instant());
        assert_eq!(count(kept_from, None), kept.clone().count() as u64, "from {kept_from}");
        let later = kept.filter(|instant| *instant >= middle).count() as u64;
        assert_eq!(count(kept_from, Some(middle)), later, "from {kept_from}");
    }
}

#[test]
fn summed_up_counts_stay_the_same() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let index = Index::open(dir.path(), IndexOptions { part_usages_max: 1 << 20, ..options() })
        .expect("it opens");
    let model = sample(300);
    apply(&index, &model, 1, 3);
    let rows = |index: &Index| {
        let mut rows = 0;
        index
            .snapshot()
            .counts(None, None, &mut Effort::rows(u64::MAX), &mut |_, _, _| {
                rows += 1;
                true
            })
            .expect("counted");
        rows
    };
    let before = rows(&index);
    fold(&index);
    assert!(rows(&index) < before, "{before} rows became {}", rows(&index));
    check(&index, &model, None, None).expect("it is the model's");
    index.upkeep().expect("nothing more to do");
    drop(index);
    check(&open(dir.path()), &model, None, None).expect("it is the model's");
}

#[test]
fn an_index_at_rest_keeps_no_table_that_was_merged() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let index = open(dir.path());
    apply(&index, &sample(60), 1, 10);
    let spare_tables = || {
        let parts = index.parts.lock().expect("no holder panics");
        let keyspaces = parts.all.iter().flat_map(|part| [&part.usages, &part.keys, &part.counts]);
        let spare = keyspaces.map(|keyspace| {
            let files = std::fs::read_dir(keyspace.path().join("tables")).expect("listed");
            files.count() - keyspace.table_count()
        });
        spare.sum::<usize>()
    };
    for part in &index.parts.lock().expect("no holder panics").all {
        part.compact().expect("it is compacted");
    }
    assert!(spare_tables() > 0, "a reader's moment keeps them until then");
    let rested = (0..1000).any(|_| {
        std::thread::park_timeout(Duration::from_millis(10));
        index.rest().expect("it rests")
    });
    assert!(rested, "nothing is written, so compaction ends");
    assert_eq!(spare_tables(), 0);
    assert!(!index.rest().expect("it rests"), "there is nothing more to do");
}

/// Looks after the index until `done`; there is not much to merge, so that is soon.
fn tend(index: &Index, done: impl Fn() -> bool) {
    let ended = (0..1000).any(|_| {
        index.upkeep().expect("it is looked after");
        std::thread::park_timeout(Duration::from_millis(10));
        done()
    });
    assert!(ended, "nothing is left to be merged after ten seconds");
}

#[test]
fn keys_of_sealed_parts_are_merged_and_found() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let index = open(dir.path());
    let model: Vec<Made> =
        sample(100).into_iter().map(|made| Made { keyed: true, ..made }).collect();
    apply(&index, &model, 1, 10);
    let tables = |index: &Index| -> Vec<usize> {
        let parts = index.parts.lock().expect("no holder panics");
        parts.all.iter().map(|part| part.keys.table_count()).collect()
    };
    assert_eq!(tables(&index), [4, 4, 2], "a table for each run of ten");
    // What an earlier process has left is merged as well.
    drop(index);
    let index = open(dir.path());
    tend(&index, || tables(&index) == [1, 1, 2]);
    for seq in 1..=100 {
        let found = index.snapshot().key(key(seq), 0).expect("it is looked for");
        assert_eq!(found, Some(seq));
    }
    assert_eq!(index.snapshot().key(key(101), 0).expect("it is looked for"), None);
    // A part whose keys are being merged goes when they are.
    tend(&index, || index.expire(u64::MAX).expect("parts go"));
    assert_eq!(tables(&index), [2]);
}

#[test]
fn runs_are_merged_before_they_are_too_many() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let options = IndexOptions { part_usages_max: 1 << 20, runs_limit: 5, ..options() };
    let index = Index::open(dir.path(), options).expect("the index opens");
    let model: Vec<Made> =
        sample(60).into_iter().map(|made| Made { keyed: true, ..made }).collect();
    let mut most = 0;
    for (seq, made) in (1..).zip(&model) {
        index.apply(&[IndexEntry { seq, payload: &made.payload(seq) }]).expect("it is applied");
        let parts = index.parts.lock().expect("no holder panics");
        for part in &parts.all {
            for keyspace in [&part.usages, &part.keys, &part.counts] {
                most = most.max(keyspace.l0_table_count());
            }
        }
    }
    // The library by itself would begin with the keys' sixteenth.
    assert_eq!(most, 5);
    check(&index, &model, None, None).expect("every answer is the model's");
}

/// Why there is a limit: when this fails, the library has mended it.
#[test]
fn the_library_cannot_open_a_keyspace_of_256_runs() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let reopens = |name: &str, runs: usize| {
        let dir = dir.path().join(name);
        let idle = fjall::Database::builder(&dir).worker_threads_unchecked(0).open();
        let database = idle.expect("it opens");
        let options = fjall::KeyspaceCreateOptions::default;
        let keyspace = database.keyspace("runs", options).expect("it is made");
        while keyspace.l0_table_count() < runs {
            let mut ingestion = keyspace.start_ingestion().expect("it begins");
            ingestion.write(b"row", b"value").expect("it is written");
            ingestion.finish().expect("it ends");
        }
        drop((keyspace, database));
        let database = fjall::Database::builder(&dir).open();
        let opened = database.and_then(|database| database.keyspace("runs", options)?.get("row"));
        opened.is_ok_and(|row| row.is_some())
    };
    assert!(reopens("few", super::RUNS_LIMIT + 1));
    assert!(!reopens("many", 256));
}
