//! What a month of idempotency keys costs: memory, and the time of a look for a key, new or used.
//! `index` makes daily parts of the index alone, `store` a whole store that `inhale serve` can open.
//! `cargo run --release -p store --example key_window -- index|store DIR DAYS KEYS_PER_DAY`

#![expect(clippy::print_stdout, reason = "figures are what it is for")]
#![expect(clippy::cast_precision_loss, reason = "figures to two digits")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use store::index::{Index, IndexEntry};
use store::{BatchItem, Clock, Config, IndexOptions, Key, Store, SystemClock};
use usage::{Timestamp, Usage, UsageId, record};

const DAY_MS: u64 = 24 * 3600 * 1000;
const RUN_USAGES: u64 = 32 << 10;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let number = |at: usize| words[at].parse::<u64>().expect("a number");
    let (dir, days, keys) = (Path::new(&words[2]), number(3), number(4));
    match words[1].as_str() {
        "index" => of_index(dir, days, keys),
        "store" => {
            fill_store(dir, days, keys);
            replays(dir, days, keys);
        }
        other => panic!("index or store, not {other}"),
    }
}

fn usage(n: u64, received_ms: u64) -> Usage<'static> {
    Usage {
        patient_id: (n * 7919 % 1_000_000).to_string().into(),
        timestamp: Timestamp::from_epoch_ms(received_ms.cast_signed()).expect("in range"),
        medication: "Albuterol".into(),
        event_id: Some(format!("e-{n}").into()),
        attributes: None,
    }
}

fn id(usage: &Usage<'_>) -> UsageId {
    let event_id = usage.event_id.as_deref().expect("it has one");
    UsageId::event("default", &usage.patient_id, event_id)
}

/// Midnight of the first of so many days, the last of which is today.
fn first_day_ms(days: u64) -> u64 {
    SystemClock::new().wall_ms() / DAY_MS * DAY_MS - (days - 1) * DAY_MS
}

fn of_index(dir: &Path, days: u64, keys: u64) {
    let first_ms = first_day_ms(days);
    let options = || IndexOptions { part_usages_max: keys.max(1 << 20) * 2, ..Default::default() };
    let index = Index::open(dir, options()).expect("opens");
    let received_ms = |n: u64| first_ms + (n - 1) / keys * DAY_MS;
    let payload = |n: u64| {
        let usage = usage(n, received_ms(n));
        let mut payload = Vec::with_capacity(64);
        record::encode(&usage, received_ms(n), Some(id(&usage)), &mut payload);
        payload
    };
    let mut runs = 0_u64;
    let mut next = index.cursor().max(1);
    while next <= days * keys {
        let end = (next + RUN_USAGES).min(days * keys + 1);
        let run: Vec<(u64, Vec<u8>)> = (next..end).map(|n| (n, payload(n))).collect();
        let entries: Vec<_> =
            run.iter().map(|(seq, payload)| IndexEntry { seq: *seq, payload }).collect();
        index.apply(&entries).expect("applied");
        runs += 1;
        if runs.is_multiple_of(16) {
            index.upkeep().expect("looked after");
            index.remember_keys(first_ms).expect("filters");
        }
        next = end;
    }
    println!("{days} days of {keys} keys: {} MB resident", resident() >> 20);
    looks("filled", &index, first_ms, days * keys);
    drop(index);
    let before = resident();
    let index = Index::open(dir, options()).expect("opens");
    let opened = now();
    index.remember_keys(first_ms).expect("filters");
    looks("opened", &index, first_ms, days * keys);
    while unknown(&index, first_ms, 0) > 0.5 {
        std::thread::sleep(Duration::from_millis(100));
    }
    std::thread::sleep(Duration::from_secs(1));
    index.remember_keys(first_ms).expect("filters");
    println!("filters were read in {:.1?}", opened.elapsed());
    looks("read", &index, first_ms, days * keys);
    println!("{} MB resident before the open", before >> 20);
}

/// The share of new keys that memory does not rule out.
fn unknown(index: &Index, oldest_ms: u64, from: u64) -> f64 {
    let snapshot = index.snapshot();
    let ids = (from..from + 10_000).map(|n| UsageId::keyed("never", &n.to_string()));
    ids.filter(|id| !snapshot.rules_out(*id, oldest_ms, 0..u64::MAX)).count() as f64 / 10_000.0
}

