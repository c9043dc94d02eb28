//! Any bytes as a record: never a panic, and what is read means the same when written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use usage::{content_digest, record};

fuzz_target!(|payload: &[u8]| {
    let peeked = record::peek(payload);
    let Ok(read) = record::decode(payload) else { return };
    let peek = peeked.expect("what is read whole is read in part");
    assert_eq!(peek.patient_id, read.usage.patient_id.as_bytes());
    assert_eq!(peek.instant, read.usage.timestamp.instant);
    content_digest(&read.usage);
    let mut bytes = Vec::new();
    record::encode(&read.usage, read.received_ms, read.key, &mut bytes);
    assert_eq!(record::decode(&bytes), Ok(read));
});
