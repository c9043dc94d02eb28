//! Colours. The terminal's background is not known and stays as it is, so text is in the terminal's own
//! colour, and what is coloured has a tone that can be read on black and on white alike. No meaning is
//! carried by colour alone.

use ratatui::style::{Color, Modifier, Style};

/// A style for each kind of thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Headings.
    pub(super) title: Style,
    /// Labels, axes, and what is only there for comparison.
    pub(super) faint: Style,
    /// Rates.
    pub(super) rate: Style,
    /// Latencies.
    pub(super) latency: Style,
    /// What holds.
    pub(super) good: Style,
    /// What does not.
    pub(super) bad: Style,
}

impl Look {
    /// For a terminal of which these variables of the environment tell: `NO_COLOR`, `TERM` and
    /// `COLORTERM`.
    pub fn of_terminal(
        no_color: Option<&str>,
        term: Option<&str>,
        colorterm: Option<&str>,
    ) -> Self {
        let many = term.is_some_and(|term| term.contains("256color") || term.contains("direct"));
        if no_color.is_some_and(|value| !value.is_empty()) {
            Self::plain()
        } else if many || colorterm.is_some_and(|value| !value.is_empty()) {
            Self::many()
        } else {
            Self::few()
        }
    }

    /// Without colours.
    pub fn plain() -> Self {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let none = Style::new();
        Self { title: bold, faint: none, rate: none, latency: none, good: none, bad: bold }
    }

    /// Of a terminal's 256 colours those between dark and light.
    pub fn many() -> Self {
        Self::coloured([244, 32, 133, 28, 160].map(Color::Indexed))
    }

    /// Of the first eight, which every terminal shows in tones of its own.
    pub fn few() -> Self {
        use Color::{Cyan, Green, Magenta, Red, Reset};
        Self::coloured([Reset, Cyan, Magenta, Green, Red])
    }

    fn coloured([faint, rate, latency, good, bad]: [Color; 5]) -> Self {
        let of = |colour| Style::new().fg(colour);
        Self {
            title: Style::new().add_modifier(Modifier::BOLD),
            faint: of(faint),
            rate: of(rate),
            latency: of(latency),
            good: of(good),
            bad: of(bad).add_modifier(Modifier::BOLD),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The luminance of one of the 256 colours' cube or grey ramp, as WCAG 2 defines it.
    fn luminance(index: u8) -> f64 {
        let levels = [0.0, 95.0, 135.0, 175.0, 215.0, 255.0];
        let [red, green, blue] = if index >= 232 {
            [8.0 + 10.0 * f64::from(index - 232); 3]
        } else {
            let cube = usize::from(index - 16);
            [levels[cube / 36], levels[cube / 6 % 6], levels[cube % 6]]
        };
        let linear = |value: f64| match value / 255.0 {
            share if share <= 0.04045 => share / 12.92,
            share => ((share + 0.055) / 1.055).powf(2.4),
        };
        0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
    }

    fn contrasts(index: u8) -> [f64; 2] {
        [1.05 / (luminance(index) + 0.05), (luminance(index) + 0.05) / 0.05]
    }

    #[test]
    fn colours_can_be_read_on_white_and_on_black() {
        let look = Look::many();
        for style in [look.faint, look.rate, look.latency, look.good, look.bad] {
            let Some(Color::Indexed(index)) = style.fg else { panic!("one of 256") };
            assert!(style.bg.is_none(), "the background is the terminal's");
            for contrast in contrasts(index) {
                assert!(contrast >= 3.5, "colour {index}: {contrast:.2}");
            }
        }
        // Yellow, the usual choice, is the counter-example.
        assert!(contrasts(226)[0] < 1.5);
    }

    #[test]
    fn the_environment_decides() {
        for (no_color, term, colorterm, look) in [
            (None, Some("xterm-256color"), None, Look::many()),
            (None, Some("xterm"), Some("truecolor"), Look::many()),
            (None, Some("linux"), None, Look::few()),
            (None, None, None, Look::few()),
            (Some(""), Some("tmux-256color"), None, Look::many()),
            (Some("1"), Some("tmux-256color"), Some("truecolor"), Look::plain()),
        ] {
            assert_eq!(Look::of_terminal(no_color, term, colorterm), look, "{no_color:?} {term:?}");
        }
        let plain = Look::plain();
        assert!([plain.good, plain.bad, plain.rate].iter().all(|style| style.fg.is_none()));
    }
}
