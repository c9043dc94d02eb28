//! Whether the figures are the server's. A load generator that cannot keep up measures itself: it
//! sends late, and what it reports as the server's slowness is its own. So the run is held against
//! what only the generator can be to blame for, and is called invalid when that is too much of it.
//! What a slow server causes (requests that wait because every connection is busy) is the server's,
//! and never makes a run invalid.

use std::cmp::Ordering;
use std::time::Duration;

use super::thresholds::thresholds;
use super::window::Window;
use crate::measure::{Counts, Failure, Totals, Trend};
use crate::outcome::{Ending, Health, KernelCounters, Part};
use crate::plan::{Comparison, Executor, Metric, Plan, Threshold};

/// A due request that is noticed within this is on time: the grain of a kernel's scheduling.
const LAG_MS_UNHARMFUL: f64 = 1.0;
/// Latency counts from when a request was due, so the lag is contained in it. Up to this share of
/// the reported p99 it changes no conclusion that three noisy digits allow; above, a reader would
/// take for the server's what is not.
const LAG_SHARE_MAX: f64 = 0.2;
/// So many late requests of a scenario are no sign that the generator was the bottleneck.
const LATE_FEW: f64 = 3.0;
/// However slow the server: from here on arrivals come in bursts (at 1M a minute, of 800 at once),
/// and the load is no longer the one that was asked for.
const LAG_MS_MAX: f64 = 50.0;
/// A worker that used more of its core had no time to be prompt in.
const CPU_SHARE_MAX: f64 = 0.95;
/// From here on it may have been late at times that an average hides.
const CPU_SHARE_HIGH: f64 = 0.8;
/// The least time after which Linux sends a segment again (TCP_RTO_MIN).
const RETRANSMIT_MS_MIN: f64 = 200.0;
/// A share of requests too small to speak of.
const SHARE_NEGLIGIBLE: f64 = 0.01;

/// What is known of a run beside its plan and totals.
#[derive(Debug, Clone, Copy)]
pub struct Evidence {
    /// From the first scenario's start to the last answer.
    pub elapsed: Duration,
    /// How it ended.
    pub ending: Ending,
    /// When no further request was to begin, counted from the run's start, if that was before the
    /// plan's end.
    pub stopped_at: Option<Duration>,
    /// What the kernel counted meanwhile; `None` where it does not show it.
    pub kernel: Option<KernelCounters>,
    /// Whether a part of the plan was lost with its machine.
    pub partial: bool,
}

/// What the judgement is made of.
struct Facts<'a> {
    plan: &'a Plan,
    evidence: &'a Evidence,
    counts: Counts,
    /// Checks made, and of those passed.
    checks: (u64, u64),
    window: Option<Window>,
    /// Of all open models together, for who asks how late the generator was.
    lag_p99_ms: Option<f64>,
    /// Whether the thresholds hold whatever the lag, and the rate was reached: see [`bounds_hold`].
    bounds_hold: bool,
    /// Of the one whose figures its lag spoils most: what one scenario waits for another may not hide.
    worst: Option<Late>,
    blocked_p99_ms: Option<f64>,
    /// Over all requests.
    duration_max_ms: Option<f64>,
    cpu_share_max: f64,
    workers: usize,
    /// See [`Health::waited`].
    waited: Part,
}

/// How late requests of one scenario were noticed, and what is reported of them.
#[derive(Debug, Clone, Copy)]
struct Late {
    lag_p99_ms: f64,
    /// From when due.
    duration_p99_ms: Option<f64>,
    /// Whether more were late than the first ones, which connections are made for.
    were_many: bool,
}

impl Late {
    fn of(totals: &Totals, scenario: usize) -> Option<Self> {
        let p99 = |trend| totals.scenarios[scenario].trend(trend).percentile_ms(99.0);
        let lag = totals.scenarios[scenario].trend(Trend::ScheduleLag);
        // Of a hundred requests the p99 is that of one.
        let but_few = 100.0 * (1.0 - LATE_FEW / lag.len().max(1) as f64);
        Some(Self {
            lag_p99_ms: p99(Trend::ScheduleLag)?,
            duration_p99_ms: p99(Trend::Duration),
            were_many: but_few > 0.0
                && lag.percentile_ms(but_few).is_some_and(|lag| lag > LAG_MS_UNHARMFUL),
        })
    }

