//! The text that Prometheus reads, version 0.0.4 of its exposition format.

use std::fmt::Write as _;

/// The media type of it.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page, being written.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
}

/// Names and values of labels.
pub(super) type Labels<'a> = &'a [(&'static str, &'a str)];

/// A distribution of times.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    /// How many took no longer than each bound, which are in seconds and in order.
    pub(super) up_to: Vec<(f64, u64)>,
    pub(super) count: u64,
    pub(super) sum_s: f64,
}

impl Exposition {
    /// Begins a family. `kind` is `counter`, `gauge` or `histogram`; its values follow at once.
    pub(super) fn family(&mut self, name: &'static str, kind: &str, help: &str) -> Family<'_> {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
        Family { page: self, name }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("a string grows");
    }
}

/// A family whose values are being written.
pub(super) struct Family<'a> {
    page: &'a mut Exposition,
    name: &'static str,
}

impl Family<'_> {
    /// A counter's or a gauge's value.
    pub(super) fn value(&mut self, labels: Labels<'_>, value: impl std::fmt::Display) {
        let (name, labels) = (self.name, in_braces(labels, None));
        self.page.line(format_args!("{name}{labels} {value}"));
    }

    /// A histogram's.
    pub(super) fn distribution(&mut self, labels: Labels<'_>, buckets: &Buckets) {
        let name = self.name;
        let bounds = buckets.up_to.iter().map(|(bound, count)| (bound.to_string(), *count));
        for (bound, count) in bounds.chain([("+Inf".to_owned(), buckets.count)]) {
            let labels = in_braces(labels, Some(&bound));
            self.page.line(format_args!("{name}_bucket{labels} {count}"));
        }
        let labels = in_braces(labels, None);
        self.page.line(format_args!("{name}_sum{labels} {}", buckets.sum_s));
        self.page.line(format_args!("{name}_count{labels} {}", buckets.count));
    }
}

/// `{scenario="day",le="0.1"}`, or nothing without labels.
fn in_braces(labels: Labels<'_>, le: Option<&str>) -> String {
    let all = labels.iter().copied().chain(le.map(|le| ("le", le)));
    let pairs: Vec<_> = all.map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    if pairs.is_empty() { String::new() } else { format!("{{{}}}", pairs.join(",")) }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_as_prometheus_reads_it() {
        let mut page = Exposition::default();
        page.family("x_total", "counter", "So many.").value(&[("name", "a\"b\\c\nd")], 3);
        page.family("y", "gauge", "Now.").value(&[], 0.5);
        let buckets = Buckets { up_to: vec![(0.001, 1), (1.0, 2)], count: 3, sum_s: 7.25 };
        page.family("z_seconds", "histogram", "How long.").distribution(&[("of", "v")], &buckets);
        assert_eq!(
            page.into_text(),
            "# HELP x_total So many.\n# TYPE x_total counter\n\
             x_total{name=\"a\\\"b\\\\c\\nd\"} 3\n\
             # HELP y Now.\n# TYPE y gauge\ny 0.5\n\
             # HELP z_seconds How long.\n# TYPE z_seconds histogram\n\
             z_seconds_bucket{of=\"v\",le=\"0.001\"} 1\n\
             z_seconds_bucket{of=\"v\",le=\"1\"} 2\n\
             z_seconds_bucket{of=\"v\",le=\"+Inf\"} 3\n\
             z_seconds_sum{of=\"v\"} 7.25\nz_seconds_count{of=\"v\"} 3\n"
        );
    }
}
