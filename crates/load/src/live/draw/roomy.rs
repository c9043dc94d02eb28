//! The layout for a terminal of the usual size and above.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::super::format;
use super::super::glance::{Glance, Pressed};
use super::super::look::Look;
use super::super::recent::Percentiles;
use super::{parts, plot};

/// Header, bar, gap, cards, gap, latency, gap, checks, and the footer.
const FIXED_ROWS: u16 = 1 + 1 + 1 + 4 + 1 + 3 + 1 + 1 + 1;
/// A gap, and the least in which a curve can be seen.
const PLOT_ROWS_MIN: u16 = 1 + 5;
/// Errors and doubts take no more than this.
const TROUBLE_ROWS_MAX: usize = 4;
/// A card is this wide at most: a value that is far from its label is hard to read.
const CARD_COLUMNS_MAX: u16 = 30;
const BETWEEN_CARDS: u16 = 3;

pub(super) fn draw(
    frame: &mut Frame<'_>,
    area: Rect,
    glance: &Glance,
    pressed: Pressed,
    look: &Look,
) {
    let trouble = trouble(glance, area.width, look);
    let rows = Rows::divide(area.height, trouble.len(), glance);
    let [header, bar, _, cards, _, latency, _, troubles, verdict, scenarios, plots, footer] =
        Layout::vertical(
            [1, 1, 1, 4, 1, 3, 1, rows.trouble, rows.verdict, rows.scenarios]
                .map(Constraint::Length)
                .into_iter()
                .chain([Constraint::Fill(1), Constraint::Length(1)]),
        )
        .areas(area);
    draw_header(frame, header, glance, pressed, look);
    frame.render_widget(parts::bar(glance, bar.width, look), bar);
    draw_cards(frame, cards, glance, look);
    draw_latency(frame, latency, glance, look);
    frame.render_widget(Paragraph::new(trouble), troubles);
    draw_verdict(frame, verdict, glance, look);
    draw_scenarios(frame, scenarios, glance, look);
    if rows.plots > 0 {
        let below_gap = Rect { y: plots.y + 1, height: plots.height - 1, ..plots };
        plot::draw(frame, below_gap, glance, look);
    }
    frame.render_widget(Line::styled(parts::keys(pressed), look.faint), footer);
}

/// What the rows that vary are given.
struct Rows {
    trouble: u16,
    /// Checks and thresholds.
    verdict: u16,
    /// A gap, a heading and the rows; or none.
    scenarios: u16,
    plots: u16,
}

impl Rows {
    /// Trouble comes first, then thresholds and scenarios, and a plot has what they leave; but where
    /// there is room for both, they do not have all of it.
    fn divide(height: u16, trouble: usize, glance: &Glance) -> Self {
        let trouble = to_rows(trouble);
        let mut free = height.saturating_sub(FIXED_ROWS + trouble);
        let wanted =
            |rows: usize, heading: u16| if rows == 0 { 0 } else { to_rows(rows) + heading };
        let thresholds_wanted = wanted(glance.thresholds.len(), 0);
        let scenarios_wanted = wanted(glance.scenarios.len(), 2);
        let lists_wanted = thresholds_wanted + scenarios_wanted;
        let for_lists = if free < lists_wanted + PLOT_ROWS_MIN && free >= 2 * PLOT_ROWS_MIN {
            free - PLOT_ROWS_MIN
        } else {
            lists_wanted.min(free)
        };
        let mut scenarios = scenarios_wanted.min(for_lists - thresholds_wanted.min(for_lists / 3));
        if scenarios < 3 {
            scenarios = 0;
        }
        let thresholds = thresholds_wanted.min(for_lists - scenarios);
        free -= thresholds + scenarios;
        let plots = if free >= PLOT_ROWS_MIN { free } else { 0 };
        Self { trouble, verdict: 1 + thresholds, scenarios, plots }
    }
}

fn trouble(glance: &Glance, width: u16, look: &Look) -> Vec<Line<'static>> {
    let mut lines = parts::doubts(glance, width.into(), look);
    lines.truncate(TROUBLE_ROWS_MAX - 1);
    if glance.failed > 0 {
        lines.push(parts::errors(glance, width.into(), look));
    }
    lines
}

fn draw_header(frame: &mut Frame<'_>, area: Rect, glance: &Glance, pressed: Pressed, look: &Look) {
    let right = Line::from(vec![
        Span::styled(parts::phase(glance, pressed), look.title),
        Span::raw(format!("  {}", parts::clock(glance))),
    ]);
    let right_width = to_rows(right.width());
    let left = Line::from(vec![
        Span::styled("inhale load", look.title),
        Span::raw(format!("  {}", glance.target)),
    ]);
    let [at_left, at_right] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(right_width + 2)]).areas(area);
    frame.render_widget(left, at_left);
    frame.render_widget(Paragraph::new(right).alignment(Alignment::Right), at_right);
}

/// The three columns that everything but the plots is set in.
fn columns(area: Rect) -> [Rect; 3] {
    let width = ((area.width - 2 * BETWEEN_CARDS) / 3).min(CARD_COLUMNS_MAX);
    [0, 1, 2].map(|number| Rect { x: area.x + number * (width + BETWEEN_CARDS), width, ..area })
}

