//! The layout for a small terminal: the figures one below the other, the most telling first to come and
//! last to go.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::super::format;
use super::super::glance::{Glance, Pressed};
use super::super::look::Look;
use super::{parts, plot};

/// Fewer rows than these show no curve.
const PLOT_ROWS_MIN: u16 = 6;

pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    glance: &Glance,
    pressed: Pressed,
    look: &Look,
) {
    let mut lines = lines(glance, pressed, area.width, look);
    // What matters least goes first; the rest keeps its order.
    while lines.len() > usize::from(area.height) {
        let least = lines.iter().map(|(rank, _)| *rank).max().unwrap_or(0);
        lines.retain({
            let mut gone = false;
            move |(rank, _)| {
                let goes = !gone && *rank == least;
                gone |= goes;
                !goes
            }
        });
    }
    let lines: Vec<_> = lines.into_iter().map(|(_, line)| line).collect();
    let used = u16::try_from(lines.len()).unwrap_or(u16::MAX);
    frame.render_widget(Paragraph::new(lines), area);
    let rest = area.height.saturating_sub(used);
    if rest > PLOT_ROWS_MIN {
        let below = Rect { y: area.y + used + 1, height: rest - 1, ..area };
        plot::draw(frame, below, glance, look);
    }
}

/// Lines in their order on the screen, each with its rank: 0 goes last.
fn lines(glance: &Glance, pressed: Pressed, width: u16, look: &Look) -> Vec<(u8, Line<'static>)> {
    let faint = |text: &'static str| Span::styled(text, look.faint);
    let time = |name: &'static str, ms: Option<f64>| {
        [faint(name), Span::styled(format::time_or_dash(ms), look.latency)]
    };
    let recent = &glance.recent;
    let mut lines = Vec::new();
    let head = format!("{} {}", parts::phase(glance, pressed), parts::clock(glance));
    lines.push((1, Line::styled(head, look.title)));
    lines.push((6, parts::bar(glance, width, look)));
    lines.push((0, Line::from(parts::rate(glance.rate, glance.asked, look))));
    let [p50, p90] = [time("p50 ", recent.p50), time("  p90 ", recent.p90)];
    lines.push((5, Line::from_iter(p50.into_iter().chain(p90))));
    let [p99, max] = [time("p99 ", recent.p99), time("  max ", recent.max)];
    lines.push((1, Line::from_iter(p99.into_iter().chain(max))));
    for doubt in parts::doubts(glance, width.into(), look).into_iter().take(2) {
        lines.push((2, doubt));
    }
    if glance.failed > 0 {
        lines.push((2, parts::errors(glance, width.into(), look)));
    } else {
        lines.push((4, Line::from(vec![faint("failed "), Span::raw("0")])));
    }
    let whole = |name, value: u64| [faint(name), Span::raw(format::whole(value))];
    let [flight, waiting] =
        [whole("in flight ", glance.in_flight), whole("  waiting ", glance.waiting)];
    lines.push((7, Line::from_iter(flight.into_iter().chain(waiting))));
    lines.push((4, Line::from(parts::checks(glance, look))));
    if !glance.thresholds.is_empty() {
        lines.extend(parts::thresholds(glance, 1, look).into_iter().map(|line| (3, line)));
    }
    let lag = format::time_or_dash(glance.lag_p99_ms);
    let cpu = format!("{:.0}%", glance.cpu_share * 100.0);
    lines.push((
        8,
        Line::from(vec![faint("lag p99 "), Span::raw(lag), faint("  cpu "), Span::raw(cpu)]),
    ));
    lines.push((9, Line::styled(parts::keys(pressed), look.faint)));
    lines
}
