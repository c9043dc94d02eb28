//! Lines that both layouts are made of.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::super::format;
use super::super::glance::{Glance, Pressed};
use super::super::look::Look;
use crate::report::format::broken;

/// `━━━━━╸──────────  20%  48.0 s left`, as wide as told.
pub(super) fn bar(glance: &Glance, width: u16, look: &Look) -> Line<'static> {
    let percent = format!(" {:>3.0}%", (glance.done * 100.0).floor());
    let left = match glance.left {
        Some(left) if glance.done < 1.0 => format!("  {} left", format::clock(left)),
        _ => String::new(),
    };
    let figures = percent.len() + left.len();
    let cells = usize::from(width).saturating_sub(figures);
    // In half cells.
    let done = scaled(glance.done, cells * 2);
    let mut full = "━".repeat(done / 2);
    if done % 2 == 1 {
        full.push('╸');
    }
    let empty = "─".repeat(cells - done.div_ceil(2));
    Line::from(vec![
        Span::styled(full, look.rate),
        Span::styled(empty, look.faint),
        Span::raw(percent),
        Span::styled(left, look.faint),
    ])
}

/// What the run is doing, for the header.
pub(super) fn phase(glance: &Glance, pressed: Pressed) -> &'static str {
    match pressed {
        Pressed::Once => "stopping",
        Pressed::Again => "ending now",
        Pressed::Never if glance.at >= glance.planned => "last answers",
        Pressed::Never if glance.sent == 0 && glance.dropped == 0 => "starting",
        Pressed::Never => "running",
    }
}

/// What a key does now.
pub(super) fn keys(pressed: Pressed) -> &'static str {
    match pressed {
        Pressed::Never => "q stops",
        Pressed::Once => "waiting for what is in flight, q ends now",
        Pressed::Again => "",
    }
}

/// `12.0 s of 60.0 s`.
pub(super) fn clock(glance: &Glance) -> String {
    let (at, planned) = format::clocks(glance.at, glance.planned);
    format!("{at} of {planned}")
}

/// The rate, and how it compares: a rate that falls short of what is asked is the first thing to see.
pub(super) fn rate(rate: f64, asked: Option<f64>, look: &Look) -> Vec<Span<'static>> {
    let short = asked.is_some_and(|asked| rate < asked * 0.99 - 1.0);
    let mut spans =
        vec![Span::styled(format::per_second(rate), if short { look.bad } else { look.rate })];
    if let Some(asked) = asked {
        spans.push(Span::styled(format!(" of {}", format::per_second(asked)), look.faint));
    }
    spans
}

/// What failed, by kind, as much as fits into so many columns.
pub(super) fn errors(glance: &Glance, width: usize, look: &Look) -> Line<'static> {
    let mut spans = vec![
        Span::styled("✗ ", look.bad),
        Span::styled(
            format!(
                "{} failed ({})",
                format::whole(glance.failed),
                format::share(glance.failed, glance.ended)
            ),
            look.bad,
        ),
    ];
    let mut used: usize = spans.iter().map(Span::width).sum();
    for (number, (kind, count)) in glance.errors.iter().enumerate() {
        let text = format!(" · {kind} {}", format::whole(*count));
        let more = format!(" · {} more kinds", glance.errors.len() - number);
        let is_last = number + 1 == glance.errors.len();
        let needed = text.chars().count() + if is_last { 0 } else { more.chars().count() };
        if used + needed > width {
            spans.push(Span::raw(more));
            break;
        }
        used += text.chars().count();
        spans.push(Span::raw(text));
    }
    Line::from(spans)
}

/// What is missing, and why the figures cannot be trusted: a line for each reason, or two for a single
/// one.
pub(super) fn doubts(glance: &Glance, width: usize, look: &Look) -> Vec<Line<'static>> {
    let missing = glance.missing.iter().map(|text| ("✗ PARTIAL  ", text));
    let invalid = glance.invalid.iter().map(|text| ("✗ INVALID  ", text));
    let doubts: Vec<(&str, &String)> = missing.chain(invalid).collect();
    let lines_each = if doubts.len() > 1 { 1 } else { 2 };
    let mut lines = Vec::new();
    for (sign, text) in doubts {
        let indent = sign.chars().count();
        let parts = wrapped(text, width.saturating_sub(indent), lines_each);
        for (row, part) in parts.into_iter().enumerate() {
            let before = if row == 0 { sign.to_owned() } else { " ".repeat(indent) };
            lines.push(Line::from(vec![Span::styled(before, look.bad), Span::raw(part)]));
        }
    }
    lines
}

