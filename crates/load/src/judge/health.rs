//! Whether the figures are the server's. A load generator that cannot keep up measures itself: it
//! sends late, and what it reports as the server's slowness is its own. So the run is held against
//! what only the generator can be to blame for, and is called invalid when that is too much of it.
//! What a slow server causes (requests that wait because every connection is busy) is the server's,
//! and never makes a run invalid.

use std::cmp::Ordering;
use std::time::Duration;

use super::window::Window;
use crate::measure::{Counts, Failure, Totals, Trend};
use crate::outcome::{Ending, Health, KernelCounters};
use crate::plan::{Executor, Keeping, Plan};

/// A due request that is noticed within this is on time: the grain of a kernel's scheduling.
const LAG_MS_UNHARMFUL: f64 = 1.0;
/// Latency counts from when a request was due, so the lag is contained in it. Up to this share of
/// the reported p99 it changes no conclusion that three noisy digits allow; above, a reader would
/// take for the server's what is not.
const LAG_SHARE_MAX: f64 = 0.2;
/// However slow the server: from here on arrivals come in bursts (at 1M a minute, of 800 at once),
/// and the load is no longer the one that was asked for.
const LAG_MS_MAX: f64 = 50.0;
/// A worker that used more of its core had no time to be prompt in.
const CPU_SHARE_MAX: f64 = 0.95;
/// From here on it may have been late at times that an average hides.
const CPU_SHARE_HIGH: f64 = 0.8;
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
    /// The same of open models alone.
    open: Counts,
    window: Option<Window>,
    /// Of all open models together, for who asks how late the generator was.
    lag_p99_ms: Option<f64>,
    /// Of the one whose figures its lag spoils most: what one scenario waits for another may not hide.
    worst: Option<Late>,
    blocked_p99_ms: Option<f64>,
    cpu_share_max: f64,
    workers: usize,
    /// Due and without a connection when the run ended.
    waiting: u64,
}

/// How late requests of one scenario were noticed, and what is reported of them.
#[derive(Debug, Clone, Copy)]
struct Late {
    lag_p99_ms: f64,
    /// From when due.
    duration_p99_ms: Option<f64>,
}

impl Late {
    fn of(totals: &Totals, scenario: usize) -> Option<Self> {
        let p99 = |trend| totals.scenarios[scenario].trend(trend).percentile_ms(99.0);
        let duration_p99_ms = p99(Trend::Duration);
        Some(Self { lag_p99_ms: p99(Trend::ScheduleLag)?, duration_p99_ms })
    }

    /// How much of the reported p99 it makes up.
    fn share(&self) -> f64 {
        self.duration_p99_ms.map_or(f64::INFINITY, |p99_ms| self.lag_p99_ms / p99_ms)
    }

    fn is_harmful(&self) -> bool {
        let spoils = self.lag_p99_ms > LAG_MS_UNHARMFUL && self.share() > LAG_SHARE_MAX;
        self.lag_p99_ms > LAG_MS_MAX || spoils
    }
}

/// Judges the generator.
pub fn health(plan: &Plan, totals: &Totals, evidence: &Evidence) -> Health {
    let is_open = |n: usize| matches!(plan.scenarios[n].executor, Executor::Arrivals(_));
    let p99 = |trend| totals.trend(trend, is_open).percentile_ms(99.0);
    let worker_cpu_shares = totals.worker_cpu_shares();
    let facts = Facts {
        plan,
        evidence,
        counts: totals.counts(|_| true),
        open: totals.counts(is_open),
        window: Window::of(plan, totals, evidence.stopped_at),
        lag_p99_ms: p99(Trend::ScheduleLag),
        worst: (0..plan.scenarios.len())
            .filter(|scenario| is_open(*scenario))
            .filter_map(|scenario| Late::of(totals, scenario))
            .max_by(|one, two| {
                let key = |late: &Late| (late.is_harmful(), late.share());
                key(one).partial_cmp(&key(two)).unwrap_or(Ordering::Equal)
            }),
        blocked_p99_ms: p99(Trend::Blocked),
        cpu_share_max: worker_cpu_shares.iter().copied().fold(0.0, f64::max),
        workers: worker_cpu_shares.len(),
        waiting: totals.gauges().waiting,
    };
    let elapsed_s = evidence.elapsed.as_secs_f64();
    let over_elapsed = if elapsed_s > 0.0 { facts.counts.started as f64 / elapsed_s } else { 0.0 };
    let window = facts.window.as_ref();
    let invalid = [facts.lag(), facts.cpu(), facts.no_socket(), facts.undelivered()];
    let warnings = [
        facts.ended_early(),
        facts.closed_model(),
        facts.lag_noticeable(),
        facts.cpu_high(),
        facts.waited(),
        facts.dropped(),
        facts.cut_off(),
        facts.overflows(),
        facts.retransmits(),
        facts.kernel_unknown(),
    ];
    Health {
        invalid: invalid.into_iter().flatten().collect(),
        warnings: warnings.into_iter().flatten().collect(),
        schedule_lag_p99_ms: facts.lag_p99_ms,
        asked_per_second: window.and_then(|window| window.per_second(window.asked)),
        achieved_per_second: window
            .and_then(|window| window.per_second(window.sent))
            .unwrap_or(over_elapsed),
        worker_cpu_shares,
        kernel: evidence.kernel.unwrap_or_default(),
    }
}

