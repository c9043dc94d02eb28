//! The page's head: what was tested, the verdict, the figures that people ask for first; and phases.

use super::escape::escape;
use crate::measure::{Totals, Trend};
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::report::format::{self, count, number, ratio, seconds, share, time};
use crate::report::verdict::{Verdict, VerdictKind};
use crate::report::views::PHASES;

/// What was tested, when, for how long.
pub(super) fn header(plan: &Plan, totals: &Totals, outcome: &Outcome, title: &str) -> String {
    let ended = totals.counts(|_| true).ended;
    let scenarios = match plan.scenarios.len() {
        1 => String::new(),
        many => format!("<span>{many} scenarios</span>"),
    };
    let machines = match outcome.machines.len() {
        0 | 1 => String::new(),
        many => format!("<span>{many} machines</span>"),
    };
    format!(
        "<header><p class=\"brand\">inhale load</p><h1>{}</h1><p class=\"facts\"><span><time>{}</time></span>\
         <span>{} requests in {}</span>{scenarios}{machines}</p></header>\n",
        escape(title),
        started(outcome),
        count(ended),
        seconds(outcome.elapsed.as_secs_f64()),
    )
}

/// To the second, which is enough for people.
fn started(outcome: &Outcome) -> String {
    let whole = outcome.started_wall_ns / 1_000_000_000 * 1_000_000_000;
    format::instant(whole).replace('T', " ").replace('Z', " UTC")
}

/// The verdict with its reasons.
pub(super) fn banner(outcome: &Outcome, verdict: &Verdict) -> String {
    let (class, icon) = match verdict.kind {
        VerdictKind::Passed => ("good", "M5 12.5l4.5 4.5L19 7.5"),
        VerdictKind::Failed | VerdictKind::Unreconciled => {
            ("bad", "M6.5 6.5l11 11M17.5 6.5l-11 11")
        }
        VerdictKind::Invalid => ("doubt", "M12 5v9M12 18v.5"),
        VerdictKind::Partial | VerdictKind::Interrupted => ("part", "M6 12h12"),
    };
    let list = |class: &str, items: &[String]| match items {
        [] => String::new(),
        items => {
            let items: String = items.iter().map(|it| format!("<li>{}</li>", escape(it))).collect();
            format!("<ul class=\"{class}\">{items}</ul>")
        }
    };
    format!(
        "<section class=\"verdict {class}\"><svg viewBox=\"0 0 24 24\" aria-hidden=\"true\">\
         <path d=\"{icon}\"/></svg><div><h2>{}</h2><p>{}</p>{}{}</div>\
         <p class=\"exit\">exit code <b>{}</b></p></section>\n",
        verdict.kind.word(),
        verdict.meaning(),
        list("reasons", &verdict.reasons),
        list("warnings", &outcome.health.warnings),
        verdict.exit_code,
    )
}

/// Rate, percentiles, failures.
pub(super) fn headline(totals: &Totals, outcome: &Outcome) -> String {
    let counts = totals.counts(|_| true);
    let from_due = totals.trend(Trend::Duration, |_| true);
    let from_sent = totals.trend(Trend::DurationFromSent, |_| true);
    let achieved = outcome.health.achieved_per_second;
    let asked = match outcome.health.asked_per_second {
        Some(asked) if asked > 0.0 => {
            format!("{} of {}/s asked", share(achieved / asked), number(asked))
        }
        _ => "sent a second".to_owned(),
    };
    let mut tiles = tile("Rate", &format!("{}/s", number(achieved)), &asked);
    for (name, percent) in [("p50", 50.0), ("p95", 95.0), ("p99", 99.0), ("max", 100.0)] {
        // The largest of all, and not the step of the histogram that it lies in.
        let figure = |times: &crate::measure::TotalTimes| match name {
            "max" => times.max_ms(),
            _ => times.percentile_ms(percent),
        };
        let value = figure(&from_due).map_or_else(|| "–".to_owned(), time);
        let below =
            figure(&from_sent).map_or_else(String::new, |ms| format!("{} from sent", time(ms)));
        tiles.push_str(&tile(name, &value, &below));
    }
    let failed = format!("{} of {}", count(counts.failed), count(counts.ended));
    let below = match counts.dropped {
        0 => failed,
        dropped => format!("{failed}; {} dropped", count(dropped)),
    };
    let value = match counts.ended {
        0 => "–".to_owned(),
        ended => share(ratio(counts.failed, ended)),
    };
    tiles.push_str(&tile("Failed", &value, &below));
    format!("<section class=\"tiles\" aria-label=\"headline figures\">{tiles}</section>\n")
}

fn tile(name: &str, value: &str, below: &str) -> String {
    // The unit is set smaller than its number.
    let (number, unit) = value.split_once(' ').unwrap_or((value, ""));
    let (number, unit) = match number.strip_suffix("/s") {
        Some(number) if unit.is_empty() => (number, "/s"),
        _ => (number, unit),
    };
    format!(
        "<div class=\"card tile\"><h3>{name}</h3><p class=\"value\">{}<small>{}</small></p>\
         <p class=\"below\">{below}</p></div>",
        escape(number),
        escape(unit),
    )
}

/// The mean request as a bar of its phases, and each phase's figures.
pub(super) fn phases(totals: &Totals) -> String {
    const WORDS: [(&str, &str); 6] = [
        ("blocked", "due, and no connection free, or not noticed yet"),
        ("connecting", "making a connection"),
        ("TLS handshaking", "agreeing on keys"),
        ("sending", "writing the request"),
        ("waiting", "until the answer's first byte"),
        ("receiving", "until its last byte"),
    ];
    let trends = PHASES.map(|phase| totals.trend(phase, |_| true));
    let means = trends.each_ref().map(|trend| trend.mean_ms().unwrap_or(0.0));
    let whole: f64 = means.iter().sum();
    if whole <= 0.0 {
        return String::new();
    }
    let (mut bar, mut rows) = (String::new(), String::new());
    for (number, ((name, meaning), (trend, mean))) in
        WORDS.iter().zip(trends.iter().zip(means)).enumerate()
    {
        if mean > 0.0 {
            let part = format!("{name}: {} of {}", time(mean), time(whole));
            bar.push_str(&format!(
                "<i class=\"phase{number}\" style=\"flex-grow:{:.4}\" title=\"{part}\"></i>",
                mean / whole * 1e3
            ));
        }
        let figure = |percent| trend.percentile_ms(percent).map_or_else(String::new, time);
        rows.push_str(&format!(
            "<tr><th scope=\"row\"><i class=\"swatch phase{number}\"></i>{name} <small>{meaning}</small></th>\
             <td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            time(mean),
            share(mean / whole),
            figure(50.0),
            figure(95.0),
            figure(99.0),
            trend.max_ms().map_or_else(String::new, time),
        ));
    }
    format!(
        "<div class=\"card\"><p class=\"note\">the mean answered request, {}, in its parts</p>\
         <div class=\"stack\" role=\"img\" aria-label=\"phases of the mean request\">{bar}</div>\
         <div class=\"scroll\"><table><thead><tr><th>phase</th><th>mean</th><th>share</th><th>p50</th>\
         <th>p95</th><th>p99</th><th>max</th></tr></thead><tbody>{rows}</tbody></table></div></div>",
        time(whole)
    )
}

/// How to read the page.
pub(super) const FOOTER: &str = "<footer><p>A request’s latency counts from the instant it was due, so a \
     server that stalls is charged for everybody it kept waiting; “from sent” is what k6 measures. \
     Percentiles are exact to three digits.</p></footer>\n";