/// A text in lines of so many columns, broken at words; what does not fit ends in `…`.
fn wrapped(text: &str, columns: usize, lines_max: usize) -> Vec<String> {
    let mut lines = broken(text, columns);
    if lines.len() > lines_max {
        lines.truncate(lines_max);
        let last = lines.last_mut().expect("there is one at least");
        while last.chars().count() + 2 > columns {
            let Some(cut) = last.rfind(' ') else { break };
            last.truncate(cut);
        }
        last.push_str(" …");
    }
    lines
}

/// `✓ checks 100%`.
pub(super) fn checks(glance: &Glance, look: &Look) -> Vec<Span<'static>> {
    if glance.checks == 0 {
        return vec![Span::styled("no checks yet", look.faint)];
    }
    let hold = glance.checks_passed == glance.checks;
    let mut spans = vec![
        mark(hold, look),
        Span::raw(format!("checks {}", format::share(glance.checks_passed, glance.checks))),
    ];
    if !hold {
        let failed = format::whole(glance.checks - glance.checks_passed);
        spans.push(Span::styled(format!("  {failed} failed"), look.bad));
    }
    spans
}

/// A line for each threshold, those that fail first, in so many rows.
pub(super) fn thresholds(glance: &Glance, rows: usize, look: &Look) -> Vec<Line<'static>> {
    let mut ordered: Vec<_> = glance.thresholds.iter().collect();
    ordered.sort_by_key(|threshold| threshold.passed);
    let shown = if ordered.len() > rows { rows.saturating_sub(1) } else { ordered.len() };
    let mut lines: Vec<_> = ordered[..shown]
        .iter()
        .map(|threshold| {
            let sign = match (threshold.passed, &threshold.found) {
                (false, None) => Span::styled("· ", look.faint),
                (passed, _) => mark(passed, look),
            };
            let found = threshold.found.as_deref().unwrap_or("no samples yet");
            let is_bad = !threshold.passed && threshold.found.is_some();
            let style = if is_bad { look.bad } else { look.faint };
            Line::from(vec![
                sign,
                Span::raw(threshold.text.clone()),
                Span::styled(format!("  {found}"), style),
            ])
        })
        .collect();
    if shown < ordered.len() && rows > 0 {
        let hidden = &ordered[shown..];
        let failing = hidden.iter().filter(|threshold| !threshold.passed).count();
        let words = match failing {
            0 => format!("{} more hold", hidden.len()),
            _ => format!("{} more, of which {failing} fail", hidden.len()),
        };
        lines.push(Line::from(vec![mark(failing == 0, look), Span::raw(words)]));
    }
    lines
}

/// A sign that stands for itself without its colour.
pub(super) fn mark(holds: bool, look: &Look) -> Span<'static> {
    if holds { Span::styled("✓ ", look.good) } else { Span::styled("✗ ", look.bad) }
}

/// A label and its value, the value at the right end of so many columns.
pub(super) fn pair(
    label: &str,
    value: &str,
    width: usize,
    style: Style,
    look: &Look,
) -> Line<'static> {
    let room = width.saturating_sub(label.chars().count());
    Line::from(vec![
        Span::styled(label.to_owned(), look.faint),
        Span::styled(format!("{value:>room$}"), style),
    ])
}

/// A share of a whole number of cells.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a terminal's columns"
)]
fn scaled(share: f64, of: usize) -> usize {
    (share.clamp(0.0, 1.0) * of as f64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_broken_between_and_nothing_is_lost_silently() {
        for (columns, lines_max, expected) in [
            (20, 2, &["one two three four"] as &[&str]),
            (9, 2, &["one two", "three …"]),
            (9, 3, &["one two", "three", "four"]),
            (1, 1, &["one …"]),
        ] {
            assert_eq!(wrapped("one two three four", columns, lines_max), expected, "{columns}");
        }
    }
}
