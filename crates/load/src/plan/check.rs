//! What an answer must be.

use std::fmt;
use std::str::FromStr;

use memchr::memmem;
use serde_json::Value;

/// A condition on each answer; its text is its name in the report, as `status is 201` is in k6.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// `status is 201`.
    Status(u16),
    /// `header durability is fsync`; without a value: `header location exists`.
    Header {
        /// In lower case.
        name: String,
        /// What it must be, exactly.
        value: Option<String>,
    },
    /// `json /id exists`, `json /count is 3`, `json /name is "x"`.
    Json {
        /// A JSON pointer (RFC 6901).
        pointer: String,
        /// What must be there.
        value: Option<Value>,
    },
    /// `body contains ok`.
    Body(String),
}

/// An answer as checks see it. Only what [`Check::needs_body`] or [`Check::needs_headers`] asks for
/// is there.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The status.
    pub status: u16,
    /// Names, in any case, and values, without blanks around them.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The body, at most [`crate::limits::ANSWER_KEPT_BYTES_MAX`] of it.
    pub body: &'a [u8],
}

/// How checks are written, for errors.
const FORMS: &str = "write `status is 201`, `header NAME exists`, `header NAME is VALUE`, \
     `json /POINTER exists`, `json /POINTER is VALUE` or `body contains TEXT`";

impl Check {
    /// Whether an answer is as it must be.
    pub fn passes(&self, answer: &Answer<'_>) -> bool {
        match self {
            Self::Status(status) => answer.status == *status,
            Self::Header { name, value } => answer
                .headers
                .iter()
                .filter(|(found, _)| found.eq_ignore_ascii_case(name))
                .any(|(_, found)| value.as_ref().is_none_or(|value| value.as_bytes() == *found)),
            Self::Json { pointer, value } => {
                let Ok(json) = serde_json::from_slice::<Value>(answer.body) else { return false };
                let found = json.pointer(pointer);
                found.is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
            }
            Self::Body(text) => memmem::find(answer.body, text.as_bytes()).is_some(),
        }
    }

    /// Whether it looks at the body.
    pub fn needs_body(&self) -> bool {
        matches!(self, Self::Json { .. } | Self::Body(_))
    }

    /// Whether it looks at headers.
    pub fn needs_headers(&self) -> bool {
        matches!(self, Self::Header { .. })
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status is {status}"),
            Self::Header { name, value: None } => write!(f, "header {name} exists"),
            Self::Header { name, value: Some(value) } => write!(f, "header {name} is {value}"),
            Self::Json { pointer, value: None } => write!(f, "json {pointer} exists"),
            Self::Json { pointer, value: Some(value) } => write!(f, "json {pointer} is {value}"),
            Self::Body(text) => write!(f, "body contains {text}"),
        }
    }
}

impl FromStr for Check {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let wrong = || format!("`{text}` is no check; {FORMS}");
        let (subject, rest) = text.split_once(' ').ok_or_else(wrong)?;
        let rest = rest.trim_start();
        match subject {
            "status" => {
                let status = rest.strip_prefix("is ").ok_or_else(wrong)?.trim();
                let status: Option<u16> = status.parse().ok();
                let status = status.filter(|status| (100..=999).contains(status));
                status
                    .map(Self::Status)
                    .ok_or_else(|| format!("`{text}`: no status from 100 to 999"))
            }
            "header" => {
                let (name, value) = condition(rest).ok_or_else(wrong)?;
                Ok(Self::Header {
                    name: name.trim_end_matches(':').to_ascii_lowercase(),
                    value: value.map(str::to_owned),
                })
            }
            "json" => {
                let (pointer, value) = condition(rest).ok_or_else(wrong)?;
                if !pointer.starts_with('/') {
                    let fixed = pointer.replace('.', "/");
                    return Err(format!("`{text}`: a JSON pointer begins with /, as in /{fixed}"));
                }
                if pointer.split('~').skip(1).any(|escape| !escape.starts_with(['0', '1'])) {
                    return Err(format!("`{text}`: a JSON pointer writes ~ as ~0 and / as ~1"));
                }
                Ok(Self::Json { pointer: pointer.to_owned(), value: value.map(json_value) })
            }
            "body" => match rest.strip_prefix("contains ").map(str::trim) {
                Some(part) if !part.is_empty() => Ok(Self::Body(part.to_owned())),
                _ => Err(wrong()),
            },
            _ => Err(wrong()),
        }
    }
}

/// `NAME exists` or `NAME is VALUE`.
fn condition(text: &str) -> Option<(&str, Option<&str>)> {
    let (name, rest) = text.split_once(' ')?;
    let rest = rest.trim();
    if rest == "exists" {
        return Some((name, None));
    }
    let value = rest.strip_prefix("is ")?.trim();
    Some((name, Some(value)))
}

/// What is no JSON is the text itself: quotes need not be typed.
fn json_value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: Answer<'_> = Answer {
        status: 201,
        headers: &[("Durability", b"fsync"), ("location", b"/api/usages/1")],
        body: br#"{"id":"x1","count":3,"nested":{"a/b":[null,true]}}"#,
    };

    #[test]
    fn answers_are_checked() {
        let check = |text: &str, passes: bool, shown: &str| {
            let parsed: Check = text.parse().expect(text);
            assert_eq!(parsed.passes(&ANSWER), passes, "{text}");
            assert_eq!(parsed.to_string(), shown);
            assert_eq!(shown.parse().as_ref(), Ok(&parsed), "{shown}");
        };
        check("status is 201", true, "status is 201");
        check(" status  is 200 ", false, "status is 200");
        check("header Durability exists", true, "header durability exists");
        check("header DURABILITY is fsync", true, "header durability is fsync");
        check("header durability is fsync2", false, "header durability is fsync2");
        check("header etag exists", false, "header etag exists");
        check("json /id exists", true, "json /id exists");
        check("json /id is x1", true, "json /id is \"x1\"");
        check("json /id is \"x2\"", false, "json /id is \"x2\"");
        check("json /count is 3", true, "json /count is 3");
        check("json /nested/a~1b/1 is true", true, "json /nested/a~1b/1 is true");
        check("json /nested/a~1b/0 exists", true, "json /nested/a~1b/0 exists");
        check("json /none exists", false, "json /none exists");
        check("body contains \"count\":3", true, "body contains \"count\":3");
        check("body contains nothing of it", false, "body contains nothing of it");
        let garbage = Answer { body: b"{", ..ANSWER };
        assert!(!"json /id exists".parse::<Check>().unwrap().passes(&garbage));
    }

    #[test]
    fn only_what_is_asked_for_is_needed() {
        let check = |text: &str, body: bool, headers: bool| {
            let parsed: Check = text.parse().expect(text);
            assert_eq!((parsed.needs_body(), parsed.needs_headers()), (body, headers), "{text}");
        };
        check("status is 201", false, false);
        check("header a exists", false, true);
        check("json /a exists", true, false);
        check("body contains a", true, false);
    }

    #[test]
    fn what_is_no_check_is_told_how_checks_are_written() {
        let check = |text: &str, expected: &str| {
            let error = text.parse::<Check>().expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        };
        for text in ["", "status", "status was 201", "header a", "json /a", "body", "body has a"] {
            check(text, "write `status is 201`");
        }
        for text in ["status is ok", "status is 99", "status is 1000"] {
            check(text, "no status from 100 to 999");
        }
        check("json a.b exists", "begins with /, as in /a/b");
        check("json /a~2 exists", "~ as ~0");
        check("json /a~ exists", "~ as ~0");
    }
}
