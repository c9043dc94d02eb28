//! A usage as a client sends it, and the decoding of one usage from JSON.

use std::borrow::Cow;
use std::fmt;

use serde::de::DeserializeSeed as _;

use crate::rejection::{FieldError, Rejection};
use crate::timestamp::Timestamp;

mod batch;
mod draft;
mod visitor;

pub use batch::{BatchError, BatchFormat, decode_batch};
use draft::Draft;
use visitor::{Body, BodySeed};

/// One use of a medication by a patient, valid by construction when it comes from [`decode`].
///
/// Its `Debug` shows lengths only, so that no panic and no log tells whose usage it was.
#[derive(Clone, PartialEq, Eq)]
pub struct Usage<'a> {
    /// Who: 1 to 128 characters, no controls.
    pub patient_id: Cow<'a, str>,
    /// When.
    pub timestamp: Timestamp<'a>,
    /// What: 1 to 200 characters, no controls.
    pub medication: Cow<'a, str>,
    /// The client's own id of the event: 1 to 128 characters, no controls.
    pub event_id: Option<Cow<'a, str>>,
    /// Whatever else belongs to it: a JSON object of at most 2 KiB, the text as sent.
    pub attributes: Option<Cow<'a, str>>,
}

impl Usage<'_> {
    /// The same, holding its own texts.
    pub fn into_owned(self) -> Usage<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Usage {
            patient_id: owned(self.patient_id),
            timestamp: self.timestamp.into_owned(),
            medication: owned(self.medication),
            event_id: self.event_id.map(owned),
            attributes: self.attributes.map(owned),
        }
    }
}

impl fmt::Debug for Usage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Usage")
            .field("patient_id_bytes", &self.patient_id.len())
            .field("timestamp", &self.timestamp)
            .field("medication_bytes", &self.medication.len())
            .field("event_id_bytes", &self.event_id.as_ref().map(|text| text.len()))
            .field("attributes_bytes", &self.attributes.as_ref().map(|text| text.len()))
            .finish()
    }
}

/// What becomes of a field that a usage does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownFields {
    /// It is an error that names the field.
    Refuse,
    /// It is added to the attributes, unless they have a field of that name already.
    Keep,
}

/// Decodes the JSON object of one usage. Borrows from `body` every string that needs no
/// unescaping, and then allocates nothing but the text of a timestamp sent as a number and the
/// parser's stack for nested values. `null` for an optional field is the same as its
/// absence.
pub fn decode(body: &[u8], unknown: UnknownFields) -> Result<Usage<'_>, Rejection> {
    // Once for the whole body costs less than once for every string in it.
    match str::from_utf8(body) {
        Ok(text) => decode_text(text, unknown),
        Err(error) => Err(Rejection::NotJson { detail: not_utf8_detail(body, &error) }),
    }
}

/// `body` without a byte order mark in UTF-8, which RFC 8259, section 8.1, lets a reader ignore.
pub fn without_bom(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

fn decode_text(text: &str, unknown: UnknownFields) -> Result<Usage<'_>, Rejection> {
    let mut json = serde_json::Deserializer::from_str(text);
    let mut draft = Draft::default();
    let decoded = BodySeed { unknown, draft: &mut draft }
        .deserialize(&mut json)
        .and_then(|body| json.end().map(|()| body));
    match decoded {
        Ok(Body::Object) => draft.finish(),
        Ok(Body::Other(kind)) => Err(Rejection::Invalid(vec![FieldError::whole(
            "wrong-type",
            format!("must be a JSON object, not {kind}"),
        )])),
        Err(error) => Err(Rejection::NotJson { detail: not_json_detail(text, &error) }),
    }
}

#[cold]
fn not_utf8_detail(body: &[u8], error: &std::str::Utf8Error) -> String {
    if let [0xff, 0xfe, ..] | [0xfe, 0xff, ..] = body {
        return "the body is UTF-16; send UTF-8".to_owned();
    }
    format!("invalid UTF-8 after {} bytes", error.valid_up_to())
}

/// What the client is told of bytes that are not JSON. The texts of serde_json's syntax errors
/// are fixed and quote nothing of the input.
#[cold]
fn not_json_detail(text: &str, error: &serde_json::Error) -> String {
    if text.trim_ascii().is_empty() {
        return "the body is empty".to_owned();
    }
    if holds_lines(text) {
        return "the body holds more than one JSON value; for one usage a line, send \
                `Content-Type: application/x-ndjson`"
            .to_owned();
    }
    match error.classify() {
        serde_json::error::Category::Syntax | serde_json::error::Category::Eof => error.to_string(),
        serde_json::error::Category::Data | serde_json::error::Category::Io => {
            format!("not understood at line {} column {}", error.line(), error.column())
        }
    }
}

/// Whether a whole JSON object is followed by the beginning of another on a later line.
fn holds_lines(text: &str) -> bool {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<serde::de::IgnoredAny>();
    if !text.trim_ascii_start().starts_with('{') || !matches!(values.next(), Some(Ok(_))) {
        return false;
    }
    let rest = text.get(values.byte_offset()..).unwrap_or_default();
    rest.split_once('{').is_some_and(|(between, _)| {
        between.contains('\n') && between.bytes().all(|byte| byte.is_ascii_whitespace())
    })
}
