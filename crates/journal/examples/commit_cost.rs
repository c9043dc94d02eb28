//! What a durable frame costs: appends 70-byte payloads at a steady rate and flat out on the real
//! disk, over a range of spacings, and prints CPU per frame, syncs per second, and sync latency.
//!
//! `cargo run --release -p journal --example commit_cost [directory] [seconds]`
#![allow(clippy::print_stdout, reason = "a program that prints")]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use journal::disk::{Disk, RealDisk};
use journal::{AppendError, Clock, FrameKind, Journal, Options, SystemClock};

const PAYLOAD: [u8; 70] = [b'u'; 70];
const RATE: u32 = 16_667;
const SPACINGS_US: [u64; 5] = [0, 250, 500, 1000, 2000];

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let base = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds: u64 = args.next().map_or(Ok(5), |text| text.parse())?;
    let dir = base.join(format!("inhale-commit-cost-{}", std::process::id()));
    println!("{:>10} {:>10} {HEAD}", "load", "spacing");
    for rate in [Some(RATE), None] {
        for spacing_us in SPACINGS_US {
            let cost = measure(&dir, Duration::from_micros(spacing_us), rate, seconds);
            fs::remove_dir_all(&dir)?;
            let load = rate.map_or("flat out".to_owned(), |rate| format!("{rate}/s"));
            println!("{load:>10} {spacing_us:>7} us {}", cost?);
        }
    }
    Ok(())
}

const HEAD: &str = " frames/s  CPU us/frame append us core share  syncs/s  frames/sync  sync p50 us  \
                    sync p99 us  wait p50 us  wait p99 us";

/// One run. CPU per frame and the share of a core are those of the journal's own threads; the
/// appending thread stands apart, because at a steady rate it spins until each frame is due.
#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn measure(
    dir: &Path,
    spacing: Duration,
    rate: Option<u32>,
    seconds: u64,
) -> Result<String, Box<dyn Error>> {
    let clock = Arc::new(SystemClock::new());
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(dir)?);
    let options = Options { spacing, reserve_bytes: 0, ..Options::default() };
    let (journal, _) = Journal::open(disk, clock.clone(), options)?;
    let syncs = Arc::new(Mutex::new(Vec::with_capacity(1 << 16)));
    let seen = syncs.clone();
    journal.on_sync(Box::new(move |took, _, _| {
        seen.lock().expect("no holder panics").push(took.as_micros());
    }));
    // When each commit was seen, to tell how long a frame due at some moment had waited.
    let commits = Arc::new(Mutex::new(Vec::with_capacity(1 << 16)));
    let (seen, at) = (commits.clone(), clock.clone());
    journal.on_commit(Box::new(move |batch| {
        let now = at.monotonic().as_micros();
        seen.lock().expect("no holder panics").push((batch.end_seq(), now));
    }));
    let threads = journal.start()?;
    while !journal.status().next_ready {
        std::thread::sleep(Duration::from_millis(10));
    }
    let (begun, cpu_before) = (clock.monotonic(), cpu_micros()?);
    let due = match rate {
        Some(rate) => steady(&journal, &*clock, rate, seconds)?,
        None => flat_out(&journal, &*clock, seconds)?,
    };
    let last = journal.appender()?.append(FrameKind::Usage, 0, |_, out| out.extend(PAYLOAD))?;
    journal.wait_durable(last, Duration::from_secs(30))?;
    let took = clock.monotonic() - begun;
    let cpu_after = cpu_micros()?;
    let cpu = cpu_after.0 - cpu_before.0;
    let appending = cpu_after.1 - cpu_before.1;
    journal.close()?;
    threads.join();

    let mut syncs = std::mem::take(&mut *syncs.lock().expect("no holder panics"));
    let mut waits = waits(&due, &commits.lock().expect("no holder panics"));
    let frames = last as f64;
    Ok(format!(
        "{:>9.0} {:>13.2} {:>9.3} {:>10.3} {:>8.0} {:>12.1} {:>12} {:>12} {:>12} {:>12}",
        frames / took.as_secs_f64(),
        cpu as f64 / frames,
        appending as f64 / frames,
        cpu as f64 / took.as_micros() as f64,
        syncs.len() as f64 / took.as_secs_f64(),
        frames / syncs.len() as f64,
        percentile(&mut syncs, 50),
        percentile(&mut syncs, 99),
        percentile(&mut waits, 50),
        percentile(&mut waits, 99),
    ))
}

/// One frame per guard, each when it is due; `due[i]` is the time of the frame with sequence i + 1.
fn steady(
    journal: &Journal,
    clock: &dyn Clock,
    rate: u32,
    seconds: u64,
) -> Result<Vec<u128>, AppendError> {
    let count = u64::from(rate) * seconds;
    let begun = clock.monotonic();
    let mut due = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
    for n in 0..count {
        let at = begun + Duration::from_nanos(n * 1_000_000_000 / u64::from(rate));
        let ahead = at.saturating_sub(clock.monotonic());
        if ahead > Duration::from_micros(60) {
            std::thread::sleep(ahead - Duration::from_micros(55));
        }
        while clock.monotonic() < at {
            std::hint::spin_loop();
        }
        journal.appender()?.append(FrameKind::Usage, 0, |_, out| out.extend(PAYLOAD))?;
        due.push(at.as_micros());
    }
    Ok(due)
}

/// As fast as the journal admits; when the buffer is full, waits for what is in it.
fn flat_out(
    journal: &Journal,
    clock: &dyn Clock,
    seconds: u64,
) -> Result<Vec<u128>, Box<dyn Error>> {
    let end = clock.monotonic() + Duration::from_secs(seconds);
    let mut seq = 0;
    while clock.monotonic() < end {
        for _ in 0..64 {
            // Bound first: a guard still alive in a match arm would keep the committer waiting.
            let appended =
                journal.appender()?.append(FrameKind::Usage, 0, |_, out| out.extend(PAYLOAD));
            match appended {
                Ok(appended) => seq = appended,
                Err(AppendError::Full) => journal.wait_durable(seq, Duration::from_secs(30))?,
                Err(refused) => return Err(refused.into()),
            }
        }
    }
    journal.wait_durable(seq, Duration::from_secs(30))?;
    Ok(Vec::new())
}

/// Microseconds from due to durable, for every 16th frame.
fn waits(due: &[u128], commits: &[(u64, u128)]) -> Vec<u128> {
    let mut commit = commits.iter();
    let mut current = commit.next();
    let mut waits = Vec::new();
    for (seq, &at) in (1u64..).zip(due).step_by(16) {
        while current.is_some_and(|&(end_seq, _)| end_seq <= seq) {
            current = commit.next();
        }
        waits.extend(current.map(|&(_, committed)| committed.saturating_sub(at)));
    }
    waits
}

fn percentile(values: &mut [u128], percent: usize) -> u128 {
    values.sort_unstable();
    values.get((values.len().saturating_sub(1)) * percent / 100).copied().unwrap_or(0)
}

/// CPU time so far, in microseconds: of the journal's own threads, and of the appending one.
fn cpu_micros() -> Result<(u64, u64), Box<dyn Error>> {
    let (mut journal, mut appender) = (0, 0);
    for task in fs::read_dir("/proc/self/task")? {
        let path = task?.path();
        let stat = fs::read_to_string(path.join("schedstat"))?;
        let nanos: u64 = stat.split(' ').next().unwrap_or("0").parse()?;
        match fs::read_to_string(path.join("comm"))?.starts_with("journal-") {
            true => journal += nanos / 1000,
            false => appender += nanos / 1000,
        }
    }
    Ok((journal, appender))
}
