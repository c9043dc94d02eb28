//! Any bytes as a body: never a panic, bounded errors, and what is accepted survives its record.
#![no_main]

use libfuzzer_sys::fuzz_target;
use usage::{
    BatchFormat, Rejection, UnknownFields, content_digest, decode, decode_batch, limits, record,
};

const RECEIVED_MS: u64 = 1_790_000_000_123;

fuzz_target!(|body: &[u8]| {
    for unknown in [UnknownFields::Refuse, UnknownFields::Keep] {
        let decoded = decode(body, unknown);
        check(body, &decoded);
        for format in [BatchFormat::JsonArray, BatchFormat::Ndjson] {
            let Ok(items) = decode_batch(body, format, unknown) else { continue };
            assert!((1..=limits::BATCH_ITEMS_MAX).contains(&items.len()));
            // One line is one body.
            let alone = !body.contains(&b'\n') && body.len() <= limits::LINE_BYTES_MAX;
            if format == BatchFormat::Ndjson && alone {
                assert_eq!(items, [decoded.clone()]);
            }
        }
    }
});

fn check(body: &[u8], decoded: &Result<usage::Usage<'_>, Rejection>) {
    match decoded {
        Ok(usage) => {
            let mut bytes = Vec::new();
            record::encode(usage, RECEIVED_MS, None, &mut bytes);
            assert!(bytes.len() <= limits::RECORD_BYTES_MAX);
            let read = record::decode(&bytes).expect("what was written is read");
            assert_eq!(&read.usage, usage);
            assert_eq!(content_digest(&read.usage), content_digest(usage));
            let peek = record::peek(&bytes).expect("what was written is read");
            assert_eq!(peek.instant, usage.timestamp.instant);
        }
        Err(Rejection::NotJson { detail }) => {
            let other = serde_json::from_slice::<serde_json::Value>(body);
            assert!(other.is_err(), "serde_json reads it: {detail}");
            assert!(detail.len() < 200);
        }
        Err(Rejection::Invalid(errors)) => {
            assert!((1..=limits::ERRORS_MAX + 1).contains(&errors.len()));
            for error in errors {
                assert!(error.pointer.chars().count() <= 2 * limits::ERROR_NAME_CHARS_MAX + 2);
                assert!(error.detail.len() < 300);
            }
        }
    }
}
