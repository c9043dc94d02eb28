//! How a timestamp was spelled, so that a record need not keep the text: from the instant, the
//! offset and the form the same text is written again.

use crate::civil::{Civil, MONTHS, WEEKDAYS, weekday};
use crate::instant::Instant;

/// How a timestamp was spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// In a way that only the text itself tells.
    Irregular,
    /// As a number.
    EpochMillis,
    /// `Tue Nov 01 2016 09:11:51 GMT-0500`.
    Js,
    /// The same and ` (name)`.
    JsNamed,
    /// `2016-11-01T14:11:51Z` with so many fractional digits, at most nine.
    Zulu { digits: u8 },
    /// `2016-11-01T09:11:51-05:00` with so many fractional digits, at most nine.
    Offset { digits: u8 },
    /// `Tue, 01 Nov 2016 14:11:51 GMT`.
    Http,
}

/// Bytes of `Tue Nov 01 2016 09:11:51 GMT-0500 (` before the name and of `)` after it.
const JS_NAME_START: usize = 35;
const JS_NAME_END: usize = 1;

/// The name within the parentheses of a text in the form [`Form::JsNamed`].
pub(crate) fn js_name(text: &str) -> Option<&str> {
    text.get(JS_NAME_START..text.len().checked_sub(JS_NAME_END)?)
}

/// Writes the text of a form other than [`Form::Irregular`], for which it writes nothing. `name`
/// is for [`Form::JsNamed`]. The offset is whole minutes in every form that shows one.
pub(crate) fn render(form: Form, instant: Instant, offset_seconds: i32, name: &str) -> String {
    let seconds = instant.seconds() + i64::from(offset_seconds);
    let civil = Civil::from_seconds(seconds);
    let mut text = String::with_capacity(JS_NAME_START + name.len() + JS_NAME_END);
    match form {
        Form::Irregular => {}
        Form::EpochMillis => text.push_str(&instant.millis().to_string()),
        Form::Js | Form::JsNamed => {
            push_weekday(&mut text, &civil);
            text.push(' ');
            push_name(&mut text, MONTHS[civil.month as usize - 1]);
            text.push(' ');
            push_two(&mut text, civil.day);
            text.push(' ');
            push_year(&mut text, &civil);
            text.push(' ');
            push_time(&mut text, &civil);
            text.push_str(" GMT");
            push_offset(&mut text, offset_seconds, "");
            if form == Form::JsNamed {
                text.push_str(" (");
                text.push_str(name);
                text.push(')');
            }
        }
        Form::Zulu { digits } => {
            push_rfc3339(&mut text, &civil, instant.nanos(), digits);
            text.push('Z');
        }
        Form::Offset { digits } => {
            push_rfc3339(&mut text, &civil, instant.nanos(), digits);
            push_offset(&mut text, offset_seconds, ":");
        }
        Form::Http => {
            push_weekday(&mut text, &civil);
            text.push_str(", ");
            push_two(&mut text, civil.day);
            text.push(' ');
            push_name(&mut text, MONTHS[civil.month as usize - 1]);
            text.push(' ');
            push_year(&mut text, &civil);
            text.push(' ');
            push_time(&mut text, &civil);
            text.push_str(" GMT");
        }
    }
    text
}

fn push_rfc3339(text: &mut String, civil: &Civil, nanos: u32, digits: u8) {
    push_year(text, civil);
    text.push('-');
    push_two(text, civil.month);
    text.push('-');
    push_two(text, civil.day);
    text.push('T');
    push_time(text, civil);
    if digits > 0 {
        text.push('.');
        let mut unit = 100_000_000;
        for _ in 0..digits {
            text.push(digit(nanos / unit % 10));
            unit = (unit / 10).max(1);
        }
    }
}

fn push_time(text: &mut String, civil: &Civil) {
    push_two(text, civil.hour);
    text.push(':');
    push_two(text, civil.minute);
    text.push(':');
    push_two(text, civil.second);
}

fn push_offset(text: &mut String, offset_seconds: i32, separator: &str) {
    let minutes = offset_seconds.unsigned_abs() / 60;
    text.push(if offset_seconds < 0 { '-' } else { '+' });
    push_two(text, minutes / 60);
    text.push_str(separator);
    push_two(text, minutes % 60);
}

fn push_weekday(text: &mut String, civil: &Civil) {
    push_name(text, WEEKDAYS[weekday(civil.days())]);
}

fn push_year(text: &mut String, civil: &Civil) {
    // The range of instants keeps years within four digits at any offset.
    let year = u32::try_from(civil.year).unwrap_or(0);
    push_two(text, year / 100);
    push_two(text, year % 100);
}

fn push_name(text: &mut String, name: &[u8; 3]) {
    text.extend(name.iter().copied().map(char::from));
}

fn push_two(text: &mut String, number: u32) {
    text.push(digit(number / 10 % 10));
    text.push(digit(number % 10));
}

fn digit(digit: u32) -> char {
    char::from_digit(digit, 10).expect("a digit is below ten")
}
