//! From values to places on a plot, and which values an axis names.

use crate::report::format;

/// Values from `from` to `to` on a line from 0 to 1, evenly or by their logarithm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scale {
    from: f64,
    to: f64,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// Evenly, with a name at each multiple of this.
    Even {
        step: f64,
    },
    Log,
}

/// Where the largest value is more than so many times the smallest, a logarithm tells more.
const LOG_FROM_RATIO: f64 = 20.0;

impl Scale {
    /// Evenly from `from` to `to`.
    pub(super) fn even(from: f64, to: f64) -> Self {
        let to = if to > from { to } else { from + 1.0 };
        Self { from, to, kind: Kind::Even { step: round_step((to - from) / 5.0) } }
    }

    /// From 0 to a round number above all of `values`.
    pub(super) fn from_zero(values: impl Iterator<Item = f64>) -> Self {
        let max = values.fold(0.0, f64::max);
        let step = round_step(max / 4.0);
        let to = (max * 1.02 / step).ceil().max(1.0) * step;
        Self { from: 0.0, to, kind: Kind::Even { step } }
    }

    /// For times: by their logarithm where they are far apart, else from 0.
    pub(super) fn of_times(values: impl Iterator<Item = f64> + Clone) -> Self {
        let max = values.clone().fold(0.0, f64::max);
        let min = values.clone().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
        if max <= min * LOG_FROM_RATIO {
            return Self::from_zero(values);
        }
        // Out to the next of 1, 2 and 5 times a power of ten.
        let down = LADDER.iter().rev().map(|rung| rung * decade(min)).find(|at| *at <= min);
        let up = LADDER.iter().map(|rung| rung * decade(max)).find(|at| *at >= max);
        Self { from: down.unwrap_or(min), to: up.unwrap_or(10.0 * decade(max)), kind: Kind::Log }
    }

    /// By logarithm from `from` to `to`, both above 0.
    pub(super) fn log(from: f64, to: f64) -> Self {
        Self { from, to: if to > from { to } else { from * 1.1 }, kind: Kind::Log }
    }

    /// Whether it goes by the logarithm.
    pub(super) fn is_log(self) -> bool {
        self.kind == Kind::Log
    }

    /// Where a value is, 0 to 1.
    pub(super) fn place(self, value: f64) -> f64 {
        let place = if self.is_log() {
            (value.max(self.from) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        place.clamp(0.0, 1.0)
    }

    /// What is at a place, 0 to 1.
    pub(super) fn value(self, place: f64) -> f64 {
        if self.is_log() {
            self.from * (self.to / self.from).powf(place)
        } else {
            self.from + (self.to - self.from) * place
        }
    }

    /// The values that the axis names; 3 to 7 of them.
    pub(super) fn ticks(self) -> Vec<f64> {
        if let Kind::Even { step } = self.kind {
            return self.steps(step);
        }
        let decades = (self.to / self.from).log10();
        if decades < 1.0 {
            return self.steps(round_step((self.to - self.from) / 5.0));
        }
        let rungs: &[f64] = match decades {
            few if few <= 2.2 => &LADDER,
            some if some <= 3.5 => &[1.0, 3.0],
            _ => &[1.0],
        };
        let mut ticks = Vec::new();
        let mut power = decade(self.from);
        while power <= self.to * 1.001 {
            let here = rungs.iter().map(|rung| rung * power);
            ticks.extend(here.filter(|at| *at >= self.from * 0.999 && *at <= self.to * 1.001));
            power *= 10.0;
        }
        ticks
    }

    /// Seconds that an axis of time names, with their labels.
    pub(super) fn time_ticks(self) -> Vec<(f64, String)> {
        const STEPS: [f64; 22] = [
            0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0,
            1_800.0, 3_600.0, 7_200.0, 10_800.0, 21_600.0, 43_200.0, 86_400.0,
        ];
        let span = self.to - self.from;
        let step = STEPS.into_iter().find(|step| span / step <= 6.5);
        // A month in days.
        let step = step.unwrap_or_else(|| (span / 6.5 / 86_400.0).ceil() * 86_400.0);
        let (unit, name) = match step {
            s if s >= 86_400.0 => (86_400.0, "d"),
            s if s >= 3_600.0 => (3_600.0, "h"),
            s if s >= 60.0 => (60.0, "min"),
            _ => (1.0, "s"),
        };
        let label = |at: f64| format!("{} {name}", format::number(at / unit));
        self.steps(step).into_iter().map(|at| (at, label(at))).collect()
    }

    fn steps(self, step: f64) -> Vec<f64> {
        let mut ticks = Vec::new();
        let mut count = (self.from / step).ceil();
        while count * step <= self.to + step * 1e-6 {
            ticks.push(count * step);
            count += 1.0;
        }
        ticks
    }
}

const LADDER: [f64; 3] = [1.0, 2.0, 5.0];

/// The power of ten that is at most `value`.
fn decade(value: f64) -> f64 {
    10f64.powf((value.log10() + 1e-9).floor())
}

/// 1, 2 or 5 times a power of ten, at least `least`.
fn round_step(least: f64) -> f64 {
    if least <= 0.0 {
        return 1.0;
    }
    let power = decade(least);
    let rung = LADDER.into_iter().find(|rung| rung * power >= least * 0.999);
    rung.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn axes_name_round_values() {
        assert_eq!(
            Scale::from_zero([16_667.0].into_iter()).ticks(),
            [0.0, 5_000.0, 10_000.0, 15_000.0, 20_000.0]
        );
        assert_eq!(Scale::from_zero([0.0].into_iter()).ticks(), [0.0, 1.0]);
        let log = Scale::of_times([0.4, 250.0].into_iter());
        assert!(log.is_log());
        let labels: Vec<String> = log.ticks().into_iter().map(format::axis_time).collect();
        assert_eq!(labels, ["300 µs", "1 ms", "3 ms", "10 ms", "30 ms", "100 ms", "300 ms"]);
        assert!(!Scale::of_times([1.0, 19.0].into_iter()).is_log());
        let labels = |seconds| {
            let ticks = Scale::even(0.0, seconds).time_ticks();
            ticks.into_iter().map(|(_, label)| label).collect::<Vec<_>>()
        };
        assert_eq!(labels(60.0), ["0 s", "10 s", "20 s", "30 s", "40 s", "50 s", "60 s"]);
        assert_eq!(labels(86_400.0), ["0 h", "6 h", "12 h", "18 h", "24 h"]);
        assert_eq!(labels(600.0), ["0 min", "2 min", "4 min", "6 min", "8 min", "10 min"]);
    }

    proptest! {
        #[test]
        fn every_value_has_a_place_and_axes_stay_short(
            values in prop::collection::vec(0.000_5f64..3_600_000.0, 1..20),
        ) {
            for scale in [Scale::of_times(values.iter().copied()), Scale::from_zero(values.iter().copied())] {
                for value in &values {
                    let back = scale.value(scale.place(*value));
                    prop_assert!((back - value).abs() <= value * 1e-6 + 1e-6, "{value} {back} {scale:?}");
                }
                let ticks = scale.ticks();
                prop_assert!((2..=11).contains(&ticks.len()), "{ticks:?} {scale:?}");
                prop_assert!(ticks.is_sorted());
            }
        }
    }
}
