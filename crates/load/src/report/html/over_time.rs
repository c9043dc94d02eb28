//! Plots of the run over time: rate, latency, failures, what was in flight.

use std::time::Duration;

use super::plot::{Plot, Series, Shape};
use super::scale::Scale;
use crate::measure::{Point, Totals};
use crate::outcome::Outcome;
use crate::plan::{Arrivals, Executor, Plan};
use crate::report::format::{axis_time, number, real, time};

/// The stretches of time that are drawn.
struct Stretches<'a> {
    points: &'a [Point],
    /// Seconds at each one's start.
    starts: Vec<f64>,
    /// How many seconds of each had passed when the run ended.
    widths: Vec<f64>,
    until_s: f64,
}

/// The plots; none of a run in which nothing was measured.
pub(super) fn plots(plan: &Plan, totals: &Totals, outcome: &Outcome) -> Vec<Plot> {
    let stretches = Stretches::of(totals);
    if stretches.points.is_empty() {
        return Vec::new();
    }
    vec![
        rate(plan, &stretches, outcome.stopped_at.unwrap_or(Duration::MAX)),
        latency(&stretches),
        failures(&stretches),
        in_flight(plan, &stretches),
    ]
}

impl<'a> Stretches<'a> {
    fn of(totals: &'a Totals) -> Self {
        let points = totals.timeline.points();
        let width = totals.timeline.width_seconds();
        let until_s = (real(totals.until_ns) / 1e9).max(width / 100.0);
        let starts: Vec<f64> =
            (0..points.len()).scan(0.0, |at, _| Some(std::mem::replace(at, *at + width))).collect();
        let widths = starts.iter().map(|start| (until_s - start).clamp(0.0, width)).collect();
        Self { points, starts, widths, until_s }
    }

    /// Something a second; a gap where too little of the stretch had passed to say.
    fn rates(&self, count: impl Fn(usize) -> f64) -> Vec<Option<f64>> {
        let full = self.widths.first().copied().unwrap_or(0.0);
        let rate = |(at, width): (usize, &f64)| (*width > full / 4.0).then(|| count(at) / width);
        self.widths.iter().enumerate().map(rate).collect()
    }

    fn plot(
        &self,
        id: &'static str,
        title: &'static str,
        note: String,
        series: Vec<Series>,
    ) -> Plot {
        let x = Scale::even(0.0, self.until_s);
        let values = series.iter().flat_map(|series| &series.values).filter_map(|value| *value);
        let middles =
            self.starts.iter().zip(&self.widths).map(|(start, width)| start + width / 2.0);
        let label =
            |(start, width): (&f64, &f64)| format!("{} – {}", clock(*start), clock(start + width));
        Plot {
            id,
            title,
            note,
            group: "time",
            places: middles.map(|middle| x.place(middle)).collect(),
            labels: self.starts.iter().zip(&self.widths).map(label).collect(),
            x_ticks: x.time_ticks().into_iter().map(|(at, label)| (x.place(at), label)).collect(),
            y: Scale::from_zero(values),
            write: number,
            write_tick: number,
            shape: Shape::Line,
            series,
            marks: Vec::new(),
        }
    }
}

/// Nothing is asked for from `stopped_at` on.
fn rate(plan: &Plan, stretches: &Stretches, stopped_at: Duration) -> Plot {
    let mut series = Vec::new();
    let open: Vec<(Duration, &Arrivals)> = plan
        .scenarios
        .iter()
        .filter_map(|scenario| match &scenario.executor {
            Executor::Arrivals(arrivals) => Some((scenario.start, arrivals)),
            _ => None,
        })
        .collect();
    let achieved = stretches.rates(|at| real(stretches.points[at].started));
    series.push(Series { name: "sent", class: "blue", values: achieved, filled: true });
    let note = if open.is_empty() {
        "requests sent a second; users of a closed model wait for their answers, so none is asked for"
    } else {
        let asked_before = |seconds: f64| -> f64 {
            let at = Duration::from_secs_f64(seconds).min(stopped_at);
            let asked = |(start, arrivals): &(Duration, &Arrivals)| {
                arrivals.asked_before(at.saturating_sub(*start))
            };
            open.iter().map(asked).sum()
        };
        let asked = stretches.rates(|at| {
            let from = stretches.starts[at];
            asked_before(from + stretches.widths[at]) - asked_before(from)
        });
        series.push(Series { name: "asked", class: "asked", values: asked, filled: false });
        "requests a second: those that were due by the plan, and those sent"
    };
    stretches.plot("rate", "Rate", note.to_owned(), series)
}

