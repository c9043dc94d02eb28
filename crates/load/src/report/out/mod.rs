//! Points over time, written while the run goes on (`--out json=FILE`, `--out csv=FILE`).
//!
//! k6 writes a point for each request. Here there is one for each metric, scenario and second, so that
//! neither memory nor the cost of a request depends on whether somebody writes them down: about 20
//! lines a second for a scenario, whatever its rate. A counter's points are what it grew by, so their
//! sum is the total; a trend's carry its average, and beside it how many there were and percentiles.
//!
//! A disk that fails ends the output, never the run: what is missing is said in [`Out::warning`].

mod csv;
mod json;
mod points;

use std::io::{self, Write};
use std::time::Duration;

use points::Points;

use crate::limits::OUT_EVERY;
use crate::measure::Totals;
use crate::observe::Observer;
use crate::outcome::Outcome;
use crate::plan::Plan;

/// An output: where it goes, and what has been written.
#[derive(Debug)]
pub struct Out<W> {
    name: String,
    format: Format,
    /// `None` once it has failed.
    writer: Option<W>,
    warning: Option<String>,
    points: Points,
    /// When the run began by the wall clock, in nanoseconds since 1970.
    started_wall_ns: Option<u64>,
    wall_ns: fn() -> u64,
    next: Duration,
    /// When something was written last: time goes on from there.
    written_at: Duration,
}

/// How points are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A JSON object on each line, in k6's form.
    Json,
    /// A table, under k6's names where it has them.
    Csv,
}

/// What `--out` asks for and cannot be.
#[derive(Debug, thiserror::Error)]
pub enum OutError {
    /// Neither form.
    #[error("--out {0}: write json=FILE or csv=FILE")]
    Unknown(String),
    /// The file cannot be made.
    #[error("--out {path}: {error}")]
    Create {
        /// As it was written.
        path: String,
        /// As the system has it.
        error: io::Error,
    },
}

impl Out<Earlier> {
    /// Opens the file that `json=FILE` or `csv=FILE` names. One that is there already is emptied when
    /// the run begins: if none does, it still is what it was.
    ///
    /// # Errors
    /// When it is of another form, or the file cannot be made.
    pub fn create(text: &str) -> Result<Self, OutError> {
        let (format, path) = match text.split_once('=') {
            Some(("json", path)) if !path.is_empty() => (Format::Json, path),
            Some(("csv", path)) if !path.is_empty() => (Format::Csv, path),
            _ => return Err(OutError::Unknown(text.to_owned())),
        };
        let mut options = std::fs::OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|error| OutError::Create { path: path.to_owned(), error })?;
        Ok(Self::new(path, format, Earlier::new(file), crate::clock::wall_ns))
    }
}

/// A file that loses what an earlier run wrote when the first byte of this one comes.
#[derive(Debug)]
pub struct Earlier {
    file: io::BufWriter<std::fs::File>,
    emptied: bool,
}

impl Earlier {
    fn new(file: std::fs::File) -> Self {
        Self { file: io::BufWriter::new(file), emptied: false }
    }
}

impl Write for Earlier {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.emptied {
            // What is no file, such as a pipe, has nothing to lose.
            if self.file.get_ref().metadata()?.is_file() {
                self.file.get_ref().set_len(0)?;
            }
            self.emptied = true;
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl<W: Write> Out<W> {
    /// Writes to `writer`, which warnings call `name`. `wall_ns` is asked once.
    pub fn new(name: &str, format: Format, writer: W, wall_ns: fn() -> u64) -> Self {
        Self {
            name: name.to_owned(),
            format,
            writer: Some(writer),
            warning: None,
            points: Points::default(),
            started_wall_ns: None,
            wall_ns,
            next: OUT_EVERY,
            written_at: Duration::ZERO,
        }
    }

    /// Writes what came since the last second.
    pub fn finish(&mut self, plan: &Plan, totals: &Totals, at: Duration) {
        self.started_wall_ns.get_or_insert_with(self.wall_ns);
        self.write(plan, totals, at);
    }

    /// Why the output is not whole, if it is not.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    fn write(&mut self, plan: &Plan, totals: &Totals, at: Duration) {
        let Some(writer) = &mut self.writer else { return };
        let at = at.max(self.written_at);
        self.written_at = at;
        let first = !self.points.begun();
        let points = self.points.since_last(plan, totals);
        let at_ns = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        let wall_ns = self.started_wall_ns.unwrap_or_default().saturating_add(at_ns);
        let mut text = String::new();
        match self.format {
            Format::Json if first => json::head(plan, &mut text),
            Format::Csv if first => csv::head(&mut text),
            _ => {}
        }
        for point in &points {
            match self.format {
                Format::Json => json::point(point, wall_ns, &mut text),
                Format::Csv => csv::point(point, wall_ns, &mut text),
            }
        }
        if let Err(error) = writer.write_all(text.as_bytes()).and_then(|()| writer.flush()) {
            self.warning = Some(format!(
                "{} ends {} after the start: {error}",
                self.name,
                super::format::seconds(at.as_secs_f64())
            ));
            self.writer = None;
        }
    }
}

impl<W: Write> Observer for Out<W> {
    /// Writes once a second has passed.
    fn tick(&mut self, plan: &Plan, totals: &Totals, at: Duration) {
        self.started_wall_ns.get_or_insert_with(|| {
            (self.wall_ns)().saturating_sub(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX))
        });
        if at >= self.next {
            self.write(plan, totals, at);
            self.next = at + OUT_EVERY - Duration::from_nanos(at.subsec_nanos().into());
        }
    }

    fn end(&mut self, plan: &Plan, totals: &Totals, _outcome: &Outcome) {
        self.finish(plan, totals, Duration::from_nanos(totals.until_ns));
    }
}
