//! Reads a record, whole or only what an index needs. Any bytes give a record or an error.

use std::borrow::Cow;

use super::bytes::Reader;
use super::{
    EPOCH_MILLIS_DIGITS, FLAG_ATTRIBUTES, FLAG_EVENT_ID, FLAG_EXTENSION, FLAG_KEY, FLAGS_KNOWN,
    FORM_EPOCH_MILLIS, FORM_HTTP, FORM_IRREGULAR, FORM_JS, FORM_JS_NAMED, FORM_OFFSET, FORM_ZULU,
    IRREGULAR_DIGITS, Peek, Record, RecordError, VERSION, VERSION_SHIFT, names,
};
use crate::body::Usage;
use crate::id::UsageId;
use crate::instant::Instant;
use crate::limits::RECEIVED_MS_MAX;
use crate::timestamp::{Form, Timestamp, render};

const DAY_MINUTES: i64 = 24 * 60;

/// Reads a record. The strings borrow from `payload`; only a timestamp's text is written anew.
pub fn decode(payload: &[u8]) -> Result<Record<'_>, RecordError> {
    let mut reader = Reader::new(payload);
    let (peek, head) = read_head(&mut reader)?;
    let timestamp = read_timestamp(&mut reader, &head, peek.instant)?;
    let event_id = optional_text(&mut reader, head.flags, FLAG_EVENT_ID)?;
    let attributes = optional_text(&mut reader, head.flags, FLAG_ATTRIBUTES)?;
    if head.flags & FLAG_EXTENSION != 0 {
        reader.slice()?;
    }
    if !reader.is_empty() {
        return Err(RecordError::Damaged);
    }
    let text = |bytes| str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| RecordError::Damaged);
    let patient_id = text(peek.patient_id)?;
    let medication = text(peek.medication)?;
    let usage = Usage { patient_id, timestamp, medication, event_id, attributes };
    Ok(Record { received_ms: peek.received_ms, key: peek.key, usage })
}

/// Reads what stands at a record's front, and nothing behind the instant.
pub fn peek(payload: &[u8]) -> Result<Peek<'_>, RecordError> {
    read_head(&mut Reader::new(payload)).map(|(peek, _)| peek)
}

/// What the rest of the record needs to be read.
struct Head {
    flags: u8,
    form: Form,
}

/// Everything up to the instant.
#[inline]
fn read_head<'a>(reader: &mut Reader<'a>) -> Result<(Peek<'a>, Head), RecordError> {
    let first = reader.byte()?;
    let flags = first & ((1 << VERSION_SHIFT) - 1);
    if first >> VERSION_SHIFT != VERSION || flags & !FLAGS_KNOWN != 0 {
        return Err(RecordError::Newer);
    }
    let mut received = [0; 8];
    received[..6].copy_from_slice(&reader.array::<6>()?);
    let received_ms = u64::from_le_bytes(received);
    if received_ms > RECEIVED_MS_MAX {
        return Err(RecordError::Damaged);
    }
    let patient_id = reader.slice()?;
    let medication = reader.slice()?;
    let key = match flags & FLAG_KEY {
        0 => None,
        _ => Some(UsageId::from_bytes(reader.array()?)),
    };
    let (form, digits) = read_form(reader.byte()?)?;
    let received_seconds = (received_ms / 1000).cast_signed();
    let seconds = received_seconds.checked_sub(reader.signed()?).ok_or(RecordError::Damaged)?;
    let nanos = match digits {
        0 => 0,
        1..=3 => reader.number()?.checked_mul(1_000_000).ok_or(RecordError::Damaged)?,
        _ => reader.number()?,
    };
    // A fraction finer than the digits that show it would not come back in the text.
    let unit = 10_u64.pow(9 - u32::from(digits));
    if nanos % unit != 0 {
        return Err(RecordError::Damaged);
    }
    let nanos = u32::try_from(nanos).map_err(|_| RecordError::Damaged)?;
    let instant = Instant::from_parts(seconds, nanos).ok_or(RecordError::Damaged)?;
    Ok((Peek { received_ms, key, patient_id, medication, instant }, Head { flags, form }))
}

/// The form and how many fractional digits of the instant are kept.
#[inline]
fn read_form(byte: u8) -> Result<(Form, u8), RecordError> {
    let digits = byte & 0xf;
    let form = match (byte >> 4, digits) {
        (FORM_IRREGULAR, IRREGULAR_DIGITS) => Form::Irregular,
        (FORM_EPOCH_MILLIS, EPOCH_MILLIS_DIGITS) => Form::EpochMillis,
        (FORM_JS, 0) => Form::Js,
        (FORM_JS_NAMED, 0) => Form::JsNamed,
        (FORM_ZULU, 0..=9) => Form::Zulu { digits },
        (FORM_OFFSET, 0..=9) => Form::Offset { digits },
        (FORM_HTTP, 0) => Form::Http,
        _ => return Err(RecordError::Damaged),
    };
    Ok((form, digits))
}

/// Offset, name and text of the timestamp.
fn read_timestamp<'a>(
    reader: &mut Reader<'a>,
    head: &Head,
    instant: Instant,
) -> Result<Timestamp<'a>, RecordError> {
    let form = head.form;
    let offset_seconds = match form {
        Form::EpochMillis | Form::Zulu { .. } | Form::Http => 0,
        Form::Js | Form::JsNamed | Form::Offset { .. } => {
            let minutes = reader.signed()?;
            (minutes.unsigned_abs() < DAY_MINUTES.unsigned_abs())
                .then(|| minutes * 60)
                .ok_or(RecordError::Damaged)?
        }
        Form::Irregular => {
            let seconds = reader.signed()?;
            (seconds.unsigned_abs() < DAY_MINUTES.unsigned_abs() * 60)
                .then_some(seconds)
                .ok_or(RecordError::Damaged)?
        }
    };
    let offset_seconds = i32::try_from(offset_seconds).map_err(|_| RecordError::Damaged)?;
    let text = match form {
        Form::Irregular => Cow::Borrowed(reader.text()?),
        Form::JsNamed => {
            let name = match reader.byte()? {
                names::NAME_INLINE => reader.text()?,
                code => names::name(code).ok_or(RecordError::Newer)?,
            };
            Cow::Owned(render(form, instant, offset_seconds, name))
        }
        _ => Cow::Owned(render(form, instant, offset_seconds, "")),
    };
    Ok(Timestamp { instant, offset_seconds, text, form })
}

#[inline]
fn optional_text<'a>(
    reader: &mut Reader<'a>,
    flags: u8,
    flag: u8,
) -> Result<Option<Cow<'a, str>>, RecordError> {
    if flags & flag == 0 { Ok(None) } else { reader.text().map(|text| Some(Cow::Borrowed(text))) }
}