fn draw_cards(frame: &mut Frame<'_>, area: Rect, glance: &Glance, look: &Look) {
    let [first, second, third] = columns(area);
    let width = usize::from(first.width);
    let plain = Style::new();
    let pair = |label: &str, value: String, style| parts::pair(label, &value, width, style, look);
    let count = |label, value| pair(label, format::whole(value), plain);

    let dropped = if glance.dropped > 0 { look.bad } else { plain };
    let sending = vec![
        Line::styled("Rate", look.title),
        Line::from(parts::rate(glance.rate, glance.asked, look)),
        count("sent", glance.sent),
        pair("dropped", format::whole(glance.dropped), dropped),
    ];
    let users = if glance.open { "connections" } else { "users" };
    let flow = vec![
        Line::styled("Now", look.title),
        count("in flight", glance.in_flight),
        count("waiting", glance.waiting),
        count(users, glance.users),
    ];
    let doubtful = if glance.invalid.is_empty() { plain } else { look.bad };
    let lag = format::time_or_dash(glance.lag_p99_ms);
    let whole = format::time_or_dash(glance.lag_whole_p99_ms);
    let cpu = format!("{:.0}%", glance.cpu_share * 100.0);
    let cores =
        if glance.workers > 1 { format!("cpu × {}", glance.workers) } else { "cpu".to_owned() };
    let generator = vec![
        Line::styled("Generator", look.title),
        pair("lag p99", lag, doubtful),
        pair("lag, whole run", whole, doubtful),
        pair(&cores, cpu, plain),
    ];
    for (lines, area) in [(sending, first), (flow, second), (generator, third)] {
        frame.render_widget(Paragraph::new(lines), area);
    }
}

fn draw_latency(frame: &mut Frame<'_>, area: Rect, glance: &Glance, look: &Look) {
    let [first, second, third] = columns(area);
    let table = first.union(second);
    let label_width = 12;
    let value_width = (usize::from(table.width) - label_width) / 4;
    let heading = ["p50", "p90", "p99", "max"]
        .map(|name| Span::styled(format!("{name:>value_width$}"), look.faint));
    let title = Span::styled(format!("{:<label_width$}", "Latency"), look.title);
    let row = |label: &str, of: &Percentiles, style: Style| {
        let values = [of.p50, of.p90, of.p99, of.max]
            .map(|ms| Span::styled(format!("{:>value_width$}", format::time_or_dash(ms)), style));
        let label = Span::styled(format!("{label:<label_width$}"), look.faint);
        Line::from_iter(std::iter::once(label).chain(values))
    };
    let last = format!("last {} s", glance.window.as_secs().max(1));
    let lines = vec![
        Line::from_iter(std::iter::once(title).chain(heading)),
        row(&last, &glance.recent, look.latency),
        row("whole run", &glance.whole, Style::new()),
    ];
    frame.render_widget(Paragraph::new(lines), table);

    let width = usize::from(third.width);
    let mut answers = vec![Line::styled("Answers", look.title)];
    let shown = glance.answers.iter().take(2).map(|(status, count)| {
        let (label, count) = (format!("status {status}"), format::whole(*count));
        parts::pair(&label, &count, width, Style::new(), look)
    });
    answers.extend(shown);
    if answers.len() == 1 {
        answers.push(Line::styled("none yet", look.faint));
    }
    if answers.len() == 2 && glance.failed == 0 && glance.ended > 0 {
        answers.push(parts::pair("failed", "0", width, Style::new(), look));
    }
    frame.render_widget(Paragraph::new(answers), third);
}

fn draw_verdict(frame: &mut Frame<'_>, area: Rect, glance: &Glance, look: &Look) {
    let mut lines = vec![Line::from(parts::checks(glance, look))];
    lines.extend(parts::thresholds(glance, usize::from(area.height.saturating_sub(1)), look));
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_scenarios(frame: &mut Frame<'_>, area: Rect, glance: &Glance, look: &Look) {
    if area.height < 3 {
        return;
    }
    // Figures need 53 columns; what is left is the name's.
    let name_width = usize::from(area.width).saturating_sub(53).min(40);
    let heading = format!("{:>24}{:>10}{:>10}{:>9}", "rate", "p50", "p99", "failed");
    let title = format!("{:<name_width$}", "Scenarios");
    let mut lines = vec![
        Line::default(),
        Line::from(vec![Span::styled(title, look.title), Span::styled(heading, look.faint)]),
    ];
    let rows = usize::from(area.height - 2);
    let all = glance.scenarios.len();
    let shown = if all > rows { rows - 1 } else { all };
    for scenario in &glance.scenarios[..shown] {
        let name: String = scenario.name.chars().take(name_width.saturating_sub(1)).collect();
        let rate = parts::rate(scenario.rate, scenario.asked, look);
        let rate_width: usize = rate.iter().map(Span::width).sum();
        let mut spans = vec![
            Span::raw(format!("{name:<name_width$}")),
            Span::raw(" ".repeat(24usize.saturating_sub(rate_width))),
        ];
        spans.extend(rate);
        let failed = format::share(scenario.failed, scenario.ended);
        spans.push(Span::raw(format!("{:>10}", format::time_or_dash(scenario.whole.p50))));
        spans.push(Span::styled(
            format!("{:>10}", format::time_or_dash(scenario.whole.p99)),
            look.latency,
        ));
        let style = if scenario.failed > 0 { look.bad } else { Style::new() };
        spans.push(Span::styled(format!("{failed:>9}"), style));
        lines.push(Line::from(spans));
    }
    if shown < all {
        lines.push(Line::styled(format!("{} more", all - shown), look.faint));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn to_rows(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}
