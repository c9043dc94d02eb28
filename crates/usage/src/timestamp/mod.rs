//! When a usage happened: the instant, the offset of the device's clock, and the text as sent.

use std::borrow::Cow;
use std::fmt;

use crate::instant::Instant;
use crate::limits::TIMESTAMP_CHARS_MAX;

mod form;
mod layouts;
mod rare;

pub(crate) use form::{Form, js_name, render};

/// When a usage happened.
///
/// Accepted are
/// - JavaScript's `Date.toString()`, `Tue Nov 01 2016 09:11:51 GMT-0500 (CDT)`, with any name in
///   the parentheses or none: the number decides, the name is kept but not believed, and the
///   weekday must match the date. The day may have one digit, here and in the date of HTTP;
/// - RFC 3339, `2016-11-01T09:11:51.25-05:00` or `…Z`, with any number of fractional digits. The
///   instant is cut to the nanosecond, the text keeps every digit. `t`, `z` or a blank for the `T`
///   are fine, and so are other spellings of ISO 8601 that name a date, a time and an offset;
/// - the date of HTTP (RFC 9110) and of `Date.toUTCString()`, `Tue, 01 Nov 2016 14:11:51 GMT`;
/// - milliseconds since 1970 as a JSON number without fraction or exponent.
///
/// A leap second (`:60`) is refused: clocks that read it are rare, and no instant in UTC seconds
/// stands for it. The fields describe each other: build one only by [`Timestamp::parse`],
/// [`Timestamp::from_epoch_ms`] or from a record. `Debug` leaves out the text.
#[derive(Clone, PartialEq, Eq)]
pub struct Timestamp<'a> {
    /// The point on the time line.
    pub instant: Instant,
    /// How far the device's clock was ahead of UTC; 0 where the form has no offset of its own.
    pub offset_seconds: i32,
    /// The text exactly as sent; for a number its digits.
    pub text: Cow<'a, str>,
    pub(crate) form: Form,
}

impl fmt::Debug for Timestamp<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timestamp")
            .field("instant", &self.instant)
            .field("offset_seconds", &self.offset_seconds)
            .field("form", &self.form)
            .finish_non_exhaustive()
    }
}

/// Why a timestamp was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimestampError {
    /// No text.
    #[error("must not be empty")]
    Empty,
    /// Longer than any form of a timestamp.
    #[error("must have at most {TIMESTAMP_CHARS_MAX} characters")]
    TooLong,
    /// JavaScript's `Invalid Date`.
    #[error("is the text of a JavaScript Date that holds no time")]
    InvalidDate,
    /// A local time that could be anywhere on earth.
    #[error("must say its offset from UTC, such as Z, -05:00 or GMT-0500")]
    NoOffset,
    /// The weekday belongs to another date.
    #[error("names a weekday that contradicts its date")]
    Weekday,
    /// Such as 30 February.
    #[error("names a date that the calendar does not have")]
    NoSuchDate,
    /// Such as 24:00:00.
    #[error("names a time that the day does not have; hours run from 00 to 23")]
    NoSuchTime,
    /// Second 60.
    #[error("names a leap second (60), which cannot be kept; send second 59 or 00 instead")]
    LeapSecond,
    /// An offset of a day or more.
    #[error("has an offset from UTC beyond 23:59")]
    OffsetRange,
    /// Before 1900 or after 9998.
    #[error("must lie in the years 1900 to 9998")]
    OutOfRange,
    /// A number that is no whole number of milliseconds.
    #[error("as a number must be whole milliseconds since 1970, without fraction or exponent")]
    NotWholeMillis,
    /// A number that is a recent time in seconds and a time before 2000 in milliseconds.
    #[error("looks like seconds; send milliseconds")]
    Seconds,
    /// Digits in quotes.
    #[error("as milliseconds since 1970 must be a JSON number, not text")]
    NumberAsText,
    /// None of the accepted forms.
    #[error(
        "must be RFC 3339 with an offset (2016-11-01T09:11:51-05:00), JavaScript's \
         Date.toString(), the date of HTTP, or milliseconds since 1970 as a number"
    )]
    Unrecognized,
}

