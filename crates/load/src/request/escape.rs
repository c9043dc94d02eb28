//! Values put where they must not break what is around them.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Where a value is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// A body that is not JSON: values stand as they are.
    Body,
    /// A JSON body: a value becomes the content of a string.
    JsonBody,
    /// The path or the query of a URL: percent-encoded.
    Path,
    /// A header's value: as they are; those that a header cannot hold are refused.
    Header,
}

impl Place {
    /// `value` as it is put here, or why it cannot be.
    pub(crate) fn escape(self, value: &str) -> Result<Cow<'_, str>, &'static str> {
        match self {
            Self::Body => Ok(Cow::Borrowed(value)),
            Self::JsonBody => Ok(json(value)),
            Self::Path => Ok(path(value)),
            Self::Header if is_header_value(value) => Ok(Cow::Borrowed(value)),
            Self::Header => Err("a header's value is printable ASCII"),
        }
    }
}

/// Whether a header can hold `value`.
pub(crate) fn is_header_value(value: &str) -> bool {
    value.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'))
}

/// As the content of a JSON string, without the quotes around it.
fn json(value: &str) -> Cow<'_, str> {
    if !value.bytes().any(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)) {
        return Cow::Borrowed(value);
    }
    let quoted = serde_json::to_string(value).expect("text is always JSON");
    Cow::Owned(quoted[1..quoted.len() - 1].to_owned())
}

/// Percent-encoded, but for what RFC 3986 leaves unreserved.
pub(crate) fn path(value: &str) -> Cow<'_, str> {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    if value.bytes().all(plain) {
        return Cow::Borrowed(value);
    }
    let mut text = String::with_capacity(value.len() * 3);
    for byte in value.bytes() {
        if plain(byte) {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02X}").expect("a String takes everything");
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_put_in_their_place() {
        let check = |place: Place, value: &str, expected: Result<&str, ()>| {
            let found = place.escape(value).map_err(|_| ());
            assert_eq!(found.as_deref(), expected.as_ref().copied(), "{place:?} {value:?}");
        };
        check(Place::Body, "a\"\n", Ok("a\"\n"));
        check(Place::JsonBody, "é plain", Ok("é plain"));
        check(Place::JsonBody, "a\"b\\\n\u{1}", Ok(r#"a\"b\\\n\u0001"#));
        check(Place::Path, "a b/ü?", Ok("a%20b%2F%C3%BC%3F"));
        check(Place::Path, "a-b_c.d~e9", Ok("a-b_c.d~e9"));
        check(Place::Header, "Bearer x\t1", Ok("Bearer x\t1"));
        for value in ["a\r\nEvil: 1", "a\n", "\0", "ü", "\u{7f}"] {
            check(Place::Header, value, Err(()));
        }
    }

    proptest! {
        #[test]
        fn what_was_escaped_is_read_back(value in any::<String>()) {
            let quoted = format!("\"{}\"", json(&value));
            prop_assert_eq!(serde_json::from_str::<String>(&quoted).expect("JSON"), value.clone());
            let encoded = path(&value);
            prop_assert!(encoded.bytes().all(|b| b.is_ascii_graphic()));
            let mut bytes = Vec::new();
            let mut rest = encoded.as_bytes();
            while let [first, after @ ..] = rest {
                rest = after;
                if *first == b'%' {
                    let hex = std::str::from_utf8(&rest[..2]).expect("two digits");
                    bytes.push(u8::from_str_radix(hex, 16).expect("two digits"));
                    rest = &rest[2..];
                } else {
                    bytes.push(*first);
                }
            }
            prop_assert_eq!(bytes, value.as_bytes());
        }
    }
}
