//! The driver: measures row by row, tells how far it is, and writes down what it found.

mod disk;
mod figure;
mod http;
mod measure;
mod process;
mod rows;
mod servers;
mod statistics;
mod store;

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::calendar::iso_date;
use crate::clock::{now_ns, wall_seconds};
use figure::Figure;
use measure::Sample;
use process::{Cores, pin};
use servers::Starter;

/// Options of `inhale-bench run`.
#[derive(Args, Debug, Clone)]
pub(crate) struct RunFlags {
    /// A first look in about five minutes: short rounds and small stores
    #[arg(long)]
    quick: bool,

    /// Only this row; may be repeated. `--rows` tells which there are
    #[arg(long, value_name = "ROW")]
    only: Vec<String>,

    /// Tell which rows there are
    #[arg(long)]
    rows: bool,

    /// The server to measure
    #[arg(long, value_name = "PATH", default_value = "target/release/inhale")]
    inhale: PathBuf,

    /// Folder for stores, on the disk that is meant; what was filled stays there for the next run
    #[arg(long, value_name = "DIR", default_value = "bench-results/stores")]
    dir: PathBuf,

    /// Folder for the results
    #[arg(long, value_name = "DIR", default_value = "bench-results")]
    out: PathBuf,

    /// Rounds in which the servers take turns; 5, or 3 when quick
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,

    /// Seconds of one load; 10, or 2 when quick. What must contain background work lasts six times as
    /// long
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: Option<u64>,

    /// Usages stored where the table says 50 million; a million when quick
    #[arg(long, value_name = "N")]
    stored: Option<u64>,
}

/// What every row works with.
pub(crate) struct Bench {
    pub(crate) starter: Starter,
    pub(crate) rounds: usize,
    /// Seconds of one load.
    pub(crate) seconds: u64,
    /// Seconds of a load that must contain what goes on in the background.
    pub(crate) long_seconds: u64,
    pub(crate) stored: u64,
    pub(crate) quick: bool,
    started_ns: u64,
    samples: RefCell<Vec<Value>>,
}

