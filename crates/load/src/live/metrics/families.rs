//! The metrics of a run, by name.

use std::time::Duration;

use crate::measure::{Counts, Failure, TotalTimes, Totals, Trend};
use crate::plan::Plan;

use super::exposition::{Buckets, Exposition};

/// A run so far, as a page.
pub(super) fn page(plan: &Plan, totals: &Totals, at: Duration) -> String {
    let mut page = Exposition::default();
    counters(&mut page, plan, totals);
    outcomes(&mut page, plan, totals);
    checks(&mut page, plan, totals);
    gauges(&mut page, totals, at);
    distributions(&mut page, plan, totals);
    page.into_text()
}

/// A counter: its name, what it counts, and which it is.
type Counter = (&'static str, &'static str, fn(&Counts) -> u64);

const COUNTERS: [Counter; 9] = [
    ("inhale_load_http_reqs_total", "Requests that ended, answered or not.", |c| c.ended),
    ("inhale_load_http_req_failed_total", "Requests without an answer of 200 to 399.", |c| {
        c.failed
    }),
    ("inhale_load_http_reqs_due_total", "Requests whose time had come.", |c| c.due),
    ("inhale_load_http_reqs_sent_total", "Requests that were sent, or tried.", |c| c.started),
    ("inhale_load_http_reqs_waited_total", "Requests that waited for a connection.", |c| c.waited),
    ("inhale_load_dropped_iterations_total", "Requests that a cap forbade to send.", |c| c.dropped),
    ("inhale_load_connections_total", "Connections that were made.", |c| c.connections),
    ("inhale_load_data_sent_bytes_total", "Bytes written.", |c| c.bytes_sent),
    ("inhale_load_data_received_bytes_total", "Bytes read.", |c| c.bytes_received),
];

fn counters(page: &mut Exposition, plan: &Plan, totals: &Totals) {
    for (name, help, count) in COUNTERS {
        let mut family = page.family(name, "counter", help);
        for (scenario, so_far) in plan.scenarios.iter().zip(&totals.scenarios) {
            family.value(&[("scenario", &scenario.name)], count(&so_far.counts));
        }
    }
}

fn outcomes(page: &mut Exposition, plan: &Plan, totals: &Totals) {
    let scenarios = || plan.scenarios.iter().zip(&totals.scenarios);
    let name = "inhale_load_http_responses_total";
    let mut family = page.family(name, "counter", "Whole answers, by status.");
    for (scenario, so_far) in scenarios() {
        for (status, count) in so_far.counts.statuses() {
            let status = status.to_string();
            family.value(&[("scenario", &scenario.name), ("status", &status)], count);
        }
    }
    let name = "inhale_load_http_req_errors_total";
    let mut family = page.family(name, "counter", "Requests without an answer, by what happened.");
    for (scenario, so_far) in scenarios() {
        for failure in Failure::ALL {
            let labels = [("scenario", scenario.name.as_str()), ("error", failure.name())];
            family.value(&labels, so_far.counts.failures[failure as usize]);
        }
    }
}

