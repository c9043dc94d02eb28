//! `inhale journal …`: looks after a store while no server runs on it.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use journal::check::{CheckReport, Damage};
use journal::disk::RealDisk;
use journal::repair::{RepairAction, RepairPlan};
use serde_json::json;
use store::{RebuildProgress, SystemClock};

use crate::clock::{self, monotonic};
use crate::units::size_text;

/// What to do with a journal.
#[derive(Subcommand)]
pub(crate) enum JournalCommand {
    /// Read everything, verify every checksum, and say what is there and what is wrong
    Check(StoreFlags),
    /// Say what would have to be cut off to mend a damaged journal, and with --yes do it
    Repair(RepairFlags),
    /// Make the index again from the journal, beside the old one until it is whole
    Rebuild(StoreFlags),
}

#[derive(Args)]
pub(crate) struct RepairFlags {
    /// Do it. What is cut off is kept in files beside, and no sequence changes
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    store: StoreFlags,
}

/// Which store, and how to print.
#[derive(Args)]
pub(crate) struct StoreFlags {
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
        JournalCommand::Check(flags) => check(flags),
        JournalCommand::Repair(flags) => repair(flags),
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

/// The journal's directory, which must be there: none of these commands makes a store.
fn open_disk(flags: &StoreFlags) -> Result<RealDisk> {
    let dir = store::Config::new(&flags.data).journal_dir();
    if !dir.is_dir() {
        bail!("there is no store in {} (--data)", flags.data.display());
    }
    RealDisk::open(&dir).with_context(|| format!("opening {}", dir.display()))
}

fn check(flags: &StoreFlags) -> Result<bool> {
    let disk = open_disk(flags)?;
    let bar = bar("bytes");
    let start = monotonic();
    let report = journal::check::check(&disk, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    })
    .with_context(|| format!("checking {}", flags.data.display()))?;
    bar.finish_and_clear();
    let seconds = (monotonic() - start).as_secs_f64();
    if flags.json {
        outln!("{}", report_json(&report));
    } else {
        print_report(&report, seconds);
    }
    Ok(report.is_sound())
}

fn report_json(report: &CheckReport) -> serde_json::Value {
    json!({
        "sound": report.is_sound(),
        "usages": report.usages(),
        "firstSequence": report.first_seq(),
        "endSequence": report.end_seq(),
        "lostBefore": report.lost_before(),
        "firstCommit": report.committed_ms().map(|(first, _)| time_text(first)),
        "lastCommit": report.committed_ms().map(|(_, last)| time_text(last)),
        "segments": report.segments.len(),
        "bytes": report.bytes,
        "tornBytes": report.torn.map(|torn| torn.bytes),
        "damages": report.damages.iter().map(|damage| json!({
            "segment": damage.segment,
            "offset": damage.offset,
            "bytes": damage.bytes,
            "expectedSequence": damage.expected_seq,
            "lost": [damage.lost.start, damage.lost.end],
            "why": damage.why,
        })).collect::<Vec<_>>(),
    })
}

fn print_report(report: &CheckReport, seconds: f64) {
    outln!(
        "{} usages in {} segments, sequences {} to {}; {} read in {seconds:.1} s",
        report.usages(),
        report.segments.len(),
        report.first_seq(),
        report.end_seq().saturating_sub(1),
        size_text(report.bytes),
    );
    if let Some((first, last)) = report.committed_ms() {
        outln!("committed from {} to {}", time_text(first), time_text(last));
    }
    if report.lost_before() > 0 {
        outln!("{} frames were lost to an earlier repair", report.lost_before());
    }
    if let Some(torn) = report.torn {
        outln!(
            "segment {}: {} bytes of an interrupted write at byte {}, never acknowledged; the next start cuts them off",
            torn.segment,
            torn.bytes,
            torn.offset
        );
    }
    for damage in &report.damages {
        outln!("DAMAGED: {}", damage_text(damage));
    }
    if report.is_sound() {
        outln!("every checksum is right");
    } else {
        outln!("`inhale journal repair` says what would be cut off to mend it");
    }
}

fn damage_text(damage: &Damage) -> String {
    let lost = damage.lost.end.saturating_sub(damage.lost.start);
    format!(
        "segment {} at byte {} ({} bytes), where sequence {} should stand: {}; {lost} frames are lost by it",
        damage.segment, damage.offset, damage.bytes, damage.expected_seq, damage.why
    )
}

fn repair(flags: &RepairFlags) -> Result<bool> {
    let disk = open_disk(&flags.store)?;
    let plan = journal::repair::plan(&disk)
        .with_context(|| format!("looking at {}", flags.store.data.display()))?;
    if flags.yes {
        journal::repair::repair(&disk, &plan)
            .with_context(|| format!("repairing {}", flags.store.data.display()))?;
    }
    if flags.store.json {
        outln!("{}", plan_json(&plan, flags.yes));
    } else {
        print_plan(&plan, flags.yes);
    }
    Ok(flags.yes || plan.steps.is_empty())
}

fn plan_json(plan: &RepairPlan, done: bool) -> serde_json::Value {
    json!({
        "done": done,
        "steps": plan.steps.iter().map(|step| json!({
            "segment": step.segment,
            "action": action_text(step.action),
            "framesKept": step.frames_kept,
            "lost": step.lost.iter().map(|lost| [lost.start, lost.end]).collect::<Vec<_>>(),
            "cutFile": step.cut_file,
            "damages": step.damages.iter().map(damage_text).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })
}

fn print_plan(plan: &RepairPlan, done: bool) {
    if plan.steps.is_empty() {
        outln!("nothing is wrong; nothing to do");
        return;
    }
    let mut lost_frames = 0;
    for step in &plan.steps {
        outln!(
            "segment {}: {}, {} frames kept",
            step.segment,
            action_text(step.action),
            step.frames_kept
        );
        for damage in &step.damages {
            outln!("  {}", damage_text(damage));
        }
        for lost in &step.lost {
            outln!("  sequences {} to {} are lost", lost.start, lost.end.saturating_sub(1));
            lost_frames += lost.end.saturating_sub(lost.start);
        }
        if let Some(file) = &step.cut_file {
            outln!("  the segment as it is now is kept in {file}");
        }
    }
    if done {
        outln!("repaired: {lost_frames} frames are lost, no sequence has changed");
    } else {
        outln!(
            "nothing was done. `inhale journal repair --yes` does it; {lost_frames} frames would be lost"
        );
    }
}

fn action_text(action: RepairAction) -> &'static str {
    match action {
        RepairAction::Rewrite => "rewritten",
        RepairAction::SetAside => "set aside",
        RepairAction::RemoveSpares => "spares removed",
    }
}

/// Milliseconds since 1970 as RFC 3339.
fn time_text(ms: u64) -> String {
    i64::try_from(ms)
        .ok()
        .and_then(usage::Instant::from_millis)
        .map_or_else(|| ms.to_string(), |at| at.to_string())
}

fn rebuild(flags: &StoreFlags) -> Result<()> {
    clock::refuse_before_1970()?;
    open_disk(flags)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repro_no_command_makes_a_store() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let check = |command: fn(StoreFlags) -> JournalCommand| {
            let data = folder.path().join("misspelt");
            let refused = run(&command(StoreFlags { data: data.clone(), json: false }));
            let why = refused.expect_err("there is no store").to_string();
            assert!(why.contains("misspelt (--data)"), "{why}");
            assert!(!data.exists());
        };
        check(JournalCommand::Check);
        check(|store| JournalCommand::Repair(RepairFlags { yes: true, store }));
        check(JournalCommand::Rebuild);
    }
}
