//! `inhale doctor`: what the asked rate needs of this machine, what the machine gives, and the exact
//! command that fixes each difference.

#![expect(
    clippy::cast_possible_truncation,
    reason = "figures for people, far from any type's bounds"
)]

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use journal::disk::RealDisk;
use serde_json::json;

use crate::checks;
use crate::clock::monotonic;
use crate::descriptors;
use crate::flags::CONNECTIONS_MAX;
use crate::units::{Rate, parse_rate, size_text};

/// Bytes a usage takes on disk in the worst case that this estimate allows for: a journal frame not
/// yet compressed and its index row.
const USAGE_BYTES: u64 = 250;
/// Bytes of memory an idempotency key takes for as long as it is remembered: twenty bits in its
/// part's filter, and ten in that of its table.
const KEY_FILTER_BYTES: f64 = 3.75;

/// What to check against.
#[derive(Args, Debug, Clone)]
pub(crate) struct DoctorFlags {
    /// Rate to check for, such as 1M/m or 16700/s
    #[arg(long, value_name = "RATE", default_value = "1M/m", value_parser = parse_rate)]
    rate: Rate,
    /// Directory of the store; its disk is measured
    #[arg(long, value_name = "DIR", default_value = "./inhale-data")]
    data: PathBuf,
    /// Connections open at once that the server must hold
    #[arg(long, value_name = "N", default_value_t = CONNECTIONS_MAX)]
    connections: usize,
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
}

/// How a finding stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    Warn,
    Bad,
}

/// One thing that was looked at.
#[derive(Debug)]
struct Finding {
    what: &'static str,
    verdict: Verdict,
    found: String,
    /// What it should be, and why.
    wanted: String,
    /// A command to paste.
    fix: Option<String>,
}

/// Looks at everything, prints it, and returns whether the machine can hold the rate.
pub(crate) fn run(flags: &DoctorFlags) -> Result<bool> {
    let disk_dir = existing_ancestor(&flags.data);
    if !flags.json {
        outln!("measuring syncs of the disk under {} for two seconds …", disk_dir.display());
    }
    let syncs = measure_syncs(&disk_dir, Duration::from_secs(2))?;
    let per_second = flags.rate.per_second();
    let findings = [
        file_descriptors(flags.connections),
        listen_backlog(per_second),
        port_range(per_second),
        sync_latency(&syncs),
        file_system(&disk_dir),
        free_space(&disk_dir, per_second)?,
        clock(),
        key_memory(per_second),
        set_aside(&flags.data)?,
    ];
    if flags.json {
        print_json(&findings);
    } else {
        print_table(&findings);
    }
    Ok(findings.iter().all(|finding| finding.verdict != Verdict::Bad))
}

fn print_json(findings: &[Finding]) {
    let rows: Vec<_> = findings
        .iter()
        .map(|finding| {
            json!({
                "what": finding.what,
                "verdict": format!("{:?}", finding.verdict).to_lowercase(),
                "found": finding.found,
                "wanted": finding.wanted,
                "fix": finding.fix,
            })
        })
        .collect();
    outln!("{}", json!({ "findings": rows }));
}

fn print_table(findings: &[Finding]) {
    for finding in findings {
        let mark = match finding.verdict {
            Verdict::Good => "ok  ",
            Verdict::Warn => "warn",
            Verdict::Bad => "BAD ",
        };
        outln!("{mark}  {:<17} {}", finding.what, finding.found);
        if finding.verdict != Verdict::Good {
            outln!("      {:<17} wanted: {}", "", finding.wanted);
            if let Some(fix) = &finding.fix {
                outln!("      {:<17} fix:    {fix}", "");
            }
        }
    }
}

