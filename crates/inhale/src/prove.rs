//! `inhale prove`: shows on the reader's own disk that an acknowledged usage is a kept usage. A
//! server is loaded and killed with SIGKILL, and with root also has its power cut, again and again;
//! everything it ever acknowledged must be there afterwards, once.

mod ledger;
mod load;
mod place;
mod server;
mod verify;

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::clock::{monotonic, wall_ms};
use ledger::Ledger;
use load::Load;
use place::Place;
use server::ServerProcess;

/// How to prove it.
#[derive(Args, Debug, Clone)]
pub(crate) struct ProveFlags {
    /// Crashes in each place: a kill each, and with root a power cut of ext4 and one of XFS each
    #[arg(long, value_name = "N", default_value = "20", value_parser = clap::value_parser!(u32).range(1..))]
    cycles: u32,
    /// Directory to work in; choose one on the disk in question. Made if missing, emptied afterwards
    #[arg(long, value_name = "DIR", default_value = "./inhale-prove")]
    dir: PathBuf,
    /// Power cuts: needs root, mkfs.ext4, mkfs.xfs and xfs_io. `auto` leaves them out without root
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    power: Power,
    /// Kills of the server's process
    #[arg(long, value_name = "ON|OFF", default_value = "on")]
    kill: crate::flags::Switch,
    /// Connections that send usages
    #[arg(long, value_name = "N", default_value = "16", value_parser = clap::value_parser!(u32).range(1..=256))]
    connections: u32,
    /// Runs the server under this command, words split at spaces; for faults injected with strace
    #[arg(long, value_name = "COMMAND", hide = true)]
    server_prefix: Option<String>,
    /// Zeroes the last bytes of the newest journal file before each restart: the check must then fail
    #[arg(long, value_name = "BYTES", hide = true)]
    damage_tail: Option<u64>,
    /// Milliseconds of load in each cycle, instead of a few hundred at random
    #[arg(long, value_name = "MS", hide = true)]
    load_ms: Option<u64>,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// When power is cut.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum Power {
    /// With root.
    Auto,
    /// Always; an error without root.
    On,
    /// Never.
    Off,
}

/// What came out, added up over places.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Outcome {
    cycles: u64,
    acknowledged: u64,
    found: u64,
    duplicated: u64,
    longest_recovery: Duration,
}

impl Outcome {
    fn lost(&self) -> u64 {
        self.acknowledged - self.found
    }

    fn add(&mut self, other: Outcome) {
        self.cycles += other.cycles;
        self.acknowledged += other.acknowledged;
        self.found += other.found;
        self.duplicated += other.duplicated;
        self.longest_recovery = self.longest_recovery.max(other.longest_recovery);
    }
}

/// Runs it all and returns whether nothing was lost and nothing doubled.
pub(crate) fn run(flags: &ProveFlags) -> Result<bool> {
    let places = places(flags)?;
    let made = !flags.dir.exists();
    std::fs::create_dir_all(&flags.dir)
        .with_context(|| format!("cannot make {} (--dir)", flags.dir.display()))?;
    let mut total = Outcome::default();
    let proven = places
        .into_iter()
        .try_for_each(|place| prove_place(flags, place).map(|outcome| total.add(outcome)));
    if made {
        // Only a directory that this run made, and only if nothing else is in it.
        let _ = std::fs::remove_dir(&flags.dir);
    }
    proven?;
    report(flags, &total);
    Ok(total.lost() == 0 && total.duplicated == 0 && total.acknowledged > 0)
}

fn places(flags: &ProveFlags) -> Result<Vec<Place>> {
    let root = rustix::process::geteuid().is_root();
    let mut places = Vec::new();
    if flags.kill == crate::flags::Switch::On {
        places.push(Place::directory(&flags.dir));
    }
    match flags.power {
        Power::On if !root => {
            bail!("cutting power needs root, to mount file systems; or --power off")
        }
        Power::Auto if !root => {
            errln!(
                "skipped: power cuts, which need root to mount file systems (sudo inhale prove)"
            );
        }
        Power::On | Power::Auto => {
            places.push(Place::ext4(&flags.dir));
            places.push(Place::xfs(&flags.dir));
        }
        Power::Off => {}
    }
    if places.is_empty() {
        bail!("nothing to prove: both --kill and --power are off");
    }
    Ok(places)
}

fn prove_place(flags: &ProveFlags, mut place: Place) -> Result<Outcome> {
    place.make()?;
    let result = cycles(flags, &mut place);
    // What is mounted is unmounted also after an error, whose cause comes first.
    let cleaned = place.clean();
    let outcome = result?;
    cleaned?;
    Ok(outcome)
}