    /// How much of the reported p99 it makes up.
    fn share(&self) -> f64 {
        // Without a latency there is none to spoil.
        self.duration_p99_ms.map_or(0.0, |p99_ms| self.lag_p99_ms / p99_ms)
    }

    fn is_harmful(&self) -> bool {
        let spoils = self.lag_p99_ms > LAG_MS_UNHARMFUL && self.share() > LAG_SHARE_MAX;
        self.were_many && (self.lag_p99_ms > LAG_MS_MAX || spoils)
    }
}

/// Judges the generator.
pub fn health(plan: &Plan, totals: &Totals, evidence: &Evidence) -> Health {
    let is_open = |n: usize| matches!(plan.scenarios[n].executor, Executor::Arrivals(_));
    let p99 = |trend| totals.trend(trend, is_open).percentile_ms(99.0);
    let open = totals.counts(is_open);
    let worker_cpu_shares = totals.worker_cpu_shares();
    let facts = Facts {
        plan,
        evidence,
        bounds_hold: bounds_hold(plan, totals, evidence.elapsed),
        counts: totals.counts(|_| true),
        checks: totals.checks(|_| true),
        waited: Part { count: open.waited + totals.gauges().waiting, of: open.due },
        window: Window::of(plan, totals, evidence.stopped_at),
        lag_p99_ms: p99(Trend::ScheduleLag),
        worst: (0..plan.scenarios.len()).filter_map(|scenario| Late::of(totals, scenario)).max_by(
            |one, two| {
                let key = |late: &Late| (late.is_harmful(), late.share());
                key(one).partial_cmp(&key(two)).unwrap_or(Ordering::Equal)
            },
        ),
        blocked_p99_ms: p99(Trend::Blocked),
        duration_max_ms: totals.trend(Trend::Duration, |_| true).max_ms(),
        cpu_share_max: worker_cpu_shares.iter().copied().fold(0.0, f64::max),
        workers: worker_cpu_shares.len(),
    };
    let elapsed_s = evidence.elapsed.as_secs_f64();
    let over_elapsed = if elapsed_s > 0.0 { facts.counts.started as f64 / elapsed_s } else { 0.0 };
    let window = facts.window.as_ref();
    let invalid = [facts.lag(), facts.cpu(), facts.no_socket(), facts.undelivered()];
    let warnings = [
        facts.ended_early(),
        facts.failed(),
        facts.closed_model(),
        facts.lag_noticeable(),
        facts.cpu_high(),
        facts.waited(),
        facts.dropped(),
        facts.left_open(),
        facts.cut_off(),
        facts.overflows(),
        facts.retransmits(),
        facts.kernel_unknown(),
    ];
    Health {
        invalid: invalid.into_iter().flatten().collect(),
        warnings: warnings.into_iter().flatten().collect(),
        schedule_lag_p99_ms: facts.lag_p99_ms,
        answered: facts.counts.answered,
        unmet: unmet(totals),
        asked_per_second: window.and_then(|window| window.per_second(window.asked)),
        achieved_per_second: window
            .and_then(|window| window.per_second(window.sent))
            .unwrap_or(over_elapsed),
        waited: window.is_some().then_some(facts.waited),
        worker_cpu_shares,
        kernel: evidence.kernel,
    }
}

/// Whether there are thresholds of latencies, all of them upper bounds, and every threshold is met. Lag raises
/// latencies and changes nothing else.
fn bounds_hold(plan: &Plan, totals: &Totals, elapsed: Duration) -> bool {
    let is_latency =
        |it: &&Threshold| matches!(it.metric, Metric::Trend(_) | Metric::DurationOfExpected);
    let is_upper = |it: &Threshold| matches!(it.comparison, Comparison::Below | Comparison::AtMost);
    let mut latencies = plan.thresholds.iter().filter(is_latency).peekable();
    latencies.peek().is_some()
        && latencies.all(is_upper)
        && thresholds(plan, totals, elapsed).iter().all(|result| result.passed)
}

