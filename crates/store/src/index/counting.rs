//! Counting usages between two instants, exactly.
//!
//! Whole quarters of an hour are counted already, in a row for each run and medication. Where the
//! rows of counts do not say enough, the part's usages are read one by one, all of them, since they
//! are sorted by patient:
//! - for the quarters that a bound cuts through, in those parts that have usages in them;
//! - for the part in which what is kept begins, whose counts hold what has expired as well. What
//!   comes of that is remembered, so it is read anew only after more has expired.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use fjall::Readable as _;
use usage::Instant;

use super::counts::{Count, QUARTER_SECONDS, quarter_key, read_row};
use super::part::Meta;
use super::rows::{OWN_ROW, key_patient, read_place, read_usage_value};
use super::snapshot::{PartView, Snapshot};
use super::{IndexError, peek};
use crate::effort::Effort;

/// Counts that are remembered of the part in which what is kept begins. A part with more of them is
/// read anew each time.
const KEPT_COUNTS_MAX: usize = 100_000;

/// What a summary is told: an instant of the quarter in question, a medication, and a count. It
/// returns whether it wants more.
pub(super) type Each<'a> = &'a mut dyn FnMut(Instant, &[u8], u64) -> bool;

/// The counts of what is kept of a part that has expired in part, for the last such part.
#[derive(Default)]
pub(super) struct KeptCounts(Mutex<Option<Kept>>);

struct Kept {
    /// The first sequence kept and one past the part's last: what was counted lies between them.
    seqs: (u64, u64),
    counts: Arc<Vec<Count>>,
}

impl KeptCounts {
    fn get(&self, seqs: (u64, u64)) -> Option<Arc<Vec<Count>>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.as_ref().filter(|kept| kept.seqs == seqs);
        kept.map(|kept| Arc::clone(&kept.counts))
    }

    fn put(&self, seqs: (u64, u64), counts: Arc<Vec<Count>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Kept { seqs, counts });
    }
}

/// Not before `from`, before `to`.
#[derive(Clone, Copy)]
struct Bounds {
    from: Option<Instant>,
    to: Option<Instant>,
}

impl Bounds {
    fn holds(&self, instant: Instant) -> bool {
        self.from.is_none_or(|from| instant >= from) && self.to.is_none_or(|to| instant < to)
    }

    fn meets(&self, meta: &Meta) -> bool {
        self.from.is_none_or(|from| meta.last >= from) && self.to.is_none_or(|to| meta.first < to)
    }

    /// The quarters that a bound cuts through.
    fn cut(&self) -> impl Iterator<Item = i64> + '_ {
        let cuts =
            |bound: &Instant| bound.nanos() > 0 || bound.seconds().rem_euclid(QUARTER_SECONDS) > 0;
        let bounds = [self.from, self.to].into_iter().flatten().filter(cuts);
        bounds.map(quarter_of)
    }

    /// The first of a part's quarters that lies whole within the bounds, and one past the last.
    fn whole(&self, meta: &Meta) -> (i64, i64) {
        let ceil = |from: Instant| {
            let seconds = from.seconds() + i64::from(from.nanos() > 0);
            -(-seconds).div_euclid(QUARTER_SECONDS)
        };
        let first = self.from.map_or_else(|| quarter_of(meta.first), ceil);
        let end = self.to.map_or_else(|| quarter_of(meta.last) + 1, quarter_of);
        (first, end.max(first))
    }
}

fn quarter_of(instant: Instant) -> i64 {
    instant.seconds().div_euclid(QUARTER_SECONDS)
}

impl Snapshot {
    /// Counts usages not before `from` and before `to`, each exactly, in no particular order, as
    /// long as `each` wants more and `effort` is not spent; whether it is has to be asked then.
    pub fn counts(
        &self,
        from: Option<Instant>,
        to: Option<Instant>,
        effort: &mut Effort<'_>,
        each: Each<'_>,
    ) -> Result<(), IndexError> {
        let bounds = Bounds { from, to };
        for (at, part) in self.view.parts.iter().enumerate() {
            if part.meta.cursor <= self.kept_from || !bounds.meets(&part.meta) {
                continue;
            }
            let goes_on = if self.is_cut(at) {
                self.count_kept(part, &bounds, effort, each)?
            } else {
                self.count_whole(part, &bounds, effort, each)?
            };
            if !goes_on {
                break;
            }
        }
        Ok(())
    }

