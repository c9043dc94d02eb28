//! The `Idempotency-Key` header: quoted, as the IETF draft wants it, or bare, as most clients send
//! it.

use crate::limits::KEY_CHARS_MAX;

/// Between a batch's key and an item's index. No header and no event id can hold it, so an item's
/// key never meets a key that somebody sent.
const ITEM_SEPARATOR: char = '\u{1f}';

/// Why an `Idempotency-Key` was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing there, or nothing between the quotes.
    #[error("the key is empty")]
    Empty,
    /// More than [`KEY_CHARS_MAX`].
    #[error("the key is longer than {KEY_CHARS_MAX} characters")]
    TooLong,
    /// A byte that has no place in a key.
    #[error("a bare key is printable ASCII without blanks, quotes and commas")]
    BareCharacter,
    /// A quoted key that is no string of RFC 8941.
    #[error("a quoted key is printable ASCII in which only \\\" and \\\\ are escaped")]
    QuotedCharacter,
    /// No closing quote, or something after it.
    #[error("a quoted key ends with its closing quote and has no parameters")]
    Unterminated,
}

/// Reads the value of an `Idempotency-Key` header: a string of RFC 8941, section 3.3.3, or the
/// bare key. `"abc"` and `abc` are the same key.
pub fn parse_idempotency_key(header: &[u8]) -> Result<String, KeyError> {
    let value = header.trim_ascii();
    let key = match value.strip_prefix(b"\"") {
        Some(quoted) => parse_quoted(quoted)?,
        None => parse_bare(value)?,
    };
    match key.len() {
        0 => Err(KeyError::Empty),
        1..=KEY_CHARS_MAX => Ok(key),
        _ => Err(KeyError::TooLong),
    }
}

/// The key of item `index` of a batch sent under `key`.
pub fn item_key(key: &str, index: usize) -> String {
    format!("{key}{ITEM_SEPARATOR}{index}")
}

fn parse_bare(value: &[u8]) -> Result<String, KeyError> {
    // A comma is how two headers of the same name are joined on the way.
    let allowed = |&byte: &u8| byte.is_ascii_graphic() && byte != b'"' && byte != b',';
    if value.iter().all(allowed) {
        Ok(value.iter().copied().map(char::from).collect())
    } else {
        Err(KeyError::BareCharacter)
    }
}

fn parse_quoted(quoted: &[u8]) -> Result<String, KeyError> {
    let mut key = String::with_capacity(quoted.len());
    let mut bytes = quoted.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' if bytes.len() == 0 => return Ok(key),
            b'"' => return Err(KeyError::Unterminated),
            b'\\' => match bytes.next() {
                Some(escaped @ (b'"' | b'\\')) => key.push(char::from(escaped)),
                Some(_) => return Err(KeyError::QuotedCharacter),
                None => return Err(KeyError::Unterminated),
            },
            b' '..=b'~' => key.push(char::from(byte)),
            _ => return Err(KeyError::QuotedCharacter),
        }
    }
    Err(KeyError::Unterminated)
}
