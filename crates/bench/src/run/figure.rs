//! A measured figure beside what is asked of it.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::statistics::Spread;

/// What a figure should come to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) enum Target {
    /// No more than `bound`, better no more than `aim`.
    AtMost { bound: f64, aim: f64 },
    /// No less than `bound`, better no less than `aim`.
    AtLeast { bound: f64, aim: f64 },
    /// Told for comparison.
    None,
}

/// One line of the table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) what: String,
    pub(crate) unit: String,
    pub(crate) value: Spread,
    pub(crate) target: Target,
    /// What one must know to read it; failures of the run stand here as well.
    pub(crate) note: String,
}

/// How a figure stands to its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Aim,
    Bound,
    Missed,
    Told,
}

impl Figure {
    pub(crate) fn new(what: impl Into<String>, unit: &str, value: Spread, target: Target) -> Self {
        Self { what: what.into(), unit: unit.to_owned(), value, target, note: String::new() }
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        let note = note.into();
        if !self.note.is_empty() && !note.is_empty() {
            self.note.push_str("; ");
        }
        self.note.push_str(&note);
        self
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let value = self.value.median;
        let (bound, aim) = match self.target {
            Target::AtMost { bound, aim } => (value <= bound, value <= aim),
            Target::AtLeast { bound, aim } => (value >= bound, value >= aim),
            Target::None => return Verdict::Told,
        };
        match (bound, aim) {
            (_, true) => Verdict::Aim,
            (true, false) => Verdict::Bound,
            (false, false) => Verdict::Missed,
        }
    }

    /// `| what | measured | spread | at least | aim | verdict | note |`
    pub(crate) fn row(&self) -> String {
        let (bound, aim) = match self.target {
            Target::AtMost { bound, aim } => {
                (format!("≤ {}", number(bound)), format!("≤ {}", number(aim)))
            }
            Target::AtLeast { bound, aim } => {
                (format!("≥ {}", number(bound)), format!("≥ {}", number(aim)))
            }
            Target::None => (String::new(), String::new()),
        };
        let verdict = match self.verdict() {
            Verdict::Aim => "aim reached".to_owned(),
            Verdict::Bound => "reached".to_owned(),
            Verdict::Missed => format!("**missed** by {}", self.missed_by()),
            Verdict::Told => String::new(),
        };
        let Spread { median, low, high } = self.value;
        format!(
            "| {} | {} {} | {} – {} | {bound} | {aim} | {verdict} | {} |",
            self.what,
            number(median),
            self.unit,
            number(low),
            number(high),
            self.note
        )
    }

    fn missed_by(&self) -> String {
        let (Target::AtMost { bound, .. } | Target::AtLeast { bound, .. }) = self.target else {
            return String::new();
        };
        format!("{:.0}%", (self.value.median / bound - 1.0).abs() * 100.0)
    }
}

/// A table in Markdown.
pub(crate) fn table(figures: &[Figure]) -> String {
    let mut text = String::from(
        "| what | measured | spread | at least | aim | verdict | note |\n| --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for figure in figures {
        let _ = writeln!(text, "{}", figure.row());
    }
    text
}

/// Three digits that matter, and thousands apart.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.1 || size == 0.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) =
        text.split_once('.').map_or((text.as_str(), ""), |(whole, rest)| (whole, rest));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0
            && (whole.len() - index).is_multiple_of(3)
            && digit.is_ascii_digit()
            && !grouped.ends_with('-')
        {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if rest.is_empty() { grouped } else { format!("{grouped}.{rest}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::statistics::spread;

    fn check(value: f64, target: Target, expected: Verdict) {
        assert_eq!(Figure::new("x", "µs", spread(&[value]), target).verdict(), expected, "{value}");
    }

    #[test]
    fn a_figure_is_held_against_its_target() {
        let cost = Target::AtMost { bound: 1.6, aim: 1.4 };
        check(1.4, cost, Verdict::Aim);
        check(1.5, cost, Verdict::Bound);
        check(1.61, cost, Verdict::Missed);
        let rate = Target::AtLeast { bound: 0.45, aim: 0.58 };
        check(0.6, rate, Verdict::Aim);
        check(0.45, rate, Verdict::Bound);
        check(0.44, rate, Verdict::Missed);
        check(9.0, Target::None, Verdict::Told);
    }

    #[test]
    fn a_row_tells_by_how_much_it_missed() {
        let target = Target::AtMost { bound: 1.6, aim: 1.4 };
        let figure = Figure::new("cost", "×", spread(&[1.9, 2.0, 2.1]), target).note("a").note("b");
        let expected =
            "| cost | 2.00 × | 1.90 – 2.10 | ≤ 1.60 | ≤ 1.40 | **missed** by 25% | a; b |";
        assert_eq!(figure.row(), expected);
    }

    #[test]
    fn numbers_are_readable() {
        for (value, expected) in [
            (0.0123, "0.012"),
            (0.45, "0.45"),
            (5.319, "5.32"),
            (52.12, "52.1"),
            (999.6, "1,000"),
            (1_234_567.0, "1,234,567"),
            (-1_234.0, "-1,234"),
            (-123.0, "-123"),
            (0.0, "0.00"),
        ] {
            assert_eq!(number(value), expected);
        }
    }
}
