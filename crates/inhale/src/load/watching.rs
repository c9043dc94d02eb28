//! Whoever watches a run while it goes on: the terminal or a progress line, Prometheus, and files of
//! points.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use ::load::live::metrics::Metrics;
use ::load::live::{Display, Look, ProgressLine, View, display_for};
use ::load::measure::Totals;
use ::load::observe::Observer;
use ::load::outcome::Outcome;
use ::load::plan::Plan;
use ::load::report::out::{Earlier, Out};
use ::load::run::StopFlag;

use super::flags::OutputFlags;

/// All that were asked for.
pub(super) struct Watchers {
    notes: Notes,
    outs: Vec<Out<Earlier>>,
    metrics: Option<Metrics>,
    /// Last, so that whatever the others have to say is said on an orderly terminal.
    display: Option<Box<dyn Observer>>,
}

impl Watchers {
    /// Opens what was asked for, all before the first request. Errors name the flag.
    pub(super) fn open(flags: &OutputFlags) -> Result<Self, String> {
        let outs = flags.out.iter().map(|text| Out::create(text).map_err(|e| e.to_string()));
        let outs = outs.collect::<Result<_, _>>()?;
        let metrics = flags.metrics_listen.as_deref().map(listen).transpose()?;
        Ok(Self { notes: Notes::default(), outs, metrics, display: None })
    }

    /// Takes the terminal, or begins a progress line, as late as possible: what goes wrong before is
    /// told in plain lines.
    pub(super) fn show(&mut self, flags: &OutputFlags, stop: &Arc<StopFlag>) {
        let variable = |name| std::env::var(name).ok();
        let term = variable("TERM");
        let line = |on_terminal| -> Box<dyn Observer> {
            Box::new(ProgressLine::new(io::stderr(), on_terminal))
        };
        self.display = match display_for(flags.quiet, term.as_deref()) {
            Display::View => {
                let (no_color, colorterm) = (variable("NO_COLOR"), variable("COLORTERM"));
                let look =
                    Look::of_terminal(no_color.as_deref(), term.as_deref(), colorterm.as_deref());
                // A terminal that will not have the view has a line.
                match View::start(look, Arc::clone(stop)) {
                    Ok(view) => {
                        self.notes.held = Some(Vec::new());
                        Some(Box::new(view))
                    }
                    Err(_) => Some(line(true)),
                }
            }
            Display::LineOnTerminal => Some(line(true)),
            Display::Lines => Some(line(false)),
            Display::Nothing => None,
        };
    }

    /// Each of them.
    pub(super) fn all(&mut self) -> Vec<&mut dyn Observer> {
        let mut all: Vec<&mut dyn Observer> = vec![&mut self.notes];
        all.extend(self.outs.iter_mut().map(|out| out as &mut dyn Observer));
        all.extend(self.metrics.iter_mut().map(|metrics| metrics as &mut dyn Observer));
        if let Some(display) = &mut self.display {
            all.push(display.as_mut());
        }
        all
    }

    /// Gives the terminal back and says what could not be said before. Returns what went wrong with
    /// files of points.
    pub(super) fn close(self) -> Vec<String> {
        let Self { notes, outs, metrics, display } = self;
        drop(display);
        drop(metrics);
        for note in notes.held.into_iter().flatten() {
            errln!("note: {note}");
        }
        outs.iter().filter_map(|out| out.warning().map(str::to_owned)).collect()
    }
}

fn listen(address: &str) -> Result<Metrics, String> {
    let metrics = TcpListener::bind(address).and_then(Metrics::start);
    let metrics = metrics.map_err(|error| format!("--metrics-listen {address}: {error}"))?;
    errln!("metrics at http://{}/metrics", metrics.address());
    Ok(metrics)
}

/// Tells what was found before the run: at once, or after it where the view has the terminal.
#[derive(Default)]
struct Notes {
    held: Option<Vec<String>>,
}

impl Observer for Notes {
    fn begin(&mut self, plan: &Plan, notes: &[String]) {
        let all = plan.notes.iter().chain(notes);
        match &mut self.held {
            Some(held) => held.extend(all.cloned()),
            None => all.for_each(|note| errln!("note: {note}")),
        }
    }

    fn tick(&mut self, _plan: &Plan, _totals: &Totals, _at: Duration) {}

    fn end(&mut self, _plan: &Plan, _totals: &Totals, _outcome: &Outcome) {}
}
