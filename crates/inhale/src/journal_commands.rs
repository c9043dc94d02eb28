//! `inhale journal …`: looks after a store while no server runs on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use journal::MissingEnd;
use journal::accept::EndLoss;
use journal::aside::{self, AsideFile};
use journal::check::{CheckReport, Damage, Holds, Loss, Misplaced};
use journal::disk::RealDisk;
use journal::repair::{RepairAction, RepairPlan};
use serde_json::json;
use store::{RebuildProgress, SystemClock};

use crate::clock::{self, monotonic, wall_ms};
use crate::index_check;
use crate::units::size_text;

/// What to do with a journal.
#[derive(Subcommand)]
pub(crate) enum JournalCommand {
    /// Verify every checksum of the journal, count the index in full, and say what is wrong
    Check(StoreFlags),
    /// Show how to correct a damaged journal and what that costs; with --yes do it
    Repair(RepairFlags),
    /// List the files that were set aside; with --yes remove them
    Discard(DiscardFlags),
    /// Make the index again from the journal, beside the old one until it is whole
    Rebuild(StoreFlags),
}

#[derive(Args)]
pub(crate) struct RepairFlags {
    /// Do it. Misplaced files get their names; damaged segments are rewritten, with copies in the
    /// folder set-aside; no sequence changes
    #[arg(long)]
    yes: bool,
    /// Do it, and give up the frames that are missing at the end of the journal: it goes on past
    /// every sequence that may have been given out
    #[arg(long)]
    accept_loss: bool,
    #[command(flatten)]
    store: StoreFlags,
}

#[derive(Args)]
pub(crate) struct DiscardFlags {
    /// Remove them for good
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

impl JournalCommand {
    /// The directory of the store.
    pub(crate) fn data(&self) -> &Path {
        match self {
            Self::Check(store) | Self::Rebuild(store) => &store.data,
            Self::Repair(flags) => &flags.store.data,
            Self::Discard(flags) => &flags.store.data,
        }
    }
}

/// Runs the subcommand: `true` when what it looked at is well.
pub(crate) fn run(command: &JournalCommand) -> Result<bool> {
    match command {
        JournalCommand::Check(flags) => check(flags),
        JournalCommand::Repair(flags) => repair(flags),
        JournalCommand::Discard(flags) => discard(flags),
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
        bail!(
            "there is no store in {}; name its directory with --data DIR, as for `inhale serve`",
            flags.data.display()
        );
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
    let index = index_check::check(&flags.data, &report);
    // Where the journal shows damage by itself, what the index misses is looked for after a repair.
    let loss = if report.is_sound() { find_loss(flags, &disk)? } else { None };
    if flags.json {
        let sound = report.is_sound();
        let mut report = report_json(&report);
        report["sound"] = (sound && loss.is_none()).into();
        report["endLoss"] = loss.as_ref().map(|loss| end_loss_json(loss, false)).into();
        report["index"] = index.json();
        outln!("{report}");
    } else {
        print_report(&report, loss.as_ref(), seconds);
        index.print();
    }
    Ok(report.is_sound() && loss.is_none() && index.is_sound())
}

/// What is missing at the end of the journal, by its mark and by the index.
fn find_loss(flags: &StoreFlags, disk: &RealDisk) -> Result<Option<EndLoss>> {
    let witness = store::index_witness(&store::Config::new(&flags.data));
    journal::accept::end_loss(disk, witness.as_slice())
        .with_context(|| format!("looking for the end of {}", flags.data.display()))
}

fn end_loss_json(loss: &EndLoss, accepted: bool) -> serde_json::Value {
    json!({
        "accepted": accepted,
        "endSequence": loss.end_seq,
        "missingAtLeast": loss.missing.as_ref().map(MissingEnd::at_least),
        "missingAtMost": loss.missing.as_ref().and_then(MissingEnd::at_most),
        "resumeSequence": loss.resume_seq,
        "kept": loss.kept,
        "why": loss.to_string(),
    })
}

fn print_loss(loss: &EndLoss, accepted: bool) {
    outln!("MISSING: {loss}");
    let (first, last) = (loss.end_seq, loss.resume_seq - 1);
    let kept = loss.kept.join(", ");
    if accepted {
        outln!("sequences {first} to {last} were given up; the next usage gets {}", last + 1);
        outln!("the last segments as they were are kept in {kept}");
    } else {
        outln!(
            "put the journal's files back from a copy; or `inhale journal repair --accept-loss` gives \
             up sequences {first} to {last} and keeps the last segments in {kept}"
        );
    }
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
        "lost": loss_json(report.loss()),
        "misplaced": misplaced_json(&report.misplaced),
        "doubtfulSegments": report.doubtful,
        "setAside": aside_json(&report.aside),
        "damages": report.damages.iter().map(|damage| json!({
            "segment": damage.segment,
            "offset": damage.offset,
            "bytes": damage.bytes,
            "expectedSequence": damage.expected_seq,
            "lost": [damage.lost.start, damage.lost.end],
            "lostMoreAtMost": damage.more_max,
            "why": damage.why,
        })).collect::<Vec<_>>(),
    })
}

