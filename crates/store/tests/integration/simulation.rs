//! A store on a simulated disk, step by step, against a model: usages with and without keys,
//! commits, runs of the index, compression, retention, kills and power cuts in the middle of
//! anything, and an index folder that is kept, lost, or put back to an earlier state.
//!
//! `STORE_SIM_SEEDS=1000` runs that many seeds; `STORE_SIM_SEED=17` runs that one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use journal::disk::SimDisk;
use journal::disk::sim::{Crash, Lie, Rng};
use store::index::{Index, IndexEntry, IndexOptions};
use store::{Accepted, AppendRefused, Config, IndexState, ReadError, Store};
use usage::{IdKind, UsageId};

use crate::harness::*;
use crate::model::Model;
use crate::restart::copy_dir;

const STEPS: u64 = 120;
const KEYS: u64 = 12;
/// In a debug build; `./test` asks for far more in release.
const SEEDS_DEFAULT: u64 = 24;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// How long keys are remembered, by whole days.
const KEY_WINDOW_MS: u64 = DAY_MS;
const RETAIN_MS: u64 = 3 * DAY_MS;

#[derive(Clone, Copy, Debug)]
enum Op {
    Append,
    AppendKeyed,
    AppendBatch,
    Commit,
    Index,
    Housekeep,
    Wait,
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
            82..86 => Self::Housekeep,
            86..88 => Self::Wait,
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
    store: Option<Store>,
    /// Everything appended that may still be there.
    model: Model,
    /// Where each key was used last, for what, and when.
    keys: BTreeMap<String, (u64, Sent, u64)>,
    /// Ids of usages without a key.
    ids: BTreeMap<u64, UsageId>,
    /// One past what was acknowledged.
    acknowledged: u64,
    /// Whether the disk may lose what it said to have synced: then losses are only counted.
    lying: bool,
    tally: Tally,
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
        config.index.part_usages_max = 40;
        config.key_window = Duration::from_millis(KEY_WINDOW_MS);
        config.journal.retain =
            (!seed.is_multiple_of(3)).then_some(Duration::from_millis(RETAIN_MS));
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
            store: Some(store),
            model: Model::default(),
            keys: BTreeMap::new(),
            ids: BTreeMap::new(),
            acknowledged: 0,
            lying: lie != Lie::None,
            tally: Tally::default(),
            sent: 0,
        }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("every step ends with an open store")
    }

    fn step(&mut self) {
        self.clock.wall_ms.fetch_add(self.rng.below(50), Ordering::Relaxed);
        match Op::next(&mut self.rng) {
            Op::Append => {
                let sent = self.fresh();
                let result = post_at(self.store(), &sent, self.now_ms());
                self.record(&sent, result);
            }
            Op::AppendKeyed => {
                let sent = self.fresh_keyed();
                let result = post_at(self.store(), &sent, self.now_ms());
                self.record(&sent, result);
            }
            Op::AppendBatch => {
                let batch: Vec<Sent> = (0..1 + self.rng.below(6))
                    .map(|n| if n % 2 == 0 { self.fresh_keyed() } else { self.fresh() })
                    .collect();
                let results = post_batch_at(self.store(), &batch, self.now_ms());
                for (sent, result) in batch.iter().zip(results) {
                    self.record(sent, result);
                }
            }
            Op::Commit => self.commit(),
            Op::Index => {
                self.store().index_once();
            }
            Op::Housekeep => self.housekeep(),
            Op::Wait => {
                self.clock.wall_ms.fetch_add(self.rng.below(60 * HOUR_MS), Ordering::Relaxed);
            }
            Op::Compare => self.compare(),
            Op::SaveIndex => {
                // A copy of files that nobody is writing: as a power cut may leave them later.
                self.restart(None, |world| {
                    let _ = std::fs::remove_dir_all(&world.saved_index);
                    copy_dir(&world.config.index_dir(), &world.saved_index);
                });
            }
            Op::ReopenIndex => self.store().reopen_index("the simulation"),
            Op::Close => {
                self.store().close().expect("closes");
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
        let oldest_ms = self.now_ms().saturating_sub(KEY_WINDOW_MS) / DAY_MS * DAY_MS;
        let now_ms = self.now_ms();
        let known = sent.key.as_ref().and_then(|key| self.keys.get(key));
        let known = known.filter(|(_, _, received_ms)| *received_ms >= oldest_ms);
        match (known, result) {
            (None, Ok(accepted)) => {
                assert!(!accepted.replayed, "never stored, yet replayed: {sent:?}");
                assert!(self.model.usages.insert(accepted.seq, sent.clone()).is_none());
                self.tally.accepted += 1;
                match &sent.key {
                    Some(key) => {
                        let used = (accepted.seq, sent.clone(), now_ms);
                        let before = self.keys.insert(key.clone(), used);
                        self.tally.forgotten_keys += u64::from(before.is_some());
                    }
                    None => drop(self.ids.insert(accepted.seq, accepted.id)),
                }
            }
            (Some((seq, first, _)), Ok(accepted)) => {
                self.tally.replayed += 1;
                assert_eq!(first, sent, "another content was answered like the first");
                assert_eq!((accepted.seq, accepted.replayed), (*seq, true), "stored twice");
            }
            (Some((_, first, _)), Err(AppendRefused::KeyReused)) => assert_ne!(first, sent),
            (None, Err(AppendRefused::KeyReused)) => panic!("{sent:?} is new"),
            (_, Err(AppendRefused::IndexUnavailable)) => {
                assert!(sent.key.is_some(), "keyless usages need no index");
                // On a halted disk the content of a key's first usage cannot be read.
                let ready = self.store().index_state() == IndexState::Ready;
                assert!(!ready || self.disk.is_halted());
            }
            (_, Err(AppendRefused::Full | AppendRefused::TailFull)) => {}
            (_, Err(AppendRefused::Poisoned)) => assert!(self.disk.is_halted()),
            (_, Err(refused)) => panic!("refused without a reason: {refused}"),
        }
    }

    fn now_ms(&self) -> u64 {
        self.clock.wall_ms.load(Ordering::Relaxed)
    }

    /// A round of the housekeeper, after which nothing may be gone that is still owed.
    fn housekeep(&mut self) {
        let before = self.store().journal().first_seq();
        let done = self.store().journal().housekeep_once();
        self.tally.compressed += u64::from(done.compressed.is_some());
        self.tally.removed += done.removed as u64;
        let gone = before..self.store().journal().first_seq();
        for (_, _, received_ms) in self.keys.values().filter(|(seq, ..)| gone.contains(seq)) {
            assert!(received_ms + RETAIN_MS < self.now_ms(), "a key's usage went early");
        }
        for seq in gone.clone() {
            let Some(received_ms) = self.ids.get(&seq).and_then(received_ms) else { continue };
            assert!(received_ms + RETAIN_MS < self.now_ms(), "{seq} went early");
        }
    }

    fn commit(&mut self) {
        if self.store().journal().commit_once().is_ok() {
            self.acknowledged = self.store().journal().durable();
        }
    }

    fn crash(&mut self) {
        // In the middle of whatever changes something in the next few operations.
        self.disk.halt_in(self.rng.below(12));
        for _ in 0..3 {
            let sent = self.fresh_keyed();
            let result = post_at(self.store(), &sent, self.now_ms());
            self.record(&sent, result);
            self.commit();
            self.housekeep();
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
        // A store that is only dropped writes nothing on its way out.
        self.store = None;
        self.disk.crash(crash.unwrap_or(Crash::Kill));
        between(self);
        self.store = Some(open_on(&self.config, &self.disk, &self.clock));
        // Days may have passed since the clock was last believed, and it is right.
        self.store().journal().confirm_clock();
        let durable = self.store().journal().durable();
        if self.lying {
            self.tally.lost += self.acknowledged.saturating_sub(durable);
        } else {
            assert!(durable >= self.acknowledged, "{} were acknowledged", self.acknowledged);
        }
        self.acknowledged = durable;
        self.model.usages.retain(|seq, _| *seq < durable);
        self.keys.retain(|_, (seq, ..)| *seq < durable);
        self.ids.retain(|seq, _| *seq < durable);
    }

    /// Compares every answer with the model, once the index has met the tail.
    fn compare(&mut self) {
        for _ in 0..10_000 {
            if self.store().index_state() == IndexState::Ready {
                break;
            }
            self.store().index_once();
        }
        let journal = self.store().journal();
        let kept = journal.first_seq()..journal.durable();
        let mut model = self.model.clone();
        model.usages.retain(|seq, _| kept.contains(seq));
        model.compare(self.store());
        for id in self.ids.range(..kept.start).map(|(_, id)| id) {
            let receipt = self.store().receipt(id);
            assert!(matches!(receipt, Err(ReadError::Expired)), "{receipt:?}");
        }
        self.tally.expired_asked += self.ids.range(..kept.start).count() as u64;
        let rebuilt = self.store().status().index_rebuilt;
        assert!(rebuilt.is_none_or(|why| !why.contains("incomplete")), "no file was damaged");
        self.tally.compared += model.usages.len() as u64;
    }
}

/// When a usage without a key was received, as its id says.
fn received_ms(id: &UsageId) -> Option<u64> {
    match id.kind() {
        IdKind::Plain { received_ms, .. } => Some(received_ms),
        _ => None,
    }
}

fn open_on(config: &Config, disk: &SimDisk, clock: &Arc<StillClock>) -> Store {
    let disk = Arc::new(disk.clone());
    let clock: Arc<StillClock> = Arc::clone(clock);
    Store::open_on(config.clone(), disk, clock).expect("opens without a hand")
}

/// What has happened, so that a test can see that it was worth something.
#[derive(Clone, Debug, Default)]
struct Tally {
    accepted: u64,
    replayed: u64,
    forgotten_keys: u64,
    compressed: u64,
    removed: u64,
    expired_asked: u64,
    compared: u64,
    /// Acknowledged usages that a lying disk has lost.
    lost: u64,
}

impl Tally {
    fn figures(&mut self) -> [&mut u64; 8] {
        let Self {
            accepted,
            replayed,
            forgotten_keys,
            compressed,
            removed,
            expired_asked,
            compared,
            lost,
        } = self;
        [accepted, replayed, forgotten_keys, compressed, removed, expired_asked, compared, lost]
    }

    fn add(&mut self, other: &Self) {
        for (to, from) in self.figures().into_iter().zip(other.clone().figures()) {
            *to += *from;
        }
    }

    /// Whether everything that a history is about has happened, and nothing was lost.
    fn is_rich(&self) -> bool {
        let mut tally = self.clone();
        let [happened @ .., lost] = tally.figures();
        *lost == 0 && happened.iter().all(|figure| **figure > 0)
    }
}

/// Runs one seed.
fn simulate(seed: u64, lie: Lie) -> Tally {
    let dir = folder();
    let mut world = World::new(seed, lie, dir.path());
    for _ in 0..STEPS {
        world.step();
    }
    if lie == Lie::None {
        world.commit();
        world.compare();
    }
    world.tally
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
        None => 0..number("STORE_SIM_SEEDS").unwrap_or(SEEDS_DEFAULT),
    };
    // Two threads a core, because closing an index is mostly waiting.
    let threads = 2 * std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let next = AtomicU64::new(seeds.start);
    let tally = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut tally = Tally::default();
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if !seeds.contains(&seed) {
                            return tally;
                        }
                        let named = Seed(seed);
                        tally.add(&simulate(seed, Lie::None));
                        drop(named);
                    }
                })
            })
            .collect();
        let mut tally = Tally::default();
        for thread in threads {
            let one = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            tally.add(&one);
        }
        tally
    });
    // A simulation in which nothing happens proves nothing.
    assert!(seeds.end - seeds.start == 1 || tally.is_rich(), "{tally:?}");
}

#[test]
fn control_a_disk_that_does_not_sync_is_found_out() {
    let lost: u64 = (0..6)
        .map(|seed| {
            // Damage that is found at the open is found, too.
            std::panic::catch_unwind(|| simulate(seed, Lie::Data).lost).unwrap_or(1)
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
