//! What k6 has no block for: phases, connections, how requests ended, whether the generator kept up, and whether
//! the server's counters agree.

use super::blocks::{counter, share_of, with_parts};
use super::rows::{Group, Row};
use crate::measure::{Totals, Trend};
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::report::format::{k6_number, k6_share, k6_time};
use crate::report::views::{self, Columns, PHASES};

/// Requests that the generator noticed later than this are counted as late, in milliseconds.
const LATE_MS: f64 = 1.0;

pub(super) fn groups(
    plan: &Plan,
    totals: &Totals,
    outcome: &Outcome,
    columns: &Columns,
) -> Vec<Group> {
    vec![
        Group {
            heading: "PHASES of answered requests",
            of_k6: false,
            rows: phases(plan, totals, columns),
        },
        Group { heading: "ANSWERS", of_k6: false, rows: answers(totals, outcome) },
        Group { heading: "GENERATOR", of_k6: false, rows: generator(totals, outcome) },
        Group { heading: "RECONCILIATION", of_k6: false, rows: reconciliation(outcome) },
    ]
}

fn phases(plan: &Plan, totals: &Totals, columns: &Columns) -> Vec<Row> {
    let phase = |trend: Trend| {
        with_parts(plan, trend.name(), |name, of| {
            Row::trend(name, &totals.trend(trend, of), columns)
        })
    };
    PHASES.into_iter().flat_map(phase).collect()
}

fn answers(totals: &Totals, outcome: &Outcome) -> Vec<Row> {
    let counts = totals.counts(|_| true);
    let mut rows: Vec<Row> = views::endings(totals)
        .into_iter()
        .map(|(name, count, _)| Row::values(&name, share_of(count, counts.ended)))
        .collect();
    rows.push(counter("connections made", counts.connections, outcome));
    rows
}

fn generator(totals: &Totals, outcome: &Outcome) -> Vec<Row> {
    let health = &outcome.health;
    let counts = totals.counts(|_| true);
    let lag = totals.trend(Trend::ScheduleLag, |_| true);
    let mut rows = Vec::new();
    let achieved = health.achieved_per_second;
    let per_second = |rate: f64| format!("{}/s", k6_number((rate * 10.0).round() / 10.0));
    match health.asked_per_second {
        Some(asked) => {
            let share = if asked > 0.0 { k6_share(achieved / asked) } else { k6_share(0.0) };
            rows.push(Row::values(
                "rate",
                [per_second(achieved), format!("{share} of {} asked", per_second(asked))],
            ));
        }
        None => rows
            .push(Row::values("rate", [per_second(achieved), "closed model: none asked".into()])),
    }
    if !lag.is_empty() {
        let figure = |percent| lag.percentile_ms(percent).map(k6_time).unwrap_or_default();
        let max = lag.max_ms().map(k6_time).unwrap_or_default();
        rows.push(Row::values(
            "schedule lag",
            [
                format!("p(50)={}", figure(50.0)),
                format!("p(99)={}", figure(99.0)),
                format!("max={max}"),
            ],
        ));
        let late = views::share_above(&lag, LATE_MS);
        rows.push(Row::values(
            "late by over 1ms",
            [k6_share(late), format!("of {} due", lag.len())],
        ));
    }
    if let Some(waited) = health.waited {
        rows.push(Row::values("waited for a connection", share_of(waited.count, waited.of)));
    }
    let unsent = counts.due.saturating_sub(counts.started + counts.dropped);
    if unsent > 0 {
        rows.push(Row::values("due and never sent", share_of(unsent, counts.due)));
    }
    let shares: Vec<String> =
        health.worker_cpu_shares.iter().map(|share| k6_share(*share)).collect();
    if let Some(most) = health.worker_cpu_shares.iter().copied().max_by(f64::total_cmp) {
        let each = if shares.len() > 1 {
            format!("of a core in its busiest 5s, the busiest worker; all: {}", shares.join(" "))
        } else {
            "of a core in its busiest 5s".to_owned()
        };
        rows.push(Row::values("CPU", [k6_share(most), each]));
    }
    rows.push(match health.kernel {
        Some(kernel) => Row::values(
            "kernel (whole host)",
            [
                format!("overflows={}", kernel.listen_overflows),
                format!("drops={}", kernel.listen_drops),
                format!("retransmits={}", kernel.retransmits),
            ],
        ),
        None => Row::values("kernel (whole host)", ["not known".to_owned()]),
    });
    rows
}

fn reconciliation(outcome: &Outcome) -> Vec<Row> {
    let Some(found) = &outcome.reconciliation else { return Vec::new() };
    let verdict = if found.agrees { "agrees" } else { "DISAGREES" };
    vec![Row::values(
        "acknowledged",
        [
            found.acknowledged.to_string(),
            found
                .counted
                .map_or_else(|| "counted=?".to_owned(), |counted| format!("counted={counted}")),
            format!("unknown={}", found.unknown),
            verdict.to_owned(),
        ],
    )]
}