/// Measures the rows that are asked for.
pub(crate) fn run(flags: &RunFlags) -> Result<ExitCode> {
    if flags.rows {
        for row in rows::ROWS {
            println!("{:<12} {}", row.name, row.what);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let unknown = |name: &&String| !rows::ROWS.iter().any(|row| row.name == name.as_str());
    if let Some(name) = flags.only.iter().find(unknown) {
        bail!("there is no row `{name}`; --rows tells which there are");
    }
    let bench = Bench::new(flags)?;
    let probe = disk::probe(&bench.starter.folder, 2_000)?;
    let mut figures: Vec<Figure> = Vec::new();
    let mut failed = false;
    for row in rows::ROWS {
        if !flags.only.is_empty() && !flags.only.iter().any(|name| name == row.name) {
            continue;
        }
        bench.say(&format!("row {}: {}", row.name, row.what));
        match (row.measure)(&bench) {
            Ok(found) => figures.extend(found),
            Err(error) => {
                failed = true;
                let nothing = statistics::spread(&[]);
                let note = format!("**not measured**: {error:#}").replace(['\n', '|'], " ");
                bench.say(&note);
                figures.push(Figure::new(row.what, "", nothing, figure::Target::None).note(note));
            }
        }
    }
    bench.write(flags, &figures, probe)?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl Bench {
    fn new(flags: &RunFlags) -> Result<Self> {
        let cores = Cores::find()?;
        pin(cores.client)?;
        fs::create_dir_all(&flags.dir)?;
        let inhale = fs::canonicalize(&flags.inhale).with_context(|| {
            format!(
                "{}: build it with `cargo build --release --package inhale`",
                flags.inhale.display()
            )
        })?;
        let starter = Starter {
            cores,
            own: std::env::current_exe()?,
            inhale,
            nginx: find_program("nginx"),
            folder: fs::canonicalize(&flags.dir)?,
        };
        let seconds = flags.seconds.unwrap_or(if flags.quick { 2 } else { 10 });
        Ok(Self {
            starter,
            rounds: flags.rounds.unwrap_or(if flags.quick { 3 } else { 5 }).max(1),
            seconds,
            long_seconds: seconds * 6,
            stored: flags.stored.unwrap_or(if flags.quick { 1_000_000 } else { 50_000_000 }),
            quick: flags.quick,
            started_ns: now_ns(),
            samples: RefCell::default(),
        })
    }

    /// Tells people how far it is.
    pub(crate) fn say(&self, text: &str) {
        let seconds = (now_ns() - self.started_ns) / 1_000_000_000;
        eprintln!("[{:>3}:{:02}] {text}", seconds / 60, seconds % 60);
    }

    /// Measures, tells and keeps one sample.
    pub(crate) fn sample(&self, server: &servers::Server, words: &str) -> Result<Sample> {
        let sample = self.starter.measure(server, words)?;
        self.keep(server.name, words, &sample);
        Ok(sample)
    }

    pub(crate) fn keep(&self, who: &str, words: &str, sample: &Sample) {
        let report = &sample.report;
        let clean = if report.is_clean() { "" } else { ", NOT CLEAN" };
        self.say(&format!(
            "  {who:<7} {words}: {:.2} µs, {:.0}/s, p99 {:.2} ms{clean}",
            sample.cpu_us, report.usages_per_second, report.latency.p99_ms
        ));
        self.samples.borrow_mut().push(json!({ "who": who, "load": words, "sample": sample }));
    }

    fn write(
        &self,
        flags: &RunFlags,
        figures: &[Figure],
        probe: crate::latency::Quantiles,
    ) -> Result<()> {
        let (commit, date) = (commit(), iso_date(wall_seconds()));
        let kind = if self.quick { "-quick" } else { "" };
        fs::create_dir_all(&flags.out)?;
        let path = flags.out.join(format!("{date}-{commit}{kind}.json"));
        let result = json!({
            "commit": commit, "date": date, "machine": machine(), "quick": self.quick,
            "rounds": self.rounds, "seconds": self.seconds, "stored": self.stored,
            "fdatasync_4k": probe, "figures": figures, "samples": *self.samples.borrow(),
        });
        fs::write(&path, serde_json::to_string_pretty(&result)?)?;
        println!("Commit {commit}, {date}, {}", machine());
        println!(
            "Server on core {}, load on core {}; medians of {} rounds. fdatasync of 4 KiB in this run: \
             p50 {:.3} ms, p99 {:.3} ms.",
            self.starter.cores.server,
            self.starter.cores.client,
            self.rounds,
            probe.p50_ms,
            probe.p99_ms
        );
        if self.quick {
            println!(
                "A quick look: short rounds, and {} stored usages where the table says 50 million.",
                self.stored
            );
        }
        println!("\n{}", figure::table(figures));
        println!("All samples: {}", path.display());
        Ok(())
    }
}

/// The program of that name on PATH, or where administrators have theirs.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// The commit that is checked out, marked when files differ from it.
fn commit() -> String {
    let git = |words: &[&str]| {
        let output = Command::new("git").args(words).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else { return "unknown".to_owned() };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]);
    if changed.is_some_and(|files| !files.is_empty()) {
        format!("{commit}-changed")
    } else {
        commit
    }
}

fn machine() -> String {
    let read = |path: &str| fs::read_to_string(Path::new(path)).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let named = |line: &&str| line.starts_with("model name");
    let model = cpus.lines().find(named).and_then(|line| line.split(": ").nth(1)).unwrap_or("CPU");
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let memory = read("/proc/meminfo");
    let memory = memory.lines().next().and_then(|line| line.split_whitespace().nth(1));
    let gib = memory.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) >> 20;
    format!("{count} × {model}, {gib} GiB, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}
