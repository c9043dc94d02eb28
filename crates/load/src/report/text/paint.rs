//! Colours of a terminal, for who has one and wants them.

use std::ffi::OsStr;

/// Whether colours are wanted: on a terminal that has them (`TERM` is not `dumb`), unless `NO_COLOR` is set to
/// anything.
pub fn colour_wanted(is_terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    is_terminal && no_color.is_none_or(OsStr::is_empty) && term.is_none_or(|term| term != "dumb")
}

/// Writes with colours, or without.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint {
    colour: bool,
}

impl Paint {
    pub(super) fn new(colour: bool) -> Self {
        Self { colour }
    }

    pub(super) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(super) fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub(super) fn faint(self, text: &str) -> String {
        self.with("2", text)
    }

    pub(super) fn value(self, text: &str) -> String {
        self.with("36", text)
    }

    /// `✓` or `✗`.
    pub(super) fn mark(self, good: bool) -> String {
        if good { self.good("✓") } else { self.bad("✗") }
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        for (is_terminal, no_color, term, wanted) in [
            (true, None, None, true),
            (true, Some(""), Some("xterm"), true),
            (true, Some("1"), Some("xterm"), false),
            (true, None, Some("dumb"), false),
            (false, None, Some("xterm"), false),
        ] {
            let found = colour_wanted(is_terminal, no_color.map(OsStr::new), term.map(OsStr::new));
            assert_eq!(found, wanted, "{is_terminal} {no_color:?} {term:?}");
        }
    }
}
