//! Medians and their spread: on a shared machine a single value says little.

use serde::{Deserialize, Serialize};

/// The middle of several values and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// The spread of values in any order; all zero when there are none.
pub(crate) fn spread(values: &[f64]) -> Spread {
    let mut sorted: Vec<f64> = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (Some(&low), Some(&high)) = (sorted.first(), sorted.last()) else {
        return Spread { median: 0.0, low: 0.0, high: 0.0 };
    };
    let middle = sorted.len() / 2;
    let median = if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    };
    Spread { median, low, high }
}

/// Each value over the one that was measured beside it.
pub(crate) fn ratios(values: &[f64], to: &[f64]) -> Vec<f64> {
    values.iter().zip(to).filter(|(_, to)| **to > 0.0).map(|(value, to)| value / to).collect()
}

/// Whether samples of a backlog, evenly spaced in time, tell of one that grows without end: the last
/// third lies clearly above the middle one. The first third is for filling up.
pub(crate) fn grows(samples: &[f64]) -> bool {
    /// What a healthy index may be behind by chance, in usages.
    const NOISE: f64 = 20_000.0;
    let third = samples.len() / 3;
    if third == 0 {
        return false;
    }
    let middle = spread(&samples[third..2 * third]).median;
    let last = spread(&samples[2 * third..]).median;
    last > middle * 1.25 + NOISE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[f64], median: f64, low: f64, high: f64) {
        assert_eq!(spread(values), Spread { median, low, high });
    }

    #[test]
    fn the_median_is_the_middle() {
        check(&[3.0, 1.0, 2.0], 2.0, 1.0, 3.0);
        check(&[4.0, 1.0, 2.0, 3.0], 2.5, 1.0, 4.0);
        check(&[7.0], 7.0, 7.0, 7.0);
        check(&[], 0.0, 0.0, 0.0);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        assert_eq!(ratios(&[6.0, 8.0, 1.0], &[3.0, 2.0, 0.0]), [2.0, 4.0]);
    }

    #[test]
    fn a_growing_backlog_is_seen_and_a_steady_one_is_not() {
        let growing: Vec<f64> = (0..60).map(|second| f64::from(second) * 5_000.0).collect();
        assert!(grows(&growing));
        let saw: Vec<f64> = (0..60).map(|second| f64::from(second % 7) * 30_000.0).collect();
        assert!(!grows(&saw));
        let filling_up: Vec<f64> = (0..60).map(|s| f64::from(s.min(15)) * 9_000.0).collect();
        assert!(!grows(&filling_up));
        assert!(!grows(&[]));
    }
}
