//! A store on a simulated disk, step by step, against a model: usages with and without keys,
//! commits, runs of the index, housekeeping, kills and power cuts in the middle of anything, and
//! an index folder that is kept, lost, or put back to an earlier state.
//!
//! `STORE_SIM_SEEDS=1000` runs that many seeds; `STORE_SIM_SEED=17` runs that one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use journal::disk::SimDisk;
use journal::disk::sim::{Crash, Lie, Rng};
use store::index::{Index, IndexEntry, IndexOptions};
use store::{Accepted, AppendRefused, Config, IndexState, Store};

use crate::harness::*;
use crate::model::Model;
use crate::restart::copy_dir;

const STEPS: u64 = 120;
const KEYS: u64 = 12;

#[derive(Clone, Copy, Debug)]
enum Op {
    Append,
    AppendKeyed,
    AppendBatch,
    Commit,
    Index,
    Housekeep,
    Compare,
    SaveIndex,
    ReopenIndex,
    Close,
    Crash,
}

impl Op {
    fn next(rng: &mut Rng) -> Self {
        match rng.below(100) {
            0..25 => Self::Append,
            25..45 => Self::AppendKeyed,
            45..52 => Self::AppendBatch,
            52..72 => Self::Commit,
            72..82 => Self::Index,
            82..88 => Self::Housekeep,
            88..91 => Self::Compare,
            91..93 => Self::SaveIndex,
            93..94 => Self::ReopenIndex,
            94..96 => Self::Close,
            _ => Self::Crash,
        }
    }
}

struct World {
    rng: Rng,
    disk: SimDisk,
    clock: Arc<StillClock>,
    config: Config,
    saved_index: PathBuf,
    store: Store,
    /// Everything appended that may still be there.
    model: Model,
    /// Where each key was used, and for what.
    keys: BTreeMap<String, (u64, Sent)>,
    /// One past what was acknowledged.
    acknowledged: u64,
    /// Whether the disk may lose what it said to have synced: then losses are only counted.
    lying: bool,
    lost: u64,
    sent: u64,
}

impl World {
    fn new(seed: u64, lie: Lie, dir: &std::path::Path) -> Self {
        let disk = SimDisk::new(seed);
        let mut config = config(dir);
        config.journal.segment_bytes = 16 << 10;
        config.journal.pending_bytes_max = 2 << 10;
        config.journal.seed = Some(seed);
        config.tail_bytes_max = if seed.is_multiple_of(2) { 16 << 10 } else { 1 << 20 };
        config.run.usages_max = 8;
        let clock = Arc::new(StillClock::default());
        clock.wall_ms.store(START_MS, Ordering::Relaxed);
        let store = open_on(&config, &disk, &clock);
        disk.set_lie(lie);
        Self {
            rng: Rng::new(seed ^ 0x5eed),
            saved_index: dir.join("saved-index"),
            disk,
            clock,
            config,
            store,
            model: Model::default(),
            keys: BTreeMap::new(),
            acknowledged: 0,
            lying: lie != Lie::None,
            lost: 0,
            sent: 0,
        }
    }

    fn step(&mut self) {
        self.clock.wall_ms.fetch_add(self.rng.below(50), Ordering::Relaxed);
        match Op::next(&mut self.rng) {
            Op::Append => {
                let sent = self.fresh();
                let result = post(&self.store, &sent);
                self.record(&sent, result);
            }
            Op::AppendKeyed => {
                let sent = self.fresh_keyed();
                let result = post(&self.store, &sent);
                self.record(&sent, result);
            }
            Op::AppendBatch => {
                let batch: Vec<Sent> = (0..1 + self.rng.below(6))
                    .map(|n| if n % 2 == 0 { self.fresh_keyed() } else { self.fresh() })
                    .collect();
                let results = post_batch(&self.store, &batch);
                for (sent, result) in batch.iter().zip(results) {
                    self.record(sent, result);
                }
            }
            Op::Commit => self.commit(),
            Op::Index => {
                self.store.index_once();
            }
            Op::Housekeep => {
                self.store.journal().housekeep_once();
            }
            Op::Compare => self.compare(),
            Op::SaveIndex => {
                // A copy of files that nobody is writing: as a power cut may leave them later.
                self.restart(None, |world| {
                    let _ = std::fs::remove_dir_all(&world.saved_index);
                    copy_dir(&world.config.index_dir(), &world.saved_index);
                });
            }
            Op::ReopenIndex => self.store.reopen_index("the simulation"),
            Op::Close => {
                self.store.close().expect("closes");
                self.restart(Some(Crash::Kill), |_| {});
            }
            Op::Crash => self.crash(),
        }
    }

