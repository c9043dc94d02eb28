//! A plot: SVG for the lines, which stretches with the page, and HTML for what is read, which does not.
//! It is whole without scripts; `script.js` adds read-outs from the JSON that stands beside it.

use std::fmt::Write as _;

use serde_json::json;

use super::escape::{escape, json as script_json};
use super::scale::Scale;

/// A line of a plot.
pub(super) struct Series {
    pub(super) name: &'static str,
    /// The class that gives it its colour and dashes.
    pub(super) class: &'static str,
    /// For each of the plot's places; a gap where there is none.
    pub(super) values: Vec<Option<f64>>,
    /// Whether the space below is filled.
    pub(super) filled: bool,
}

/// What is drawn in one frame.
pub(super) struct Plot {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// What the plot says, in a few words.
    pub(super) note: String,
    /// Plots of the same group share their cursor.
    pub(super) group: &'static str,
    /// From 0 to 1, in order.
    pub(super) places: Vec<f64>,
    /// What the places are called when pointed at.
    pub(super) labels: Vec<String>,
    /// Places that the axis names.
    pub(super) x_ticks: Vec<(f64, String)>,
    pub(super) y: Scale,
    /// How values are written, and those that the axis names.
    pub(super) write: fn(f64) -> String,
    /// See `write`.
    pub(super) write_tick: fn(f64) -> String,
    pub(super) shape: Shape,
    pub(super) series: Vec<Series>,
    /// Lines from top to bottom, with names: percentiles on a histogram.
    pub(super) marks: Vec<(f64, String)>,
}

/// How values are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// As a line through them.
    Line,
    /// As bars from each place to the next.
    Bars,
}

/// The frame's size in its own units.
const WIDTH: f64 = 1_000.0;
const HEIGHT: f64 = 200.0;

impl Plot {
    /// The whole figure.
    pub(super) fn html(&self) -> String {
        let mut html = String::new();
        self.write_html(&mut html).expect("a string takes all that is written to it");
        html
    }

    fn write_html(&self, html: &mut String) -> std::fmt::Result {
        let Self { id, title, group, .. } = self;
        let scale = if self.y.is_log() { "; logarithmic" } else { "" };
        let note = format!("{}{scale}", escape(&self.note));
        write!(
            html,
            "<figure class=\"card plot\" id=\"{id}\" data-group=\"{group}\" tabindex=\"0\">\
             <figcaption><h3>{title}</h3><p class=\"note\">{note}</p>{}</figcaption>\
             <div class=\"frame\"><div class=\"area\">",
            self.legend()
        )?;
        for (place, label) in self.y_ticks() {
            write!(
                html,
                "<span class=\"y\" style=\"bottom:{:.2}%\">{label}</span>",
                place * 100.0
            )?;
        }
        write!(
            html,
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" \
             aria-label=\"{title}: {note}\"><path class=\"grid\" d=\"{}\"/>",
            self.grid()
        )?;
        for series in &self.series {
            self.write_series(series, html)?;
        }
        html.push_str("</svg>");
        for (number, (place, label)) in self.marks.iter().enumerate() {
            // Each a line lower, so that neighbours do not cover each other.
            let side = if *place > 0.9 { " left" } else { "" };
            write!(
                html,
                "<span class=\"mark{side}\" style=\"left:{:.2}%\"><b style=\"top:{}px\">{}</b></span>",
                place * 100.0,
                number * 14,
                escape(label)
            )?;
        }
        for (place, label) in &self.x_ticks {
            let edge = match *place {
                at if at < 0.02 => " first",
                at if at > 0.96 => " last",
                _ => "",
            };
            write!(
                html,
                "<span class=\"x{edge}\" style=\"left:{:.2}%\">{}</span>",
                place * 100.0,
                escape(label)
            )?;
        }
        html.push_str(
            "<i class=\"cursor\" hidden></i><output class=\"tip\" hidden></output></div></div>",
        );
        write!(html, "<script type=\"application/json\">{}</script></figure>", self.data())
    }

    fn y_ticks(&self) -> impl Iterator<Item = (f64, String)> {
        self.y.ticks().into_iter().map(|value| (self.y.place(value), (self.write_tick)(value)))
    }