/// What makes a run invalid: each a sentence with the figure and what mends it.
impl Facts<'_> {
    fn lag(&self) -> Option<String> {
        let late = self.worst.filter(Late::is_harmful)?;
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

    /// A saturated worker serves each connection after all others, which its latencies contain. In
    /// an open model that shows as lateness, without which no harm was done; in a closed model there
    /// is no due time it could be seen by, and the rate is the generator's own highest.
    fn cpu(&self) -> Option<String> {
        if self.cpu_share_max < CPU_SHARE_MAX {
            return None;
        }
        let late = self.lag_p99_ms.is_some_and(|lag_ms| lag_ms > LAG_MS_UNHARMFUL)
            || self.is_notable(self.open.waited + self.waiting, self.open.due);
        let what = match (late, self.has_closed()) {
            (true, _) => "while requests were late",
            (false, true) => "so the rate and the latencies are what it could do, not the server",
            (false, false) => return None,
        };
        Some(format!(
            "A worker of the generator used {:.0}% of a core {what}. Use more workers (--threads, \
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
        let explained = self.open.waited + self.waiting + self.open.dropped;
        let missing = window.asked.saturating_sub(window.sent).saturating_sub(explained);
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
        };
        let at = self.evidence.stopped_at.unwrap_or(self.evidence.elapsed);
        Some(format!(
            "The run was ended {why} after {:.1} s of {:.1} s; the figures are of that part.",
            at.as_secs_f64(),
            self.plan.duration().as_secs_f64()
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
        let waited = self.open.waited + self.waiting;
        if !self.is_notable(waited, self.open.due) {
            return None;
        }
        let blocked = self.blocked_p99_ms.map(|p99_ms| format!(", for {} (p99)", ms(p99_ms)));
        let (blocked, all) = (blocked.unwrap_or_default(), self.connections());
        let due = self.open.due;
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
            format!(
                "{dropped} iterations were due and not started, because a limit of the plan forbade \
                 it (dropped_iterations); the latencies know nothing of them."
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
                "{} connections met a full queue of a listener on this machine and had to try again \
                 a second later; if the server runs here: `sudo sysctl -w net.core.somaxconn=65535`, \
                 and start it anew.",
                kernel.listen_overflows
            )
        })
    }

    fn retransmits(&self) -> Option<String> {
        let again = self.evidence.kernel?.retransmits;
        self.is_notable(again, self.counts.started).then(|| {
            format!(
                "The kernel sent {again} segments of TCP again, each at least 200 ms late: a network \
                 or a queue on the way was full."
            )
        })
    }

    fn kernel_unknown(&self) -> Option<String> {
        self.evidence.kernel.is_none().then(|| {
            "The kernel does not show its counters of TCP (/proc/net/netstat), so overflows and \
             retransmits are not known."
                .to_owned()
        })
    }

    fn has_closed(&self) -> bool {
        !self.plan.scenarios.iter().all(|s| matches!(s.executor, Executor::Arrivals(_)))
    }

    /// Connections that open models may have at once on a machine.
    fn connections(&self) -> usize {
        let open =
            self.plan.scenarios.iter().filter(|s| matches!(s.executor, Executor::Arrivals(_)));
        open.map(|scenario| match scenario.connections.keeping {
            Keeping::Alive { max } | Keeping::PerRequest { max, .. } => max,
        })
        .sum()
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
mod tests {
    use super::*;
    use crate::fixture::{self, Figures, MS, Waited};
    use crate::measure::Ended;

    const COMPLETED: Evidence = Evidence {
        elapsed: Duration::from_secs(10),
        ending: Ending::Completed,
        stopped_at: None,
        kernel: Some(KernelCounters { listen_overflows: 0, listen_drops: 0, retransmits: 0 }),
        partial: false,
    };

    /// The plan's thousand requests, each noticed so late and answered after so long.
    fn thousand(lag_ms: u64, took_ms: u64) -> Figures {
        let mut figures = Figures::new(&[1]);
        for _ in 0..1_000 {
            figures.ended(0, lag_ms * MS, took_ms * MS, Ended::Answered(201), 1);
        }
        figures
    }

    fn judged(plan: &Plan, figures: Figures) -> Health {
        health(plan, &figures.totals(), &COMPLETED)
    }

    /// Fails unless just one sentence of `said` is there and holds all of `words`.
    #[track_caller]
    fn check(said: &[String], words: &[&str]) {
        let [only] = said else { panic!("not one sentence: {said:?}") };
        for word in words {
            assert!(only.contains(word), "no `{word}` in: {only}");
        }
        assert!(only.ends_with('.'), "{only}");
    }

    #[test]
    fn a_prompt_generator_is_well() {
        let health = judged(&fixture::plan(), thousand(0, 5));
        assert_eq!((health.invalid.len(), health.warnings.len()), (0, 0), "{health:?}");
        assert_eq!(health.asked_per_second, Some(100.0));
        assert!((health.achieved_per_second - 100.0).abs() < 1e-9);
        assert!(health.schedule_lag_p99_ms.is_some_and(|lag_ms| lag_ms < 0.001));
        assert!((health.worker_cpu_shares[0] - 0.1).abs() < 1e-9);
    }

    #[test]
    fn a_slow_scenario_hides_no_lag_of_a_fast_one() {
        let mut plan = fixture::plan();
        plan.scenarios.push(fixture::scenario("slow"));
        let both = |lag_ms: u64| {
            let mut figures = Figures::new(&[1, 1]);
            for _ in 0..1_000 {
                figures.ended(0, lag_ms * MS, (lag_ms + 2) * MS, Ended::Answered(201), 1);
                figures.ended(1, lag_ms * MS, 2_000 * MS, Ended::Answered(201), 1);
            }
            judged(&plan, figures)
        };
        check(&both(40).invalid, &["noticed due requests 40", "95% of the reported p99"]);
        assert_eq!(both(0).invalid, Vec::<String>::new());
    }

    #[test]
    fn lag_is_held_against_the_latency_it_is_in() {
        for (lag_ms, took_ms, valid) in
            [(0, 1, true), (2, 5, false), (2, 20, true), (40, 900, true), (60, 900, false)]
        {
            let health = judged(&fixture::plan(), thousand(lag_ms, took_ms));
            let why = format!("{lag_ms} of {took_ms} ms: {health:?}");
            assert_eq!(health.invalid.is_empty(), valid, "{why}");
            if valid && lag_ms > 0 {
                check(&health.warnings, &["schedule_lag"]);
            }
        }
        let health = judged(&fixture::plan(), thousand(2, 5));
        check(
            &health.invalid,
            &["2.00 ms late", "40% of the reported p99 of 5.00 ms", "--threads"],
        );
    }

    #[test]
    fn a_saturated_worker_is_to_blame_when_requests_were_late() {
        let late = |waited: Waited, cpu: f64| {
            let mut figures = Figures::new(&[1]);
            for _ in 0..1_000 {
                figures.due(0, Some(waited));
                figures.sample(0, 5 * MS, Ended::Answered(201), 1);
            }
            figures.tick(10_000 * MS, cpu);
            judged(&fixture::plan(), figures)
        };
        check(&late(Waited::Yes, 0.97).invalid, &["97% of a core", "while requests were late"]);
        let busy_and_prompt = late(Waited::No, 0.97);
        assert!(busy_and_prompt.invalid.is_empty(), "{busy_and_prompt:?}");
        check(&busy_and_prompt.warnings, &["97% of a core"]);
        assert!(late(Waited::Yes, 0.5).invalid.is_empty(), "then the server was slow");
    }

    #[test]
    fn a_late_generator_does_not_blame_the_server_for_waiting() {
        let mut figures = thousand(60, 5);
        for _ in 0..1_000 {
            figures.due(0, Some(Waited::Yes));
        }
        let health = judged(&fixture::plan(), figures);
        assert_eq!(health.invalid.len(), 1, "{health:?}");
        check(&health.warnings, &["1000 of 2000 requests waited", "may be its doing"]);
    }

    #[test]
    fn a_closed_model_shows_saturation_by_the_worker_alone() {
        let mut plan = fixture::plan();
        plan.scenarios[0].executor = fixture::users(10, 100);
        let at = |cpu: f64| {
            let mut figures = thousand(0, 5);
            figures.tick(10_000 * MS, cpu);
            judged(&plan, figures)
        };
        check(&at(0.96).invalid, &["96% of a core", "not the server"]);
        let well = at(0.5);
        assert!(well.invalid.is_empty(), "{well:?}");
        check(&well.warnings, &["Closed model", "--rate"]);
        assert_eq!((well.schedule_lag_p99_ms, well.asked_per_second), (None, None));
        assert!((well.achieved_per_second - 100.0).abs() < 1e-9);
    }

    #[test]
    fn want_of_sockets_is_the_generators() {
        let mut figures = thousand(0, 5);
        figures.ended(0, 0, 0, Ended::Failed(Failure::NoSocket), 0);
        check(
            &judged(&fixture::plan(), figures).invalid,
            &["1 requests had no socket", "sysctl -w", "ulimit -n", "--local-ips"],
        );
        let mut figures = thousand(0, 5);
        figures.ended(0, 0, 0, Ended::Failed(Failure::Refused), 0);
        assert!(judged(&fixture::plan(), figures).invalid.is_empty(), "the server's");
    }

    /// 800 requests sent in time, 200 in the end or not at all.
    fn short_of_200(sent: Option<Waited>) -> Health {
        let mut figures = Figures::new(&[1]);
        for _ in 0..800 {
            figures.answered(0, 5 * MS, 201, 1);
        }
        figures.tick(10_500 * MS, 0.1);
        for _ in 0..200 {
            figures.due(0, sent);
        }
        figures.tick(11_000 * MS, 0.1);
        judged(&fixture::plan(), figures)
    }

    #[test]
    fn a_rate_that_was_not_delivered_is_the_generators_if_connections_were_free() {
        check(&short_of_200(Some(Waited::No)).invalid, &["100 requests", "80 were sent", "--rate"]);
        check(&short_of_200(None).invalid, &["100 requests", "80 were sent"]);
        let slow_server = short_of_200(Some(Waited::Yes));
        assert!(slow_server.invalid.is_empty(), "{slow_server:?}");
        check(
            &slow_server.warnings,
            &["200 of 1000 requests waited", "all 10 were busy", "--connections"],
        );
        assert!((slow_server.achieved_per_second - 80.0).abs() < 1e-9);
    }

    #[test]
    fn what_was_lost_with_a_machine_is_not_the_others_slowness() {
        let figures = || {
            let mut figures = Figures::new(&[1]);
            for _ in 0..500 {
                figures.answered(0, 5 * MS, 201, 1);
            }
            figures.tick(11_000 * MS, 0.1);
            figures.totals()
        };
        let judged = |partial| {
            health(&fixture::plan(), &figures(), &Evidence { partial, ..COMPLETED }).invalid
        };
        assert_eq!(judged(true), Vec::<String>::new());
        check(&judged(false), &["50 were sent"]);
    }

    #[test]
    fn what_a_limit_forbade_is_told() {
        let mut figures = Figures::new(&[1]);
        for _ in 0..900 {
            figures.answered(0, 5 * MS, 201, 1);
        }
        figures.dropped(0, 100);
        let health = judged(&fixture::plan(), figures);
        assert!(health.invalid.is_empty(), "{health:?}");
        check(&health.warnings, &["100 iterations", "dropped_iterations"]);
    }

    #[test]
    fn a_run_that_was_ended_is_of_a_part() {
        for (ending, word) in [(Ending::Interrupted, "by hand"), (Ending::Aborted, "a threshold")] {
            let mut figures = Figures::new(&[1]);
            for _ in 0..400 {
                figures.answered(0, 5 * MS, 201, 1);
            }
            figures.tick(4_000 * MS, 0.1);
            let stopped_at = Some(Duration::from_secs(4));
            let elapsed = Duration::from_secs(4);
            let evidence = Evidence { ending, stopped_at, elapsed, ..COMPLETED };
            let health = health(&fixture::plan(), &figures.totals(), &evidence);
            assert!(health.invalid.is_empty(), "{health:?}");
            check(&health.warnings, &[word, "4.0 s of 10.0 s"]);
            assert_eq!(health.asked_per_second, Some(100.0));
        }
    }

    #[test]
    fn what_was_in_flight_at_the_end_is_told() {
        let mut figures = thousand(0, 5);
        figures.sample(0, 5 * MS, Ended::Failed(Failure::Interrupted), 0);
        check(
            &judged(&fixture::plan(), figures).warnings,
            &["1 requests", "--graceful-stop (now 30 s)"],
        );
    }

    #[test]
    fn the_kernels_counters_are_told() {
        let with = |kernel| {
            let evidence = Evidence { kernel, ..COMPLETED };
            health(&fixture::plan(), &thousand(0, 5).totals(), &evidence)
        };
        let counters = KernelCounters { listen_overflows: 3, listen_drops: 3, retransmits: 5 };
        check(&with(Some(counters)).warnings, &["3 connections", "net.core.somaxconn"]);
        assert_eq!(with(Some(counters)).kernel, counters);
        let counters = KernelCounters { retransmits: 50, ..KernelCounters::default() };
        check(&with(Some(counters)).warnings, &["50 segments"]);
        check(&with(None).warnings, &["/proc/net/netstat"]);
        assert_eq!(with(None).kernel, KernelCounters::default());
    }
}