/// The nearest directory at or above `path` that exists, so that a store not yet made can be judged.
fn existing_ancestor(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    whole.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

fn file_descriptors(connections: usize) -> Finding {
    let needed = (connections as u64).saturating_add(descriptors::BESIDE_CONNECTIONS);
    // The hard limit: the server raises the soft one itself.
    let allowed = descriptors::allowed();
    let admitted = descriptors::connections_within(allowed, connections);
    Finding {
        what: "file descriptors",
        verdict: match admitted {
            _ if allowed >= needed => Verdict::Good,
            admitted if admitted >= connections / 2 => Verdict::Warn,
            _ => Verdict::Bad,
        },
        found: format!("{allowed} allowed: the server admits {admitted} connections"),
        wanted: format!(
            "{needed}: {connections} connections (--connections) and the store's files"
        ),
        fix: Some(format!(
            "ulimit -n {needed}    # as root; for good: LimitNOFILE={needed} in the service's unit"
        )),
    }
}

fn read_numbers(path: &str) -> Option<Vec<u64>> {
    let text = std::fs::read_to_string(path).ok()?;
    text.split_whitespace().map(|word| word.parse().ok()).collect()
}

/// Connections that arrive while none is accepted wait in the backlog; when it is full they are dropped.
fn listen_backlog(per_second: f64) -> Finding {
    const NAME: &str = "net.core.somaxconn";
    let value =
        read_numbers("/proc/sys/net/core/somaxconn").and_then(|numbers| numbers.first().copied());
    // The kernel's own default is enough for any small rate, and the server asks for no more than 65,535.
    let seconds_of_arrivals = |seconds: f64| ((per_second * seconds) as u64).clamp(128, 65_535);
    let (least, advised) = (seconds_of_arrivals(0.25), seconds_of_arrivals(4.0));
    Finding {
        what: "listen backlog",
        verdict: match value {
            Some(value) if value >= advised => Verdict::Good,
            Some(value) if value < least => Verdict::Bad,
            _ => Verdict::Warn,
        },
        found: value
            .map_or_else(|| format!("{NAME} cannot be read"), |value| format!("{NAME} = {value}")),
        wanted: format!("{advised}: the connections of four seconds, if each usage has a new one"),
        fix: Some(format!("sudo sysctl -w {NAME}={advised}")),
    }
}

/// A client machine that opens a connection for every usage needs a port for each until
/// TIME_WAIT (60 s on Linux) is over.
fn port_range(per_second: f64) -> Finding {
    let ports = read_numbers("/proc/sys/net/ipv4/ip_local_port_range")
        .filter(|range| range.len() == 2)
        .map_or(0, |range| range[1].saturating_sub(range[0]) + 1);
    let each_second = ports as f64 / 60.0;
    Finding {
        what: "port range",
        verdict: if ports >= 60_000 { Verdict::Good } else { Verdict::Warn },
        found: format!(
            "{ports} ports: {each_second:.0} new connections a second from one address to one other"
        ),
        wanted: format!(
            "all of them on machines that send load or stand in front; at {per_second:.0}/s with a \
             connection each, several source addresses are needed too"
        ),
        fix: Some("sudo sysctl -w net.ipv4.ip_local_port_range='1024 65535'".to_owned()),
    }
}

/// Durations of single syncs, sorted.
struct Syncs(Vec<Duration>);

impl Syncs {
    fn percentile(&self, share: f64) -> Duration {
        let last = self.0.len().saturating_sub(1);
        self.0.get((last as f64 * share) as usize).copied().unwrap_or_default()
    }
}

/// Writes 4 KiB blocks into a file whose blocks are already written, as the journal does, and syncs
/// each, for `time`.
fn measure_syncs(dir: &Path, time: Duration) -> Result<Syncs> {
    const BLOCK: usize = 4096;
    const BLOCKS: u64 = 1024;
    let path = dir.join(format!(".inhale-doctor-{}", std::process::id()));
    let file = File::create_new(&path)
        .with_context(|| format!("cannot write in {} (--data)", dir.display()))?;
    let measured = (|| {
        file.write_all_at(&vec![0; BLOCK * BLOCKS as usize], 0)?;
        file.sync_all()?;
        let start = monotonic();
        let mut all = Vec::new();
        while monotonic() - start < time {
            let offset = (all.len() as u64 % BLOCKS) * BLOCK as u64;
            let before = monotonic();
            file.write_all_at(&[1; BLOCK], offset)?;
            file.sync_data()?;
            all.push(monotonic() - before);
        }
        all.sort_unstable();
        Ok::<_, std::io::Error>(Syncs(all))
    })();
    let removed = std::fs::remove_file(&path);
    let syncs = measured.with_context(|| format!("measuring syncs in {}", dir.display()))?;
    removed.with_context(|| format!("removing {}", path.display()))?;
    Ok(syncs)
}

fn sync_latency(syncs: &Syncs) -> Finding {
    let (median, high) = (syncs.percentile(0.5), syncs.percentile(0.99));
    Finding {
        what: "disk sync",
        verdict: match high {
            high if high <= Duration::from_millis(5) => Verdict::Good,
            high if high <= Duration::from_millis(50) => Verdict::Warn,
            _ => Verdict::Bad,
        },
        found: format!("{} syncs of 4 KiB: p50 {median:.0?}, p99 {high:.0?}", syncs.0.len()),
        wanted: "p99 of at most 5 ms: every answer waits for one sync, however many share it"
            .to_owned(),
        fix: Some(
            "inhale serve --data DIR    # with DIR on a disk with a power-loss-protected cache"
                .to_owned(),
        ),
    }
}

fn file_system(dir: &Path) -> Finding {
    let memory = checks::memory_file_system(dir);
    Finding {
        what: "file system",
        verdict: if memory.is_some() { Verdict::Warn } else { Verdict::Good },
        found: memory.map_or_else(
            || "not in memory".to_owned(),
            |kind| format!("{kind}, which keeps files in memory"),
        ),
        wanted: "one on a disk: a restart of the machine empties this one".to_owned(),
        fix: Some("inhale serve --data DIR    # with DIR on a disk".to_owned()),
    }
}

fn free_space(dir: &Path, per_second: f64) -> Result<Finding> {
    let space =
        rustix::fs::statvfs(dir).with_context(|| format!("free space of {}", dir.display()))?;
    let free = space.f_bavail * space.f_frsize;
    let a_day = (per_second * 86_400.0) as u64 * USAGE_BYTES;
    let hours = free as f64 / (per_second * 3600.0 * USAGE_BYTES as f64);
    Ok(Finding {
        what: "free space",
        verdict: match hours {
            hours if hours >= 24.0 => Verdict::Good,
            hours if hours >= 1.0 => Verdict::Warn,
            _ => Verdict::Bad,
        },
        found: format!("{} free: at least {hours:.0} h at this rate", size_text(free)),
        wanted: format!("{} for a day, counting {USAGE_BYTES} bytes a usage before compression", size_text(a_day)),
        fix: Some("inhale serve --data DIR    # with DIR on a larger disk; or --retain to let old usages go".to_owned()),
    })
}

/// Files of the journal that were moved out of the way, because nothing proved them needless.
fn set_aside(data: &Path) -> Result<Finding> {
    let dir = store::Config::new(data).journal_dir();
    let files = if dir.is_dir() {
        let listed = RealDisk::open(&dir).and_then(|disk| journal::aside::list(&disk));
        listed.with_context(|| format!("listing {}", dir.display()))?
    } else {
        Vec::new()
    };
    let bytes = files.iter().map(|file| file.bytes).sum();
    Ok(Finding {
        what: "files set aside",
        verdict: if files.is_empty() { Verdict::Good } else { Verdict::Warn },
        found: match files.len() {
            0 => "none".to_owned(),
            count => format!("{count} in {} take {}", dir.display(), size_text(bytes)),
        },
        wanted:
            "none: they may hold usages that the journal lacks; keep a copy before you remove them"
                .to_owned(),
        fix: Some(format!("inhale journal discard --data {}", data.display())),
    })
}

fn clock() -> Finding {
    let wanted = "a clock kept by NTP: it stamps each usage's time of receipt".to_owned();
    let fix = Some("sudo apt-get install -y chrony".to_owned());
    let source =
        std::fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource")
            .unwrap_or_default();
    let source = source.trim();
    match clock_is_synchronised() {
        Some(true) => Finding {
            what: "clock",
            verdict: Verdict::Good,
            found: format!("synchronised ({source})"),
            wanted,
            fix: None,
        },
        Some(false) => Finding {
            what: "clock",
            verdict: Verdict::Warn,
            found: format!("not synchronised ({source})"),
            wanted,
            fix,
        },
        None => Finding {
            what: "clock",
            verdict: Verdict::Warn,
            found: "the kernel does not say".to_owned(),
            wanted,
            fix,
        },
    }
}

/// Asks the kernel, by adjtimex(2), whether anything disciplines the clock.
fn clock_is_synchronised() -> Option<bool> {
    // SAFETY: an all-zero `timex` is a valid value of this plain C struct, and with `modes` zero the
    // call only reads the kernel's state into it.
    let state = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        libc::adjtimex(&mut timex)
    };
    match state {
        libc::TIME_ERROR => Some(false),
        state if state >= 0 => Some(true),
        _ => None,
    }
}

