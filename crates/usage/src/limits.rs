//! Every limit on what a client may send, in one place, with the relations that must hold between
//! them asserted at compile time.

/// Longest patient id, in Unicode scalar values.
pub const PATIENT_ID_CHARS_MAX: usize = 128;

/// Longest name of a medication, in Unicode scalar values.
pub const MEDICATION_CHARS_MAX: usize = 200;

/// Longest event id, in Unicode scalar values.
pub const EVENT_ID_CHARS_MAX: usize = 128;

/// Longest idempotency key, in characters (a key in a header is ASCII).
pub const KEY_CHARS_MAX: usize = 255;

/// Longest text of a timestamp, in Unicode scalar values. The longest localized names of time
/// zones leave more than half of it unused.
pub const TIMESTAMP_CHARS_MAX: usize = 128;

/// Largest attributes, in bytes of JSON text as sent, braces included; with
/// [`crate::UnknownFields::Keep`] the fields merged into them count too.
pub const ATTRIBUTES_BYTES_MAX: usize = 2048;

/// Deepest nesting of arrays and objects in attributes; the attributes themselves are level 1.
pub const ATTRIBUTES_DEPTH_MAX: usize = 16;

/// Largest request body, in bytes. The listener refuses more before this crate sees it.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// Most usages in one batch.
pub const BATCH_ITEMS_MAX: usize = 1000;

/// Longest line of NDJSON and longest item of a JSON array, in bytes.
pub const LINE_BYTES_MAX: usize = 16 << 10;

/// Most errors listed for one usage; one further entry says that there are more.
pub const ERRORS_MAX: usize = 16;

/// Longest part of an unknown field's name that an error repeats, in Unicode scalar values.
pub const ERROR_NAME_CHARS_MAX: usize = 64;

/// Earliest instant accepted: 1900-01-01T00:00:00Z, in seconds since 1970.
pub const INSTANT_SECONDS_MIN: i64 = -2_208_988_800;

/// First instant no longer accepted: 9999-01-01T00:00:00Z, in seconds since 1970. A year of four
/// digits at any offset, and within the range of every calendar library that reads the store.
pub const INSTANT_SECONDS_END: i64 = 253_370_764_800;

/// Largest time of receipt, in milliseconds since 1970; a later clock counts as this. Every
/// receipt is an instant within the range, and fits in the 48 bits of a UUIDv7.
pub const RECEIVED_MS_MAX: u64 = INSTANT_SECONDS_END.cast_unsigned() * 1000 - 1;

/// Largest number of a store: 12 bits of an id.
pub const STORE_NUMBER_MAX: u16 = (1 << 12) - 1;

/// Largest sequence: 44 bits of an id, 33 years at 16,667 usages a second.
pub const SEQUENCE_MAX: u64 = (1 << 44) - 1;

/// Largest record that [`crate::record::encode`] writes, in bytes.
pub const RECORD_BYTES_MAX: usize = RECORD_FIXED_BYTES_MAX
    + UTF8_BYTES_MAX
        * (PATIENT_ID_CHARS_MAX + MEDICATION_CHARS_MAX + EVENT_ID_CHARS_MAX + TIMESTAMP_CHARS_MAX)
    + ATTRIBUTES_BYTES_MAX;

/// Head, time of receipt, key, lengths, instant, fraction and offset of a record, rounded up.
const RECORD_FIXED_BYTES_MAX: usize = 64;

/// A Unicode scalar value in UTF-8.
const UTF8_BYTES_MAX: usize = 4;

/// A Unicode scalar value in JSON, escaped as two surrogates (`\ud83d\ude00`).
const JSON_CHAR_BYTES_MAX: usize = 12;

/// Names, quotes and punctuation of a usage in JSON, rounded up.
const JSON_FRAME_BYTES_MAX: usize = 128;

const _: () = {
    let usage_json_bytes_max = JSON_CHAR_BYTES_MAX
        * (PATIENT_ID_CHARS_MAX + MEDICATION_CHARS_MAX + EVENT_ID_CHARS_MAX + TIMESTAMP_CHARS_MAX)
        + ATTRIBUTES_BYTES_MAX
        + JSON_FRAME_BYTES_MAX;
    assert!(usage_json_bytes_max <= LINE_BYTES_MAX, "any valid usage fits in a line");
    assert!(LINE_BYTES_MAX <= BODY_BYTES_MAX, "a longest line fits in a body");
    assert!(BATCH_ITEMS_MAX * 128 <= BODY_BYTES_MAX, "a full batch of ordinary usages fits");
    assert!(KEY_CHARS_MAX >= EVENT_ID_CHARS_MAX, "an event id may serve as the key");
    assert!(RECORD_BYTES_MAX <= u16::MAX as usize, "a record's length fits in 16 bits");
    assert!(INSTANT_SECONDS_MIN < 0 && INSTANT_SECONDS_END > 0, "1970 is within the range");
    assert!(RECEIVED_MS_MAX < 1 << 48, "a receipt fits in an id");
};