fn latency(stretches: &Stretches) -> Plot {
    let percentile = |name, class, percent| Series {
        name,
        class,
        values: stretches.points.iter().map(|point| point.percentile_ms(percent)).collect(),
        filled: false,
    };
    // The highest first, as they stand in the plot.
    let series = vec![
        percentile("p99", "vermillion", 99.0),
        percentile("p90", "blue dashed", 90.0),
        percentile("p50", "green", 50.0),
    ];
    let note = "from when each request was due to the last byte of its answer".to_owned();
    let mut plot = stretches.plot("latency", "Latency", note, series);
    let values: Vec<f64> =
        plot.series.iter().flat_map(|series| &series.values).filter_map(|value| *value).collect();
    plot.y = Scale::of_times(values.into_iter());
    plot.write = time;
    plot.write_tick = axis_time;
    plot
}

fn failures(stretches: &Stretches) -> Plot {
    let count = |of: fn(&Point) -> u64| stretches.rates(|at| real(of(&stretches.points[at])));
    let total = |of: fn(&Point) -> u64| stretches.points.iter().map(of).sum::<u64>();
    let none = total(|point| point.failed + point.dropped) == 0;
    let series = vec![
        Series {
            name: "failed",
            class: "vermillion",
            values: count(|point| point.failed),
            filled: true,
        },
        Series {
            name: "dropped",
            class: "orange dashed",
            values: count(|point| point.dropped),
            filled: false,
        },
    ];
    let note = if none {
        "none failed, none was dropped"
    } else {
        "a second: without an answer of 200 to 399; and due, but not sent"
    };
    stretches.plot("failures", "Failed and dropped", note.to_owned(), series)
}

fn in_flight(plan: &Plan, stretches: &Stretches) -> Plot {
    let value = |of: fn(&Point) -> u64| {
        stretches.points.iter().map(|point| Some(real(of(point)))).collect()
    };
    let open = plan.scenarios.iter().all(|it| matches!(it.executor, Executor::Arrivals(_)));
    let series = vec![
        Series {
            name: "in flight",
            class: "purple",
            values: value(|point| point.in_flight_max),
            filled: true,
        },
        Series {
            name: if open { "connections" } else { "users" },
            class: "grey",
            values: value(|point| point.users_max),
            filled: false,
        },
    ];
    let note = "sent and not yet answered: the most at the end of a tick".to_owned();
    stretches.plot("in-flight", "In flight", note, series)
}

/// Seconds since the start as a clock shows them.
fn clock(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.2} s");
    }
    let (hours, minutes, rest) = (seconds / 3_600.0, seconds / 60.0 % 60.0, seconds % 60.0);
    if hours < 1.0 {
        format!("{}:{rest:04.1}", minutes.floor())
    } else {
        format!("{}:{:02}:{:02}", hours.floor(), minutes.floor(), rest.floor())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, Figures};

    #[test]
    fn nothing_is_asked_for_after_the_end() {
        let asked = |stopped_at| {
            let mut figures = Figures::new(&[1]);
            (1..=8).for_each(|tick| drop(figures.tick(tick * 250 * fixture::MS, 0.1)));
            let totals = figures.totals();
            let plot = rate(&fixture::plan(), &Stretches::of(&totals), stopped_at);
            let asked = plot.series.into_iter().find(|series| series.name == "asked");
            asked.expect("an open model").values
        };
        let check = |stopped_at, expected: [f64; 8]| {
            let close = |(found, expected): (Option<f64>, f64)| {
                found.is_some_and(|found| (found - expected).abs() < 1e-6)
            };
            let found = asked(stopped_at);
            assert!(found.iter().copied().zip(expected).all(close), "{found:?}");
        };
        check(Duration::MAX, [100.0; 8]);
        check(Duration::from_millis(1_125), [100.0, 100.0, 100.0, 100.0, 50.0, 0.0, 0.0, 0.0]);
    }
}