    /// The next usage of its own.
    fn fresh(&mut self) -> Sent {
        self.sent += 1;
        nth(self.sent)
    }

    /// A usage under one of a few keys: mostly the content of that key, sometimes another.
    fn fresh_keyed(&mut self) -> Sent {
        let key = self.rng.below(KEYS);
        let content = if self.rng.chance(1, 6) { key + 1 } else { key };
        nth(content).keyed(&format!("key-{key}"))
    }

    /// Checks an answer against the model, and what the model holds from now on.
    fn record(&mut self, sent: &Sent, result: Result<Accepted, AppendRefused>) {
        let known = sent.key.as_ref().and_then(|key| self.keys.get(key));
        match (known, result) {
            (None, Ok(accepted)) => {
                assert!(!accepted.replayed, "never stored, yet replayed: {sent:?}");
                assert!(self.model.usages.insert(accepted.seq, sent.clone()).is_none());
                if let Some(key) = &sent.key {
                    self.keys.insert(key.clone(), (accepted.seq, sent.clone()));
                }
            }
            (Some((seq, first)), Ok(accepted)) => {
                assert_eq!(first, sent, "another content was answered like the first");
                assert_eq!((accepted.seq, accepted.replayed), (*seq, true), "stored twice");
            }
            (Some((_, first)), Err(AppendRefused::KeyReused)) => assert_ne!(first, sent),
            (None, Err(AppendRefused::KeyReused)) => panic!("{sent:?} is new"),
            (_, Err(AppendRefused::IndexUnavailable)) => {
                assert!(sent.key.is_some(), "keyless usages need no index");
                // On a halted disk the content of a key's first usage cannot be read.
                let ready = self.store.index_state() == IndexState::Ready;
                assert!(!ready || self.disk.is_halted());
            }
            (_, Err(AppendRefused::Full | AppendRefused::TailFull)) => {}
            (_, Err(AppendRefused::Poisoned)) => assert!(self.disk.is_halted()),
            (_, Err(refused)) => panic!("refused without a reason: {refused}"),
        }
    }

    fn commit(&mut self) {
        if self.store.journal().commit_once().is_ok() {
            self.acknowledged = self.store.journal().durable();
        }
    }

    fn crash(&mut self) {
        // In the middle of whatever changes something in the next few operations.
        self.disk.halt_in(self.rng.below(12));
        for _ in 0..3 {
            let sent = self.fresh_keyed();
            let result = post(&self.store, &sent);
            self.record(&sent, result);
            self.commit();
            self.store.journal().housekeep_once();
        }
        let crash = if self.rng.chance(1, 2) { Crash::Power } else { Crash::Kill };
        let fate = self.rng.below(4);
        self.restart(Some(crash), |world| match fate {
            0 => {
                let _ = std::fs::remove_dir_all(world.config.index_dir());
            }
            1 if world.saved_index.exists() => {
                let _ = std::fs::remove_dir_all(world.config.index_dir());
                copy_dir(&world.saved_index, &world.config.index_dir());
            }
            _ => {}
        });
    }

    /// Ends this life of the store and begins the next; `between` may change files of the index.
    fn restart(&mut self, crash: Option<Crash>, between: impl FnOnce(&mut Self)) {
        // A store that is only dropped has written nothing on its way out.
        let unused = SimDisk::new(0);
        let dir = folder();
        let placeholder = open_on(&config(dir.path()), &unused, &self.clock);
        drop(std::mem::replace(&mut self.store, placeholder));
        self.disk.crash(crash.unwrap_or(Crash::Kill));
        between(self);
        self.store = open_on(&self.config, &self.disk, &self.clock);
        let durable = self.store.journal().durable();
        if self.lying {
            self.lost += self.acknowledged.saturating_sub(durable);
        } else {
            assert!(durable >= self.acknowledged, "{} were acknowledged", self.acknowledged);
        }
        self.acknowledged = durable;
        self.model.usages.retain(|seq, _| *seq < durable);
        self.keys.retain(|_, (seq, _)| *seq < durable);
    }

