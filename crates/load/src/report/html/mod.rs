//! The report to look at (`--html`): one file that needs nothing else, neither a network nor scripts.
//!
//! Scripts add read-outs under the pointer; the page's own policy lets only the one that was built in
//! run, and nothing be loaded from anywhere.

mod distribution;
mod escape;
mod figures;
mod over_time;
mod plot;
mod scale;
mod tables;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use escape::escape;
use plot::Plot;

use super::verdict::Verdict;
use super::words;
use crate::measure::Totals;
use crate::outcome::Outcome;
use crate::plan::Plan;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The whole page.
pub fn render(plan: &Plan, totals: &Totals, outcome: &Outcome) -> String {
    let verdict = Verdict::of(outcome);
    let title = title(plan);
    let body = [
        figures::header(plan, totals, outcome, &title),
        figures::banner(outcome, &verdict),
        figures::headline(totals, outcome),
        section("Over time", &figures_of(&over_time::plots(plan, totals, outcome))),
        section("How latencies are spread", &figures_of(&distribution::plots(totals))),
        section("Where the time went", &figures::phases(totals)),
        beside(&[
            section("Thresholds", &tables::thresholds(plan, outcome)),
            section("Checks", &tables::checks(plan, totals)),
        ]),
        section("Scenarios", &tables::scenarios(plan, totals, outcome)),
        beside(&[
            section("How requests ended", &tables::endings(totals)),
            section("Was the generator fast enough?", &tables::generator(totals, outcome)),
        ]),
        beside(&[
            section("Does the server agree?", &tables::reconciliation(outcome)),
            section("Plan and machine", &tables::plan(plan, outcome)),
        ]),
    ]
    .concat();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n\
         <title>{}: {}</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n<main>\n{body}{}</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n",
        policy(),
        verdict.kind.word(),
        escape(&title),
        figures::FOOTER,
    )
}

/// Nothing is loaded, and no script runs but ours.
fn policy() -> String {
    let hash = STANDARD.encode(Sha256::digest(SCRIPT));
    format!(
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{hash}'"
    )
}

/// A section under a heading; nothing when there is nothing in it.
fn section(heading: &str, content: &str) -> String {
    if content.is_empty() {
        return String::new();
    }
    format!("<section><h2>{heading}</h2>{content}</section>\n")
}

/// Sections side by side, where the page is wide enough; one alone has all the width.
fn beside(sections: &[String]) -> String {
    format!("<div class=\"pair\">{}</div>\n", sections.concat())
}

fn figures_of(plots: &[Plot]) -> String {
    if plots.is_empty() {
        return String::new();
    }
    format!("<div class=\"pair\">{}</div>", plots.iter().map(Plot::html).collect::<String>())
}

/// Where the load went.
fn title(plan: &Plan) -> String {
    let mut targets: Vec<String> = plan.scenarios.iter().map(words::target).collect();
    targets.dedup();
    match targets.as_slice() {
        [one] => one.clone(),
        [first, others @ ..] => format!("{first} and {} more", others.len()),
        [] => String::new(),
    }
}
