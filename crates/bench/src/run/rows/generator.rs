//! What generators cost: `inhale load`, wrk, oha and k6 against the floor, in turn. The floor has one
//! core and the generator the other; a generator that is not installed is left out, and said to be.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::clock::now_ns;
use crate::run::figure::{Figure, Target};
use crate::run::process::{Process, children_cpu_seconds};
use crate::run::servers::{BODY, Server};
use crate::run::statistics::{ratios, spread};
use crate::run::{Bench, find_program};

const CONNECTIONS: usize = 64;
/// A million a minute.
const RATE: &str = "1M/m";

/// What one generator did.
#[derive(Debug, Clone)]
struct Run {
    requests: f64,
    seconds: f64,
    /// Microseconds of the generator's own CPU for each request.
    cpu_us: f64,
    /// What it says of itself, if it is ours.
    told: Value,
}

impl Run {
    fn rate(&self) -> f64 {
        self.requests / self.seconds.max(1e-9)
    }

    fn lag_p99_ms(&self) -> f64 {
        self.health("schedule_lag_p99_ms")
    }

    /// Requests sent in time, of those that were due.
    fn delivered(&self) -> f64 {
        self.health("achieved_per_second") / self.health("asked_per_second")
    }

    fn health(&self, name: &str) -> f64 {
        let found = self.told.pointer(&format!("/inhale/health/{name}"));
        found.and_then(Value::as_f64).unwrap_or(f64::NAN)
    }

    /// Whether it says that its own figures are not to be trusted.
    fn is_invalid(&self) -> bool {
        let reasons = self.told.pointer("/inhale/health/invalid").and_then(Value::as_array);
        reasons.is_none_or(|reasons| !reasons.is_empty())
    }
}

impl Bench {
    /// Runs a generator to its end; `count` finds in its output how many requests it made.
    fn generator(
        &self,
        name: &str,
        command: &mut Command,
        count: impl Fn(&str) -> Option<f64>,
    ) -> Result<Run> {
        let cores = self.starter.cores;
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let before = children_cpu_seconds()?;
        let started_ns = now_ns();
        let text = Process::start(name, command, cores.client, cores.client)?.output()?;
        #[expect(clippy::cast_precision_loss, reason = "a run of minutes")]
        let seconds = (now_ns() - started_ns) as f64 / 1e9;
        let used = children_cpu_seconds()? - before;
        let requests = count(&text).with_context(|| format!("{name} printed: {text}"))?;
        let told = serde_json::from_str(&text).unwrap_or(Value::Null);
        let run = Run { requests, seconds, cpu_us: used * 1e6 / requests.max(1.0), told };
        self.say(&format!("  {name:<7} {:.2} µs, {:.0}/s", run.cpu_us, run.rate()));
        Ok(run)
    }

    fn ours(&self, target: &Server, words: &str) -> Result<Run> {
        let mut command = Command::new(&self.starter.inhale);
        command.args(["load", &target.url(), "--json", "--quiet", "--threads", "1"]);
        // The original body, from a million patients.
        command.args(["-b", &BODY.replace("\"100\"", "\"{{patient}}\"")]);
        command.args(["--metrics-url", "none"]).args(words.split_whitespace());
        let run = self.generator("ours", &mut command, |text| {
            let told: Value = serde_json::from_str(text).ok()?;
            told.pointer("/metrics/http_reqs/count")?.as_f64()
        })?;
        let failed = run.told.pointer("/metrics/http_req_failed/passes").and_then(Value::as_f64);
        match failed {
            Some(0.0) => Ok(run),
            _ => bail!(
                "requests failed, or nobody knows: {:?}",
                run.told.pointer("/metrics/http_req_failed")
            ),
        }
    }

    fn wrk(&self, target: &Server, wrk: &PathBuf) -> Result<Run> {
        let script = self.starter.folder.join("body.lua");
        fs::write(
            &script,
            format!(
                "wrk.method = \"POST\"\nwrk.headers[\"Content-Type\"] = \"application/json\"\nwrk.body = [[{BODY}]]\n"
            ),
        )?;
        let mut command = Command::new(wrk);
        command.args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{}s", self.seconds), "-s"]);
        command.arg(&script).arg(target.url());
        self.generator("wrk", &mut command, requests_of_wrk)
    }