    /// Counts in a part of which everything is kept. Returns whether to go on, as all of these do.
    fn count_whole(
        &self,
        part: &PartView,
        bounds: &Bounds,
        effort: &mut Effort<'_>,
        each: Each<'_>,
    ) -> Result<bool, IndexError> {
        let (first, end) = bounds.whole(&part.meta);
        for row in self.view.fjall.range(&part.counts, quarter_key(first)..quarter_key(end)) {
            let (key, value) = row.into_inner()?;
            let count = read_row(&key, &value)?;
            if !effort.row() || !each(start_of(count.quarter)?, &count.medication, count.count) {
                return Ok(false);
            }
        }
        for quarter in bounds.cut() {
            let rows = quarter_key(quarter)..quarter_key(quarter + 1);
            if self.view.fjall.range(&part.counts, rows).next().is_some() {
                return self.count_cut(part, bounds, effort, each);
            }
        }
        Ok(true)
    }

    /// Counts in the part in which what is kept begins.
    fn count_kept(
        &self,
        part: &PartView,
        bounds: &Bounds,
        effort: &mut Effort<'_>,
        each: Each<'_>,
    ) -> Result<bool, IndexError> {
        let seqs = (self.kept_from, part.meta.cursor);
        let counts = match self.view.kept_counts.get(seqs) {
            Some(counts) => counts,
            None => match self.kept_counts(part, effort)? {
                Some(counts) => {
                    let counts = Arc::new(counts);
                    self.view.kept_counts.put(seqs, Arc::clone(&counts));
                    counts
                }
                None if effort.is_spent() => return Ok(false),
                None => {
                    return self.row_by_row(part, &|at| bounds.holds(at), effort, each);
                }
            },
        };
        let (first, end) = bounds.whole(&part.meta);
        for count in counts.iter().filter(|count| (first..end).contains(&count.quarter)) {
            if !effort.row() || !each(start_of(count.quarter)?, &count.medication, count.count) {
                return Ok(false);
            }
        }
        let is_cut = |count: &Count| bounds.cut().any(|quarter| quarter == count.quarter);
        if counts.iter().any(is_cut) {
            return self.count_cut(part, bounds, effort, each);
        }
        Ok(true)
    }

    /// Counts what is kept of a part by quarter and medication. `None` when there are too many of
    /// them to be remembered, or the effort is spent.
    fn kept_counts(
        &self,
        part: &PartView,
        effort: &mut Effort<'_>,
    ) -> Result<Option<Vec<Count>>, IndexError> {
        // Names by number, so that only a new one is copied.
        let mut names: HashMap<Vec<u8>, usize> = HashMap::new();
        let mut sums: HashMap<(i64, usize), u64> = HashMap::new();
        let whole =
            self.row_by_row(part, &|_| true, effort, &mut |instant, medication, count| {
                let name = names.get(medication).copied().unwrap_or_else(|| {
                    names.insert(medication.to_vec(), names.len());
                    names.len() - 1
                });
                *sums.entry((quarter_of(instant), name)).or_default() += count;
                sums.len() <= KEPT_COUNTS_MAX
            })?;
        if !whole {
            return Ok(None);
        }
        let mut texts = vec![Vec::new(); names.len()];
        for (text, name) in names {
            texts[name] = text;
        }
        let counts = sums.into_iter().map(|((quarter, name), count)| {
            let medication = texts[name].clone();
            Count { quarter, medication, count }
        });
        Ok(Some(counts.collect()))
    }

    /// Counts what lies within the bounds in the quarters that they cut through.
    fn count_cut(
        &self,
        part: &PartView,
        bounds: &Bounds,
        effort: &mut Effort<'_>,
        each: Each<'_>,
    ) -> Result<bool, IndexError> {
        let in_cut_quarter = |instant: Instant| {
            bounds.holds(instant) && bounds.cut().any(|quarter| quarter == quarter_of(instant))
        };
        self.row_by_row(part, &in_cut_quarter, effort, each)
    }

    fn row_by_row(
        &self,
        part: &PartView,
        wanted: &dyn Fn(Instant) -> bool,
        effort: &mut Effort<'_>,
        each: Each<'_>,
    ) -> Result<bool, IndexError> {
        let after_own_row = [OWN_ROW[0] + 1];
        for row in self.view.fjall.range(&part.usages, after_own_row..) {
            if !effort.row() {
                return Ok(false);
            }
            let (key, value) = row.into_inner()?;
            let (instant, seq) = read_place(&key)?;
            if seq >= self.kept_from && wanted(instant) {
                let payload = read_usage_value(&value, key_patient(&key)?)?;
                if !each(instant, peek(&payload)?.medication, 1) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

fn start_of(quarter: i64) -> Result<Instant, IndexError> {
    Instant::from_parts(quarter * QUARTER_SECONDS, 0)
        .ok_or(IndexError::Damaged("a count's quarter is out of range"))
}
