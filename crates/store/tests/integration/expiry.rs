//! What retention removes is gone from every answer at once, and nothing goes that is still owed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use store::{Accepted, Config, ReadError, Store};

use crate::harness::*;
use crate::model::Model;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
const USAGES: u64 = 800;
/// One every 20 minutes, for eleven days.
const APART_MS: u64 = HOUR_MS / 3;

/// A store that keeps usages for four days, and what was put into it.
struct Aging {
    clock: Arc<StillClock>,
    config: Config,
    store: Store,
    model: Model,
    accepted: Vec<Accepted>,
}

fn aging_config(dir: &Path) -> Config {
    let mut config = config(dir);
    config.journal.segment_bytes = 16 << 10;
    config.journal.pending_bytes_max = 2 << 10;
    config.journal.retain = Some(Duration::from_millis(4 * DAY_MS));
    config.key_window = Duration::from_millis(DAY_MS);
    config
}

impl Aging {
    /// Every fifth usage is keyed; none is indexed yet, and no house was kept.
    fn new(config: Config) -> Self {
        let clock = Arc::new(StillClock::default());
        clock.wall_ms.store(START_MS, Ordering::Relaxed);
        let store = open_at(&config, &clock);
        let mut aging =
            Self { clock, config, store, model: Model::default(), accepted: Vec::new() };
        for n in 0..USAGES {
            aging.clock.wall_ms.fetch_add(APART_MS, Ordering::Relaxed);
            let sent = if n % 5 == 0 { nth(n).keyed(&n.to_string()) } else { nth(n) };
            let now_ms = aging.clock.wall_ms.load(Ordering::Relaxed);
            let accepted = post_at(&aging.store, &sent, now_ms).expect("there is room");
            aging.store.journal().commit_once().expect("commits");
            aging.model.usages.insert(accepted.seq, sent);
            aging.accepted.push(accepted);
        }
        aging
    }

    fn index(&self) {
        while self.store.index_once() {}
        // The cursor that retention looks at moves with the next step.
        self.store.index_once();
    }

    /// Rounds of the housekeeper until nothing more goes; how many segments went.
    fn housekeep(&self) -> usize {
        (0..40).map(|_| self.store.journal().housekeep_once().removed).sum()
    }

    fn reopen(&mut self) {
        self.store = open_at(&self.config, &self.clock);
    }

    /// Holds every answer against what the journal says that it keeps.
    fn check(&self) {
        while self.store.index_once() {}
        let first_seq = self.store.journal().first_seq();
        let mut kept = self.model.clone();
        kept.usages.retain(|seq, _| *seq >= first_seq);
        kept.compare(&self.store);
        for accepted in &self.accepted {
            let keyed = self.model.usages[&accepted.seq].key.is_some();
            match self.store.receipt(&accepted.id) {
                Ok(Some(usage)) => assert!(usage.seq == accepted.seq && usage.seq >= first_seq),
                Err(ReadError::Expired) => assert!(accepted.seq < first_seq),
                // A keyed id says nothing of its place once the index has forgotten it.
                Ok(None) => assert!(keyed && accepted.seq < first_seq, "{accepted:?}"),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn expired_usages_are_gone_from_every_answer() {
    let dir = folder();
    let mut aging = Aging::new(aging_config(dir.path()));
    aging.index();
    aging.check();
    assert!(aging.housekeep() >= 2);
    let first_seq = aging.store.journal().first_seq();
    // In the middle of a day, and so of a part of the index, whose counts hold both kinds.
    let day_of = |seq: u64| (START_MS + seq * APART_MS) / DAY_MS;
    assert_eq!(day_of(first_seq), day_of(first_seq - 2), "{first_seq}");
    let retained_ms = 4 * DAY_MS;
    assert!((first_seq - 1) * APART_MS + retained_ms < USAGES * APART_MS, "none went early");
    aging.check();
    // A kill, an orderly restart, and the index gone and made again.
    aging.reopen_after(|_| {});
    aging.reopen_after(|aging| aging.store.close().expect("closes"));
    let index_dir = aging.config.index_dir();
    aging.reopen_after(|aging| {
        aging.store.close().expect("closes");
        std::fs::remove_dir_all(index_dir).expect("removed");
    });
    assert_eq!(aging.store.journal().first_seq(), first_seq);
    // A key whose usage has expired may be used again.
    let again = post_at(&aging.store, &nth(0).keyed("0"), START_MS + USAGES * APART_MS);
    assert!(!again.expect("there is room").replayed);
}

impl Aging {
    fn reopen_after(&mut self, end: impl FnOnce(&Self)) {
        end(self);
        let spare = tempfile::tempdir().expect("a folder");
        self.store = open_at(&config(spare.path()), &self.clock);
        self.reopen();
        self.check();
    }
}

#[test]
fn the_window_of_keys_holds_segments_back() {
    let dir = folder();
    let mut config = aging_config(dir.path());
    config.key_window = Duration::from_millis(20 * DAY_MS);
    let aging = Aging::new(config);
    aging.index();
    assert_eq!(aging.housekeep(), 0);
    let now_ms = aging.clock.wall_ms.load(Ordering::Relaxed);
    for n in (0..USAGES).step_by(5) {
        let again = post_at(&aging.store, &nth(n).keyed(&n.to_string()), now_ms);
        assert!(again.expect("answered").replayed, "{n}");
    }
    aging.clock.wall_ms.fetch_add(14 * DAY_MS, Ordering::Relaxed);
    assert!(aging.housekeep() > 0, "control: once it is over they go");
    aging.check();
}

#[test]
fn cursors_hold_segments_back() {
    let dir = folder();
    let aging = Aging::new(aging_config(dir.path()));
    assert_eq!(aging.housekeep(), 0, "the index has taken nothing");
    let cursor = Arc::new(AtomicU64::new(1));
    aging.store.journal().register_projection("another", Arc::clone(&cursor));
    aging.index();
    assert_eq!(aging.housekeep(), 0, "the other one needs the first frame");
    aging.check();
    cursor.store(u64::MAX, Ordering::SeqCst);
    assert!(aging.housekeep() > 0, "control: now nobody needs them");
    aging.check();
}

#[test]
fn a_clock_that_jumps_removes_nothing_until_it_is_confirmed() {
    let dir = folder();
    let mut config = aging_config(dir.path());
    config.journal.retain = Some(Duration::from_millis(30 * DAY_MS));
    let mut aging = Aging::new(config);
    aging.index();
    assert_eq!(aging.housekeep(), 0, "too young");
    aging.clock.jump(100 * DAY_MS);
    for life in 0..3 {
        let now_ms = aging.clock.wall_ms.load(Ordering::Relaxed);
        for n in 0..3 {
            let sent = nth(USAGES + n);
            let accepted = post_at(&aging.store, &sent, now_ms).expect("there is room");
            aging.store.journal().commit_once().expect("commits");
            aging.model.usages.insert(accepted.seq, sent);
        }
        aging.index();
        assert_eq!(aging.housekeep(), 0, "life {life}");
        assert!(aging.store.status().journal.clock_suspect.is_some());
        aging.reopen_after(|_| {});
    }
    assert_eq!(aging.store.journal().first_seq(), 1);
    aging.store.journal().confirm_clock();
    assert!(aging.housekeep() > 0, "control: the clock was right after all");
    aging.check();
}
