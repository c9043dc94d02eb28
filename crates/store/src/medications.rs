//! Sums by medication: the largest, exactly, of any number of names in bounded memory.
//!
//! Names are summed in passes over the same usages, each pass for the names whose hash lies in a
//! range. A pass starts with all hashes that are left, and halves its range whenever its names take
//! too much memory. Ordinary stores have few names and need one pass.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::ops::RangeInclusive;

use crate::query::Rest;

/// Bytes of names in one pass, and what a name costs beside its own.
const PASS_BYTES_MAX: usize = 64 << 20;
const NAME_OVERHEAD_BYTES: usize = 64;

/// A name and how many usages it has.
type Sum = (Box<[u8]>, u64);

/// The sums as they grow.
pub(crate) struct Medications {
    rows_max: usize,
    pass_bytes_max: usize,
    hasher: RandomState,
    /// Hashes of the names that this pass sums.
    range: RangeInclusive<u64>,
    sums: HashMap<Box<[u8]>, u64>,
    sums_bytes: usize,
    /// The largest of the passes that have ended.
    largest: Vec<Sum>,
    /// All medications and usages of those passes.
    total: Rest,
}

impl Medications {
    /// Keeps the `rows_max` largest.
    pub(crate) fn new(rows_max: usize) -> Self {
        Self {
            rows_max,
            pass_bytes_max: PASS_BYTES_MAX,
            hasher: RandomState::new(),
            range: 0..=u64::MAX,
            sums: HashMap::new(),
            sums_bytes: 0,
            largest: Vec::new(),
            total: Rest::default(),
        }
    }

    /// Adds `count` usages of a medication, if it belongs to this pass.
    pub(crate) fn add(&mut self, name: &[u8], count: u64) {
        if let Some(sum) = self.sums.get_mut(name) {
            *sum += count;
        } else if self.range.contains(&self.hasher.hash_one(name)) {
            self.sums.insert(name.into(), count);
            self.sums_bytes += name.len() + NAME_OVERHEAD_BYTES;
            while self.sums_bytes > self.pass_bytes_max && self.range.start() < self.range.end() {
                self.halve();
            }
        }
    }

    /// Leaves the upper half of the range to later passes.
    fn halve(&mut self) {
        let (start, end) = (*self.range.start(), *self.range.end());
        self.range = start..=start + (end - start) / 2;
        let (range, hasher) = (&self.range, &self.hasher);
        self.sums.retain(|name, _| range.contains(&hasher.hash_one(&**name)));
        self.sums_bytes = self.sums.keys().map(|name| name.len() + NAME_OVERHEAD_BYTES).sum();
    }

    /// Ends a pass. Returns whether another is needed, which has to add the same usages again.
    pub(crate) fn end_pass(&mut self) -> bool {
        self.total.medications += self.sums.len() as u64;
        self.total.usages += self.sums.values().sum::<u64>();
        self.largest.extend(self.sums.drain());
        self.sums_bytes = 0;
        if self.largest.len() > self.rows_max {
            let order = |a: &Sum, b: &Sum| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0));
            self.largest.select_nth_unstable_by(self.rows_max, order);
            self.largest.truncate(self.rows_max);
        }
        let end = *self.range.end();
        self.range = end.saturating_add(1)..=u64::MAX;
        end < u64::MAX
    }

    /// The largest in order of their names, and what the others come to, if there are any.
    pub(crate) fn finish(mut self) -> (Vec<Sum>, Option<Rest>) {
        self.largest.sort_unstable();
        let listed: u64 = self.largest.iter().map(|(_, count)| count).sum();
        let rest = Rest {
            medications: self.total.medications - self.largest.len() as u64,
            usages: self.total.usages - listed,
        };
        (self.largest, (rest.medications > 0).then_some(rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of 0 to `names`, of which every number has one usage more than the one before.
    fn check(names: u64, rows_max: usize, pass_bytes_max: usize, passes_min: usize) {
        let mut medications = Medications { pass_bytes_max, ..Medications::new(rows_max) };
        let mut passes = 0;
        loop {
            for number in (0..names).chain(0..names) {
                medications.add(format!("m{number:05}").as_bytes(), number);
                let bytes = medications.sums.len() * (6 + NAME_OVERHEAD_BYTES);
                assert!(bytes <= pass_bytes_max, "{bytes}");
            }
            passes += 1;
            if !medications.end_pass() {
                break;
            }
        }
        assert!(passes >= passes_min, "{passes} passes");
        let (rows, rest) = medications.finish();
        let listed = names.saturating_sub(rows_max as u64)..names;
        let expected: Vec<Sum> = listed
            .clone()
            .map(|number| (format!("m{number:05}").into_bytes().into(), 2 * number))
            .collect();
        assert_eq!(rows, expected);
        let usages = (0..listed.start).map(|number| 2 * number).sum();
        let expected = Rest { medications: listed.start, usages };
        assert_eq!(rest, (listed.start > 0).then_some(expected));
    }

    #[test]
    fn the_largest_are_exact_in_one_pass_and_in_many() {
        check(0, 10, PASS_BYTES_MAX, 1);
        check(10, 10, PASS_BYTES_MAX, 1);
        check(1000, 10, PASS_BYTES_MAX, 1);
        check(1000, 10, 10_000, 7);
        check(1000, 1000, 10_000, 7);
        check(1000, 500, 500, 100);
    }

    #[test]
    fn of_equals_the_first_names_are_listed() {
        let mut medications = Medications::new(2);
        for name in ["c", "a", "d", "b"] {
            medications.add(name.as_bytes(), 7);
        }
        assert!(!medications.end_pass());
        let (rows, rest) = medications.finish();
        let names: Vec<_> = rows.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, [b"a", b"b"]);
        assert_eq!(rest, Some(Rest { medications: 2, usages: 14 }));
    }
}
