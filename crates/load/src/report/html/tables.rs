//! The page's tables: thresholds, checks, scenarios, endings, the generator, the server's counters, the
//! plan.

use super::escape::escape;
use crate::measure::{Totals, Trend};
use crate::outcome::{Ending, Outcome};
use crate::plan::{Aggregate, Metric, Plan, Threshold};
use crate::report::format::{count, number, ratio, seconds, share, time};
use crate::report::views;
use crate::report::words::{self, MetricName, condition};

/// Each threshold with what was found.
pub(super) fn thresholds(plan: &Plan, outcome: &Outcome) -> String {
    let rows = plan.thresholds.iter().zip(&outcome.thresholds).map(|(threshold, result)| {
        let found =
            result.found.map_or_else(|| "no samples".to_owned(), |it| figure(threshold, it));
        [
            mark(result.passed),
            format!("<code>{}</code>", escape(&MetricName::of(threshold).whole())),
            format!("<code>{}</code>", escape(condition(threshold))),
            found,
        ]
    });
    table([(Mark, ""), (Words, "metric"), (Number, "must be"), (Number, "found")], rows)
}

fn figure(threshold: &Threshold, found: f64) -> String {
    match (threshold.metric, threshold.aggregate) {
        (_, Aggregate::Count) => number(found),
        (Metric::Trend(_) | Metric::DurationOfExpected, _) => time(found),
        (Metric::Checks | Metric::CheckFailureRate | Metric::HttpReqFailed, _) => share(found),
        (_, Aggregate::Rate) => format!("{}/s", number(found)),
        _ => number(found),
    }
}

/// Each check with how many answers passed.
pub(super) fn checks(plan: &Plan, totals: &Totals) -> String {
    let rows = views::checks(plan, totals).into_iter().map(|check| {
        let made = check.passes + check.fails;
        let passed = if made == 0 { "–".to_owned() } else { share(ratio(check.passes, made)) };
        [
            mark(check.fails == 0 && made > 0),
            escape(&check.name),
            passed,
            count(check.passes),
            count(check.fails),
        ]
    });
    table([(Mark, ""), (Words, "check"), (Number, "passed"), (Number, "✓"), (Number, "✗")], rows)
}

/// Each scenario with its own figures.
pub(super) fn scenarios(plan: &Plan, totals: &Totals, outcome: &Outcome) -> String {
    let elapsed_s = outcome.elapsed.as_secs_f64();
    let rows = plan.scenarios.iter().enumerate().map(|(at, scenario)| {
        let counts = totals.counts(|it| it == at);
        let durations = totals.trend(Trend::Duration, |it| it == at);
        let figure =
            |percent| durations.percentile_ms(percent).map_or_else(|| "–".to_owned(), time);
        let tags = words::tags(scenario);
        let tags = if tags.is_empty() {
            String::new()
        } else {
            format!("<span class=\"tag\">{}</span>", escape(&tags))
        };
        let rate = if elapsed_s > 0.0 {
            crate::report::format::real(counts.ended) / elapsed_s
        } else {
            0.0
        };
        [
            format!(
                "<b>{}</b> {tags}<br><small>{}</small>",
                escape(&scenario.name),
                words::executor(scenario)
            ),
            count(counts.ended),
            format!("{}/s", number(rate)),
            figure(50.0),
            figure(95.0),
            figure(99.0),
            share(ratio(counts.failed, counts.ended)),
            count(counts.dropped),
        ]
    });
    let numbers = ["requests", "rate", "p50", "p95", "p99", "failed", "dropped"];
    let mut columns = [(Words, "scenario"); 8];
    for (column, name) in columns[1..].iter_mut().zip(numbers) {
        *column = (Number, name);
    }
    table(columns, rows)
}

/// Statuses and failures, each with its share as a bar.
pub(super) fn endings(totals: &Totals) -> String {
    let ended = totals.counts(|_| true).ended;
    let rows = views::endings(totals).into_iter().map(|(name, times, good)| {
        let part = ratio(times, ended);
        let class = if good { "good" } else { "bad" };
        let bar = format!(
            "<span class=\"bar\"><i class=\"{class}\" style=\"width:{:.3}%\"></i></span>",
            part * 100.0
        );
        [mark(good), name, bar, share(part), count(times)]
    });
    table(
        [(Mark, ""), (Words, "ended with"), (Number, ""), (Number, "share"), (Number, "requests")],
        rows,
    )
}

