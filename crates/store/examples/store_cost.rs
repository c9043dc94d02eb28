//! What the store costs beyond the journal: CPU of an append, of a usage with the index included,
//! of reads, and the rate of a rebuild. `cargo run --release -p store --example store_cost -- DIR`

#![expect(clippy::print_stdout, reason = "figures are what it is for")]
#![expect(clippy::cast_precision_loss, reason = "figures to two digits")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use journal::{Clock, FrameKind, SystemClock};
use rustix::time::{ClockId, clock_gettime};
use store::{AppendRefused, Config, HistoryQuery, Key, Store, rebuild};
use usage::{UnknownFields, Usage, record};

const USAGES: u64 = 2_000_000;

fn main() {
    let dir = PathBuf::from(std::env::args().nth(1).expect("a folder to work in"));
    let _ = std::fs::remove_dir_all(&dir);
    appends(&dir);
    for keyed in [false, true] {
        sustained(&dir.join(if keyed { "keyed" } else { "keyless" }), keyed);
    }
}

/// The `n`th usage, of a million patients.
fn body(n: u64) -> String {
    let (patient, second) = (n * 7_919 % 1_000_000, n / 17_000 % 60);
    format!(
        r#"{{"patientId":"{patient}","timestamp":"Tue Nov 01 2016 09:11:{second:02} GMT-0500 (CDT)","medication":"Albuterol"}}"#
    )
}

fn decode(body: &str) -> Usage<'_> {
    usage::decode(body.as_bytes(), UnknownFields::Refuse).expect("valid")
}

/// One thread's CPU for an append, by the store and by its journal alone.
fn appends(dir: &std::path::Path) {
    let mut config = Config::new(dir.join("appends"));
    config.journal.pending_bytes_max = 16 << 20;
    config.tail_bytes_max = 128 << 20;
    let store = Store::open(config, Arc::new(SystemClock::new())).expect("opens");
    let body = body(1);
    let usage = decode(&body);
    let tag = record::patient_tag(&usage.patient_id);
    let rounds = 100_000;
    for _ in 0..3 {
        let before = cpu(ClockId::ThreadCPUTime);
        for _ in 0..rounds {
            let mut appender = store.journal().appender().expect("open");
            let write = |_, out: &mut Vec<u8>| record::encode(&usage, 1, None, out);
            appender.append(FrameKind::Usage, tag, write).expect("room");
        }
        let alone = cpu(ClockId::ThreadCPUTime) - before;
        commit(&store);
        let before = cpu(ClockId::ThreadCPUTime);
        for _ in 0..rounds {
            store.append(&usage, 1).expect("room");
        }
        let whole = cpu(ClockId::ThreadCPUTime) - before;
        commit(&store);
        let each = |time: Duration| time.as_secs_f64() * 1e9 / f64::from(rounds);
        println!("append: journal {:.0} ns, store {:.0} ns", each(alone), each(whole));
    }
}

fn commit(store: &Store) {
    store.journal().commit_once().expect("commits");
    while store.index_once() {}
}

/// CPU of all threads for each usage, from one that appends as fast as it is let.
fn sustained(dir: &std::path::Path, keyed: bool) {
    let config = Config::new(dir);
    let clock = Arc::new(SystemClock::new());
    let store = Store::open(config.clone(), clock.clone()).expect("opens");
    store.start().expect("starts");
    let bodies: Vec<String> = (0..50_000).map(body).collect();
    let usages: Vec<Usage<'_>> = bodies.iter().map(|body| decode(body)).collect();
    let (cpu_before, begun) = (cpu(ClockId::ProcessCPUTime), clock.monotonic());
    let mut tail_full = 0u64;
    for n in 0..USAGES {
        let usage = &usages[usize::try_from(n).expect("few") % usages.len()];
        loop {
            let result = match keyed {
                true => {
                    let key = Key::Header { principal: "default", key: &n.to_string() };
                    store.append_keyed(usage, key, clock.wall_ms())
                }
                false => store.append(usage, clock.wall_ms()),
            };
            match result {
                Ok(_) => break,
                Err(refused) => {
                    tail_full += u64::from(refused == AppendRefused::TailFull);
                    std::thread::park_timeout(Duration::from_micros(200));
                }
            }
        }
    }
    let appended = clock.monotonic() - begun;
    while store.status().index_lag > 0 {
        std::thread::park_timeout(Duration::from_millis(1));
    }
    let took = clock.monotonic() - begun;
    let spent = cpu(ClockId::ProcessCPUTime) - cpu_before;
    println!(
        "keyed {keyed}: {:.0} k/s appended, {:.0} k/s indexed, {:.2} µs CPU a usage, {tail_full} waits for the tail",
        USAGES as f64 / appended.as_secs_f64() / 1e3,
        USAGES as f64 / took.as_secs_f64() / 1e3,
        spent.as_secs_f64() * 1e6 / USAGES as f64,
    );
    read(&store, &*clock);
    store.close().expect("closes");
    drop(store);
    let begun = clock.monotonic();
    let done = rebuild(&config, clock.clone(), |_| {}).expect("rebuilt");
    let took = clock.monotonic() - begun;
    println!("rebuild: {:.0} k/s", done.usages as f64 / took.as_secs_f64() / 1e3);
}

/// Times of reads.
fn read(store: &Store, clock: &dyn Clock) {
    let query = HistoryQuery {
        patient_id: "7919".into(),
        from: None,
        to: None,
        medication: None,
        limit: 100,
        cursor: None,
    };
    let begun = clock.monotonic();
    for _ in 0..1000 {
        store.history(&query).expect("served");
    }
    println!("history: {:?} each", (clock.monotonic() - begun) / 1000);
}

fn cpu(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("below a second"))
}