/// See [`Health::unmet`].
fn unmet(totals: &Totals) -> Part {
    let of_scenario = |counts: &Counts| {
        let fails = counts.checks_passed.iter().map(|passed| counts.ended.saturating_sub(*passed));
        fails.max().unwrap_or(0).max(counts.failed)
    };
    Part {
        count: totals.scenarios.iter().map(|scenario| of_scenario(&scenario.counts)).sum(),
        of: totals.scenarios.iter().map(|scenario| scenario.counts.ended).sum(),
    }
}

/// What makes a run invalid: each a sentence with the figure and what mends it.
impl Facts<'_> {
    fn lag(&self) -> Option<String> {
        let late = self.worst.filter(|late| late.is_harmful() && !self.lag_is_excused())?;
        let of = match late.duration_p99_ms {
            Some(p99_ms) if p99_ms > 0.0 => format!(
                ", {:.0}% of the reported p99 of {}",
                (late.share() * 100.0).min(100.0),
                ms(p99_ms)
            ),
            _ => String::new(),
        };
        Some(format!(
            "The generator noticed due requests {} late (p99 of schedule_lag){of}: the latencies are \
             partly its own. Give it cores of its own (`taskset`), more workers (--threads), a lower \
             --rate, or more machines (`inhale load agent`).",
            ms(late.lag_p99_ms)
        ))
    }

    fn lag_is_harmful(&self) -> bool {
        self.worst.is_some_and(|late| late.is_harmful())
    }

    /// Lag only raises latencies: an upper bound that held with the requested rate reached holds without it.
    fn lag_is_excused(&self) -> bool {
        self.bounds_hold
            && self.undelivered().is_none()
            && self.evidence.ending == Ending::Completed
    }

    /// A saturated worker serves each connection after all others, which its latencies contain. In
    /// an open model that shows as lateness, without which no harm was done; in a closed model there
    /// is no due time it could be seen by, and the rate is the generator's own highest.
    fn cpu(&self) -> Option<String> {
        if self.cpu_share_max < CPU_SHARE_MAX {
            return None;
        }
        let late = self.lag_p99_ms.is_some_and(|lag_ms| lag_ms > LAG_MS_UNHARMFUL)
            || self.is_notable(self.waited.count, self.waited.of);
        let what = match (late, self.has_closed()) {
            (true, false) if self.lag_is_excused() => return None,
            (true, _) => " while requests were late",
            (false, true) => ", so the rate and the latencies are what it could do, not the server",
            (false, false) => return None,
        };
        Some(format!(
            "A worker of the generator used {:.0}% of a core{what}. Use more workers (--threads, \
             now {}) where there are cores for them, or more machines (`inhale load agent`).",
            self.cpu_share_max * 100.0,
            self.workers
        ))
    }

    fn no_socket(&self) -> Option<String> {
        let without = self.counts.failures[Failure::NoSocket as usize];
        (without > 0).then(|| {
            format!(
                "{without} requests had no socket to be sent on: this machine was out of ports or \
                 file descriptors. Allow more of them (`sudo sysctl -w \
                 net.ipv4.ip_local_port_range='1024 65535'`, `ulimit -n`), use more source addresses \
                 (--local-ips), or keep connections alive."
            )
        })
    }

    /// What was asked and not sent, though no connection was waited for. A run that was ended early
    /// has an edge too ragged to be counted by.
    fn undelivered(&self) -> Option<String> {
        // What was lost with a machine is told as that, and says nothing of the others' pace.
        let whole = self.evidence.ending == Ending::Completed && !self.evidence.partial;
        let window = self.window.filter(|_| whole)?;
        let unsent = window.asked.saturating_sub(window.sent);
        let missing = unsent.saturating_sub(self.waited.count);
        self.is_notable(missing, window.asked).then(|| {
            format!(
                "{:.0} requests a second were asked for and {:.0} were sent in time, though \
                 connections were free: the generator did not keep up. Use more workers (--threads), \
                 a lower --rate, or more machines (`inhale load agent`).",
                window.per_second(window.asked).unwrap_or_default(),
                window.per_second(window.sent).unwrap_or_default()
            )
        })
    }
}