    fn oha(&self, target: &Server, oha: &PathBuf) -> Result<Run> {
        let mut command = Command::new(oha);
        command.args([
            "--no-tui",
            "--output-format",
            "json",
            "-m",
            "POST",
            "-T",
            "application/json",
        ]);
        command.args([
            "-d",
            BODY,
            "-c",
            &CONNECTIONS.to_string(),
            "-z",
            &format!("{}s", self.seconds),
        ]);
        command.arg(target.url());
        self.generator("oha", &mut command, |text| {
            let told: Value = serde_json::from_str(text).ok()?;
            let statuses = told.get("statusCodeDistribution")?.as_object()?;
            Some(statuses.values().filter_map(Value::as_f64).sum())
        })
    }

    fn k6(&self, target: &Server, k6: &PathBuf) -> Result<Run> {
        let summary = self.starter.folder.join("k6.json");
        let script = std::env::current_dir()?.join("loadtest/k6.js");
        let mut command = Command::new(k6);
        command.args(["run", "--quiet", "--no-usage-report", "--summary-export"]).arg(&summary);
        command.args(["--vus", &CONNECTIONS.to_string()]);
        command.args(["--duration", &format!("{}s", self.seconds)]);
        command.args(["-e", &format!("TARGET={}", target.url())]).arg(script);
        self.generator("k6", &mut command, |_| {
            let told: Value = serde_json::from_str(&fs::read_to_string(&summary).ok()?).ok()?;
            told.pointer("/metrics/http_reqs/count")?.as_f64()
        })
    }
}

/// `  1234567 requests in 10.00s, 12MB read`.
fn requests_of_wrk(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.contains(" requests in "))?;
    line.split_whitespace().next()?.parse().ok()
}

fn cpu(runs: &[Run]) -> Vec<f64> {
    runs.iter().map(|run| run.cpu_us).collect()
}

/// k6 on PATH, or where `loadtest/clients` puts it.
fn find_k6() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from)?;
    let cache =
        std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
    let kept = fs::read_dir(cache.join("inhale/loadtest")).ok().and_then(|entries| {
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        paths.filter(|path| path.is_file()).find(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("k6-"))
        })
    });
    find_program("k6").or(kept)
}

/// Flat out over the same number of connections, each on the same one core.
pub(super) fn generators(bench: &Bench) -> Result<Vec<Figure>> {
    let floor = bench.starter.floor()?;
    let (wrk, oha, k6) = (find_program("wrk"), find_program("oha"), find_k6());
    let flat_out = format!("-u {CONNECTIONS} -d {}s", bench.seconds);
    let mut ours = Vec::new();
    let (mut of_wrk, mut of_oha, mut of_k6) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        ours.push(bench.ours(&floor, &flat_out)?);
        of_wrk.extend(wrk.as_ref().map(|wrk| bench.wrk(&floor, wrk)).transpose()?);
        of_oha.extend(oha.as_ref().map(|oha| bench.oha(&floor, oha)).transpose()?);
        of_k6.extend(k6.as_ref().map(|k6| bench.k6(&floor, k6)).transpose()?);
    }
    let rates: Vec<f64> = ours.iter().map(Run::rate).collect();
    let mut figures = vec![Figure::new(
        "generator: highest rate from one core",
        "/s",
        spread(&rates),
        Target::AtLeast { bound: 100_000.0, aim: 150_000.0 },
    )];
    for (name, them, target) in [
        ("wrk", &of_wrk, Target::AtMost { bound: 1.5, aim: 1.1 }),
        ("oha", &of_oha, Target::AtMost { bound: 1.0, aim: 1.0 }),
        ("k6", &of_k6, Target::AtMost { bound: 1.0, aim: 0.1 }),
    ] {
        let what = format!("generator CPU per request against {name}, flat out");
        if them.is_empty() {
            let note = format!("{name} is not installed");
            figures.push(Figure::new(what, "×", spread(&[]), Target::None).note(note));
            continue;
        }
        let rates: Vec<f64> = them.iter().map(Run::rate).collect();
        let note = format!(
            "{:.2} µs against {:.2} at {:.0}/s",
            spread(&cpu(&ours)).median,
            spread(&cpu(them)).median,
            spread(&rates).median
        );
        figures.push(
            Figure::new(what, "×", spread(&ratios(&cpu(&ours), &cpu(them))), target).note(note),
        );
    }
    Ok(figures)
}

