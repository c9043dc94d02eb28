//! How long a restart takes after a kill: fills the last segment with small batches, forgets the
//! journal without closing it, and opens it again; then replays everything with a reader.
//!
//! `cargo run --release -p journal --example recovery_time [directory] [segments]`
#![allow(clippy::print_stdout, reason = "a program that prints")]

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use journal::disk::{Disk, RealDisk};
use journal::{Clock, FrameKind, Journal, Options, SystemClock};

const PAYLOAD: [u8; 70] = [b'u'; 70];
const FRAMES_PER_BATCH: usize = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let base = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let segments: usize = args.next().map_or(Ok(3), |text| text.parse())?;
    let dir = base.join(format!("inhale-recovery-time-{}", std::process::id()));
    let measured = measure(&dir, segments);
    std::fs::remove_dir_all(&dir)?;
    measured
}

#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn measure(dir: &PathBuf, segments: usize) -> Result<(), Box<dyn Error>> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(dir)?);
    let options = Options { reserve_bytes: 0, compress_level: None, ..Options::default() };
    let (journal, _) = Journal::open(disk.clone(), clock.clone(), options.clone())?;
    let batch_bytes = FRAMES_PER_BATCH * (PAYLOAD.len() + 24) + 68;
    let room = usize::try_from(options.segment_bytes)? / batch_bytes;
    for n in 0..room * segments {
        let mut appender = journal.appender()?;
        for _ in 0..FRAMES_PER_BATCH {
            appender.append(FrameKind::Usage, 0, |_, out| out.extend_from_slice(&PAYLOAD))?;
        }
        drop(appender);
        journal.commit_once()?;
        if n % room == 0 {
            journal.housekeep_once();
        }
    }
    drop(journal);
    let (journal, recovery) = Journal::open(disk, clock.clone(), options)?;
    println!(
        "open: {:?}, {} MiB scanned of {} segments, {} frames secured",
        recovery.took,
        recovery.bytes_scanned >> 20,
        recovery.segments,
        recovery.frames_secured
    );
    let begun = clock.monotonic();
    let mut reader = journal.reader(1);
    let mut frames = 0;
    while let Some(batch) = reader.next_batch()? {
        frames += batch.frames().filter(|frame| frame.payload.len() == PAYLOAD.len()).count();
    }
    let took = clock.monotonic() - begun;
    println!("replay: {frames} frames, {:.0}/s", frames as f64 / took.as_secs_f64());
    let begun = clock.monotonic();
    let middle = journal.durable() / 2;
    journal.read(middle)?;
    let first = clock.monotonic() - begun;
    let begun = clock.monotonic();
    for seq in (1..journal.durable()).step_by(usize::try_from(middle / 500)?) {
        journal.read(seq)?;
    }
    println!(
        "read by sequence: the first {first:?}, then {:?} each",
        (clock.monotonic() - begun) / 1000
    );
    Ok(())
}