fn loss_json(loss: Loss) -> serde_json::Value {
    json!({ "atLeast": loss.at_least, "atMost": loss.at_most })
}

fn misplaced_json(files: &[Misplaced]) -> serde_json::Value {
    let file = |file: &Misplaced| {
        let (holds, segment) = match file.holds {
            Holds::Segment(segment) => ("segment", Some(segment)),
            Holds::Copy(segment) => ("copy", Some(segment)),
            Holds::Version(segment) => ("version", Some(segment)),
            Holds::OtherStore => ("otherStore", None),
            Holds::Unknown => ("unknown", None),
        };
        json!({ "file": file.file, "holds": holds, "segment": segment, "to": file.to })
    };
    files.iter().map(file).collect()
}

fn aside_json(files: &[AsideFile]) -> serde_json::Value {
    files.iter().map(|file| json!({ "name": file.name, "bytes": file.bytes })).collect()
}

fn print_report(report: &CheckReport, loss: Option<&EndLoss>, seconds: f64) {
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
        outln!("{} sequences were given up by an earlier repair", report.lost_before());
    }
    if report.first_seq() > 1 {
        outln!(
            "sequences 1 to {} are not there: they have expired, or the oldest segments are missing",
            report.first_seq() - 1
        );
    }
    if let Some(torn) = report.torn {
        outln!(
            "segment {}: {} bytes of an unfinished write at byte {}; the next start removes them. A crash leaves such bytes and loses nothing acknowledged; if they are damage instead, at most {} frames are lost",
            torn.segment,
            torn.bytes,
            torn.offset,
            report.torn_frames_max
        );
    }
    for segment in &report.doubtful {
        outln!(
            "segment {segment}: its file holds no whole batch or was overwritten. A crash at its beginning leaves it so; otherwise its usages are lost, and the journal does not show how many"
        );
    }
    for file in &report.misplaced {
        outln!("MISPLACED: {}", misplaced_text(file));
    }
    for damage in &report.damages {
        outln!("DAMAGED: {}", damage_text(damage));
    }
    if let Some(loss) = loss {
        outln!("every checksum is right");
        print_loss(loss, false);
    } else if report.is_sound() {
        outln!("every checksum is right");
    } else {
        outln!("{} frames are lost", Loss::of(&report.damages));
        outln!("`inhale journal repair` shows how to correct this, and what it costs");
    }
    print_aside(&report.aside);
}

/// The files set aside, if there are any, and how to be rid of them.
fn print_aside(files: &[AsideFile]) {
    for file in files {
        outln!("set aside: {} ({})", file.name, size_text(file.bytes));
    }
    if !files.is_empty() {
        outln!(
            "nothing reads the files set aside; `inhale journal discard --yes` removes them for good"
        );
    }
}

fn misplaced_text(file: &Misplaced) -> String {
    let holds = match file.holds {
        Holds::Segment(segment) => format!("holds segment {segment}"),
        Holds::Copy(segment) => format!("is a copy of segment {segment}, which is in its place"),
        Holds::Version(segment) => format!(
            "is another version of segment {segment}, with frames that the one in its place lacks"
        ),
        Holds::OtherStore => "belongs to another store".to_owned(),
        Holds::Unknown => "cannot be identified, and its name belongs to another file".to_owned(),
    };
    format!("{} {holds}; repair moves it to {}", file.file, file.to)
}

fn damage_text(damage: &Damage) -> String {
    format!(
        "segment {} at byte {} ({} bytes), where sequence {} should stand: {}; {} frames are lost by it",
        damage.segment,
        damage.offset,
        damage.bytes,
        damage.expected_seq,
        damage.why,
        Loss::of([damage])
    )
}

