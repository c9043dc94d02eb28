//! What a run of the client found.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::latency::Quantiles;

/// Counts over the whole run, and rate and latency without its warm-up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Requests sent.
    pub(crate) sent: u64,
    /// Answers with the status that was hoped for.
    pub(crate) good: u64,
    /// What the good answers stand for: usages accepted, or pages read.
    pub(crate) usages: u64,
    /// All other answers, by status.
    pub(crate) other: BTreeMap<u16, u64>,
    /// 503s after which a connection rested; not among `other`.
    pub(crate) backed_off: u64,
    /// Connections that ended before their answer.
    pub(crate) broken: u64,
    /// Requests without an answer when patience ended.
    pub(crate) unanswered: u64,
    /// Requests that were due but never sent, since every connection was busy to the end.
    pub(crate) unsent: u64,
    /// Why the run ended early.
    pub(crate) ended_early: Option<String>,
    /// Seconds in which rate and latency were measured.
    pub(crate) seconds: f64,
    /// Usages a second in these.
    pub(crate) usages_per_second: f64,
    /// From when a request was due, or in a closed loop sent, to the end of its answer.
    pub(crate) latency: Quantiles,
    /// Seconds of CPU that the client itself used.
    pub(crate) client_cpu_seconds: f64,
    /// Seconds from the first request to the last answer.
    pub(crate) whole_seconds: f64,
}

impl Report {
    /// Every request had a good answer, and every due request was sent.
    pub(crate) fn is_clean(&self) -> bool {
        self.good > 0
            && self.other.is_empty()
            && self.broken + self.unanswered + self.unsent == 0
            && self.ended_early.is_none()
    }

    /// How busy the client's core was; near 1 the client was the bottleneck.
    pub(crate) fn client_share(&self) -> f64 {
        if self.whole_seconds > 0.0 { self.client_cpu_seconds / self.whole_seconds } else { 0.0 }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "good         {} answers, {} usages", self.good, self.usages)?;
        for (status, count) in &self.other {
            writeln!(out, "status {status}   {count}")?;
        }
        for (name, count) in [
            ("backed off", self.backed_off),
            ("broken", self.broken),
            ("unanswered", self.unanswered),
            ("unsent", self.unsent),
        ] {
            if count > 0 {
                writeln!(out, "{name:<12} {count}")?;
            }
        }
        if let Some(why) = &self.ended_early {
            writeln!(out, "ended early  {why}")?;
        }
        let (q, rate) = (&self.latency, self.usages_per_second);
        writeln!(out, "rate         {rate:.0} usages/s over {:.1} s", self.seconds)?;
        writeln!(
            out,
            "latency      p50 {:.3} ms, p99 {:.3} ms, p99.9 {:.3} ms, max {:.3} ms",
            q.p50_ms, q.p99_ms, q.p999_ms, q.max_ms
        )?;
        writeln!(out, "client       {:.0}% of a core", self.client_share() * 100.0)
    }
}
