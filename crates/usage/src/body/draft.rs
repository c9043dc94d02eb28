//! The fields of a usage as they come in, with everything that is wrong about them.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::Usage;
use super::visitor::Value;
use crate::attributes;
use crate::limits::{EVENT_ID_CHARS_MAX, MEDICATION_CHARS_MAX, PATIENT_ID_CHARS_MAX};
use crate::rejection::{FieldError, FieldErrors, Rejection};
use crate::timestamp::{Timestamp, TimestampError, read};

const PATIENT_ID: &str = "patientId";
const TIMESTAMP: &str = "timestamp";
const MEDICATION: &str = "medication";
const EVENT_ID: &str = "eventId";
const ATTRIBUTES: &str = "attributes";

/// The fields of a usage as they come in, each valid or else counted among the errors.
#[derive(Default)]
pub(super) struct Draft<'a> {
    patient_id: Slot<Cow<'a, str>>,
    timestamp: Slot<Timestamp<'a>>,
    medication: Slot<Cow<'a, str>>,
    event_id: Slot<Cow<'a, str>>,
    attributes: Slot<&'a str>,
    kept: Vec<(Cow<'a, str>, &'a str)>,
    errors: FieldErrors,
}

/// Where a field goes.
#[derive(Default)]
enum Slot<T> {
    /// Not seen yet.
    #[default]
    Absent,
    /// Seen and null.
    Null,
    /// Seen and wrong; the error is told already.
    Wrong,
    Filled(T),
}

impl<T> Slot<T> {
    fn into_option(self) -> Option<T> {
        match self {
            Slot::Filled(value) => Some(value),
            Slot::Absent | Slot::Null | Slot::Wrong => None,
        }
    }
}

impl<'a> Draft<'a> {
    #[inline]
    pub(super) fn put_patient_id(&mut self, value: Value<'a>) {
        let put = |value, errors: &mut _| text(value, PATIENT_ID, PATIENT_ID_CHARS_MAX, errors);
        fill(&mut self.patient_id, PATIENT_ID, value, &mut self.errors, put);
    }

    #[inline]
    pub(super) fn put_medication(&mut self, value: Value<'a>) {
        let put = |value, errors: &mut _| text(value, MEDICATION, MEDICATION_CHARS_MAX, errors);
        fill(&mut self.medication, MEDICATION, value, &mut self.errors, put);
    }

    pub(super) fn put_event_id(&mut self, value: Value<'a>) {
        let put = |value, errors: &mut _| text(value, EVENT_ID, EVENT_ID_CHARS_MAX, errors);
        fill(&mut self.event_id, EVENT_ID, value, &mut self.errors, put);
    }

    #[inline]
    pub(super) fn put_timestamp(&mut self, value: Value<'a>) {
        fill(&mut self.timestamp, TIMESTAMP, value, &mut self.errors, timestamp);
    }

    pub(super) fn put_attributes(&mut self, raw: &'a RawValue) {
        let value = match raw.get() {
            "null" => Value::Null,
            object => Value::Text(Cow::Borrowed(object)),
        };
        fill(&mut self.attributes, ATTRIBUTES, value, &mut self.errors, |_, errors| {
            match attributes::check(raw.get()) {
                Ok(()) => Some(raw.get()),
                Err(error) => {
                    errors.push(|| FieldError::new(ATTRIBUTES, error.code(), error.to_string()));
                    None
                }
            }
        });
    }

    /// An unknown field that is an error.
    #[cold]
    pub(super) fn refuse(&mut self, name: &str) {
        self.errors.push(|| {
            FieldError::new(
                name,
                "unknown-field",
                "is not a field of a usage; what else belongs to it goes into attributes",
            )
        });
    }

    /// An unknown field that is kept.
    pub(super) fn keep(&mut self, name: Cow<'a, str>, raw: &'a RawValue) {
        // The limit on the attributes' bytes bounds what is worth holding until then.
        if self.kept.len() < attributes::MERGED_FIELDS_MAX {
            self.kept.push((name, raw.get()));
        } else {
            self.errors.push(|| {
                FieldError::new(ATTRIBUTES, "too-large", attributes::Error::TooLarge.to_string())
            });
        }
    }