    /// Compares every answer with the model, once the index has met the tail.
    fn compare(&mut self) {
        for _ in 0..10_000 {
            if self.store.index_state() == IndexState::Ready {
                break;
            }
            self.store.index_once();
        }
        let mut durable = self.model.clone();
        durable.usages.retain(|seq, _| *seq < self.store.journal().durable());
        durable.compare(&self.store);
    }
}

fn open_on(config: &Config, disk: &SimDisk, clock: &Arc<StillClock>) -> Store {
    let disk = Arc::new(disk.clone());
    let clock: Arc<StillClock> = Arc::clone(clock);
    Store::open_on(config.clone(), disk, clock).expect("opens without a hand")
}

/// Runs one seed; returns how many acknowledged usages a lying disk has lost.
fn simulate(seed: u64, lie: Lie) -> u64 {
    let dir = folder();
    let mut world = World::new(seed, lie, dir.path());
    for _ in 0..STEPS {
        world.step();
    }
    if lie == Lie::None {
        world.commit();
        world.compare();
    }
    world.lost
}

/// Says which seed it was if a run fails.
struct Seed(u64);

impl Drop for Seed {
    #[expect(clippy::print_stderr, reason = "how to see it again")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with STORE_SIM_SEED={}", self.0);
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn every_seed_ends_as_the_model_says() {
    let seeds = match number("STORE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("STORE_SIM_SEEDS").unwrap_or(8),
    };
    for seed in seeds {
        let _named = Seed(seed);
        simulate(seed, Lie::None);
    }
}

#[test]
fn control_a_disk_that_does_not_sync_is_found_out() {
    let lost: u64 = (0..6)
        .map(|seed| {
            std::panic::catch_unwind(|| simulate(seed, Lie::Data))
                // Damage that is found at the open is found, too.
                .unwrap_or(1)
        })
        .sum();
    assert!(lost > 0, "acknowledged usages were lost, and nobody noticed");
}

#[test]
fn control_an_index_that_passes_over_usages_is_found_out() {
    let dir = folder();
    let config = config(dir.path());
    let store = open(config.clone());
    let mut model = Model::default();
    for n in 0..40 {
        let sent = if n % 2 == 0 { nth(n).keyed(&n.to_string()) } else { nth(n) };
        let accepted = post(&store, &sent).expect("room");
        model.usages.insert(accepted.seq, sent);
    }
    store.journal().commit_once().expect("commits");
    store.close().expect("closes");
    let mut reader = store.journal().reader(1);
    let mut batches = Vec::new();
    while let Some(batch) = reader.next_batch().expect("readable") {
        batches.push(batch);
    }
    drop(store);
    // The index that a faulty indexer would have made: further than it has rows.
    let index_files = config.index_dir().join("v1");
    std::fs::remove_dir_all(&index_files).expect("removed");
    let index = Index::open(&index_files, IndexOptions::default()).expect("opens");
    let frames = batches.iter().flat_map(|batch| batch.frames());
    let entries: Vec<IndexEntry<'_>> = frames
        .filter(|frame| frame.kind == journal::FrameKind::Usage && frame.seq % 7 != 1)
        .map(|frame| IndexEntry { seq: frame.seq, payload: frame.payload })
        .collect();
    index.apply(&entries).expect("applied");
    drop(index);
    let store = open(config);
    assert_eq!(store.index_state(), IndexState::Ready);
    let comparison = std::panic::AssertUnwindSafe(|| model.compare(&store));
    assert!(std::panic::catch_unwind(comparison).is_err(), "the comparison sees nothing");
    let again = post(&store, &nth(0).keyed("0")).expect("answered");
    assert!(!again.replayed, "its key is not in that index, so it is stored twice");
}
