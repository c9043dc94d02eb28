//! The record of a usage.

use proptest::prelude::*;
use usage::{Record, RecordError, UnknownFields, Usage, UsageId, decode, limits, record};

use crate::ORIGINAL;
use crate::strategies::usage;

const RECEIVED_MS: u64 = 1_790_000_000_123;

fn encoded(usage: &Usage<'_>, received_ms: u64, key: Option<UsageId>) -> Vec<u8> {
    let mut out = Vec::new();
    record::encode(usage, received_ms, key, &mut out);
    out
}

/// Records a body received at [`RECEIVED_MS`] and compares the bytes, then reads them back.
fn check(body: &str, key: Option<UsageId>, expected: &str) {
    let usage = decode(body.as_bytes(), UnknownFields::Refuse).unwrap();
    let bytes = encoded(&usage, RECEIVED_MS, key);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, expected, "{body}");
    assert_eq!(record::decode(&bytes), Ok(Record { received_ms: RECEIVED_MS, key, usage }));
}

fn body(timestamp: &str) -> String {
    format!(r#"{{"patientId":"1","timestamp":{timestamp},"medication":"m"}}"#)
}

/// The layout is what `docs/format.md` says, byte by byte.
#[test]
fn records_never_change() {
    check(ORIGINAL, None, "207b6c50c4a0010331303009416c62757465726f6c30b2e3c4a902d70400");
    let key = Some(UsageId::from_bytes(*b"0123456789abcdef"));
    let whole =
        r#"{"patientId":"1","timestamp":0,"medication":"m","eventId":"e","attributes":{"a":1}}"#;
    check(
        whole,
        key,
        "277b6c50c4a0010131016d303132333435363738396162636465661380ee89ab0d000165077b2261223a317d",
    );
    check(
        &body(r#""Tue Nov 01 2016 09:11:51 GMT-0500""#),
        None,
        "207b6c50c4a0010131016d20b2e3c4a902d704",
    );
    check(
        &body(r#""Tue Nov 01 2016 09:11:51 GMT-0500 (Ort)""#),
        None,
        "207b6c50c4a0010131016d30b2e3c4a902d704ff034f7274",
    );
    check(&body(r#""2026-09-21T14:13:20Z""#), None, "207b6c50c4a0010131016d4000");
    check(&body(r#""2026-09-21T14:13:20.120Z""#), None, "207b6c50c4a0010131016d430078");
    check(
        &body(r#""2026-09-21T16:13:20.123456+02:00""#),
        None,
        "207b6c50c4a0010131016d56008094ef3af001",
    );
    check(&body(r#""Mon, 21 Sep 2026 14:13:20 GMT""#), None, "207b6c50c4a0010131016d6000");
    check(
        &body(r#""20260921T141320Z""#),
        None,
        "207b6c50c4a0010131016d09000000103230323630393231543134313332305a",
    );
    check(&body("1790000000123"), None, "207b6c50c4a0010131016d13007b");
}

#[test]
fn the_original_body_is_small() {
    let usage = decode(ORIGINAL.as_bytes(), UnknownFields::Refuse).unwrap();
    assert_eq!(encoded(&usage, RECEIVED_MS, None).len(), 30);
}

#[test]
fn the_largest_usage_fits_in_a_record() {
    let long = |chars: usize| "😀".repeat(chars);
    let name = long(limits::TIMESTAMP_CHARS_MAX - 36);
    let body = format!(
        r#"{{"patientId":"{}","timestamp":"Tue Nov 01 2016 09:11:51 GMT-0500 ({name})",
        "medication":"{}","eventId":"{}","attributes":{{"a":"{}"}}}}"#,
        long(limits::PATIENT_ID_CHARS_MAX),
        long(limits::MEDICATION_CHARS_MAX),
        long(limits::EVENT_ID_CHARS_MAX),
        "x".repeat(limits::ATTRIBUTES_BYTES_MAX - 8),
    );
    let usage = decode(body.as_bytes(), UnknownFields::Refuse).unwrap();
    let key = Some(UsageId::keyed("p", "k"));
    let bytes = encoded(&usage, 0, key);
    assert!(bytes.len() <= limits::RECORD_BYTES_MAX);
    assert!(bytes.len() > limits::RECORD_BYTES_MAX / 2);
    assert_eq!(record::decode(&bytes).unwrap().usage, usage);
}

#[test]
fn a_receipt_beyond_the_range_is_cut() {
    let usage = decode(ORIGINAL.as_bytes(), UnknownFields::Refuse).unwrap();
    let received_ms = record::decode(&encoded(&usage, u64::MAX, None)).unwrap().received_ms;
    assert_eq!(received_ms, limits::RECEIVED_MS_MAX);
}

#[test]
fn layouts_of_another_version_are_told_apart() {
    let usage = decode(ORIGINAL.as_bytes(), UnknownFields::Refuse).unwrap();
    let bytes = encoded(&usage, RECEIVED_MS, None);
    let check = |first: u8, expected| {
        let mut bytes = bytes.clone();
        bytes[0] = first;
        assert_eq!(record::decode(&bytes).map(|_| ()), expected, "{first:02x}");
    };
    check(0x20, Ok(()));
    check(0x40, Err(RecordError::Newer));
    check(0x00, Err(RecordError::Newer));
    check(0x30, Err(RecordError::Newer));
    let extended = [&bytes[..], &[3, 1, 2, 3]].concat();
    let with_extension = [&[0x28], &extended[1..]].concat();
    assert_eq!(record::decode(&with_extension).unwrap().usage, usage);
    assert_eq!(record::decode(&extended), Err(RecordError::Damaged));
}

/// Found by fuzzing: the offset was multiplied before its range was looked at.
#[test]
fn repro_an_offset_too_large_to_multiply() {
    let bytes = b"\x2e\0\0\0\x09\0\0\0\0\x30\0\xbb\xbb\xbb\xbb\xbb\xbb\xbb\xbb\x25";
    assert_eq!(record::decode(bytes), Err(RecordError::Damaged));
}

#[test]
fn tags_never_change() {
    let check = |patient_id: &str, expected: u64| {
        assert_eq!(record::patient_tag(patient_id), expected, "{patient_id}");
    };
    check("", 4668987721552326547);
    check("100", 2337161957568167673);
    check("patient-00042", 2166259751302078556);
}

#[test]
fn tags_of_a_million_patients_differ() {
    let mut tags: Vec<_> =
        (0..1_000_000).map(|n| record::patient_tag(&format!("patient-{n}"))).collect();
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags.len(), 1_000_000);
    // A scan may look at few bits only.
    let mut low: Vec<_> = tags.iter().map(|tag| tag & 0xffff).collect();
    low.sort_unstable();
    low.dedup();
    assert_eq!(low.len(), 0x1_0000);
}

proptest! {
    #[test]
    fn a_record_comes_back(
        usage in usage(),
        received_ms in prop_oneof![0..=limits::RECEIVED_MS_MAX, Just(RECEIVED_MS)],
        key in prop::option::of(any::<[u8; 16]>()),
    ) {
        let key = key.map(UsageId::from_bytes);
        let bytes = encoded(&usage, received_ms, key);
        let record = record::decode(&bytes).unwrap();
        prop_assert_eq!(&record.usage, &usage);
        prop_assert_eq!((record.received_ms, record.key), (received_ms, key));
        let peek = record::peek(&bytes).unwrap();
        prop_assert_eq!((peek.received_ms, peek.key), (received_ms, key));
        prop_assert_eq!(peek.patient_id, usage.patient_id.as_bytes());
        prop_assert_eq!(peek.medication, usage.medication.as_bytes());
        prop_assert_eq!(peek.instant, usage.timestamp.instant);
        prop_assert_eq!(usage::content_digest(&record.usage), usage::content_digest(&usage));
    }

    #[test]
    fn a_record_cut_short_is_an_error(usage in usage(), at: prop::sample::Index) {
        let bytes = encoded(&usage, RECEIVED_MS, None);
        prop_assert!(record::decode(&bytes[..at.index(bytes.len())]).is_err());
    }

    /// Bytes that are read at all mean what they mean after being written again.
    #[test]
    fn damaged_records_never_panic(
        usage in usage(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = encoded(&usage, RECEIVED_MS, Some(UsageId::keyed("p", "k")));
        for (at, with) in flips {
            let at = at.index(bytes.len());
            bytes[at] = with;
        }
        let peeked = record::peek(&bytes);
        if let Ok(record) = record::decode(&bytes) {
            prop_assert_eq!(peeked.unwrap().instant, record.usage.timestamp.instant);
            let again = encoded(&record.usage, record.received_ms, record.key);
            prop_assert_eq!(record::decode(&again), Ok(record));
        }
    }

    #[test]
    fn any_bytes_are_a_record_or_an_error(mut bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Some(first) = bytes.first_mut() {
            *first = 0x20 | (*first & 0x1f);
        }
        if let Ok(record) = record::decode(&bytes) {
            let again = encoded(&record.usage, record.received_ms, record.key);
            prop_assert_eq!(record::decode(&again), Ok(record));
        }
    }
}
