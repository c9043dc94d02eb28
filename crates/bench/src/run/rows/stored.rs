//! What changes when much is stored: cost, keys, reads, memory and disk.

use anyhow::{Context as _, Result};

use super::cost::failures;
use crate::run::Bench;
use crate::run::figure::{Figure, Target, number};
use crate::run::measure::report;
use crate::run::statistics::{ratios, spread};
use crate::run::store::{FIRST_BEYOND, Filled, PATIENTS, SHAPE};

#[expect(clippy::cast_precision_loss, reason = "bytes and counts below 2^53")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

pub(super) fn disk(bench: &Bench) -> Result<Vec<Figure>> {
    let targets = [
        (false, Target::AtMost { bound: 80.0, aim: 50.0 }),
        (true, Target::AtMost { bound: 140.0, aim: 100.0 }),
    ];
    let mut figures = Vec::new();
    for (keyed, target) in targets {
        let filled = bench.filled(bench.stored, keyed)?;
        let Filled { usages, journal_bytes, index_bytes, other_bytes, .. } = filled;
        let each = |bytes: u64| float(bytes) / float(usages);
        let kind = if keyed { "keyed" } else { "keyless" };
        let bytes = spread(&[each(journal_bytes + index_bytes + other_bytes)]);
        let what = format!("disk, {kind}, {} stored", number(float(usages)));
        let note = format!("journal {:.1}, index {:.1}", each(journal_bytes), each(index_bytes));
        figures.push(Figure::new(what, "bytes a usage", bytes, target).note(note));
    }
    Ok(figures)
}

pub(super) fn growth(bench: &Bench) -> Result<Vec<Figure>> {
    let few = bench.filled((bench.stored / 50).max(1_000), false)?;
    let many = bench.filled(bench.stored, false)?;
    let small = bench.starter.inhale(&few.folder, &[])?;
    let large = bench.starter.inhale(&many.folder, &[])?;
    small.settle()?;
    large.settle()?;
    let words = format!("{SHAPE} {FIRST_BEYOND} --connections 256 --duration {}s", bench.seconds);
    let (mut below, mut above, mut samples) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        for (server, costs) in [(&small, &mut below), (&large, &mut above)] {
            let before = server.process.cpu_seconds()?;
            let sample = bench.sample(server, &words)?;
            // Compaction that this load set off is a part of its cost.
            server.settle()?;
            let used = server.process.cpu_seconds()? - before;
            costs.push(used * 1e6 / float(sample.report.usages).max(1.0));
            samples.push(sample);
        }
    }
    small.stop()?;
    large.stop()?;
    let what = format!(
        "CPU per usage with {} stored against {}, compaction drained",
        number(float(many.usages)),
        number(float(few.usages))
    );
    let ratio = spread(&ratios(&above, &below));
    let note = format!(
        "{:.2} µs against {:.2}{}",
        spread(&above).median,
        spread(&below).median,
        failures(&samples)
    );
    Ok(vec![Figure::new(what, "×", ratio, Target::AtMost { bound: 1.2, aim: 1.1 }).note(note)])
}

pub(super) fn keyed(bench: &Bench) -> Result<Vec<Figure>> {
    let filled = bench.filled(bench.stored, true)?;
    let floor = bench.starter.floor()?;
    let inhale = bench.starter.inhale(&filled.folder, &[])?;
    inhale.settle()?;
    let words = format!("--connections 256 --duration {}s", bench.seconds);
    let keyed = format!("{words} --keyed");
    let (mut floors, mut costs, mut samples) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        floors.push(bench.sample(&floor, &words)?.cpu_us);
        let sample = bench.sample(&inhale, &keyed)?;
        costs.push(sample.cpu_us);
        samples.push(sample);
    }
    inhale.stop()?;
    let what =
        format!("CPU per usage, every one keyed, {} keys stored", number(float(filled.usages)));
    let note = format!(
        "{:.2} µs; floor {:.2}{}",
        spread(&costs).median,
        spread(&floors).median,
        failures(&samples)
    );
    let ratio = spread(&ratios(&costs, &floors));
    Ok(vec![
        Figure::new(what, "× floor", ratio, Target::AtMost { bound: 2.6, aim: 2.1 }).note(note),
    ])
}

pub(super) fn history(bench: &Bench) -> Result<Vec<Figure>> {
    let filled = bench.filled(bench.stored, false)?;
    let inhale = bench.starter.inhale(&filled.folder, &[])?;
    inhale.settle()?;
    let (mut p99, mut p50, mut memory, mut writes) = (vec![], vec![], vec![], vec![]);
    let mut reads_note = String::new();
    for _ in 0..bench.rounds {
        let seconds = bench.seconds;
        let reads = format!(
            "--rate 200 --connections 16 --patients {PATIENTS} --zipf 1 --warmup 1s --duration {seconds}s"
        );
        let reader = bench.starter.client("reads", &inhale, &reads)?;
        let load = format!(
            "{SHAPE} {FIRST_BEYOND} --rate 16667 --connections 256 --duration {}s",
            seconds + 1
        );
        writes.push(bench.sample(&inhale, &load)?);
        let found = report(reader).context("the reader")?;
        if !found.is_clean() {
            reads_note =
                format!("; **reads not clean**: {:?}, {} broken", found.other, found.broken);
        }
        bench.say(&format!(
            "  reads p50 {:.2} ms, p99 {:.2} ms",
            found.latency.p50_ms, found.latency.p99_ms
        ));
        p99.push(found.latency.p99_ms);
        p50.push(found.latency.p50_ms);
        memory.push(float(inhale.process.resident_bytes()?) / 1e6);
    }
    inhale.stop()?;
    let stored = number(float(filled.usages));
    let note =
        format!("p50 {:.2} ms; 200 reads/s{reads_note}{}", spread(&p50).median, failures(&writes));
    Ok(vec![
        Figure::new(
            format!("a patient's last 100 usages, {stored} stored, at 16,667/s of writes: p99"),
            "ms",
            spread(&p99),
            Target::AtMost { bound: 10.0, aim: 2.0 },
        )
        .note(note),
        Figure::new(
            format!("resident memory at 16,667/s, {stored} stored"),
            "MB",
            spread(&memory),
            Target::AtMost { bound: 400.0, aim: 200.0 },
        ),
    ])
}
