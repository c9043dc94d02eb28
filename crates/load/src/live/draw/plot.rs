//! Rate and latency over time, drawn in braille: eight dots a character.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::canvas::{Canvas, Context, Line as Stroke, Points};

use super::super::format;
use super::super::glance::Glance;
use super::super::history::Moment;
use super::super::look::Look;

/// Labels of the vertical axis: `999 ms`.
const LABEL_COLUMNS: u16 = 7;
/// From here on the plots lie one above the other, so that one instant is in one column.
const STACKED_ROWS: u16 = 16;
const STACKED_COLUMNS: u16 = 60;
const BESIDE_COLUMNS: u16 = 70;

/// Draws both plots, or the latency alone where there is no room.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, glance: &Glance, look: &Look) {
    let (rate, latency) = (Plot::of_rate(glance, look), Plot::of_latency(glance, look));
    if area.height >= STACKED_ROWS && area.width >= STACKED_COLUMNS {
        let [above, below] = Layout::vertical([Constraint::Fill(1); 2]).spacing(1).areas(area);
        rate.draw(frame, above, glance, look);
        latency.draw(frame, below, glance, look);
    } else if area.width >= BESIDE_COLUMNS {
        let [left, right] = Layout::horizontal([Constraint::Fill(1); 2]).spacing(3).areas(area);
        rate.draw(frame, left, glance, look);
        latency.draw(frame, right, glance, look);
    } else {
        latency.draw(frame, area, glance, look);
    }
}

/// A plot: curves over the run's time, from 0 or on a logarithmic scale.
struct Plot {
    title: Vec<Span<'static>>,
    curves: Vec<Curve>,
    scale: Scale,
    label: fn(f64) -> String,
}

struct Curve {
    /// A gap where there is nothing.
    points: Vec<(f64, Option<f64>)>,
    style: Style,
    /// Dots instead of a line.
    dotted: bool,
}

#[derive(Clone, Copy)]
enum Scale {
    From0To(f64),
    /// From and to powers of ten.
    Powers(i32, i32),
}

impl Plot {
    fn of_rate(glance: &Glance, look: &Look) -> Self {
        let curve = |of: fn(&Moment) -> Option<f64>, style, dotted| Curve {
            points: glance.moments.iter().map(|moment| (moment.at_s, of(moment))).collect(),
            style,
            dotted,
        };
        let mut curves = Vec::new();
        let mut title = vec![Span::styled("Rate", look.title)];
        if glance.moments.iter().any(|moment| moment.asked.is_some()) {
            curves.push(curve(|moment| moment.asked, look.faint, true));
        }
        curves.push(curve(|moment| Some(moment.rate), look.rate, false));
        title.push(Span::styled("  sent", look.rate));
        if curves.len() > 1 {
            title.push(Span::styled("  asked", look.faint));
        }
        if glance.moments.iter().any(|moment| moment.failed > 0.0) {
            curves.push(curve(|moment| Some(moment.failed), look.bad, false));
            title.push(Span::styled("  failed", look.bad));
        }
        let scale = Scale::From0To(nice_above(max(&curves)));
        Self { title, curves, scale, label: |rate| format!("{}/s", format::short(rate)) }
    }

    fn of_latency(glance: &Glance, look: &Look) -> Self {
        let curve = |of: fn(&Moment) -> Option<f64>, style, dotted| Curve {
            points: glance.moments.iter().map(|moment| (moment.at_s, of(moment))).collect(),
            style,
            dotted,
        };
        let curves = vec![
            curve(|moment| moment.p50_ms, look.faint, true),
            curve(|moment| moment.p99_ms, look.latency, false),
        ];
        let mut title = vec![
            Span::styled("Latency", look.title),
            Span::styled("  p99", look.latency),
            Span::styled("  p50", look.faint),
        ];
        let scale = Scale::of_times(&curves);
        if let Scale::Powers(..) = scale {
            title.push(Span::styled("  (logarithmic)", look.faint));
        }
        Self { title, curves, scale, label: format::time }
    }

    fn draw(&self, frame: &mut Frame<'_>, area: Rect, glance: &Glance, look: &Look) {
        let [title, body, axis] =
            Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)])
                .areas(area);
        let [labels, canvas] =
            Layout::horizontal([Constraint::Length(LABEL_COLUMNS + 1), Constraint::Fill(1)])
                .areas(body);
        frame.render_widget(Line::from(self.title.clone()), title);
        self.draw_labels(frame, labels, look);
        let end_s = end_of_axis(glance);
        let canvas_axis = Rect { x: canvas.x, width: canvas.width, ..axis };
        draw_times(frame, canvas_axis, glance, end_s, look);
        let picture = Canvas::default()
            .marker(Marker::Braille)
            .x_bounds([0.0, end_s])
            .y_bounds([0.0, 1.0])
            .paint(|context| {
                for curve in &self.curves {
                    curve.paint(context, self.scale);
                    context.layer();
                }
            });
        frame.render_widget(picture, canvas);
    }

    /// The top, the bottom, and the middle where there is one.
    fn draw_labels(&self, frame: &mut Frame<'_>, area: Rect, look: &Look) {
        for row in 0..area.height {
            let place = f64::from(area.height - 1 - row) / f64::from(area.height.max(2) - 1);
            let is_middle = area.height % 2 == 1 && area.height >= 5 && row == area.height / 2;
            let label = if row == 0 || row + 1 == area.height || is_middle {
                match self.scale.at(place) {
                    0.0 => "0".to_owned(),
                    value => (self.label)(value),
                }
            } else {
                String::new()
            };
            let sign = if label.is_empty() { "│" } else { "┤" };
            let text = format!("{label:>width$}{sign}", width = usize::from(LABEL_COLUMNS));
            let at = Rect { y: area.y + row, height: 1, ..area };
            frame.render_widget(Line::styled(text, look.faint), at);
        }
    }
}