    fn grid(&self) -> String {
        let lines = self.y_ticks().map(|(place, _)| format!("M0 {}H{WIDTH}", height(place)));
        lines.collect()
    }

    /// Not for one line alone, which the title names.
    fn legend(&self) -> String {
        if self.series.len() < 2 {
            return String::new();
        }
        let entry = |series: &Series| {
            format!(
                "<li><svg viewBox=\"0 0 24 8\" aria-hidden=\"true\"><path class=\"line {}\" \
                 d=\"M1 4H23\"/></svg>{}</li>",
                series.class, series.name
            )
        };
        format!("<ul class=\"legend\">{}</ul>", self.series.iter().map(entry).collect::<String>())
    }

    fn write_series(&self, series: &Series, html: &mut String) -> std::fmt::Result {
        match self.shape {
            Shape::Bars => {
                write!(html, "<path class=\"bars {}\" d=\"{}\"/>", series.class, self.bars(series))
            }
            Shape::Line => {
                if series.filled {
                    write!(
                        html,
                        "<path class=\"fill {}\" d=\"{}\"/>",
                        series.class,
                        self.filled(series)
                    )?;
                }
                write!(html, "<path class=\"line {}\" d=\"{}\"/>", series.class, self.line(series))
            }
        }
    }

    /// Runs of neighbours that all have a value.
    fn runs(&self, series: &Series) -> Vec<Vec<(f64, f64)>> {
        let mut runs = vec![Vec::new()];
        for (place, value) in self.places.iter().zip(&series.values) {
            match value {
                Some(value) => {
                    let at = (place * WIDTH, height(self.y.place(*value)));
                    runs.last_mut().expect("there is one from the start").push(at);
                }
                None => runs.push(Vec::new()),
            }
        }
        runs.retain(|run| !run.is_empty());
        runs
    }

    fn line(&self, series: &Series) -> String {
        let mut path = String::new();
        for run in self.runs(series) {
            path.push_str(&through(&run));
            // A point by itself is drawn by its round ends.
            if run.len() == 1 {
                path.push_str("h.01");
            }
        }
        path
    }

    fn filled(&self, series: &Series) -> String {
        let run = |run: Vec<(f64, f64)>| {
            let (first, last) = (run[0].0, run[run.len() - 1].0);
            format!("{}L{last:.1} {HEIGHT}L{first:.1} {HEIGHT}Z", through(&run))
        };
        self.runs(series).into_iter().map(run).collect()
    }

    fn bars(&self, series: &Series) -> String {
        let ends = self.places.iter().skip(1).chain([&1.0]);
        let mut path = String::new();
        for ((from, to), value) in self.places.iter().zip(ends).zip(&series.values) {
            let top = height(self.y.place(value.unwrap_or(0.0)));
            if top < HEIGHT {
                // A gap of a sixth between bars.
                let gap = (to - from) / 12.0;
                let (from, to) = ((from + gap) * WIDTH, (to - gap) * WIDTH);
                path.push_str(&format!("M{from:.1} {HEIGHT}V{top:.1}H{to:.1}V{HEIGHT}Z"));
            }
        }
        path
    }

    fn data(&self) -> String {
        let series = self.series.iter().map(|series| {
            let values = series.values.iter().map(|value| value.map(self.write));
            json!({ "n": series.name, "c": series.class, "v": values.collect::<Vec<_>>() })
        });
        let middle = |at: usize| match self.shape {
            Shape::Line => self.places[at],
            Shape::Bars => {
                self.places[at].midpoint(self.places.get(at + 1).copied().unwrap_or(1.0))
            }
        };
        let places = (0..self.places.len()).map(|at| (middle(at) * 1e4).round() / 1e4);
        script_json(&json!({
            "p": places.collect::<Vec<_>>(),
            "l": self.labels,
            "s": series.collect::<Vec<_>>(),
        }))
    }
}

fn through(run: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (number, (x, y)) in run.iter().enumerate() {
        path.push_str(&format!("{}{x:.1} {y:.1}", if number == 0 { 'M' } else { 'L' }));
    }
    path
}

fn height(place: f64) -> f64 {
    ((1.0 - place) * HEIGHT * 100.0).round() / 100.0
}
