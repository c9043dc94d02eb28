//! Many usages in one body: a JSON array, or one JSON object a line (NDJSON).

use std::fmt;

use serde::de::{Deserializer as _, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{UnknownFields, Usage, decode, decode_text, not_json_detail, not_utf8_detail};
use crate::limits::{BATCH_ITEMS_MAX, LINE_BYTES_MAX};
use crate::rejection::{FieldError, Rejection};

/// How many usages are written in one body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchFormat {
    /// `[{…}, {…}]`.
    JsonArray,
    /// `{…}`, newline, `{…}`; a carriage return before the newline and blank lines are ignored,
    /// and the last newline may be missing.
    Ndjson,
}

/// Why a batch was refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The body is not a JSON array at all.
    #[error("not a JSON array: {detail}")]
    NotJson {
        /// What was wrong and where, without quoting the body.
        detail: String,
    },
    /// More items than one batch may have.
    #[error("a batch has at most {max} usages")]
    TooManyItems {
        /// [`BATCH_ITEMS_MAX`].
        max: usize,
    },
    /// No item at all.
    #[error("the batch is empty")]
    Empty,
}

/// Items as they stand in the body's order, each a usage or its own rejection.
type Items<'a> = Vec<Result<Usage<'a>, Rejection>>;

/// Decodes a batch of at most [`BATCH_ITEMS_MAX`] usages. What is wrong with an item is that
/// item's rejection. An array must be well-formed JSON as a whole, a line only for itself.
pub fn decode_batch(
    body: &[u8],
    format: BatchFormat,
    unknown: UnknownFields,
) -> Result<Items<'_>, BatchError> {
    let items = match format {
        BatchFormat::JsonArray => decode_array(body, unknown)?,
        BatchFormat::Ndjson => decode_lines(body, unknown)?,
    };
    if items.is_empty() { Err(BatchError::Empty) } else { Ok(items) }
}

fn decode_lines(body: &[u8], unknown: UnknownFields) -> Result<Items<'_>, BatchError> {
    // One check for all lines, unless a line fails it: then each stands for itself.
    let text = str::from_utf8(body).ok();
    let mut items = Vec::new();
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', body).chain(std::iter::once(body.len())) {
        let line = start..end;
        start = end + 1;
        if body[line.clone()].trim_ascii().is_empty() {
            continue;
        }
        if items.len() == BATCH_ITEMS_MAX {
            return Err(BatchError::TooManyItems { max: BATCH_ITEMS_MAX });
        }
        items.push(if line.len() > LINE_BYTES_MAX {
            Err(too_long())
        } else if let Some(text) = text {
            decode_text(&text[line], unknown)
        } else {
            decode(&body[line], unknown)
        });
    }
    Ok(items)
}

fn decode_array(body: &[u8], unknown: UnknownFields) -> Result<Items<'_>, BatchError> {
    let not_json = |detail| BatchError::NotJson { detail };
    let text = str::from_utf8(body).map_err(|error| not_json(not_utf8_detail(body, &error)))?;
    if text.trim_ascii().bytes().next().is_some_and(|byte| byte != b'[') {
        return Err(not_json("must be a JSON array".to_owned()));
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let mut too_many = false;
    let items = json
        .deserialize_seq(ArrayVisitor { unknown, too_many: &mut too_many })
        .and_then(|items| json.end().map(|()| items));
    items.map_err(|error| {
        if too_many {
            BatchError::TooManyItems { max: BATCH_ITEMS_MAX }
        } else {
            not_json(not_json_detail(text, &error))
        }
    })
}

/// Takes each item as raw text first, so that one with a lone surrogate, say, spoils no other.
struct ArrayVisitor<'a> {
    unknown: UnknownFields,
    too_many: &'a mut bool,
}

impl<'de> Visitor<'de> for ArrayVisitor<'_> {
    type Value = Items<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of usages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Items<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(raw) = seq.next_element::<&RawValue>()? {
            if items.len() == BATCH_ITEMS_MAX {
                *self.too_many = true;
                return Err(A::Error::custom("too many items"));
            }
            let item = raw.get();
            items.push(if item.len() > LINE_BYTES_MAX {
                Err(too_long())
            } else {
                decode_text(item, self.unknown)
            });
        }
        Ok(items)
    }
}

#[cold]
fn too_long() -> Rejection {
    let detail = format!("must have at most {LINE_BYTES_MAX} bytes");
    Rejection::Invalid(vec![FieldError::whole("too-long", detail)])
}