impl Curve {
    fn paint(&self, context: &mut Context<'_>, scale: Scale) {
        let color = self.style.fg.unwrap_or_default();
        let mut before: Option<(f64, f64)> = None;
        for (x, value) in &self.points {
            let here = value.map(|value| (*x, scale.place(value)));
            match (before, here) {
                (_, Some(here)) if self.dotted => {
                    context.draw(&Points { coords: &[here], color });
                }
                (Some((x1, y1)), Some((x2, y2))) => {
                    context.draw(&Stroke { x1, y1, x2, y2, color });
                }
                (None, Some(here)) => context.draw(&Points { coords: &[here], color }),
                (_, None) => {}
            }
            before = here;
        }
    }
}

impl Scale {
    /// From 0 as long as that leaves the usual times apart; else by powers of ten, in which a stall of a
    /// second does not press milliseconds flat.
    fn of_times(curves: &[Curve]) -> Self {
        let mut values: Vec<f64> =
            curves.iter().flat_map(|c| c.points.iter().filter_map(|(_, value)| *value)).collect();
        values.sort_by(f64::total_cmp);
        let (Some(max), Some(median)) = (values.last(), values.get(values.len() / 2)) else {
            return Self::From0To(1.0);
        };
        let (Some(min), true) = (values.iter().find(|value| **value > 0.0), *max > median * 20.0)
        else {
            return Self::From0To(nice_above(*max));
        };
        Self::Powers(power_below(*min), power_below(*max) + 1)
    }

    /// Where a value is, 0 to 1.
    fn place(self, value: f64) -> f64 {
        let place = match self {
            Self::From0To(top) => value / top,
            Self::Powers(from, to) => {
                (value.max(1e-9).log10() - f64::from(from)) / f64::from(to - from)
            }
        };
        place.clamp(0.0, 1.0)
    }

    /// The value at a place.
    fn at(self, place: f64) -> f64 {
        match self {
            Self::From0To(top) => top * place,
            Self::Powers(from, to) => 10f64.powf(f64::from(from) + f64::from(to - from) * place),
        }
    }
}

/// Where the axis of time ends: the plan's end, but early in a long run so that the curve is to be seen.
fn end_of_axis(glance: &Glance) -> f64 {
    const STEPS_S: [f64; 13] = [
        10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0, 43_200.0,
        86_400.0, 604_800.0,
    ];
    let at_s = glance.at.as_secs_f64();
    let planned_s = glance.planned.as_secs_f64().max(at_s).max(1.0);
    let step = STEPS_S.into_iter().find(|step| *step >= at_s);
    step.map_or(planned_s, |step| step.min(planned_s))
}

fn draw_times(frame: &mut Frame<'_>, area: Rect, glance: &Glance, end_s: f64, look: &Look) {
    let end = std::time::Duration::from_secs_f64(end_s);
    let clock = |time| format::clocks(time, glance.planned.max(end)).0;
    let (middle, last) = (clock(end / 2), clock(end));
    let width = usize::from(area.width);
    let mut text = "0".to_owned();
    let middle_at = (width / 2).saturating_sub(middle.chars().count() / 2);
    if width >= 24 {
        text = format!("{text:<middle_at$}{middle}");
    }
    let rest = width.saturating_sub(text.chars().count());
    text = format!("{text}{last:>rest$}");
    frame.render_widget(Line::styled(text, look.faint), area);
}

fn max(curves: &[Curve]) -> f64 {
    let values = curves.iter().flat_map(|c| c.points.iter().filter_map(|(_, value)| *value));
    values.fold(0.0, f64::max)
}

/// The next of 1, 2, 5, 10, 20 … with some air above a value.
fn nice_above(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powi(power_below(value));
    let steps = [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0];
    let step = steps.into_iter().find(|step| step * power >= value * 1.02);
    step.unwrap_or(15.0) * power
}

#[expect(clippy::cast_possible_truncation, reason = "a power of ten of a time or a rate")]
fn power_below(value: f64) -> i32 {
    value.max(1e-9).log10().floor() as i32
}