fn checks(page: &mut Exposition, plan: &Plan, totals: &Totals) {
    let name = "inhale_load_checks_total";
    let mut family = page.family(name, "counter", "Checks of answers, passed and failed.");
    for (scenario, so_far) in plan.scenarios.iter().zip(&totals.scenarios) {
        for (check, passed) in scenario.checks.iter().zip(&so_far.counts.checks_passed) {
            let check = check.to_string();
            let failed = so_far.counts.ended - passed;
            for (result, count) in [("passed", *passed), ("failed", failed)] {
                let labels =
                    [("scenario", scenario.name.as_str()), ("check", &check), ("result", result)];
                family.value(&labels, count);
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds of CPU")]
fn gauges(page: &mut Exposition, totals: &Totals, at: Duration) {
    let now = totals.gauges();
    for (name, help, value) in [
        ("inhale_load_http_reqs_in_flight", "Requests sent and not answered yet.", now.in_flight),
        ("inhale_load_http_reqs_waiting", "Requests due and without a connection.", now.waiting),
        ("inhale_load_vus", "Users at work, or connections that are open.", now.users),
    ] {
        page.family(name, "gauge", help).value(&[], value);
    }
    let elapsed = "Time since the run's start.";
    page.family("inhale_load_elapsed_seconds", "gauge", elapsed).value(&[], at.as_secs_f64());
    let cpu_s = totals.cpu_ns() as f64 / 1e9;
    let cpu = "CPU that the generator's workers used.";
    page.family("inhale_load_generator_cpu_seconds_total", "counter", cpu).value(&[], cpu_s);
}

/// A name for a metric and what it is, as far as it says something.
fn named(trend: Trend) -> (&'static str, &'static str) {
    match trend {
        Trend::Duration => (
            "inhale_load_http_req_duration_seconds",
            "From when a request was due to the last byte of its answer.",
        ),
        Trend::DurationFromSent => (
            "inhale_load_http_req_duration_from_sent_seconds",
            "From the first byte sent to the last byte of the answer.",
        ),
        Trend::DurationOfFailed => (
            "inhale_load_http_req_duration_failed_seconds",
            "From when a request that failed was due to its end.",
        ),
        Trend::Blocked => {
            ("inhale_load_http_req_blocked_seconds", "Waiting for a connection to be free.")
        }
        Trend::Connecting => ("inhale_load_http_req_connecting_seconds", "Connecting."),
        Trend::TlsHandshaking => {
            ("inhale_load_http_req_tls_handshaking_seconds", "The handshake of TLS.")
        }
        Trend::Sending => ("inhale_load_http_req_sending_seconds", "Writing a request."),
        Trend::Waiting => (
            "inhale_load_http_req_waiting_seconds",
            "From the last byte of a request to the first of its answer.",
        ),
        Trend::Receiving => {
            ("inhale_load_http_req_receiving_seconds", "From an answer's first byte to its last.")
        }
        Trend::Iteration => {
            ("inhale_load_iteration_duration_seconds", "A request and the think time after it.")
        }
        Trend::ScheduleLag => (
            "inhale_load_schedule_lag_seconds",
            "How late the generator itself noticed that a request was due.",
        ),
    }
}

fn distributions(page: &mut Exposition, plan: &Plan, totals: &Totals) {
    for trend in Trend::ALL {
        let (name, help) = named(trend);
        let mut family = page.family(name, "histogram", help);
        for (scenario, so_far) in plan.scenarios.iter().zip(&totals.scenarios) {
            let buckets = Buckets::of(so_far.trend(trend));
            family.distribution(&[("scenario", &scenario.name)], &buckets);
        }
    }
}

/// In seconds: from the shortest that matters to the longest that anybody waits.
const BOUNDS_S: [f64; 20] = [
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0,
    2.0, 5.0, 10.0, 20.0, 30.0, 60.0,
];

impl Buckets {
    /// A time counts by the upper end of the histogram's own bucket, 0.1% above it at most.
    #[expect(clippy::cast_precision_loss, reason = "a sum of times")]
    fn of(times: &TotalTimes) -> Self {
        let mut up_to: Vec<(f64, u64)> = BOUNDS_S.map(|bound| (bound, 0)).to_vec();
        for (time_ms, count) in times.buckets_ms() {
            let first = up_to.partition_point(|(bound, _)| *bound * 1e3 < time_ms);
            if let Some((_, of_bound)) = up_to.get_mut(first) {
                *of_bound += count;
            }
        }
        let mut before = 0;
        for (_, count) in &mut up_to {
            before += *count;
            *count = before;
        }
        let sum_s = times.mean_ms().unwrap_or(0.0) / 1e3 * times.len() as f64;
        Self { up_to, count: times.len(), sum_s }
    }
}
