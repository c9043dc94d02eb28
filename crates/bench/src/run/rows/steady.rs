//! The target rate, held steadily: how much of a core it takes and how long an answer takes, over the
//! least spacing between two syncs.

use anyhow::Result;

use super::cost::failures;
use crate::run::Bench;
use crate::run::figure::{Figure, Target};
use crate::run::measure::Sample;
use crate::run::statistics::spread;

const SPACINGS: [&str; 6] = ["0ms", "250us", "500us", "1ms", "2ms", "4ms"];

pub(super) fn steady(bench: &Bench) -> Result<Vec<Figure>> {
    let words = format!("--rate 16667 --connections 256 --warmup 1s --duration {}s", bench.seconds);
    // The default first, then the whole curve; all in each round.
    let variants: Vec<Option<&str>> =
        std::iter::once(None).chain(SPACINGS.into_iter().map(Some)).collect();
    let mut samples: Vec<Vec<Sample>> = variants.iter().map(|_| Vec::new()).collect();
    let mut floors = Vec::new();
    let rounds = if bench.quick { 1 } else { bench.rounds };
    for _ in 0..rounds {
        let floor = bench.starter.floor()?;
        floors.push(bench.sample(&floor, &words)?.cpu_us);
        floor.stop()?;
        for (variant, samples) in variants.iter().zip(&mut samples) {
            bench.say(&format!("  commit spacing {}", variant.unwrap_or("as it comes")));
            let options: Vec<&str> = variant.iter().flat_map(|s| ["--commit-spacing", s]).collect();
            let inhale = bench.starter.inhale(&bench.fresh("steady")?, &options)?;
            samples.push(bench.sample(&inhale, &words)?);
            inhale.stop()?;
        }
    }
    bench.fresh("steady")?;
    let floor = spread(&floors).median;
    let mut figures = Vec::new();
    for (variant, samples) in variants.iter().zip(&samples) {
        let of = |value: fn(&Sample) -> f64| spread(&samples.iter().map(value).collect::<Vec<_>>());
        let share = of(|sample| sample.share);
        let p50 = of(|sample| sample.report.latency.p50_ms);
        let p99 = of(|sample| sample.report.latency.p99_ms);
        let p999 = of(|sample| sample.report.latency.p999_ms);
        let note = format!(
            "p50 {:.2} ms, p99.9 {:.2} ms; floor at this rate {floor:.2} µs{}",
            p50.median,
            p999.median,
            failures(samples)
        );
        let (name, for_share, for_p99) = match variant {
            None => (
                "as it comes".to_owned(),
                Target::AtMost { bound: 0.33, aim: 0.27 },
                Target::AtMost { bound: 3.0, aim: 2.0 },
            ),
            Some(spacing) => (format!("spacing {spacing}"), Target::None, Target::None),
        };
        figures.push(Figure::new(
            format!("16,667/s, {name}: share of a core"),
            "",
            share,
            for_share,
        ));
        figures.push(Figure::new(format!("16,667/s, {name}: p99"), "ms", p99, for_p99).note(note));
    }
    Ok(figures)
}
