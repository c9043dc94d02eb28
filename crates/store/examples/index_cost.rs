//! What the index costs: CPU and bytes for each usage, memory, and the time of reads, at several
//! sizes. At each size compaction is waited for first: runs come here far faster than any server
//! sends them, and what compaction still owes counts as well.
//! `cargo run --release -p store --example index_cost -- DIR MILLIONS [keyed]`

#![expect(clippy::print_stdout, reason = "a measurement tells its figures")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use store::index::{Index, IndexEntry};
use store::{Effort, IndexOptions};
use usage::{Timestamp, Usage, UsageId, record};

const RUN_USAGES: u64 = 32 << 10;
/// Usages between two lines of figures.
const MARK_USAGES: u64 = 5_000_000;
const START_MS: u64 = 1_700_000_000_000;

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    let dir = PathBuf::from(arguments.get(1).expect("DIR"));
    let millions: u64 = arguments.get(2).expect("MILLIONS").parse().expect("a number");
    let keyed = arguments.get(3).is_some_and(|word| word == "keyed");
    let index = Index::open(&dir, IndexOptions::default()).expect("it opens");
    let mut synthesis = Duration::ZERO;
    let mut mark = (0, cpu(), synthesis);
    let mut slowest = Duration::ZERO;
    let usages = millions * 1_000_000;
    let mut seq = 1;
    while seq <= usages {
        let before = thread_cpu();
        let run: Vec<_> = (seq..(seq + RUN_USAGES).min(usages + 1))
            .map(|seq| (seq, payload(seq, keyed)))
            .collect();
        synthesis += thread_cpu() - before;
        let entries: Vec<_> =
            run.iter().map(|(seq, payload)| IndexEntry { seq: *seq, payload }).collect();
        let start = now();
        index.apply(&entries).expect("applied");
        slowest = slowest.max(now() - start);
        if (seq / RUN_USAGES).is_multiple_of(16) {
            index.upkeep().expect("folded");
        }
        seq = (seq + RUN_USAGES).min(usages + 1);
        if seq - mark.0 >= MARK_USAGES.min(usages) || seq > usages {
            drained();
            // Reads see the tables of the last run's moment; one without usages brings it up to now.
            index.apply(&[]).expect("applied");
            let (used, made) = (cpu(), synthesis);
            let per_usage =
                ((used - mark.1) - (made - mark.2)).as_secs_f64() * 1e6 / (seq - mark.0) as f64;
            println!(
                "{:>4.1} M: {per_usage:.2} µs CPU a usage, {:.1} bytes a usage, {} MB resident, slowest run {slowest:.0?}, {}",
                seq as f64 / 1e6,
                index.disk_bytes() as f64 / seq as f64,
                resident() >> 20,
                reads(&index, seq, keyed),
            );
            mark = (seq, used, made);
            slowest = Duration::ZERO;
        }
    }
    let before = cpu();
    index.settle().expect("settled");
    println!(
        "merged whole: {:.2} µs CPU a usage more, {:.1} bytes a usage, {}, {}",
        (cpu() - before).as_secs_f64() * 1e6 / usages as f64,
        index.disk_bytes() as f64 / usages as f64,
        reads(&index, usages + 1, keyed),
        counting(&index, usages),
    );
}

fn payload(seq: u64, keyed: bool) -> Vec<u8> {
    // A multiplicative hash: patients and medications without order.
    let mixed = seq.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
    let patient = (mixed % 1_000_000).to_string();
    let medication = format!("Medication {:02}", mixed / 1_000_000 % 20);
    let received_ms = START_MS + seq * 60 / 1000;
    let timestamp =
        Timestamp::from_epoch_ms((received_ms - mixed % 5000).cast_signed()).expect("in range");
    let usage = Usage {
        patient_id: patient.into(),
        timestamp,
        medication: medication.into(),
        event_id: None,
        attributes: None,
    };
    let mut payload = Vec::with_capacity(64);
    record::encode(&usage, received_ms, keyed.then(|| key(seq)), &mut payload);
    payload
}

fn key(seq: u64) -> UsageId {
    UsageId::keyed("default", &seq.to_string())
}

fn reads(index: &Index, seq: u64, keyed: bool) -> String {
    let timed = |what: &dyn Fn(u64)| {
        let mut times: Vec<_> = (0..1000_u64)
            .map(|number| {
                let start = now();
                what(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 30);
                now() - start
            })
            .collect();
        times.sort_unstable();
        format!("{:.0?}/{:.0?}", times[500], times[990])
    };
    let history = timed(&|number| {
        let patient = (number % 1_000_000).to_string();
        let rows = index
            .snapshot()
            .history(&patient, None, None, None, u64::MAX)
            .take(100)
            .filter(Result::is_ok)
            .count();
        std::hint::black_box(rows);
    });
    let mut text = format!("history p50/p99 {history}");
    if keyed {
        let hit = timed(&|number| {
            assert!(
                index.snapshot().key(key(number % (seq - 1) + 1), 0).expect("looked up").is_some()
                    || number == 0
            )
        });
        let miss = timed(&|number| {
            assert!(
                index
                    .snapshot()
                    .key(UsageId::keyed("other", &number.to_string()), 0)
                    .expect("looked up")
                    .is_none()
            )
        });
        text += &format!(", key hit {hit}, miss {miss}");
    }
    text
}

/// Waits until the process has nothing to do any more: no CPU used for a fifth of a second.
fn drained() {
    loop {
        let before = cpu();
        std::thread::sleep(Duration::from_millis(200));
        if cpu() - before < Duration::from_millis(4) {
            return;
        }
    }
}

/// CPU that it takes to count a whole period but for a second at each end, which cuts through
/// quarters of an hour, and without the cut.
fn counting(index: &Index, seq: u64) -> String {
    let last = START_MS + seq * 60 / 1000;
    let timed = |from_ms: u64, to_ms: u64| {
        let instant = |ms: u64| usage::Instant::from_millis(ms.cast_signed()).expect("in range");
        let before = thread_cpu();
        let mut sum = 0;
        index
            .snapshot()
            .counts(
                Some(instant(from_ms)),
                Some(instant(to_ms)),
                &mut Effort::rows(u64::MAX),
                &mut |_, _, count| {
                    sum += count;
                    true
                },
            )
            .expect("counted");
        std::hint::black_box(sum);
        thread_cpu() - before
    };
    let quarter = 900_000;
    let whole = timed(START_MS / quarter * quarter, last / quarter * quarter);
    let cut = timed(START_MS / quarter * quarter + 1000, last - 1000);
    format!("counts {whole:.0?} of CPU by quarters, {cut:.0?} with cut ones")
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn now() -> Instant {
    Instant::now()
}

fn clock(id: rustix::time::ClockId) -> Duration {
    let time = rustix::time::clock_gettime(id);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).expect("below a second"))
}

/// CPU time of all threads.
fn cpu() -> Duration {
    clock(rustix::time::ClockId::ProcessCPUTime)
}

fn thread_cpu() -> Duration {
    clock(rustix::time::ClockId::ThreadCPUTime)
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.split_whitespace().next().expect("a number").parse::<u64>().expect("a number") * 1024
}
