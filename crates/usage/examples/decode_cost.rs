//! What decoding and recording the original body costs, in nanoseconds:
//! `cargo run --release -p usage --example decode_cost`, and with `valgrind --tool=callgrind` and
//! an argument naming one row, in instructions.
#![allow(clippy::print_stdout, reason = "it exists to print")]
#![allow(clippy::disallowed_methods, reason = "it measures, and nothing else reads its clock")]

use std::hint::black_box;
use std::time::Instant;

use usage::{
    BatchFormat, CheckKey, Timestamp, UnknownFields, UsageId, content_digest, decode, decode_batch,
    record,
};

const ORIGINAL: &str = r#"{"patientId":"100","timestamp":"Tue Nov 01 2016 09:11:51 GMT-0500 (CDT)","medication":"Albuterol"}"#;
const RFC3339: &str =
    r#"{"patientId":"100","timestamp":"2016-11-01T09:11:51.123-05:00","medication":"Albuterol"}"#;
const RECEIVED_MS: u64 = 1_790_000_000_123;
const ROUNDS: u32 = 9;

/// Prints the median round's nanoseconds for each of `items` per call of `work`.
fn measure(only: Option<&str>, name: &str, items: u32, mut work: impl FnMut()) {
    if only.is_some_and(|only| only != name) {
        return;
    }
    let calls = if only.is_some() { 100_000 / items } else { 1_000_000 / items };
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..calls {
                work();
            }
            start.elapsed().as_nanos() as f64 / f64::from(calls * items)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    println!("{name:<16} {:>8.1} ns", rounds[rounds.len() / 2]);
}

fn main() {
    let only = std::env::args().nth(1);
    let only = only.as_deref();
    let usage = decode(ORIGINAL.as_bytes(), UnknownFields::Refuse).expect("it is valid");
    let mut out = Vec::with_capacity(256);
    record::encode(&usage, RECEIVED_MS, None, &mut out);
    let written = out.clone();
    println!("record of the original body: {} bytes", written.len());

    measure(only, "decode", 1, || {
        let _ = black_box(decode(black_box(ORIGINAL.as_bytes()), UnknownFields::Refuse));
    });
    measure(only, "decode-rfc3339", 1, || {
        let _ = black_box(decode(black_box(RFC3339.as_bytes()), UnknownFields::Refuse));
    });
    measure(only, "timestamp", 1, || {
        let _ = black_box(Timestamp::parse(black_box("Tue Nov 01 2016 09:11:51 GMT-0500 (CDT)")));
    });
    measure(only, "encode", 1, || {
        out.clear();
        record::encode(black_box(&usage), black_box(RECEIVED_MS), None, &mut out);
    });
    measure(only, "record-decode", 1, || {
        let _ = black_box(record::decode(black_box(&written)));
    });
    measure(only, "record-peek", 1, || {
        let _ = black_box(record::peek(black_box(&written)));
    });
    measure(only, "patient-tag", 1, || {
        black_box(record::patient_tag(black_box("patient-00042")));
    });
    measure(only, "id-plain", 1, || {
        black_box(UsageId::plain(black_box(RECEIVED_MS), 0, 77, &CheckKey([7; 16])));
    });
    measure(only, "id-keyed", 1, || {
        black_box(UsageId::keyed(black_box("default"), black_box("event-4711")));
    });
    measure(only, "digest", 1, || {
        black_box(content_digest(black_box(&usage)));
    });
    let lines = format!("{ORIGINAL}\n").repeat(1000);
    measure(only, "ndjson", 1000, || {
        let _ = black_box(decode_batch(
            black_box(lines.as_bytes()),
            BatchFormat::Ndjson,
            UnknownFields::Refuse,
        ));
    });
    let array = format!("[{}]", vec![ORIGINAL; 1000].join(","));
    measure(only, "array", 1000, || {
        let _ = black_box(decode_batch(
            black_box(array.as_bytes()),
            BatchFormat::JsonArray,
            UnknownFields::Refuse,
        ));
    });
}
