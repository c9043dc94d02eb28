//! Why a body or a field was refused, in words a client may be shown: names, limits and what is
//! expected, never a field's value.

use crate::limits::{ERROR_NAME_CHARS_MAX, ERRORS_MAX};

/// Why a usage was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The bytes are not JSON; `detail` says what was wrong and at which line and column.
    #[error("not JSON: {detail}")]
    NotJson {
        /// What was wrong and where, without quoting the body.
        detail: String,
    },
    /// JSON, but not a usage: every wrong field, at least one and at most
    /// [`ERRORS_MAX`] + 1.
    #[error("{} wrong field(s)", .0.len())]
    Invalid(Vec<FieldError>),
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Where, as a JSON pointer (RFC 6901); empty for the whole body.
    pub pointer: String,
    /// What kind of error, stable for programs: `required`, `wrong-type`, `empty`, `too-long`,
    /// `control-character`, `duplicate-field`, `unknown-field`, `field-collision`, `too-large`,
    /// `too-deep`, `lone-surrogate`, `more-errors`, or one of [`crate::TimestampError::code`].
    pub code: &'static str,
    /// For people: what is expected.
    pub detail: String,
}

impl FieldError {
    /// An error of the field called `name` in the body's object.
    pub(crate) fn new(name: &str, code: &'static str, detail: impl Into<String>) -> FieldError {
        FieldError { pointer: pointer(name), code, detail: detail.into() }
    }

    /// An error of the body as a whole.
    pub(crate) fn whole(code: &'static str, detail: impl Into<String>) -> FieldError {
        FieldError { pointer: String::new(), code, detail: detail.into() }
    }
}

/// The errors of one usage, as many as are worth telling.
#[derive(Debug, Default)]
pub(crate) struct FieldErrors {
    errors: Vec<FieldError>,
}

impl FieldErrors {
    /// Adds an error, built only if there is still room for it.
    #[cold]
    pub(crate) fn push(&mut self, error: impl FnOnce() -> FieldError) {
        match self.errors.len() {
            n if n < ERRORS_MAX => self.errors.push(error()),
            ERRORS_MAX => self.errors.push(FieldError::whole(
                "more-errors",
                format!("only the first {ERRORS_MAX} errors are listed"),
            )),
            _ => {}
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    pub(crate) fn into_rejection(self) -> Rejection {
        Rejection::Invalid(self.errors)
    }
}

/// `/name` with `~` and `/` escaped (RFC 6901, section 3), cut when the name is very long.
fn pointer(name: &str) -> String {
    let mut pointer = String::with_capacity(name.len().min(ERROR_NAME_CHARS_MAX) + 1);
    pointer.push('/');
    for (index, c) in name.chars().enumerate() {
        if index == ERROR_NAME_CHARS_MAX {
            pointer.push('…');
            break;
        }
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            c => pointer.push(c),
        }
    }
    pointer
}