/// What should be known when reading the figures.
impl Facts<'_> {
    fn ended_early(&self) -> Option<String> {
        let why = match self.evidence.ending {
            Ending::Completed => return None,
            Ending::Interrupted => "by hand or by a signal",
            Ending::Aborted => "because a threshold did not hold",
            Ending::Lost => "because an agent was lost",
        };
        let Some(at) = self.evidence.stopped_at else {
            return Some(format!(
                "The run was ended {why} while the last answers were waited for."
            ));
        };
        Some(format!(
            "The run was ended {why} after {:.1} s of {:.1} s; the figures are of that part.",
            at.as_secs_f64(),
            self.plan.duration().as_secs_f64()
        ))
    }

    /// That so many failed is in the figures; but without a threshold the exit code hides it.
    fn failed(&self) -> Option<String> {
        use Metric::{CheckFailureRate, Checks, HttpReqFailed};
        let watched =
            |it: &Threshold| matches!(it.metric, Checks | CheckFailureRate | HttpReqFailed);
        if self.plan.thresholds.iter().any(watched) {
            return None;
        }
        let (failed, ended) = (self.counts.failed, self.counts.ended);
        let (made, passed) = self.checks;
        let (what, threshold) = if self.is_notable(failed, ended) {
            (format!("{failed} of {ended} requests"), "http_req_failed: rate<0.01")
        } else if self.is_notable(made - passed, made) {
            (format!("{} of {made} checks", made - passed), "check_failure_rate: rate<0.01")
        } else {
            return None;
        };
        Some(format!(
            "{what} failed, and no threshold says how many may: with --threshold '{threshold}' such a \
             run fails."
        ))
    }

    fn closed_model(&self) -> Option<String> {
        self.has_closed().then(|| {
            "Closed model: users wait for their answers, so a stalled server is asked less and its \
             stalls hardly show in the percentiles. An arrival rate (--rate) counts what users who \
             come regardless would have waited."
                .to_owned()
        })
    }

    fn lag_noticeable(&self) -> Option<String> {
        let lag_ms = self.lag_p99_ms.filter(|lag_ms| *lag_ms > LAG_MS_UNHARMFUL)?;
        if self.lag_is_harmful() && self.lag_is_excused() {
            return Some(format!(
                "The generator noticed due requests up to {} late (p99 of schedule_lag), so the latencies \
                 are partly its own and the server's are lower: the upper bounds that were met hold, the \
                 figures themselves are too high. Give it cores of its own (`taskset`) or more --threads.",
                ms(lag_ms)
            ));
        }
        (!self.lag_is_harmful()).then(|| {
            format!(
                "The generator noticed due requests up to {} late (p99 of schedule_lag), which the \
                 latencies contain; cores of its own (`taskset`) or more --threads lessen it.",
                ms(lag_ms)
            )
        })
    }

    fn cpu_high(&self) -> Option<String> {
        let high = self.cpu_share_max >= CPU_SHARE_HIGH && self.cpu().is_none();
        high.then(|| {
            format!(
                "A worker of the generator used {:.0}% of a core; for a higher rate it needs more \
                 --threads or more machines (`inhale load agent`).",
                self.cpu_share_max * 100.0
            )
        })
    }

    /// All connections were busy. Unless the generator was late, that is the server's slowness, and is
    /// in the latencies as such; whether more connections would help only trying can tell.
    fn waited(&self) -> Option<String> {
        let Part { count: waited, of: due } = self.waited;
        if !self.is_notable(waited, due) {
            return None;
        }
        let blocked = self.blocked_p99_ms.map(|p99_ms| format!(", for {} (p99)", ms(p99_ms)));
        let (blocked, all) = (blocked.unwrap_or_default(), self.connections());
        Some(if self.lag_is_harmful() {
            format!(
                "{waited} of {due} requests waited for one of {all} connections to be free{blocked}; a \
                 generator that is late sends in bursts, so this may be its doing, too."
            )
        } else {
            format!(
                "{waited} of {due} requests waited for a connection to be free{blocked}: all {all} \
                 were busy with a server that took its time, and the waiting counts as the server's. \
                 If it can serve more at once, raise --connections."
            )
        })
    }

    fn dropped(&self) -> Option<String> {
        let dropped = self.counts.dropped;
        (dropped > 0).then(|| {
            let why = match self.evidence.ending {
                Ending::Completed => {
                    "a limit of the plan forbade it (--late-max, --graceful-stop, or \
                                      the time that iterations have)"
                }
                _ => "the run was ended or a limit forbade it",
            };
            format!(
                "{dropped} iterations were due and not started, because {why} \
                 (dropped_iterations); the latencies know nothing of them."
            )
        })
    }

    /// Each took one of the connections until the generator closed it.
    fn left_open(&self) -> Option<String> {
        let left_open = self.counts.left_open;
        self.is_notable(left_open, self.counts.connections).then(|| {
            format!(
                "The server left {left_open} connections open that it was asked to close; the \
                 generator waited for each, closed it itself, and keeps its port for a minute. With \
                 --close client nothing is asked of the server, and nobody waits."
            )
        })
    }

    fn cut_off(&self) -> Option<String> {
        let cut_off = self.counts.failures[Failure::Interrupted as usize];
        (cut_off > 0).then(|| {
            format!(
                "{cut_off} requests had no answer yet when the run ended, and count as failed after \
                 as long as they had waited; --graceful-stop (now {:.0} s) gives them longer.",
                self.plan.graceful_stop.as_secs_f64()
            )
        })
    }

    fn overflows(&self) -> Option<String> {
        let kernel = self.evidence.kernel?;
        (kernel.listen_overflows > 0).then(|| {
            format!(
                "{} connections, of any program on this host, met a full listen queue and had to retry \
                 a second later; if the server runs here: `sudo sysctl -w net.core.somaxconn=65535`, \
                 and start it anew.",
                kernel.listen_overflows
            )
        })
    }

    fn retransmits(&self) -> Option<String> {
        let again = self.evidence.kernel?.retransmits;
        // One of ours would have made its request at least as late.
        let could_be_ours = self.duration_max_ms.is_none_or(|max_ms| max_ms >= RETRANSMIT_MS_MIN);
        (could_be_ours && self.is_notable(again, self.counts.started)).then(|| {
            format!(
                "This host retransmitted {again} TCP segments, of any program, each at least 200 ms late: \
                 a network or a queue on the way was full."
            )
        })
    }

    fn kernel_unknown(&self) -> Option<String> {
        // A machine that was lost has not told.
        (self.evidence.kernel.is_none() && !self.evidence.partial).then(|| {
            "The kernel does not show its counters of TCP (/proc/net/netstat), so overflows and \
             retransmits are not known."
                .to_owned()
        })
    }

    fn has_closed(&self) -> bool {
        !self.plan.scenarios.iter().all(|s| matches!(s.executor, Executor::Arrivals(_)))
    }

    /// Connections that open models may have at once.
    fn connections(&self) -> usize {
        let open =
            self.plan.scenarios.iter().filter(|s| matches!(s.executor, Executor::Arrivals(_)));
        open.map(|scenario| scenario.connections.keeping.max()).sum()
    }

    fn is_notable(&self, part: u64, whole: u64) -> bool {
        part > 0 && part as f64 > whole as f64 * SHARE_NEGLIGIBLE
    }
}

/// A time with as many digits as it deserves.
fn ms(time_ms: f64) -> String {
    match time_ms {
        short if short < 10.0 => format!("{short:.2} ms"),
        medium if medium < 1_000.0 => format!("{medium:.0} ms"),
        long => format!("{:.1} s", long / 1_000.0),
    }
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
