//! The real threads on the simulated disk: many appenders, readers, the committer and the
//! housekeeper run while the power goes at a random moment. Which moment is not reproducible, so
//! this shows the presence of bugs, and the single-threaded histories explain them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use journal::disk::SimDisk;
use journal::disk::sim::{Crash, Lie, Rng};
use journal::{FrameKind, Journal, Options, SystemClock};

use crate::helpers::options;

const APPENDERS: u64 = 4;
/// Nothing here waits so long; it only keeps a failure from hanging.
const PATIENCE: Duration = Duration::from_secs(20);

fn settings() -> Options {
    Options { compress_level: Some(1), spacing: Duration::ZERO, ..options() }
}

/// Appends until the machine is gone. Returns what was acknowledged.
fn append_until_gone(journal: &Journal, seed: u64, acked: &AtomicU64) -> BTreeMap<u64, Vec<u8>> {
    let mut rng = Rng::new(seed);
    let mut kept = BTreeMap::new();
    loop {
        let mut payload = vec![0; 8 + rng.index(300)];
        rng.fill(&mut payload);
        let encode = |_, out: &mut Vec<u8>| out.extend_from_slice(&payload);
        let appended = match journal.appender() {
            Ok(mut appender) => appender.append(FrameKind::Usage, 0, encode),
            Err(_) => return kept,
        };
        let Ok(seq) = appended else { return kept };
        if journal.wait_durable(seq, PATIENCE).is_err() {
            return kept;
        }
        kept.insert(seq, payload);
        acked.fetch_add(1, Ordering::SeqCst);
    }
}

/// Follows the journal until the machine is gone. Returns what it has read.
fn read_until_gone(journal: &Journal) -> BTreeMap<u64, Vec<u8>> {
    let mut reader = journal.reader(1);
    let mut seen = BTreeMap::new();
    loop {
        match reader.next_batch() {
            Ok(Some(batch)) => {
                let frames = batch.frames().map(|frame| (frame.seq, frame.payload.to_vec()));
                seen.extend(frames);
            }
            Ok(None) if journal.wait_durable(reader.next_seq(), PATIENCE).is_ok() => {}
            _ => return seen,
        }
    }
}

/// Runs one machine until `usages` are acknowledged and the power goes. Returns how many frames
/// that were acknowledged or read are not there afterwards.
fn lost(seed: u64, usages: u64, lie: Lie) -> usize {
    let disk = SimDisk::new(seed);
    disk.set_lie(lie);
    let open = || Journal::open(Arc::new(disk.clone()), Arc::new(SystemClock::new()), settings());
    let (journal, _) = open().expect("a new store");
    let threads = journal.start().expect("threads start");
    let acked = AtomicU64::new(0);
    let mut known = BTreeMap::new();
    thread::scope(|scope| {
        let appenders: Vec<_> = (0..APPENDERS)
            .map(|n| {
                let (journal, acked) = (&journal, &acked);
                scope.spawn(move || append_until_gone(journal, seed * APPENDERS + n, acked))
            })
            .collect();
        let reader = scope.spawn(|| read_until_gone(&journal));
        while acked.load(Ordering::SeqCst) < usages && journal.status().poisoned.is_none() {
            thread::yield_now();
        }
        disk.halt_in(0);
        for handle in appenders.into_iter().chain([reader]) {
            known.extend(handle.join().expect("no thread panics"));
        }
    });
    threads.join();
    drop(journal);
    disk.crash(Crash::Power);
    let Ok((journal, _)) = open() else { return known.len() };
    let same = |(seq, payload): &(&u64, &Vec<u8>)| {
        journal.read(**seq).is_ok_and(|frame| frame.payload == **payload)
    };
    known.len() - known.iter().filter(same).count()
}

#[test]
fn what_threads_were_told_is_there_after_a_power_cut() {
    for seed in 0..40 {
        assert_eq!(lost(seed, 20 + seed * 7, Lie::None), 0, "seed {seed}");
    }
}

#[test]
fn threads_that_were_told_too_early_are_found_out() {
    assert!((0..20).any(|seed| lost(seed, 60, Lie::Data) > 0));
}
