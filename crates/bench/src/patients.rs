//! Which patient comes next: everyone in turn, or some far more often than others.

use serde::{Deserialize, Serialize};

/// The number of the first patient: the original body's.
pub(crate) const FIRST_PATIENT: u64 = 100;

/// How patients are chosen; numbers from zero.
#[derive(Debug, Clone)]
pub(crate) enum Patients {
    /// Each comes once before anyone comes again, in an order that is not sorted.
    Each { count: u64, stride: u64 },
    /// Drawn at random by Zipf's law.
    Zipf(Zipf),
}

impl Patients {
    pub(crate) fn each(count: u64) -> Self {
        // A stride without a factor in common with the count visits everyone.
        let count = count.max(1);
        let mut stride = (count / 1_618 * 1_000).max(1);
        while gcd(stride, count) != 1 {
            stride += 1;
        }
        Self::Each { count, stride }
    }

    /// The patient of the usage number `index`.
    pub(crate) fn pick(&mut self, index: u64) -> u64 {
        match self {
            Self::Each { count, stride } => (index % *count) * *stride % *count,
            Self::Zipf(zipf) => zipf.pick(),
        }
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// How many digits the ids of so many patients have; all get as many.
pub(crate) fn id_digits(count: u64) -> usize {
    (FIRST_PATIENT + count.saturating_sub(1)).to_string().len()
}

/// Patient k + 1 comes (1 / (k + 1))^exponent as often as the first, by Walker's alias method: one
/// random number a draw, whatever the count.
#[derive(Debug, Clone)]
pub(crate) struct Zipf {
    random: Random,
    keep: Vec<f64>,
    alias: Vec<u32>,
}

impl Zipf {
    pub(crate) fn new(count: u32, exponent: f64, seed: u64) -> Self {
        let count = count.max(1);
        let weights: Vec<f64> = (1..=count).map(|rank| f64::from(rank).powf(-exponent)).collect();
        let total: f64 = weights.iter().sum();
        let mut keep: Vec<f64> = weights.iter().map(|w| w / total * f64::from(count)).collect();
        let mut alias: Vec<u32> = (0..count).collect();
        let (mut small, mut large): (Vec<u32>, Vec<u32>) =
            (0..count).partition(|rank| keep[*rank as usize] < 1.0);
        // Each slot holds a share of 1; who has less is filled up by one who has more.
        while let (Some(less), Some(more)) = (small.pop(), large.last().copied()) {
            alias[less as usize] = more;
            keep[more as usize] -= 1.0 - keep[less as usize];
            if keep[more as usize] < 1.0 {
                large.pop();
                small.push(more);
            }
        }
        // What rounding left over is whole.
        for rank in small.into_iter().chain(large) {
            keep[rank as usize] = 1.0;
        }
        Self { random: Random(seed), keep, alias }
    }

    fn pick(&mut self) -> u64 {
        let bits = self.random.next();
        let slots = self.keep.len() as u64;
        let slot = ((bits >> 32) * slots) >> 32;
        let fraction = f64::from(u32::try_from(bits & 0xffff_ffff).expect("masked to 32 bits"))
            / f64::from(u32::MAX);
        let index = usize::try_from(slot).expect("a slot fits, as the table does");
        if fraction < self.keep[index] { slot } else { u64::from(self.alias[index]) }
    }
}

/// The splitmix64 generator (Steele, Lea, Flood 2014): enough for choosing patients.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn everyone_comes_once_before_anyone_comes_again() {
        for count in [1, 2, 7, 1_000, 100_000] {
            let mut patients = Patients::each(count);
            let seen: HashSet<u64> = (0..count).map(|index| patients.pick(index)).collect();
            assert_eq!(seen.len() as u64, count);
            assert!(seen.iter().all(|patient| *patient < count));
            assert_eq!(patients.pick(count), patients.pick(0));
        }
    }

    #[test]
    fn neighbours_are_not_sorted() {
        let mut patients = Patients::each(1_000_000);
        let picked: Vec<u64> = (0..1_000).map(|index| patients.pick(index)).collect();
        assert!(picked.windows(2).filter(|pair| pair[0] > pair[1]).count() > 100);
    }

    #[test]
    fn draws_follow_the_law() {
        let mut patients = Patients::Zipf(Zipf::new(1_000, 1.0, 1));
        let mut counts = vec![0u32; 1_000];
        for index in 0..1_000_000 {
            counts[usize::try_from(patients.pick(index)).unwrap()] += 1;
        }
        // The harmonic number of 1000 is 7.4855, so the first comes 133,592 times in a million.
        for (rank, expected) in [(1, 133_592.0), (2, 66_796.0), (10, 13_359.0), (100, 1_336.0)] {
            let got = f64::from(counts[rank - 1]);
            assert!((got - expected).abs() < 5.0 * expected.sqrt(), "{rank}: {got}, {expected}");
        }
    }

    #[test]
    fn ids_have_room_for_the_last_patient() {
        assert_eq!(
            (id_digits(1), id_digits(900), id_digits(901), id_digits(1_000_000)),
            (3, 3, 4, 7)
        );
    }
}
