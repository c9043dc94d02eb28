//! Writes a record, in one pass and without allocating but for the room in the output.

use super::bytes::{put_number, put_signed, put_slice};
use super::{
    EPOCH_MILLIS_DIGITS, FLAG_ATTRIBUTES, FLAG_EVENT_ID, FLAG_KEY, FORM_EPOCH_MILLIS, FORM_HTTP,
    FORM_IRREGULAR, FORM_JS, FORM_JS_NAMED, FORM_OFFSET, FORM_ZULU, IRREGULAR_DIGITS, VERSION,
    VERSION_SHIFT, names,
};
use crate::body::Usage;
use crate::id::UsageId;
use crate::limits::RECEIVED_MS_MAX;
use crate::timestamp::{Form, Timestamp, js_name};

/// Appends the record of `usage` to `out`: received at `received_ms` milliseconds since 1970 (cut
/// to [`RECEIVED_MS_MAX`]), with its id if it has a key.
pub fn encode(usage: &Usage<'_>, received_ms: u64, key: Option<UsageId>, out: &mut Vec<u8>) {
    let received_ms = received_ms.min(RECEIVED_MS_MAX);
    // Enough for nearly every record, so that the buffer grows at most once.
    out.reserve(64 + usage.patient_id.len() + usage.medication.len());
    let flag = |present: bool, flag: u8| if present { flag } else { 0 };
    let flags = flag(key.is_some(), FLAG_KEY)
        | flag(usage.event_id.is_some(), FLAG_EVENT_ID)
        | flag(usage.attributes.is_some(), FLAG_ATTRIBUTES);
    out.push(VERSION << VERSION_SHIFT | flags);
    out.extend_from_slice(&received_ms.to_le_bytes()[..6]);
    put_slice(out, usage.patient_id.as_bytes());
    put_slice(out, usage.medication.as_bytes());
    if let Some(key) = key {
        out.extend_from_slice(&key.to_bytes());
    }
    put_timestamp(out, &usage.timestamp, received_ms);
    if let Some(event_id) = &usage.event_id {
        put_slice(out, event_id.as_bytes());
    }
    if let Some(attributes) = &usage.attributes {
        put_slice(out, attributes.as_bytes());
    }
}

/// Form and digits, seconds before the receipt, fraction, offset, name or text.
#[inline]
fn put_timestamp(out: &mut Vec<u8>, timestamp: &Timestamp<'_>, received_ms: u64) {
    let (form, digits) = match timestamp.form {
        Form::Irregular => (FORM_IRREGULAR, IRREGULAR_DIGITS),
        Form::EpochMillis => (FORM_EPOCH_MILLIS, EPOCH_MILLIS_DIGITS),
        Form::Js => (FORM_JS, 0),
        Form::JsNamed => (FORM_JS_NAMED, 0),
        Form::Zulu { digits } => (FORM_ZULU, digits),
        Form::Offset { digits } => (FORM_OFFSET, digits),
        Form::Http => (FORM_HTTP, 0),
    };
    out.push(form << 4 | digits);
    let received_seconds = (received_ms / 1000).cast_signed();
    put_signed(out, received_seconds - timestamp.instant.seconds());
    match digits {
        0 => {}
        1..=3 => put_number(out, u64::from(timestamp.instant.nanos() / 1_000_000)),
        _ => put_number(out, u64::from(timestamp.instant.nanos())),
    }
    let offset_seconds = i64::from(timestamp.offset_seconds);
    match timestamp.form {
        Form::EpochMillis | Form::Zulu { .. } | Form::Http => {}
        Form::Js | Form::Offset { .. } => put_signed(out, offset_seconds / 60),
        Form::JsNamed => {
            put_signed(out, offset_seconds / 60);
            let name = js_name(&timestamp.text).unwrap_or_default();
            match names::code(name) {
                Some(code) => out.push(code),
                None => {
                    out.push(names::NAME_INLINE);
                    put_slice(out, name.as_bytes());
                }
            }
        }
        Form::Irregular => {
            put_signed(out, offset_seconds);
            put_slice(out, timestamp.text.as_bytes());
        }
    }
}
