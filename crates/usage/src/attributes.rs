//! Attributes, the part of a usage that inhale keeps without understanding: their limits, the
//! merging of unknown fields into them, and the canonical form that tells equal ones.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::limits::{ATTRIBUTES_BYTES_MAX, ATTRIBUTES_DEPTH_MAX};
use crate::rejection::{FieldError, FieldErrors};

/// More unknown fields than this cannot fit: each needs at least `"":0` and a comma.
pub(crate) const MERGED_FIELDS_MAX: usize = ATTRIBUTES_BYTES_MAX / 5;

/// Why attributes were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    #[error("must be a JSON object")]
    NotObject,
    #[error("must have at most {ATTRIBUTES_BYTES_MAX} bytes of JSON in all")]
    TooLarge,
    #[error("must be nested at most {ATTRIBUTES_DEPTH_MAX} deep")]
    TooDeep,
    #[error("must have no half of a surrogate pair among its escapes")]
    LoneSurrogate,
}

impl Error {
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Error::NotObject => "wrong-type",
            Error::TooLarge => "too-large",
            Error::TooDeep => "too-deep",
            Error::LoneSurrogate => "lone-surrogate",
        }
    }
}

/// Whether `json`, which is well-formed JSON without blanks around it, may be kept.
pub(crate) fn check(json: &str) -> Result<(), Error> {
    if !json.starts_with('{') {
        return Err(Error::NotObject);
    }
    if json.len() > ATTRIBUTES_BYTES_MAX {
        return Err(Error::TooLarge);
    }
    check_value(json, 0)
}

/// Whether the well-formed `json`, found `depth` levels deep, is nested within the limit and its
/// strings are Unicode. serde_json skips over raw text without looking at either.
fn check_value(json: &str, mut depth: usize) -> Result<(), Error> {
    let bytes = json.as_bytes();
    let mut at = 0;
    let mut in_string = false;
    while let Some(&byte) = bytes.get(at) {
        match (in_string, byte) {
            (_, b'"') => in_string = !in_string,
            (true, b'\\') => at += escape_len(&bytes[at..])? - 1,
            (false, b'{' | b'[') => {
                depth += 1;
                if depth > ATTRIBUTES_DEPTH_MAX {
                    return Err(Error::TooDeep);
                }
            }
            (false, b'}' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// Bytes of the escape, or of the surrogate pair of escapes, at the start of `bytes`.
fn escape_len(bytes: &[u8]) -> Result<usize, Error> {
    match code_unit(bytes) {
        None => Ok(2),
        Some(0xd800..=0xdbff) => match bytes.get(6..).and_then(code_unit) {
            Some(0xdc00..=0xdfff) => Ok(12),
            _ => Err(Error::LoneSurrogate),
        },
        Some(0xdc00..=0xdfff) => Err(Error::LoneSurrogate),
        Some(_) => Ok(6),
    }
}

/// The code unit of an escape, `\u` and four hexadecimal digits, at the start of `bytes`.
fn code_unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

/// The attributes with the unknown fields `kept` added at the end, or `None` and errors. A field
/// that the attributes or an earlier unknown field already have is refused: which of the two was
/// meant, nobody knows.
pub(crate) fn merge(
    attributes: Option<&str>,
    kept: &[(Cow<'_, str>, &str)],
    errors: &mut FieldErrors,
) -> Option<String> {
    let object = attributes.unwrap_or("{}");
    let inner = object.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'))?.trim();
    let mut names: Vec<Cow<'_, str>> =
        fields(object).ok()?.into_iter().map(|(name, _)| name).collect();
    let mut merged = String::with_capacity(ATTRIBUTES_BYTES_MAX);
    merged.push('{');
    merged.push_str(inner);
    let mut valid = true;
    for (name, raw) in kept {
        if names.contains(name) {
            let detail = "is unknown, and attributes already have a field of that name";
            errors.push(|| FieldError::new(name, "field-collision", detail));
            valid = false;
            continue;
        }
        if let Err(error) = check_value(raw, 1) {
            errors.push(|| FieldError::new(name, error.code(), error.to_string()));
            valid = false;
            continue;
        }
        if merged.len() > 1 {
            merged.push(',');
        }
        push_string(&mut merged, name);
        merged.push(':');
        merged.push_str(raw);
        if merged.len() >= ATTRIBUTES_BYTES_MAX {
            let error = Error::TooLarge;
            errors.push(|| FieldError::new("attributes", error.code(), error.to_string()));
            return None;
        }
        names.push(Cow::Borrowed(name));
    }
    merged.push('}');
    valid.then_some(merged)
}

/// The canonical form of attributes: equal for texts that differ only in the order of keys, in
/// blanks and in escapes. A number counts as spelled: `1`, `1.0` and `1e0` differ, for they are
/// given back as sent. Of equal keys in one object the order counts.
///
/// Text that is no valid JSON, which only a damaged record holds, stands for itself.
pub(crate) fn canonical(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    if check(json).is_err() || push_canonical(&mut out, json).is_err() {
        out.clear();
        out.push_str(json);
    }
    out
}

/// Recursive to the depth that [`check`] allows.
fn push_canonical(out: &mut String, json: &str) -> Result<(), serde_json::Error> {
    match json.as_bytes().first() {
        Some(b'{') => {
            let mut fields = fields(json)?;
            fields.sort_by(|(a, _), (b, _)| a.cmp(b));
            out.push('{');
            for (index, (name, raw)) in fields.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                push_string(out, name);
                out.push(':');
                push_canonical(out, raw)?;
            }
            out.push('}');
        }
        Some(b'[') => {
            out.push('[');
            for (index, raw) in serde_json::from_str::<Vec<&RawValue>>(json)?.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                push_canonical(out, raw.get())?;
            }
            out.push(']');
        }
        Some(b'"') => push_string(out, &serde_json::from_str::<String>(json)?),
        _ => out.push_str(json),
    }
    Ok(())
}

/// A JSON string with the fewest escapes.
fn push_string(out: &mut String, text: &str) {
    out.push_str(&serde_json::to_string(text).expect("a str is always written"));
}

/// The fields of a JSON object in order, values raw.
fn fields(json: &str) -> Result<Vec<(Cow<'_, str>, &str)>, serde_json::Error> {
    struct Fields;

    impl<'de> Visitor<'de> for Fields {
        type Value = Vec<(Cow<'de, str>, &'de str)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut fields = Vec::new();
            while let Some((Name(name), raw)) = map.next_entry::<Name<'de>, &RawValue>()? {
                fields.push((name, raw.get()));
            }
            Ok(fields)
        }
    }

    let mut reader = serde_json::Deserializer::from_str(json);
    let fields = reader.deserialize_map(Fields)?;
    reader.end()?;
    Ok(fields)
}

/// A field's name, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
