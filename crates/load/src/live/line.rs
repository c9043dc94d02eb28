//! Progress as a line of text, at most once a second, where no view can be drawn.

use std::io::Write;
use std::time::Duration;

use ratatui::crossterm::terminal::size;

use crate::measure::Totals;
use crate::observe::Observer;
use crate::outcome::Ending;
use crate::plan::Plan;

use super::format;
use super::gather::Gatherer;
use super::glance::Glance;

/// Writes lines to `out`: each over the one before on a terminal, one below the other elsewhere.
pub struct ProgressLine<W: Write> {
    out: W,
    terminal: bool,
    gatherer: Gatherer,
    told_at: Duration,
    /// Characters of the line that stands on the terminal.
    standing: usize,
}

impl<W: Write> ProgressLine<W> {
    /// For standard error, or whatever stands in for it.
    pub fn new(out: W, terminal: bool) -> Self {
        Self { out, terminal, gatherer: Gatherer::default(), told_at: Duration::ZERO, standing: 0 }
    }

    /// Takes the line away again.
    fn wipe(&mut self) {
        if self.standing > 0 {
            let blank = " ".repeat(self.standing);
            let _ = write!(self.out, "\r{blank}\r").and_then(|()| self.out.flush());
            self.standing = 0;
        }
    }

    fn tell(&mut self, line: &str) {
        let result = if self.terminal {
            // A line that wraps cannot be written over.
            let columns = size().map_or(80, |(columns, _)| usize::from(columns));
            let line: String = line.chars().take(columns.saturating_sub(1)).collect();
            let length = line.chars().count();
            let blank = " ".repeat(self.standing.saturating_sub(length));
            self.standing = length;
            write!(self.out, "\r{line}{blank}").and_then(|()| self.out.flush())
        } else {
            writeln!(self.out, "{line}")
        };
        // Nobody reads it, which is no reason to end a run.
        let _ = result;
    }
}

impl<W: Write> Observer for ProgressLine<W> {
    fn tick(&mut self, plan: &Plan, totals: &Totals, at: Duration) {
        // One in each second of the run, so that a tick that comes late puts off no later line.
        if at.as_secs() <= self.told_at.as_secs() {
            return;
        }
        if let Some(glance) = self.gatherer.gather(plan, totals, at) {
            self.told_at = at;
            let line = line(&glance);
            self.tell(&line);
        }
    }

    fn missing(&mut self, words: &str) {
        self.gatherer.missing(words);
    }

    fn stopping(&mut self, why: Ending, at: Duration) {
        self.gatherer.stopping(why, at);
    }
}

impl<W: Write> Drop for ProgressLine<W> {
    fn drop(&mut self) {
        self.wipe();
    }
}

/// `12.0s / 60.0s  16,667/s of 16,667/s  p99 1.21 ms  0 failed`, and what is wrong besides.
fn line(glance: &Glance) -> String {
    let (at, planned) = format::clocks(glance.at, glance.planned);
    let mut line = format!("{} / {}  ", at.replace(' ', ""), planned.replace(' ', ""));
    line.push_str(&format::per_second(glance.rate));
    if let Some(asked) = glance.asked {
        line.push_str(&format!(" of {}", format::per_second(asked)));
    }
    if glance.finishing {
        let left = format::whole(glance.in_flight + glance.waiting);
        line.push_str(&format!("  {left} still under way"));
    }
    line.push_str(&format!("  p99 {}", format::time_or_dash(glance.recent.p99)));
    line.push_str(&format!("  {} failed", format::whole(glance.failed)));
    if glance.dropped > 0 {
        line.push_str(&format!("  {} dropped", format::whole(glance.dropped)));
    }
    let crossed = glance.thresholds.iter().filter(|row| !row.passed).count();
    if crossed > 0 {
        line.push_str(&format!("  {crossed} of {} thresholds fail", glance.thresholds.len()));
    }
    if !glance.missing.is_empty() {
        line.push_str("  PARTIAL");
    }
    if !glance.invalid.is_empty() {
        line.push_str("  INVALID");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::ThresholdRow;

    #[test]
    fn a_line_says_what_matters() {
        let mut glance = Glance {
            at: Duration::from_secs(12),
            planned: Duration::from_mins(1),
            rate: 16_666.6,
            asked: Some(16_666.6),
            ..Glance::default()
        };
        assert_eq!(line(&glance), "12.0s / 60.0s  16,667/s of 16,667/s  p99 –  0 failed");
        glance.recent.p99 = Some(1.2);
        glance.asked = None;
        glance.failed = 1_204;
        glance.dropped = 3;
        glance.missing = vec!["agent 2 of 2 was lost".to_owned()];
        glance.invalid = vec!["late".to_owned()];
        (glance.finishing, glance.in_flight, glance.waiting) = (true, 4, 1_000);
        let threshold = |passed| ThresholdRow { passed, ..ThresholdRow::default() };
        glance.thresholds = vec![threshold(true), threshold(false)];
        assert_eq!(
            line(&glance),
            "12.0s / 60.0s  16,667/s  1,004 still under way  p99 1.20 ms  1,204 failed  3 dropped  \
             1 of 2 thresholds fail  PARTIAL  INVALID"
        );
    }

    #[test]
    fn a_terminal_keeps_one_line_and_is_left_clean() {
        let mut out = Vec::new();
        let mut progress = ProgressLine::new(&mut out, true);
        progress.tell("abcd");
        progress.tell("xy");
        drop(progress);
        assert_eq!(String::from_utf8(out).unwrap(), "\rabcd\rxy  \r  \r");
        let mut out = Vec::new();
        let mut progress = ProgressLine::new(&mut out, false);
        progress.tell("abcd");
        progress.tell("xy");
        drop(progress);
        assert_eq!(String::from_utf8(out).unwrap(), "abcd\nxy\n", "no \\r in a file");
    }
}
