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

/// Leaves out distributions that are all zero, such as TLS handshakes without TLS, and those equal to the one
/// above that they are a part of.
pub(super) fn leave_out_repetitions(groups: &mut [Group]) {
    for group in groups {
        let mut above: Vec<(String, String)> = Vec::new();
        group.rows.retain(|row| {
            let Cells::Trend(cells) = &row.cells else { return true };
            let is_part = row.name.starts_with("  {");
            let repeats = is_part && *cells == above;
            if !is_part {
                above.clone_from(cells);
            }
            !repeats && cells.iter().any(|(_, value)| value != "0s" && value != "0")
        });
    }
}

/// The lines of all groups, an empty one before each but the first. What does not fit `columns` goes on below.
pub(super) fn lines(groups: &[Group], paint: Paint, columns: Option<usize>) -> Vec<String> {
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
            let indent = 4 + name_width + 2;
            let room = columns.map_or(usize::MAX, |columns| columns.saturating_sub(indent));
            let below = format!("\n{}", " ".repeat(indent));
            let cells = packed(cells, room).join(&below);
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

/// A piece of a line, and how wide it is without its colours.
type Cell = (String, usize);

fn trend(cells: &[(String, String)], widths: &[usize], paint: Paint) -> Vec<Cell> {
    let cell = |((name, value), width): (&(String, String), &usize)| {
        let value = padded(value, *width);
        let columns = name.len() + 1 + self::width(&value);
        (format!("{name}={}", paint.value(&value)), columns)
    };
    cells.iter().zip(widths).map(cell).collect()
}

fn plain(values: &[String], widths: &[usize], paint: Paint) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (place, value) in values.iter().enumerate() {
        let value = printable(value);
        if place + 1 == values.len() && place > 0 {
            // A sentence as often as a number: it may go on below at any word.
            cells.extend(value.split(' ').map(|word| (word.to_owned(), width(word))));
            continue;
        }
        let last = place + 1 == values.len();
        let value = padded(&value, if last { 0 } else { widths.get(place).copied().unwrap_or(0) });
        let columns = width(&value);
        cells.push((if place == 0 { paint.value(&value) } else { value }, columns));
    }
    cells
}

/// Cells beside each other, as many in a line as fit `room` columns.
fn packed(cells: Vec<Cell>, room: usize) -> Vec<String> {
    let mut lines: Vec<(String, usize)> = Vec::new();
    for (text, columns) in cells {
        match lines.last_mut() {
            Some((line, used)) if *used + 1 + columns <= room => {
                line.push(' ');
                line.push_str(&text);
                *used += 1 + columns;
            }
            _ => lines.push((text, columns)),
        }
    }
    lines.into_iter().map(|(line, _)| line).collect()
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
