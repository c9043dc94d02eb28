//! What a usage costs in CPU, against the floor and nginx in the same rounds.

use anyhow::Result;

use crate::run::Bench;
use crate::run::figure::{Figure, Target};
use crate::run::measure::Sample;
use crate::run::servers::Server;
use crate::run::statistics::{grows, ratios, spread};

/// Each server's samples, round by round.
struct Turns {
    floor: Vec<f64>,
    /// The floor again, asked for no more than inhale has answered in the same round.
    floor_paced: Vec<f64>,
    nginx: Vec<f64>,
    inhale: Vec<Sample>,
}

impl Turns {
    fn inhale_cpu(&self) -> Vec<f64> {
        self.inhale.iter().map(|sample| sample.cpu_us).collect()
    }

    /// inhale over the floor, with the figures behind it in the note.
    fn against_floor(&self, what: String, target: Target) -> Figure {
        let ratio = spread(&ratios(&self.inhale_cpu(), &self.floor));
        Figure::new(what, "× floor", ratio, target).note(self.note())
    }

    /// The same with both under the same load: a server that is not saturated sleeps and is woken,
    /// and wakes whoever waits for its answers, more often for each request.
    fn against_floor_paced(&self, what: String) -> Figure {
        let ratio = spread(&ratios(&self.inhale_cpu(), &self.floor_paced));
        let floor = spread(&self.floor_paced).median;
        let note = format!("the floor asked for the rate that inhale answers: {floor:.2} µs");
        Figure::new(what, "× floor", ratio, Target::None).note(note)
    }

    fn note(&self) -> String {
        let inhale = spread(&self.inhale_cpu()).median;
        let rates: Vec<f64> = self.inhale.iter().map(|s| s.report.usages_per_second).collect();
        let mut note = format!(
            "{inhale:.2} µs at {:.0}/s; floor {:.2}",
            spread(&rates).median,
            spread(&self.floor).median
        );
        match self.nginx.is_empty() {
            true => note.push_str("; no nginx on this machine"),
            false => note.push_str(&format!(", nginx {:.2}", spread(&self.nginx).median)),
        }
        note + &failures(&self.inhale)
    }
}

/// What went wrong, for the note; empty when nothing did.
pub(super) fn failures(samples: &[Sample]) -> String {
    let mut text = String::new();
    for sample in samples.iter().filter(|sample| !sample.report.is_clean()) {
        let report = &sample.report;
        text = format!(
            "; **not clean**: {:?}, {} broken, {} unanswered, {} unsent {}",
            report.other,
            report.broken,
            report.unanswered,
            report.unsent,
            report.ended_early.as_deref().unwrap_or_default()
        );
    }
    text
}

impl Bench {
    /// Floor, nginx and inhale in turn, under the same load but for `inhale_words`, then the floor at
    /// inhale's rate.
    fn turns(
        &self,
        floor: &Server,
        nginx: Option<&Server>,
        inhale: &Server,
        words: &str,
        inhale_words: &str,
    ) -> Result<Turns> {
        let mut turns = Turns {
            floor: Vec::new(),
            floor_paced: Vec::new(),
            nginx: Vec::new(),
            inhale: Vec::new(),
        };
        for _ in 0..self.rounds {
            turns.floor.push(self.sample(floor, words)?.cpu_us);
            if let Some(nginx) = nginx {
                turns.nginx.push(self.sample(nginx, words)?.cpu_us);
            }
            let sample = self.sample(inhale, inhale_words)?;
            let paced = format!("{words} --rate {:.0}", sample.report.usages_per_second.max(1.0));
            turns.floor_paced.push(self.sample(floor, &paced)?.cpu_us);
            turns.inhale.push(sample);
        }
        Ok(turns)
    }
}

pub(super) fn bare(bench: &Bench) -> Result<Vec<Figure>> {
    let floor = bench.starter.floor()?;
    let nginx = bench.starter.nginx()?;
    let inhale = bench.starter.inhale(&bench.fresh("bare")?, &["--index", "off"])?;
    let mut figures = Vec::new();
    for connections in [64, 256] {
        let words = format!("--connections {connections} --duration {}s", bench.seconds);
        let turns = bench.turns(&floor, nginx.as_ref(), &inhale, &words, &words)?;
        let what = format!("CPU per usage, no index, {connections} connections");
        let paced = format!("{what}, floor at the same rate");
        figures.push(turns.against_floor(what, Target::AtMost { bound: 1.6, aim: 1.4 }));
        figures.push(turns.against_floor_paced(paced));
    }
    inhale.stop()?;
    bench.fresh("bare")?;
    Ok(figures)
}

