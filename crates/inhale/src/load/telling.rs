//! What is told once a run has ended: the report, and the files that were asked for.

use std::fs::{self, OpenOptions};
use std::io::{IsTerminal as _, stdout};
use std::path::Path;

use ::load::measure::Totals;
use ::load::outcome::Outcome;
use ::load::plan::Plan;
use ::load::report::text::{TextOptions, colour_wanted};
use ::load::report::{Columns, html, summary, text};

use super::flags::OutputFlags;

/// What is to be told, and how; known to be possible before the first request.
pub(super) struct Telling<'a> {
    flags: &'a OutputFlags,
    columns: Columns,
}

impl<'a> Telling<'a> {
    /// Errors name the flag to change.
    pub(super) fn new(flags: &'a OutputFlags) -> Result<Self, String> {
        let columns = match &flags.summary_trend_stats {
            Some(list) => {
                list.parse().map_err(|error| format!("--summary-trend-stats {list}: {error}"))?
            }
            None => Columns::default(),
        };
        for (flag, path) in [("html", &flags.html), ("summary-export", &flags.summary_export)] {
            if let Some(path) = path {
                writable(path).map_err(|error| format!("--{flag} {}: {error}", path.display()))?;
            }
        }
        Ok(Self { flags, columns })
    }

    /// Tells it. Returns what could not be written.
    pub(super) fn tell(&self, plan: &Plan, totals: &Totals, outcome: &Outcome) -> Vec<String> {
        let mut failures = Vec::new();
        let mut write = |path: &Path, text: String| {
            if let Err(error) = fs::write(path, text) {
                failures.push(format!("{} could not be written: {error}", path.display()));
            }
        };
        let figures = || summary::summary(plan, totals, outcome, &self.columns);
        if let Some(path) = &self.flags.summary_export {
            write(path, format!("{:#}\n", figures()));
        }
        if let Some(path) = &self.flags.html {
            write(path, html::render(plan, totals, outcome));
        }
        if self.flags.json {
            outln!("{}", figures());
        } else {
            let no_color = std::env::var_os("NO_COLOR");
            let colour = colour_wanted(stdout().is_terminal(), no_color.as_deref());
            let options = TextOptions { columns: self.columns.clone(), colour };
            outln!("{}", text::render(plan, totals, outcome, &options).trim_end());
        }
        failures
    }
}

/// Sees whether a file can be written. One that is there keeps what it holds until there is something
/// to write, and none is left where none was.
fn writable(path: &Path) -> std::io::Result<()> {
    let was_there = path.exists();
    OpenOptions::new().append(true).create(true).open(path)?;
    if was_there { Ok(()) } else { fs::remove_file(path) }
}
