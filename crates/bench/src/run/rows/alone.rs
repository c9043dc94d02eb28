//! One client, one request at a time: what inhale adds to the disk's own time.

use anyhow::Result;

use super::cost::failures;
use crate::run::Bench;
use crate::run::disk::probe;
use crate::run::figure::{Figure, Target};
use crate::run::statistics::spread;

pub(super) fn alone(bench: &Bench) -> Result<Vec<Figure>> {
    let data = bench.fresh("alone")?;
    let inhale = bench.starter.inhale(&data, &[])?;
    let words = format!("--one-at-a-time --warmup 500ms --duration {}s", bench.seconds);
    let (mut over, mut p50, mut bare, mut samples) = (vec![], vec![], vec![], vec![]);
    for _ in 0..bench.rounds {
        // Just before and just after: the disk's mood changes.
        let before = probe(&bench.starter.folder, 1_000)?.p50_ms;
        let sample = bench.sample(&inhale, &words)?;
        let after = probe(&bench.starter.folder, 1_000)?.p50_ms;
        let sync = f64::midpoint(before, after);
        bench.say(&format!("  fdatasync p50 {sync:.3} ms"));
        over.push(sample.report.latency.p50_ms - sync);
        p50.push(sample.report.latency.p50_ms);
        bare.push(sync);
        samples.push(sample);
    }
    inhale.stop()?;
    bench.fresh("alone")?;
    let target = Target::AtMost { bound: 0.25, aim: 0.12 };
    let over = spread(&over);
    let figure =
        Figure::new("one request at a time: p50 over a bare fdatasync", "ms", over, target).note(
            format!(
                "p50 {:.3} ms, fdatasync of 4 KiB {:.3} ms{}",
                spread(&p50).median,
                spread(&bare).median,
                failures(&samples)
            ),
        );
    // Reached by cheating is not reached.
    Ok(vec![if over.median < 0.0 {
        figure.note("**faster than the disk itself: did it wait for it?**")
    } else {
        figure
    }])
}