fn cycles(flags: &ProveFlags, place: &mut Place) -> Result<Outcome> {
    let mut ledger = Ledger::new();
    let mut not_shown = HashSet::new();
    let mut outcome = Outcome::default();
    let mut server = ServerProcess::start(&place.store(), flags.server_prefix.as_deref())?;
    for cycle in 1..=flags.cycles {
        let before = ledger.acknowledged();
        let load = Load::start(server.usages_url(), flags.connections, &mut ledger);
        // Somewhere within a few hundred milliseconds; the wall clock's low bits are random enough.
        let load_ms = flags.load_ms.unwrap_or_else(|| 150 + wall_ms() % 500);
        load.run_for(Duration::from_millis(load_ms))?;
        place.crash(&mut server)?;
        load.finish(&mut ledger);
        place.come_back()?;
        if let Some(bytes) = flags.damage_tail {
            place.damage_tail(bytes)?;
        }
        let restart = monotonic();
        server = start_again(flags, place)?;
        outcome.longest_recovery = outcome.longest_recovery.max(monotonic() - restart);
        load::settle_unknown(server.usages_url(), &mut ledger)?;
        let missing = verify::receipts(server.usages_url(), &ledger, before, flags.connections)?;
        let acknowledged = ledger.acknowledged() - before;
        errln!(
            "{place} {cycle}/{}: {acknowledged} acknowledged, {} of them found after the crash",
            flags.cycles,
            acknowledged - missing.len(),
        );
        not_shown.extend(missing);
        outcome.cycles += 1;
    }
    server.stop()?;
    let audit = verify::whole_journal(&place.store(), &ledger, &not_shown)?;
    outcome.acknowledged = ledger.acknowledged() as u64;
    outcome.found = audit.found;
    outcome.duplicated = audit.duplicated;
    Ok(outcome)
}

/// The loss rate that N crashes without a loss exclude with 95% confidence: one at which N crashes without a
/// loss happen with a probability of 5%, so (1 - rate)^N = 0.05.
fn loss_rate_bound(crashes: u64) -> f64 {
    1.0 - 0.05f64.powf(1.0 / crashes as f64)
}

/// Starts the server after a crash. One that refuses because acknowledged usages are missing is
/// started again once their loss is accepted; the ledger knows how many they are.
fn start_again(flags: &ProveFlags, place: &Place) -> Result<ServerProcess> {
    let start = || ServerProcess::start(&place.store(), flags.server_prefix.as_deref());
    start().or_else(|refused| {
        let loss = crate::journal_commands::accept_loss(&place.store());
        let Ok(Some(loss)) = loss else { return Err(refused) };
        errln!("{place}: the server refused to start, and the loss was accepted: {loss}");
        start()
    })
}

fn report(flags: &ProveFlags, total: &Outcome) {
    let bound = loss_rate_bound(total.cycles);
    if flags.json {
        outln!(
            "{}",
            json!({
                "cycles": total.cycles,
                "acknowledged": total.acknowledged,
                "found": total.found,
                "lost": total.lost(),
                "duplicated": total.duplicated,
                "loss_per_crash_below": if total.lost() == 0 { Some(bound) } else { None },
                "recovery_ms_max": total.longest_recovery.as_secs_f64() * 1e3,
            })
        );
        return;
    }
    if total.lost() == 0 {
        outln!(
            "{} crashes; with 95% confidence less than {:.1}% of crashes lose anything; slowest restart {:.0?}",
            total.cycles,
            bound * 100.0,
            total.longest_recovery,
        );
    }
    if total.duplicated > 0 {
        outln!("{} usages are stored more than once although they carried a key", total.duplicated);
    }
    outln!(
        "{} usages acknowledged, {} found, {} lost",
        total.acknowledged,
        total.found,
        total.lost()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repro_few_crashes_exclude_a_rate_below_one() {
        fn check(crashes: u64, expected: f64) {
            let bound = loss_rate_bound(crashes);
            assert!((bound - expected).abs() < 0.0005, "{crashes}: {bound}");
            // The definition, the other way round.
            let probability = (1.0 - bound).powf(crashes as f64);
            assert!((probability - 0.05).abs() < 1e-9, "{crashes}: {probability}");
        }
        check(1, 0.95);
        check(3, 0.6316);
        check(20, 0.1391);
        check(100, 0.0295);
    }
}
