//! Plots of how latencies are spread: by percentile, with its last decimals as wide as its first ones,
//! and as a histogram.

use super::plot::{Plot, Series, Shape};
use super::scale::Scale;
use crate::measure::{TotalTimes, Totals, Trend};
use crate::report::format::{self, axis_time, count, real, time};

/// Steps of the curve.
const STEPS: u32 = 240;
/// Bars of the histogram.
const BARS: usize = 56;

/// Both; none without samples.
pub(super) fn plots(totals: &Totals) -> Vec<Plot> {
    let from_due = totals.trend(Trend::Duration, |_| true);
    let from_sent = totals.trend(Trend::DurationFromSent, |_| true);
    if from_due.is_empty() {
        Vec::new()
    } else {
        vec![by_percentile(&from_due, &from_sent), histogram(&from_due)]
    }
}

fn by_percentile(from_due: &TotalTimes, from_sent: &TotalTimes) -> Plot {
    // From 0 at the left, a decimal more of the percentile at each step to the right, as far as there
    // are requests to tell them apart.
    let decimals = real(from_due.len()).log10().max(1.0);
    let percent = |place: f64| 100.0 * (1.0 - 10f64.powf(-place * decimals));
    let places: Vec<f64> = (0..=STEPS).map(|step| f64::from(step) / f64::from(STEPS)).collect();
    let curve = |times: &TotalTimes| -> Vec<Option<f64>> {
        places.iter().map(|place| times.percentile_ms(percent(*place))).collect()
    };
    let series = vec![
        Series { name: "from due", class: "blue", values: curve(from_due), filled: false },
        Series {
            name: "from sent",
            class: "orange dashed",
            values: curve(from_sent),
            filled: false,
        },
    ];
    let values: Vec<f64> = series.iter().flat_map(|it| &it.values).filter_map(|it| *it).collect();
    let ticks = [0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999, 99.999_99];
    let place = |percent: f64| (1.0 / (1.0 - percent / 100.0)).log10() / decimals;
    // Where a half has no room beside none, a half is the one to name.
    let first = usize::from(place(50.0) < 0.12);
    let x_ticks = ticks.into_iter().skip(first).map(|tick| (place(tick), format!("{tick}%")));
    Plot {
        id: "percentiles",
        title: "Latency by percentile",
        note: "the time that a share of requests did not exceed".to_owned(),
        group: "percentiles",
        labels: places.iter().map(|place| format!("{:.5}%", percent(*place))).collect(),
        x_ticks: x_ticks.filter(|(place, _)| *place <= 1.0).collect(),
        y: Scale::of_times(values.into_iter()),
        write: time,
        write_tick: axis_time,
        shape: Shape::Line,
        series,
        marks: Vec::new(),
        places,
    }
}

fn histogram(times: &TotalTimes) -> Plot {
    let (min, max) = (times.min_ms().unwrap_or(0.0), times.max_ms().unwrap_or(0.0));
    let x = Scale::log(min.max(0.001), max * 1.001);
    let mut bars = [0u64; BARS];
    let edge = |bar: usize| real(bar as u64) / real(BARS as u64);
    for (ms, count) in times.buckets_ms() {
        let place = x.place(ms);
        let after = (0..BARS).position(|bar| edge(bar + 1) > place);
        bars[after.unwrap_or(BARS - 1)] += count;
    }
    let shares: Vec<Option<f64>> =
        bars.iter().map(|bar| Some(format::ratio(*bar, times.len()))).collect();
    let label = |(bar, requests): (usize, &u64)| {
        let (from, to) = (x.value(edge(bar)), x.value(edge(bar + 1)));
        format!("{} – {}: {} requests", time(from), time(to), count(*requests))
    };
    let mark = |(name, percent): (&str, f64)| {
        let ms = times.percentile_ms(percent).unwrap_or(0.0);
        (x.place(ms), name.to_owned())
    };
    Plot {
        id: "histogram",
        title: "Latency histogram",
        note: "share of requests by the time they took, from when each was due".to_owned(),
        group: "histogram",
        places: (0..BARS).map(edge).collect(),
        labels: bars.iter().enumerate().map(label).collect(),
        x_ticks: x.ticks().into_iter().map(|ms| (x.place(ms), axis_time(ms))).collect(),
        y: Scale::from_zero(shares.iter().filter_map(|share| *share)),
        write: format::share,
        write_tick: format::share,
        shape: Shape::Bars,
        series: vec![Series { name: "requests", class: "blue", values: shares, filled: false }],
        marks: [("p50", 50.0), ("p95", 95.0), ("p99", 99.0)].into_iter().map(mark).collect(),
    }
}
