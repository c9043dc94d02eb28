//! Points as a table. The first three columns are k6's, and so are `check`, `scenario` and
//! `extra_tags`; those that are of a single request are left out.

use std::fmt::Write as _;

use super::points::Point;

const COLUMNS: &str = "metric_name,timestamp,metric_value,check,scenario,extra_tags,count,min,med,p(90),p(95),p(99),max";

/// The line of names.
pub(super) fn head(out: &mut String) {
    out.push_str(COLUMNS);
    out.push('\n');
}

/// A line for a point.
pub(super) fn point(point: &Point, wall_ns: u64, out: &mut String) {
    let tag = |wanted: &str| {
        point.tags.iter().find(|(tag, _)| tag == wanted).map_or("", |(_, value)| value.as_str())
    };
    let others = point.tags.iter().filter(|(tag, _)| !matches!(tag.as_str(), "check" | "scenario"));
    let others: Vec<String> = others.map(|(tag, value)| format!("{tag}={value}")).collect();
    let seconds = wall_ns / 1_000_000_000;
    let written = write!(
        out,
        "{},{seconds},{:.6},{},{},{}",
        field(point.metric),
        point.value,
        field(tag("check")),
        field(tag("scenario")),
        field(&others.join("&")),
    )
    .and_then(|()| match &point.spread {
        Some(it) => writeln!(
            out,
            ",{},{:.6},{:.6},{:.6},{:.6},{:.6},{:.6}",
            it.count, it.min, it.med, it.p90, it.p95, it.p99, it.max
        ),
        None => writeln!(out, ",,,,,,,"),
    });
    written.expect("a string takes all that is written to it");
}

/// A field, quoted as RFC 4180 has it where it must be.
fn field(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        let cases = [("a", "a"), ("a,b", "\"a,b\""), ("a\"b", "\"a\"\"b\""), ("", "")];
        for (text, expected) in cases {
            assert_eq!(field(text), expected);
        }
    }
}
