//! The report at a run's end: k6's, block for block, then what k6 has no line for. Where k6 pads names
//! to more than twice their length, dots here end three behind the longest name.

mod blocks;
mod generator;
mod paint;
mod rows;
mod thresholds;

use std::os::fd::AsFd;

use paint::Paint;
pub use paint::colour_wanted;

use super::format::{broken, printable};
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
    /// Columns of the terminal that it is for: sentences break between words, and not where the
    /// terminal would break them. See [`columns_of`].
    pub width: Option<usize>,
}

/// How many columns `out` has, if it is a terminal.
pub fn columns_of(out: impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(out).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
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
    if options.width.is_some() {
        rows::leave_out_repetitions(&mut groups);
    }
    lines.extend(rows::lines(&groups, paint, options.width));
    lines.push(String::new());
    lines.push(String::new());
    lines.extend(verdict(plan, outcome, paint, options.width));
    let mut text = String::new();
    for line in lines {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push('\n');
    text
}

fn verdict(plan: &Plan, outcome: &Outcome, paint: Paint, width: Option<usize>) -> Vec<String> {
    let verdict = Verdict::of(outcome);
    let mut headline = verdict.kind.word().to_owned();
    if !verdict.reasons.is_empty() {
        headline.push_str(": ");
        // Some are whole sentences.
        let reasons: Vec<&str> =
            verdict.reasons.iter().map(|reason| reason.trim_end_matches('.')).collect();
        headline.push_str(&reasons.join("; "));
    }
    let good = verdict.kind == VerdictKind::Passed;
    let painted = |line: &String| if good { paint.good(line) } else { paint.bad(line) };
    let headline: Vec<String> = sentence(&headline, width).iter().map(painted).collect();
    let mut lines = vec![format!("  █ {}", headline.join("\n    ")), String::new()];
    let mut say = |text: &str| {
        lines.extend(sentence(text, width).iter().map(|line| format!("    {line}")));
    };
    say(&format!("{} Exit code {}.", verdict.meaning(), verdict.exit_code));
    say("Durations count from when each request was due; `from:sent` is what k6 counts.");
    outcome.health.warnings.iter().for_each(|warning| say(&format!("Warning: {warning}")));
    plan.notes.iter().for_each(|note| say(&format!("Note: {note}")));
    lines
}

/// The lines of a sentence, without the indent of 4 that they are to have. What stands between
/// backquotes, such as a command that somebody is to copy, stays on one line.
fn sentence(text: &str, width: Option<usize>) -> Vec<String> {
    const NO_BREAK: char = '\u{a0}';
    let text = printable(text);
    let Some(width) = width else { return vec![text] };
    let (mut quoted, mut text_kept) = (false, String::with_capacity(text.len()));
    for c in text.chars() {
        quoted ^= c == '`';
        text_kept.push(if quoted && c == ' ' { NO_BREAK } else { c });
    }
    let lines = broken(&text_kept, width.saturating_sub(4)).into_iter();
    lines.map(|line| line.replace(NO_BREAK, " ")).collect()
}
