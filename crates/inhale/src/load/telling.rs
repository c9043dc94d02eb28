//! What is told once a run has ended: the report, and the files that were asked for.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, IsTerminal as _, Write as _, stdout};
use std::path::{Path, PathBuf};

use ::load::measure::Totals;
use ::load::outcome::Outcome;
use ::load::plan::Plan;
use ::load::report::text::{TextOptions, colour_wanted, columns_of};
use ::load::report::{Columns, html, summary, text};

use super::flags::{LoadFlags, OutputFlags};

/// What is to be told, and how; known to be possible before the first request.
pub(super) struct Telling<'a> {
    flags: &'a OutputFlags,
    columns: Columns,
}

impl<'a> Telling<'a> {
    /// Errors name the flag to change.
    pub(super) fn new(all: &'a LoadFlags) -> Result<Self, String> {
        let flags = &all.output;
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
        each_its_own(all)?;
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
        let report = if self.flags.json {
            figures().to_string()
        } else {
            let (no_color, term) = (std::env::var_os("NO_COLOR"), std::env::var_os("TERM"));
            let colour =
                colour_wanted(stdout().is_terminal(), no_color.as_deref(), term.as_deref());
            let (columns, width) = (self.columns.clone(), columns_of(stdout()));
            let options = TextOptions { columns, colour, width };
            text::render(plan, totals, outcome, &options).trim_end().to_owned()
        };
        let mut out = stdout().lock();
        match writeln!(out, "{report}").and_then(|()| out.flush()) {
            // A reader that went away (`inhale … | head`) is no error of ours.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                failures
                    .push(format!("the report could not be written to standard output: {error}"));
            }
            _ => {}
        }
        failures
    }
}

/// Refuses two outputs to one file, of which the later would be written over the earlier.
fn each_its_own(flags: &LoadFlags) -> Result<(), String> {
    let output = &flags.output;
    let points = output.out.iter().filter_map(|text| text.split_once('='));
    let points = points.map(|(_, path)| ("out", Path::new(path)));
    let whole = [
        ("html", &output.html),
        ("summary-export", &output.summary_export),
        ("receipts", &flags.verdict.receipts),
    ];
    let whole = whole.into_iter().filter_map(|(flag, path)| Some((flag, path.as_deref()?)));
    let mut seen: Vec<(&str, PathBuf)> = Vec::new();
    for (flag, path) in whole.chain(points) {
        // What is no file, such as /dev/null, has nothing to lose.
        if path.exists() && !path.is_file() {
            continue;
        }
        let place = place(path);
        if let Some((other, _)) = seen.iter().find(|(_, taken)| *taken == place) {
            let path = path.display();
            return Err(format!("--{flag} {path}: --{other} writes there; name another file"));
        }
        seen.push((flag, place));
    }
    Ok(())
}

/// The same for each way to write a path, whether or not a file is there yet.
fn place(path: &Path) -> PathBuf {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let there = fs::canonicalize(path).or_else(|_| {
        let name = path.file_name().unwrap_or_default();
        fs::canonicalize(folder).map(|folder| folder.join(name))
    });
    // What is in no folder that there is cannot be written, which is told elsewhere.
    there.unwrap_or_else(|_| path.to_owned())
}

/// Sees whether a file can be written. One that is there keeps what it holds until there is something
/// to write, and none is left where none was.
fn writable(path: &Path) -> std::io::Result<()> {
    let was_there = path.exists();
    OpenOptions::new().append(true).create(true).open(path)?;
    if was_there { Ok(()) } else { fs::remove_file(path) }
}