impl TimestampError {
    /// The kind of error, stable for programs.
    pub const fn code(self) -> &'static str {
        match self {
            TimestampError::Empty => "empty",
            TimestampError::TooLong => "too-long",
            TimestampError::InvalidDate => "timestamp-invalid-date",
            TimestampError::NoOffset => "timestamp-no-offset",
            TimestampError::Weekday => "timestamp-weekday",
            TimestampError::NoSuchDate => "timestamp-no-such-date",
            TimestampError::NoSuchTime => "timestamp-no-such-time",
            TimestampError::LeapSecond => "timestamp-leap-second",
            TimestampError::OffsetRange => "timestamp-offset",
            TimestampError::OutOfRange => "timestamp-out-of-range",
            TimestampError::NotWholeMillis => "timestamp-not-whole",
            TimestampError::Seconds => "timestamp-seconds",
            TimestampError::NumberAsText => "timestamp-number-as-text",
            TimestampError::Unrecognized => "timestamp-form",
        }
    }
}

/// What reading a text gave, before the text itself is put beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) instant: Instant,
    pub(crate) offset_seconds: i32,
    pub(crate) form: Form,
}

impl<'a> Timestamp<'a> {
    /// Reads a timestamp sent as text. Allocates nothing, unless the day has one digit.
    #[inline]
    pub fn parse(text: &'a str) -> Result<Timestamp<'a>, TimestampError> {
        read(text).map(|reading| reading.with_text(Cow::Borrowed(text)))
    }

    /// Milliseconds since 1970 as a client sends them. Refuses a number that lies before 2000 as
    /// milliseconds and after 2000 as seconds: C, Python and Unix tools count seconds.
    pub fn from_number(number: i64) -> Result<Timestamp<'static>, TimestampError> {
        const YEAR_2000_SECONDS: i64 = 946_684_800;
        if (YEAR_2000_SECONDS..YEAR_2000_SECONDS * 1000).contains(&number) {
            return Err(TimestampError::Seconds);
        }
        Timestamp::from_epoch_ms(number)
    }

    /// Milliseconds since 1970, as a JSON number.
    pub fn from_epoch_ms(ms: i64) -> Result<Timestamp<'static>, TimestampError> {
        let instant = Instant::from_millis(ms).ok_or(TimestampError::OutOfRange)?;
        let reading = Reading { instant, offset_seconds: 0, form: Form::EpochMillis };
        Ok(reading.with_text(Cow::Owned(ms.to_string())))
    }

    /// Whether it was sent as a JSON number, and so is given back as one.
    pub fn is_number(&self) -> bool {
        self.form == Form::EpochMillis
    }

    /// The same, holding its own text.
    pub fn into_owned(self) -> Timestamp<'static> {
        Timestamp { text: Cow::Owned(self.text.into_owned()), ..self }
    }
}

impl Reading {
    pub(crate) fn with_text(self, text: Cow<'_, str>) -> Timestamp<'_> {
        let Reading { instant, offset_seconds, form } = self;
        Timestamp { instant, offset_seconds, text, form }
    }
}

/// Reads a text in any accepted form.
#[inline]
pub(crate) fn read(text: &str) -> Result<Reading, TimestampError> {
    let bytes = text.as_bytes();
    if bytes.len() > TIMESTAMP_CHARS_MAX && text.chars().count() > TIMESTAMP_CHARS_MAX {
        return Err(TimestampError::TooLong);
    }
    match bytes {
        [] => Err(TimestampError::Empty),
        [b'0'..=b'9', ..] => match layouts::rfc3339(bytes) {
            Err(TimestampError::Unrecognized) => rare::read(text),
            reading => reading,
        },
        [_, _, _, b' ', ..] => layouts::js(bytes),
        [_, _, _, b',', ..] => layouts::http(bytes),
        b"Invalid Date" => Err(TimestampError::InvalidDate),
        [b'-', digits @ ..] if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
            Err(TimestampError::NumberAsText)
        }
        _ => Err(TimestampError::Unrecognized),
    }
}
