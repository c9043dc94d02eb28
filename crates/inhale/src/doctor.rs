//! `inhale doctor`: what the asked rate needs of this machine, what the machine gives, and the exact
//! command that mends each difference.

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
use serde_json::json;

use crate::clock::monotonic;
use crate::descriptors;
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
    #[arg(long, value_name = "N", default_value = "10000")]
    connections: u64,
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
    mend: Option<String>,
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
        kernel_number(
            "listen backlog",
            "net.core.somaxconn",
            4096,
            65535,
            "connections that arrive at once wait here; when it is full they are dropped",
        ),
        port_range(per_second),
        sync_latency(&syncs),
        free_space(&disk_dir, per_second)?,
        clock(),
        key_memory(per_second),
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
                "mend": finding.mend,
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
            if let Some(mend) = &finding.mend {
                outln!("      {:<17} mend:   {mend}", "");
            }
        }
    }
}

/// The nearest directory at or above `path` that exists, so that a store not yet made can be judged.
fn existing_ancestor(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    whole.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

fn file_descriptors(connections: u64) -> Finding {
    let needed = connections.saturating_add(descriptors::BESIDE_CONNECTIONS);
    // The hard limit: the server raises the soft one itself.
    let allowed = descriptors::allowed();
    Finding {
        what: "file descriptors",
        verdict: if allowed >= needed { Verdict::Good } else { Verdict::Bad },
        found: format!("{allowed} allowed"),
        wanted: format!("{needed}: one a connection, and those of the store"),
        mend: Some(format!(
            "ulimit -n {needed}    # as root; for good: LimitNOFILE={needed} in the service's unit"
        )),
    }
}

fn read_numbers(path: &str) -> Option<Vec<u64>> {
    let text = std::fs::read_to_string(path).ok()?;
    text.split_whitespace().map(|word| word.parse().ok()).collect()
}

fn kernel_number(what: &'static str, name: &str, least: u64, advised: u64, why: &str) -> Finding {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    let value = read_numbers(&path).and_then(|numbers| numbers.first().copied());
    Finding {
        what,
        verdict: match value {
            Some(value) if value >= advised => Verdict::Good,
            Some(value) if value >= least => Verdict::Warn,
            Some(_) => Verdict::Bad,
            None => Verdict::Warn,
        },
        found: value
            .map_or_else(|| format!("{name} cannot be read"), |value| format!("{name} = {value}")),
        wanted: format!("{advised}: {why}"),
        mend: Some(format!("sudo sysctl -w {name}={advised}")),
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
        mend: Some("sudo sysctl -w net.ipv4.ip_local_port_range='1024 65535'".to_owned()),
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
        mend: Some(
            "inhale serve --data DIR    # with DIR on a disk with a power-loss-protected cache"
                .to_owned(),
        ),
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
        found: format!("{} free: at least {hours:.0} hours at this rate", size_text(free)),
        wanted: format!("{} for a day, counting {USAGE_BYTES} bytes a usage before compression", size_text(a_day)),
        mend: Some("inhale serve --data DIR    # with DIR on a larger disk; or --retain to let old usages go".to_owned()),
    })
}

fn clock() -> Finding {
    let wanted = "a clock kept by NTP: it stamps each usage's time of receipt".to_owned();
    let mend = Some("sudo apt-get install -y chrony".to_owned());
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
            mend: None,
        },
        Some(false) => Finding {
            what: "clock",
            verdict: Verdict::Warn,
            found: format!("not synchronised ({source})"),
            wanted,
            mend,
        },
        None => Finding {
            what: "clock",
            verdict: Verdict::Warn,
            found: "the kernel does not say".to_owned(),
            wanted,
            mend,
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
    let keys = per_second * 86_400.0 * 30.0;
    Finding {
        what: "idempotency keys",
        verdict: Verdict::Good,
        found: format!(
            "if every usage had a key, 30 days of them would want about {} of memory for filters",
            size_text((keys * KEY_FILTER_BYTES) as u64)
        ),
        wanted: String::new(),
        mend: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_below_what_is_needed_is_bad_and_names_the_command() {
        let finding = file_descriptors(u64::MAX / 2);
        assert_eq!(finding.verdict, Verdict::Bad);
        assert!(finding.mend.expect("there is a mend").starts_with("ulimit -n "));
        assert_eq!(file_descriptors(0).verdict, Verdict::Good);
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