/// Whether figures are the server's.
pub(super) fn generator(totals: &Totals, outcome: &Outcome) -> String {
    let health = &outcome.health;
    let counts = totals.counts(|_| true);
    let lag = totals.trend(Trend::ScheduleLag, |_| true);
    let mut facts = vec![(
        "rate achieved",
        match health.asked_per_second {
            Some(asked) => {
                format!("{}/s of {}/s asked", number(health.achieved_per_second), number(asked))
            }
            None => {
                format!("{}/s; a closed model asks for none", number(health.achieved_per_second))
            }
        },
    )];
    if let (Some(median), Some(p99), Some(max)) =
        (lag.percentile_ms(50.0), lag.percentile_ms(99.0), lag.max_ms())
    {
        facts.push((
            "schedule lag",
            format!("p50 {}, p99 {}, max {}", time(median), time(p99), time(max)),
        ));
    }
    if let Some(waited) = health.waited {
        facts.push((
            "waited for a connection",
            format!("{} of {} due", count(waited.count), count(waited.of)),
        ));
    }
    facts.push(("dropped", format!("{} of {} due", count(counts.dropped), count(counts.due))));
    facts.push(("connections made", count(counts.connections)));
    if !health.worker_cpu_shares.is_empty() {
        let shares: Vec<String> = health.worker_cpu_shares.iter().map(|it| share(*it)).collect();
        facts.push((
            "CPU of each worker",
            format!("{} of a core in its busiest 5 s", shares.join(", ")),
        ));
    }
    let kernel = health.kernel.map(|kernel| {
        format!(
            "{} listen overflows, {} drops, {} retransmits",
            count(kernel.listen_overflows),
            count(kernel.listen_drops),
            count(kernel.retransmits)
        )
    });
    facts.push(("kernel, all programs", kernel.unwrap_or_else(|| "not known".to_owned())));
    list(facts)
}

/// The server's counters beside the client's.
pub(super) fn reconciliation(outcome: &Outcome) -> String {
    let Some(found) = &outcome.reconciliation else { return String::new() };
    let facts = vec![
        ("acknowledged to us", count(found.acknowledged)),
        ("counted by the server", found.counted.map_or_else(|| "?".to_owned(), count)),
        ("of unknown outcome", count(found.unknown)),
        ("verdict", format!("{} {}", mark(found.agrees), escape(&found.words))),
    ];
    list_html(facts)
}

/// What was asked for, and what it ran on.
pub(super) fn plan(plan: &Plan, outcome: &Outcome) -> String {
    let mut facts: Vec<(&str, String)> = Vec::new();
    for scenario in &plan.scenarios {
        facts.push((
            "scenario",
            format!(
                "<b>{}</b>: {}<br>{} {}<br>{}; a request may take {}, connecting {}",
                escape(&scenario.name),
                words::executor(scenario),
                escape(scenario.requests.method()),
                escape(&words::target(scenario)),
                words::connections(&scenario.connections, &scenario.executor),
                seconds(scenario.timeout.as_secs_f64()),
                seconds(scenario.connect_timeout.as_secs_f64()),
            ),
        ));
    }
    let each = if outcome.machines.len() > 1 { " on each machine" } else { "" };
    facts.push(("workers", format!("{}{each}", plan.threads)));
    facts.push(("seed", plan.seed.to_string()));
    let ending = match outcome.ending {
        Ending::Completed => "completed",
        Ending::Aborted => "ended by a threshold",
        Ending::Interrupted => "interrupted",
        Ending::Lost => "ended because an agent was lost",
    };
    facts.push(("ending", format!("{ending} after {}", seconds(outcome.elapsed.as_secs_f64()))));
    facts.extend(outcome.machines.iter().map(|machine| ("machine", escape(machine))));
    facts.extend(plan.notes.iter().map(|note| ("note", escape(note))));
    facts.push(("command", format!("<code>{}</code>", escape(&outcome.command))));
    list_html(facts)
}

fn mark(good: bool) -> String {
    let (class, sign, word) = if good { ("good", "✓", "yes") } else { ("bad", "✗", "no") };
    format!("<b class=\"{class}\" role=\"img\" aria-label=\"{word}\">{sign}</b>")
}

/// What a column holds.
#[derive(Debug, Clone, Copy)]
enum Column {
    Mark,
    Words,
    Number,
}

use Column::{Mark, Number, Words};

impl Column {
    fn class(self) -> &'static str {
        match self {
            Mark => " class=\"sign\"",
            Words => " class=\"words\"",
            Number => "",
        }
    }
}

/// A table; nothing without rows.
fn table<const N: usize>(
    columns: [(Column, &str); N],
    rows: impl Iterator<Item = [String; N]>,
) -> String {
    let rows: String = rows
        .map(|cells| {
            let cells = cells.iter().zip(columns);
            let cells =
                cells.map(|(cell, (column, _))| format!("<td{}>{cell}</td>", column.class()));
            format!("<tr>{}</tr>", cells.collect::<String>())
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let heads = columns.map(|(column, head)| format!("<th{}>{head}</th>", column.class()));
    format!(
        "<div class=\"card scroll\"><table><thead><tr>{}</tr></thead><tbody>{rows}</tbody></table></div>",
        heads.concat()
    )
}

fn list(facts: Vec<(&str, String)>) -> String {
    list_html(facts.into_iter().map(|(name, fact)| (name, escape(&fact))).collect())
}

/// Names and facts, which are markup already.
fn list_html(facts: Vec<(&str, String)>) -> String {
    let facts = facts.iter().map(|(name, fact)| format!("<dt>{name}</dt><dd>{fact}</dd>"));
    format!("<dl class=\"card\">{}</dl>", facts.collect::<String>())
}