/// A million a minute, kept alive and with a new connection for everyone: how late the generator is.
pub(super) fn arrivals(bench: &Bench) -> Result<Vec<Figure>> {
    let floor = bench.starter.floor()?;
    let mut figures = Vec::new();
    for (how, words, target) in [
        ("", "", Target::AtMost { bound: 1.0, aim: 0.2 }),
        (
            ", a new connection for everyone",
            "--connection-per-user",
            Target::AtMost { bound: 2.0, aim: 2.0 },
        ),
    ] {
        let (mut lags, mut costs, mut shares) = (Vec::new(), Vec::new(), Vec::new());
        let mut invalid = 0;
        for _ in 0..bench.rounds {
            let run =
                bench.ours(&floor, &format!("--rate {RATE} -d {}s {words}", bench.seconds))?;
            lags.push(run.lag_p99_ms());
            costs.push(run.cpu_us);
            shares.push(run.delivered());
            invalid += usize::from(run.is_invalid());
        }
        let delivered = Target::AtLeast { bound: 0.999, aim: 0.999 };
        let what = format!("generator: share of {RATE} that it delivered{how}");
        figures.push(Figure::new(what, "", spread(&shares), delivered));
        let what = format!("generator: schedule lag p99 at {RATE}{how}");
        let cost = spread(&costs).median;
        let note = format!(
            "{cost:.2} µs of CPU for each request; it called {invalid} of {} runs INVALID",
            bench.rounds
        );
        figures.push(Figure::new(what, "ms", spread(&lags), target).note(note));
    }
    Ok(figures)
}

/// Resident memory at the beginning and at the end of a long run.
pub(super) fn memory(bench: &Bench) -> Result<Vec<Figure>> {
    let floor = bench.starter.floor()?;
    let seconds = if bench.quick { 60 } else { 600 };
    let mut command = Command::new(&bench.starter.inhale);
    command.args(["load", &floor.url(), "--json", "--quiet", "--threads", "1", "--rate", RATE]);
    command.args(["--metrics-url", "none", "-d", &format!("{seconds}s")]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let cores = bench.starter.cores;
    let mut process = Process::start("ours", &mut command, cores.client, cores.client)?;
    let mut megabytes = Vec::new();
    while process.is_running()? {
        std::thread::sleep(Duration::from_secs(1));
        #[expect(clippy::cast_precision_loss, reason = "bytes below 2^53")]
        megabytes.extend(process.resident_bytes().ok().map(|bytes| bytes as f64 / 1e6));
    }
    let at = |share: usize| megabytes.get(megabytes.len().saturating_sub(2) * share / 10).copied();
    let (early, late) = (at(1).context("it ended at once")?, at(10).context("it ended at once")?);
    let what = format!("generator: resident memory at the end of {seconds} s at {RATE}");
    let target = Target::AtMost { bound: 64.0, aim: 64.0 };
    let note = format!("{early:.1} MB after a tenth of it");
    Ok(vec![Figure::new(what, "MB", spread(&[late]), target).note(note)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_found_in_what_wrk_prints() {
        let text = "Running 10s test\n  1 threads\n  1554321 requests in 10.00s, 290.00MB read\nRequests/sec: 1\n";
        assert_eq!(requests_of_wrk(text), Some(1_554_321.0));
        assert_eq!(requests_of_wrk("unable to connect"), None);
    }
}