    /// The usage, or all its errors.
    pub(super) fn finish(mut self) -> Result<Usage<'a>, Rejection> {
        let attributes = match (self.attributes, self.kept.is_empty()) {
            (attributes, true) => attributes.into_option().map(Cow::Borrowed),
            (Slot::Wrong, false) => None,
            (attributes, false) => {
                attributes::merge(attributes.into_option(), &self.kept, &mut self.errors)
                    .map(Cow::Owned)
            }
        };
        let errors = &mut self.errors;
        require(&self.patient_id, PATIENT_ID, errors);
        require(&self.timestamp, TIMESTAMP, errors);
        require(&self.medication, MEDICATION, errors);
        match (self.patient_id, self.timestamp, self.medication) {
            (Slot::Filled(patient_id), Slot::Filled(timestamp), Slot::Filled(medication))
                if self.errors.is_empty() =>
            {
                let event_id = self.event_id.into_option();
                Ok(Usage { patient_id, timestamp, medication, event_id, attributes })
            }
            _ => Err(self.errors.into_rejection()),
        }
    }
}

/// Puts a value into its slot, unless the field was seen before.
#[inline]
fn fill<'a, T>(
    slot: &mut Slot<T>,
    name: &str,
    value: Value<'a>,
    errors: &mut FieldErrors,
    valid: impl FnOnce(Value<'a>, &mut FieldErrors) -> Option<T>,
) {
    if !matches!(slot, Slot::Absent) {
        errors.push(|| FieldError::new(name, "duplicate-field", "must stand in the body once"));
        return;
    }
    *slot = match value {
        Value::Null => Slot::Null,
        value => valid(value, errors).map_or(Slot::Wrong, Slot::Filled),
    };
}

#[inline]
fn require<T>(slot: &Slot<T>, name: &str, errors: &mut FieldErrors) {
    if matches!(slot, Slot::Absent | Slot::Null) {
        errors.push(|| FieldError::new(name, "required", "is required"));
    }
}

/// A text of 1 to `chars_max` characters that is not blank and has no controls.
#[inline]
fn text<'a>(
    value: Value<'a>,
    name: &str,
    chars_max: usize,
    errors: &mut FieldErrors,
) -> Option<Cow<'a, str>> {
    let text = match value {
        Value::Text(text) => text,
        other => {
            errors.push(|| FieldError::new(name, "wrong-type", not_a("a string", &other)));
            return None;
        }
    };
    // Within ASCII, bytes are characters and the common text is neither long nor odd.
    let bytes = text.as_bytes();
    let plain = bytes.len() <= chars_max && bytes.iter().all(u8::is_ascii_graphic);
    if (plain && !bytes.is_empty()) || is_valid_text(&text, name, chars_max, errors) {
        Some(text)
    } else {
        None
    }
}

/// The whole check of a text, for the uncommon ones.
fn is_valid_text(text: &str, name: &str, chars_max: usize, errors: &mut FieldErrors) -> bool {
    if text.trim().is_empty() {
        errors.push(|| FieldError::new(name, "empty", "must not be empty or blank"));
        return false;
    }
    if text.len() > chars_max && text.chars().count() > chars_max {
        let detail = || format!("must have at most {chars_max} characters");
        errors.push(|| FieldError::new(name, "too-long", detail()));
        return false;
    }
    if text.chars().any(char::is_control) {
        let detail = "must have no control characters";
        errors.push(|| FieldError::new(name, "control-character", detail));
        return false;
    }
    true
}

#[inline]
fn timestamp<'a>(value: Value<'a>, errors: &mut FieldErrors) -> Option<Timestamp<'a>> {
    let parsed = match value {
        Value::Text(text) => read(&text).map(|reading| reading.with_text(text)),
        Value::Integer(number) => Timestamp::from_number(number),
        Value::Fraction => Err(TimestampError::NotWholeMillis),
        other => {
            let detail = || not_a("a string or a number", &other);
            errors.push(|| FieldError::new(TIMESTAMP, "wrong-type", detail()));
            return None;
        }
    };
    parsed
        .map_err(|error| {
            errors.push(|| FieldError::new(TIMESTAMP, error.code(), error.to_string()));
        })
        .ok()
}

fn not_a(expected: &str, value: &Value<'_>) -> String {
    let kind = match value {
        Value::Null => "null",
        Value::Text(_) => "a string",
        Value::Integer(_) | Value::Fraction => "a number",
        Value::Other(kind) => kind,
    };
    format!("must be {expected}, not {kind}")
}