fn looks(when: &str, index: &Index, oldest_ms: u64, usages: u64) {
    let snapshot = index.snapshot();
    let ids: Vec<UsageId> = (0..10_000).map(|n| UsageId::keyed("never", &n.to_string())).collect();
    let each = |what: &dyn Fn(usize)| {
        let begun = cpu();
        (0..ids.len()).for_each(what);
        (cpu() - begun).as_secs_f64() * 1e6 / ids.len() as f64
    };
    let ruled_out = each(&|at| {
        std::hint::black_box(snapshot.rules_out(ids[at], oldest_ms, 0..u64::MAX));
    });
    let looked_for = each(&|at| {
        std::hint::black_box(snapshot.key(ids[at], oldest_ms).expect("looked for"));
    });
    let used: Vec<UsageId> = (0..10_000_u64)
        .map(|n| id(&usage(n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % usages + 1, oldest_ms)))
        .collect();
    let found = each(&|at| {
        assert!(snapshot.key(used[at], oldest_ms).expect("looked for").is_some());
    });
    println!(
        "{when}: new key {ruled_out:.2} µs in memory, {:.2} % not ruled out; {looked_for:.2} µs with \
         tables; used key {found:.2} µs; {} MB resident",
        unknown(index, oldest_ms, 0) * 100.0,
        resident() >> 20,
    );
}

/// A clock that is set by hand.
#[derive(Default)]
struct SetClock(AtomicU64);

impl Clock for SetClock {
    fn wall_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.wall_ms())
    }
}

fn fill_store(dir: &Path, days: u64, keys: u64) {
    let first_ms = first_day_ms(days);
    let clock = Arc::new(SetClock::default());
    clock.0.store(first_ms, Ordering::Relaxed);
    let mut config = Config::new(dir);
    config.journal.spacing = Duration::ZERO;
    let of_store: Arc<dyn Clock> = clock.clone();
    let store = Store::open(config, of_store).expect("opens");
    for day in 0..days {
        let received_ms = first_ms + day * DAY_MS;
        clock.0.store(received_ms, Ordering::Relaxed);
        for first in (day * keys..(day + 1) * keys).step_by(1000) {
            let usages: Vec<_> = (first..first + 1000).map(|n| usage(n, received_ms)).collect();
            let appended = store.append_batch(&items(&usages), received_ms);
            assert!(appended.iter().all(Result::is_ok), "there is room");
            store.journal().commit_once().expect("commits");
            if first / 1000 % 32 == 31 {
                while store.index_once() {}
                store.journal().housekeep_once();
            }
        }
    }
    while store.index_once() {}
    store.journal().housekeep_once();
    store.close().expect("closes");
}

fn items<'a>(usages: &'a [Usage<'a>]) -> Vec<BatchItem<'a>> {
    let item = |usage: &'a Usage<'a>| {
        let event_id = usage.event_id.as_deref().expect("it has one");
        BatchItem { usage, key: Some(Key::Event { principal: "default", event_id }) }
    };
    usages.iter().map(item).collect()
}

/// CPU of batches of a thousand old keys, where the disk may be read and where it may not.
fn replays(dir: &Path, days: u64, keys: u64) {
    let store = Store::open(Config::new(dir), Arc::new(SystemClock::new())).expect("opens");
    let received_ms = first_day_ms(days) + (days - 1) * DAY_MS;
    let (mut given_up, mut answered) = (Duration::ZERO, Duration::ZERO);
    for batch in 0..days {
        let sent_ms = first_day_ms(days) + batch * DAY_MS;
        let usages: Vec<_> =
            (batch * keys..batch * keys + 1000).map(|n| usage(n, sent_ms)).collect();
        let items = items(&usages);
        let begun = cpu();
        assert!(store.try_append_batch(&items, received_ms).is_none(), "memory cannot tell");
        let tried = cpu();
        let replayed = store.append_batch(&items, received_ms);
        (given_up, answered) = (given_up + (tried - begun), answered + (cpu() - tried));
        assert!(replayed.iter().all(|replayed| replayed.is_ok_and(|accepted| accepted.replayed)));
    }
    let each = |time: Duration| time.as_secs_f64() * 1e3 / days as f64;
    println!(
        "a batch of 1000 old keys: {:.2} ms of CPU until memory gives up, {:.2} ms with the disk",
        each(given_up),
        each(answered),
    );
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn now() -> Instant {
    Instant::now()
}

/// CPU time of this thread.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).expect("below a second"))
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.split_whitespace().next().expect("a number").parse::<u64>().expect("a number") * 1024
}