fn key_memory(per_second: f64) -> Finding {
    let keys_a_day = per_second * 86_400.0;
    let needed = keys_a_day * 30.0 * KEY_FILTER_BYTES;
    let memory = memory_bytes();
    // The other half is for the index's cache, requests, and the page cache.
    let room = memory.map_or(f64::INFINITY, |bytes| bytes as f64 / 2.0);
    let days = (room / (keys_a_day * KEY_FILTER_BYTES)).max(1.0) as u64;
    let memory = memory.map_or_else(|| "unknown".to_owned(), size_text);
    Finding {
        what: "idempotency keys",
        verdict: if needed <= room { Verdict::Good } else { Verdict::Warn },
        found: format!(
            "{} of memory for the keys of 30 days, if every usage has one; this machine has {memory}",
            size_text(needed as u64)
        ),
        wanted: "at most half of the memory; a shorter key window, or keys on fewer usages"
            .to_owned(),
        fix: Some(format!("inhale serve --key-window {days}days")),
    }
}

/// The machine's memory, from /proc/meminfo.
fn memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_below_what_is_needed_is_bad_and_names_the_command() {
        let finding = file_descriptors(usize::MAX / 2);
        assert_eq!(finding.verdict, Verdict::Bad);
        assert!(finding.fix.expect("there is a fix").starts_with("ulimit -n "));
        assert_eq!(file_descriptors(0).verdict, Verdict::Good);
    }

    #[test]
    fn repro_a_low_rate_asks_for_a_small_backlog() {
        let wanted = |per_second| {
            let wanted = listen_backlog(per_second).wanted;
            wanted.split(':').next().and_then(|number| number.parse().ok()).unwrap_or(0u64)
        };
        assert_eq!((wanted(1.0), wanted(100.0), wanted(16_667.0)), (128, 400, 65_535));
    }

    #[test]
    fn repro_keys_that_do_not_fit_the_memory_are_not_called_good() {
        assert_eq!(key_memory(1.0).verdict, Verdict::Good);
        let finding = key_memory(1e9);
        assert_eq!(finding.verdict, Verdict::Warn);
        assert!(finding.fix.is_some_and(|fix| fix.contains("--key-window 1days")));
    }

    #[test]
    fn slow_disks_are_told_apart_from_fast_ones() {
        let check = |millis: u64, expected: Verdict| {
            let syncs = Syncs(vec![Duration::from_millis(millis); 100]);
            assert_eq!(sync_latency(&syncs).verdict, expected, "{millis} ms");
        };
        check(1, Verdict::Good);
        check(20, Verdict::Warn);
        check(200, Verdict::Bad);
    }

    #[test]
    fn syncs_are_measured_on_the_real_disk_and_leave_nothing_behind() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let syncs = measure_syncs(dir.path(), Duration::from_millis(50)).expect("it measures");
        assert!(!syncs.0.is_empty());
        assert!(syncs.percentile(0.5) <= syncs.percentile(0.99));
        assert_eq!(std::fs::read_dir(dir.path()).expect("it lists").count(), 0);
    }
}
