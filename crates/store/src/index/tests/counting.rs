//! What counting costs, in rows that are read: exactness is held by the model beside this.

use super::*;

/// Usages a minute apart in parts of forty, but for one far before its neighbours, so that the last
/// part spans the instants of all.
fn minutes() -> Vec<Made> {
    let mut model = sample(100);
    for (number, made) in (0..).zip(&mut model) {
        made.instant_ms = number * 60_000;
    }
    model[90].instant_ms = 0;
    model
}

/// The usages counted from `from` on, and the rows that were read for it.
fn count(
    snapshot: &super::super::Snapshot,
    from: Option<Instant>,
    rows_max: u64,
) -> (u64, Effort<'static>) {
    let (mut sum, mut effort) = (0, Effort::rows(rows_max));
    let counted = snapshot.counts(from, None, &mut effort, &mut |_, _, count| {
        sum += count;
        true
    });
    counted.expect("counted");
    (sum, effort)
}

fn expected(model: &[Made], from: Instant) -> u64 {
    model.iter().filter(|made| made.instant() >= from).count() as u64
}

#[test]
fn a_cut_quarter_costs_the_parts_that_have_usages_in_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let index = open(dir.path());
    let model = minutes();
    apply(&index, &model, 1, 10);
    let snapshot = index.snapshot();
    // The quarter from minute 47 on lies in the second part alone.
    let cutting = model[50].instant();
    let next_quarter =
        Instant::from_parts((cutting.seconds() / 900 + 1) * 900, 0).expect("in range");
    let (sum, aligned) = count(&snapshot, Some(next_quarter), u64::MAX);
    assert_eq!(sum, expected(&model, next_quarter));
    let (sum, cut) = count(&snapshot, Some(cutting), u64::MAX);
    assert_eq!(sum, expected(&model, cutting));
    assert_eq!(cut.rows_read() - aligned.rows_read(), 40);
    // The control: where the outlier's quarter is cut, its part is read as well.
    let early = Instant::from_millis(model[0].instant().millis() + 1).expect("in range");
    let (sum, both) = count(&snapshot, Some(early), u64::MAX);
    assert_eq!(sum, expected(&model, early));
    assert!(both.rows_read() > 40 + 20, "{}", both.rows_read());
}

#[test]
fn what_is_kept_of_an_expired_part_is_read_once() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let index = open(dir.path());
    let model = minutes();
    apply(&index, &model, 1, 10);
    let kept = |kept_from: u64| {
        let (sum, effort) = count(&index.snapshot().kept_from(kept_from), None, u64::MAX);
        assert_eq!(sum, 101 - kept_from);
        effort.rows_read()
    };
    let first = kept(50);
    assert_eq!(first - kept(50), 40, "its forty usages are not read again");
    // The control: when more has expired they are.
    let next = kept(55);
    assert_eq!(next - kept(55), 40);
    // A bound within it is exact nevertheless.
    let cutting = model[60].instant();
    let (sum, _) = count(&index.snapshot().kept_from(55), Some(cutting), u64::MAX);
    assert_eq!(sum, expected(&model, cutting));
}

#[test]
fn an_effort_that_is_spent_is_no_answer() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let model = minutes();
    apply(&open(dir.path()), &model, 1, 10);
    for kept_from in [0, 50] {
        let from = Some(model[50].instant());
        let (sum, whole) = count(&open(dir.path()).snapshot().kept_from(kept_from), from, u64::MAX);
        assert!(!whole.is_spent());
        // Opened anew, so that nothing is remembered.
        let index = open(dir.path());
        let snapshot = index.snapshot().kept_from(kept_from);
        let needed = if kept_from == 0 { whole.rows_read() } else { 40 };
        for rows_max in 0..needed {
            let (_, effort) = count(&snapshot, from, rows_max);
            assert!(effort.is_spent(), "{rows_max} of {}", whole.rows_read());
        }
        let (again, effort) = count(&snapshot, from, whole.rows_read());
        assert!(!effort.is_spent());
        assert_eq!(again, sum);
    }
}

/// Usages a quarter of an hour apart, so that each has a count of its own, in a single part.
fn quarters(dir: &Path, count: usize) -> (Index, Vec<Made>) {
    let options = IndexOptions { part_usages_max: 1 << 20, ..options() };
    let index = Index::open(dir, options).expect("it opens");
    let mut model = sample(count);
    for (number, made) in (0..).zip(&mut model) {
        made.instant_ms = number * 900_000;
    }
    apply(&index, &model, 1, 100);
    (index, model)
}

#[test]
fn repro_summing_up_rewrites_only_what_has_several_rows() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (index, mut model) = quarters(dir.path(), 2000);
    // Whatever was written, also what takes the place of another row or removes one.
    let written = || {
        let parts = index.parts.lock().expect("no holder panics");
        let part = &parts.all[0];
        (part.counts.approximate_len(), part.counts_summed)
    };
    let (before, _) = written();
    fold(&index);
    assert_eq!(written(), (before, 2000), "nothing was to be summed up");
    // One of them again, in a run of its own.
    model.push(model[700].clone());
    apply(&index, &model, 2001, 100);
    let (before, _) = written();
    fold(&index);
    assert_eq!(written(), (before + 2, 2000), "a row that went and a sum");
    check(&index, &model, None, None).expect("it is the model's");
    // The control: all of them again.
    model.extend(model[..2000].to_vec());
    apply(&index, &model, 2002, 100);
    let (before, _) = written();
    fold(&index);
    assert_eq!(written(), (before + 2 * 2000, 2000));
    check(&index, &model, None, None).expect("it is the model's");
}

#[test]
fn rows_are_summed_up_when_as_many_are_loose_as_were_left_over() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (index, _) = quarters(dir.path(), 10);
    let summed_after = |loose: u64, summed: u64| {
        let mut parts = index.parts.lock().expect("no holder panics");
        (parts.all[0].counts_loose, parts.all[0].counts_summed) = (loose, summed);
        drop(parts);
        index.upkeep().expect("looked after");
        index.parts.lock().expect("no holder panics").all[0].counts_summed
    };
    assert_eq!(summed_after(16_000_000, 16_000_001), 16_000_001, "not yet");
    assert_eq!(summed_after(16_000_000, 16_000_000), 10);
    // Few rows are left alone: a summary reads them at once.
    assert_eq!(summed_after(40_000, 1), 1);
    assert_eq!(summed_after(50_000, 1), 10);
}
