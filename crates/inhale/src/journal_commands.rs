//! `inhale journal …`: looks after a store while no server runs on it.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use store::{RebuildProgress, SystemClock};

use crate::clock::monotonic;

/// What to do with a journal.
#[derive(Subcommand)]
pub(crate) enum JournalCommand {
    /// Remove the index and make it again from the journal
    Rebuild(RebuildFlags),
}

#[derive(Args)]
pub(crate) struct RebuildFlags {
    /// Directory of the store
    #[arg(long, value_name = "DIR", default_value = "./inhale-data")]
    data: PathBuf,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand: `true` when what it looked at is well.
pub(crate) fn run(command: &JournalCommand) -> Result<bool> {
    match command {
        JournalCommand::Rebuild(flags) => rebuild(flags).map(|()| true),
    }
}

/// A bar on a terminal, nothing elsewhere.
fn bar(unit: &str) -> ProgressBar {
    let template =
        format!("{{bar:32}} {{human_pos}} of {{human_len}} {unit}, {{per_sec}}, {{eta}} left");
    let style = ProgressStyle::with_template(&template).expect("the template is well-formed");
    ProgressBar::new(0).with_style(style)
}

fn rebuild(flags: &RebuildFlags) -> Result<()> {
    let config = store::Config::new(&flags.data);
    let bar = bar("frames");
    let start = monotonic();
    let show = |progress: RebuildProgress| {
        bar.set_length(progress.end_seq - progress.first_seq);
        bar.set_position(progress.done_seq - progress.first_seq);
    };
    let done = store::rebuild(&config, Arc::new(SystemClock::new()), show)
        .with_context(|| format!("rebuilding the index of {}", flags.data.display()))?;
    bar.finish_and_clear();
    let seconds = (monotonic() - start).as_secs_f64();
    let rate = done.usages as f64 / seconds;
    if flags.json {
        outln!("{}", json!({ "usages": done.usages, "seconds": seconds, "usagesPerSecond": rate }));
    } else {
        outln!("{} usages indexed in {seconds:.1} s, {rate:.0} a second", done.usages);
    }
    Ok(())
}