pub(super) fn indexed(bench: &Bench) -> Result<Vec<Figure>> {
    let floor = bench.starter.floor()?;
    let nginx = bench.starter.nginx()?;
    let data = bench.fresh("indexed")?;
    let inhale = bench.starter.inhale(&data, &[])?;
    let connections = 256;
    let pace = sustainable_pace(bench, &inhale, connections)?;
    let words = format!("--connections {connections} --duration {}s", bench.seconds);
    let long = format!("--connections {connections} --duration {}s {pace}", bench.long_seconds);
    let turns = bench.turns(&floor, nginx.as_ref(), &inhale, &words, &long)?;
    inhale.stop()?;
    bench.fresh("indexed")?;

    let growing = turns.inhale.iter().filter(|sample| grows(&sample.lag)).count();
    let most = turns.inhale.iter().flat_map(|sample| &sample.lag).fold(0.0, |a: f64, b| a.max(*b));
    let lag = match growing {
        0 => format!("lag steady, at most {most:.0} usages"),
        rounds => format!("**lag grew in {rounds} of {} rounds**", bench.rounds),
    };
    let seconds = bench.long_seconds;
    let what = format!("CPU per usage with the index, over {seconds} s");
    let paced = turns.against_floor_paced(format!("{what}, floor at the same rate"));
    let cost = turns.against_floor(what, Target::AtMost { bound: 2.2, aim: 1.7 }).note(lag.clone());
    let rates: Vec<f64> =
        turns.inhale.iter().map(|sample| sample.report.usages_per_second).collect();
    let shares: Vec<f64> =
        rates.iter().zip(&turns.floor).map(|(rate, floor)| rate * floor / 1e6).collect();
    let what = format!("sustained rate on one core, {seconds} s, as a share of 1 / floor CPU");
    let sustained =
        Figure::new(what, "", spread(&shares), Target::AtLeast { bound: 0.45, aim: 0.58 }).note(
            format!("{:.0} usages/s; {lag}{}", spread(&rates).median, failures(&turns.inhale)),
        );
    Ok(vec![cost, paced, sustained])
}

/// No limit where the index keeps up with whatever the server answers; otherwise the highest of ever
/// smaller rates at which it does.
fn sustainable_pace(bench: &Bench, inhale: &Server, connections: usize) -> Result<String> {
    let words = |pace: &str| {
        format!("--connections {connections} --duration {}s {pace}", bench.long_seconds / 2)
    };
    let mut sample = bench.sample(inhale, &words(""))?;
    let mut rate = sample.report.usages_per_second;
    let mut pace = String::new();
    let good = |sample: &Sample| sample.report.is_clean() && !grows(&sample.lag);
    for _ in 0..10 {
        if good(&sample) {
            break;
        }
        rate *= 0.93;
        pace = format!("--rate {rate:.0}");
        sample = bench.sample(inhale, &words(&pace))?;
    }
    Ok(pace)
}

pub(super) fn connections(bench: &Bench) -> Result<Vec<Figure>> {
    let floor = bench.starter.floor()?;
    let nginx = bench.starter.nginx()?;
    let inhale = bench.starter.inhale(&bench.fresh("connections")?, &[])?;
    let words = format!("--connections 64 --connection-per-request --duration {}s", bench.seconds);
    let turns = bench.turns(&floor, nginx.as_ref(), &inhale, &words, &words)?;
    inhale.stop()?;
    bench.fresh("connections")?;
    let what = "CPU per usage, each over a new connection";
    let target = Target::AtMost { bound: 1.2, aim: 1.05 };
    let ratio = spread(&ratios(&turns.inhale_cpu(), &turns.nginx));
    Ok(vec![if turns.nginx.is_empty() {
        Figure::new(what, "", ratio, Target::None).note(turns.note())
    } else {
        Figure::new(what, "× nginx", ratio, target).note(turns.note())
    }])
}

pub(super) fn ndjson(bench: &Bench) -> Result<Vec<Figure>> {
    let floor = bench.starter.floor()?;
    let inhale = bench.starter.inhale(&bench.fresh("ndjson")?, &[])?;
    let words = format!(
        "--ndjson 1000 --connections 4 --distinct-times --medications 20 --back-off 5ms --duration {}s",
        bench.seconds
    );
    let mut costs = Vec::new();
    let mut samples = Vec::new();
    let mut floors = Vec::new();
    for _ in 0..bench.rounds {
        floors.push(bench.sample(&floor, &format!("--duration {}s", bench.seconds))?.cpu_us);
        let sample = bench.sample(&inhale, &words)?;
        costs.push(sample.cpu_us);
        samples.push(sample);
    }
    inhale.stop()?;
    bench.fresh("ndjson")?;
    let rates: Vec<f64> = samples.iter().map(|sample| sample.report.usages_per_second).collect();
    let refused: u64 = samples.iter().map(|sample| sample.report.backed_off).sum();
    let target = Target::AtMost { bound: 4.0, aim: 2.0 };
    Ok(vec![
        Figure::new(
            "NDJSON in batches of 1000, index included",
            "µs a usage",
            spread(&costs),
            target,
        )
        .note(format!(
            "{:.0} usages/s, {refused} batches refused for a while; floor {:.2} µs a request{}",
            spread(&rates).median,
            spread(&floors).median,
            failures(&samples)
        )),
    ])
}
