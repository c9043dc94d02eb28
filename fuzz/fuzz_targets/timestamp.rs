//! Any text as a timestamp: never a panic, the instant that jiff reads, and the same text again
//! from its record.
#![no_main]

use libfuzzer_sys::fuzz_target;
use usage::{Timestamp, TimestampError, Usage, record};

fuzz_target!(|text: &str| {
    let theirs = text.parse::<jiff::Timestamp>();
    match Timestamp::parse(text) {
        Ok(timestamp) => {
            assert_eq!(timestamp.text, text);
            if let Ok(theirs) = theirs {
                let instant = timestamp.instant;
                let nanoseconds =
                    i128::from(instant.seconds()) * 1_000_000_000 + i128::from(instant.nanos());
                assert_eq!(nanoseconds, theirs.as_nanosecond());
            }
            let usage = Usage {
                patient_id: "1".into(),
                timestamp,
                medication: "m".into(),
                event_id: None,
                attributes: None,
            };
            let mut bytes = Vec::new();
            record::encode(&usage, 0, None, &mut bytes);
            assert_eq!(record::decode(&bytes).map(|record| record.usage), Ok(usage));
        }
        // A text that names an instant is refused for a reason of its own, never as no form.
        Err(TimestampError::Unrecognized) => {
            let ours = text.starts_with(|c: char| c.is_ascii_digit());
            assert!(!ours || theirs.is_err(), "jiff reads it");
        }
        Err(_) => {}
    }
});
