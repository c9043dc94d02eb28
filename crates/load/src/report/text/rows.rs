//! Lines of a name, dots and values, all of a report's aligned with each other as k6 does it.

use super::paint::Paint;
use crate::measure::TotalTimes;
use crate::plan::Aggregate;
use crate::report::format::{k6_number, k6_time, printable};
use crate::report::views::Columns;

/// Lines under a heading.
pub(super) struct Group {
    pub(super) heading: &'static str,
    /// One of k6's, whose values are as wide as the widest in any of them.
    pub(super) of_k6: bool,
    pub(super) rows: Vec<Row>,
}

/// A line.
pub(super) struct Row {
    name: String,
    cells: Cells,
}

enum Cells {
    /// `avg=42.52ms min=3.01ms …`
    Trend(Vec<(String, String)>),
    /// A value, then others: `220   43.636306/s`.
    Values(Vec<String>),
}

impl Row {
    /// A distribution.
    pub(super) fn trend(name: &str, times: &TotalTimes, columns: &Columns) -> Self {
        let figure = |(name, aggregate, figure): (String, Aggregate, f64)| match aggregate {
            Aggregate::Count => (name, k6_number(figure)),
            _ => (name, k6_time(figure)),
        };
        let cells = columns.of(times).into_iter().map(figure).collect();
        Self { name: name.to_owned(), cells: Cells::Trend(cells) }
    }

    /// Anything else.
    pub(super) fn values<const N: usize>(name: &str, values: [String; N]) -> Self {
        Self { name: name.to_owned(), cells: Cells::Values(values.into()) }
    }

    /// The same as a part of the metric in the line above.
    pub(super) fn into_part(mut self) -> Self {
        self.name = format!("  {{ {} }}", self.name);
        self
    }
}

/// The lines of all groups, an empty one before each but the first.
pub(super) fn lines(groups: &[Group], paint: Paint) -> Vec<String> {
    let rows = || groups.iter().flat_map(|group| &group.rows);
    let name_width = rows().map(|row| width(&row.name)).max().unwrap_or(0) + 3;
    let trend_widths = widths(rows().filter_map(|row| match &row.cells {
        Cells::Trend(cells) => Some(cells.iter().map(|(_, value)| width(value)).collect()),
        Cells::Values(_) => None,
    }));
    let mut lines = Vec::new();
    for (number, group) in groups.iter().filter(|group| !group.rows.is_empty()).enumerate() {
        if number > 0 {
            lines.push(String::new());
        }
        lines.push(format!("    {}", paint.bold(group.heading)));
        let value_widths = value_widths(groups, group);
        for row in &group.rows {
            let name = printable(&row.name);
            let dots = ".".repeat(name_width.saturating_sub(width(&name)));
            let cells = match &row.cells {
                Cells::Trend(cells) => trend(cells, &trend_widths, paint),
                Cells::Values(values) => plain(values, &value_widths, paint),
            };
            lines.push(format!("    {name}{}: {cells}", paint.faint(&dots)));
        }
    }
    lines
}

/// How wide the values of a group's lines are. What stands last in a line of ours is a sentence as often
/// as a number, and makes no room for others.
fn value_widths(groups: &[Group], of: &Group) -> Vec<usize> {
    let alike = |group: &&Group| if of.of_k6 { group.of_k6 } else { group.heading == of.heading };
    let rows = groups.iter().filter(alike).flat_map(|group| &group.rows);
    widths(rows.filter_map(|row| match &row.cells {
        Cells::Trend(_) => None,
        Cells::Values(values) => {
            let taken = values.len() - usize::from(!of.of_k6);
            Some(values.iter().take(taken).map(|value| width(value)).collect())
        }
    }))
}

fn trend(cells: &[(String, String)], widths: &[usize], paint: Paint) -> String {
    let cells = cells
        .iter()
        .zip(widths)
        .map(|((name, value), width)| format!("{name}={}", paint.value(&padded(value, *width))));
    cells.collect::<Vec<_>>().join(" ")
}

fn plain(values: &[String], widths: &[usize], paint: Paint) -> String {
    let cells = values.iter().enumerate().map(|(place, value)| {
        let last = place + 1 == values.len();
        let width = if last { 0 } else { widths.get(place).copied().unwrap_or(0) };
        let value = padded(&printable(value), width);
        if place == 0 { paint.value(&value) } else { value }
    });
    cells.collect::<Vec<_>>().join(" ")
}

/// The widest of each place.
fn widths(rows: impl Iterator<Item = Vec<usize>>) -> Vec<usize> {
    let mut widest: Vec<usize> = Vec::new();
    for row in rows {
        for (place, width) in row.into_iter().enumerate() {
            match widest.get_mut(place) {
                Some(max) => *max = width.max(*max),
                None => widest.push(width),
            }
        }
    }
    widest
}

pub(super) fn padded(text: &str, to: usize) -> String {
    format!("{text}{}", " ".repeat(to.saturating_sub(width(text))))
}

pub(super) fn width(text: &str) -> usize {
    text.chars().count()
}
