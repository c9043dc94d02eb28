//! The report at a run's end: k6's, block for block, then what k6 has no line for. Where k6 pads names
//! to more than twice their length, dots here end three behind the longest name.

mod blocks;
mod generator;
mod paint;
mod rows;
mod thresholds;

use paint::Paint;
pub use paint::colour_wanted;

use super::format::printable;
use super::verdict::{Verdict, VerdictKind};
use super::views::Columns;
use crate::measure::Totals;
use crate::outcome::Outcome;
use crate::plan::Plan;

/// How the report is to look.
#[derive(Debug, Clone, Default)]
pub struct TextOptions {
    /// The figures of each distribution.
    pub columns: Columns,
    /// With colours; see [`colour_wanted`].
    pub colour: bool,
}

/// The whole report, from an empty line to an empty line.
pub fn render(plan: &Plan, totals: &Totals, outcome: &Outcome, options: &TextOptions) -> String {
    let paint = Paint::new(options.colour);
    let mut lines = Vec::new();
    if !plan.thresholds.is_empty() {
        lines.extend([String::new(), String::new()]);
        lines.push(format!("  █ {}", paint.bold("THRESHOLDS")));
        lines.push(String::new());
        lines.extend(thresholds::lines(plan, outcome, paint));
    }
    lines.extend([String::new(), String::new()]);
    lines.push(format!("  █ {}", paint.bold("TOTAL RESULTS")));
    lines.push(String::new());
    lines.extend(blocks::checks(plan, totals, outcome, paint));
    let mut groups = blocks::k6(plan, totals, outcome, &options.columns);
    groups.extend(generator::groups(plan, totals, outcome, &options.columns));
    lines.extend(rows::lines(&groups, paint));
    lines.push(String::new());
    lines.push(String::new());
    lines.extend(verdict(plan, outcome, paint));
    let mut text = String::new();
    for line in lines {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push('\n');
    text
}

fn verdict(plan: &Plan, outcome: &Outcome, paint: Paint) -> Vec<String> {
    let verdict = Verdict::of(outcome);
    let mut headline = verdict.kind.word().to_owned();
    if !verdict.reasons.is_empty() {
        headline.push_str(": ");
        // Some are whole sentences.
        let reasons: Vec<&str> =
            verdict.reasons.iter().map(|reason| reason.trim_end_matches('.')).collect();
        headline.push_str(&reasons.join("; "));
    }
    let headline = printable(&headline);
    let good = verdict.kind == VerdictKind::Passed;
    let headline = if good { paint.good(&headline) } else { paint.bad(&headline) };
    let mut lines = vec![format!("  █ {headline}"), String::new()];
    lines.push(format!("    {} Exit code {}.", verdict.meaning(), verdict.exit_code));
    lines.push(
        "    Durations count from when each request was due; `from:sent` is what k6 counts."
            .to_owned(),
    );
    let warnings = outcome.health.warnings.iter();
    lines.extend(warnings.map(|warning| format!("    Warning: {}", printable(warning))));
    lines.extend(plan.notes.iter().map(|note| format!("    Note: {}", printable(note))));
    lines
}