fn repair(flags: &RepairFlags) -> Result<bool> {
    let disk = open_disk(&flags.store)?;
    let plan = journal::repair::plan(&disk)
        .with_context(|| format!("looking at {}", flags.store.data.display()))?;
    let done = flags.yes || flags.accept_loss;
    let repairing = || format!("repairing {}", flags.store.data.display());
    if done && !plan.is_empty() {
        let witness = store::index_witness(&store::Config::new(&flags.store.data));
        journal::accept::keep_witnesses(&disk, witness.as_slice()).with_context(repairing)?;
        journal::repair::repair(&disk, &plan).with_context(repairing)?;
    }
    let loss = if flags.accept_loss {
        accept_loss(&flags.store.data)?
    } else if done || plan.is_empty() {
        find_loss(&flags.store, &disk)?
    } else {
        // Only a journal that can be read to its end says what is missing behind it.
        None
    };
    if flags.store.json {
        let mut plan = plan_json(&plan, done);
        plan["endLoss"] = loss.as_ref().map(|loss| end_loss_json(loss, flags.accept_loss)).into();
        outln!("{plan}");
    } else {
        if loss.is_none() || !plan.is_empty() {
            print_plan(&plan, done);
        }
        if let Some(loss) = &loss {
            print_loss(loss, flags.accept_loss);
        }
    }
    Ok((done || plan.is_empty()) && (flags.accept_loss || loss.is_none()))
}

/// Gives up what is missing at the end of the journal of the store in `data`, if anything is.
pub(crate) fn accept_loss(data: &Path) -> Result<Option<EndLoss>> {
    let config = store::Config::new(data);
    let accepting = || format!("accepting the loss at the end of {}", data.display());
    let disk = RealDisk::open(config.journal_dir()).with_context(accepting)?;
    let witness = store::index_witness(&config);
    journal::accept::accept_loss(&disk, witness.as_slice(), wall_ms()).with_context(accepting)
}

fn plan_json(plan: &RepairPlan, done: bool) -> serde_json::Value {
    json!({
        "done": done,
        "lost": loss_json(plan.loss()),
        "moves": misplaced_json(&plan.moves),
        "steps": plan.steps.iter().map(|step| json!({
            "segment": step.segment,
            "action": action_text(step.action),
            "framesKept": step.frames_kept,
            "lost": step.lost.iter().map(|lost| [lost.start, lost.end]).collect::<Vec<_>>(),
            "asideFile": step.aside_file,
            "damages": step.damages.iter().map(damage_text).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
    })
}

fn print_plan(plan: &RepairPlan, done: bool) {
    if plan.is_empty() {
        outln!("nothing is wrong; nothing to do");
        return;
    }
    for file in &plan.moves {
        outln!("{}", misplaced_text(file));
    }
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
        }
        if let Some(file) = &step.aside_file {
            outln!("  the segment as it is now is kept in {file}");
        }
    }
    if done {
        outln!("repaired: {} frames are lost; no sequence has changed", plan.loss());
    } else {
        outln!(
            "nothing was changed. `inhale journal repair --yes` does this; {} frames are lost",
            plan.loss()
        );
    }
}

fn discard(flags: &DiscardFlags) -> Result<bool> {
    let disk = open_disk(&flags.store)?;
    let failed = || format!("the files set aside in {}", flags.store.data.display());
    let files = aside::list(&disk).with_context(failed)?;
    if flags.yes {
        aside::discard(&disk, &files).with_context(failed)?;
    }
    if flags.store.json {
        outln!("{}", json!({ "done": flags.yes, "files": aside_json(&files) }));
        return Ok(flags.yes || files.is_empty());
    }
    for file in &files {
        outln!("{} ({})", file.name, size_text(file.bytes));
    }
    match (files.len(), flags.yes) {
        (0, _) => outln!("no file is set aside"),
        (count, true) => outln!("{count} files removed"),
        (_, false) => outln!(
            "nothing was removed. `inhale journal discard --yes` removes these files for good"
        ),
    }
    Ok(flags.yes || files.is_empty())
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
            assert!(why.contains("misspelt;") && why.contains("--data DIR"), "{why}");
            assert!(!data.exists());
        };
        check(JournalCommand::Check);
        check(|store| JournalCommand::Repair(RepairFlags { yes: true, accept_loss: true, store }));
        check(JournalCommand::Rebuild);
    }
}
