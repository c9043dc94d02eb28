//! The rarer spellings of ISO 8601, read by jiff: without seconds, without punctuation, with an
//! offset of hours alone, with a zone's name in brackets.

use jiff::fmt::temporal::{Pieces, PiecesOffset};

use super::{Form, Reading, TimestampError, layouts};
use crate::civil::Civil;
use crate::instant::Instant;

/// Reads a text that begins with a digit and is not laid out as RFC 3339 wants it. The numeric
/// offset decides; a zone's name in brackets is kept but not believed.
#[cold]
pub(super) fn read(text: &str) -> Result<Reading, TimestampError> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(TimestampError::NumberAsText);
    }
    if text.chars().any(char::is_control) {
        return Err(TimestampError::Unrecognized);
    }
    let pieces = Pieces::parse(text).map_err(|_| TimestampError::Unrecognized)?;
    let (date, Some(time)) = (pieces.date(), pieces.time()) else {
        return Err(TimestampError::NoOffset);
    };
    // jiff reads second 60 as 59.
    if stated_second(text) == Some(*b"60") {
        return Err(TimestampError::LeapSecond);
    }
    let offset_seconds = match pieces.offset() {
        Some(PiecesOffset::Zulu) => 0,
        Some(PiecesOffset::Numeric(numeric)) => numeric.offset().seconds(),
        Some(_) => return Err(TimestampError::Unrecognized),
        None => return Err(TimestampError::NoOffset),
    };
    if offset_seconds.abs() >= 86_400 {
        return Err(TimestampError::OffsetRange);
    }
    let civil = Civil {
        year: i64::from(date.year()),
        month: u32::from(date.month().unsigned_abs()),
        day: u32::from(date.day().unsigned_abs()),
        hour: u32::from(time.hour().unsigned_abs()),
        minute: u32::from(time.minute().unsigned_abs()),
        second: u32::from(time.second().unsigned_abs()),
    };
    layouts::check(&civil)?;
    let nanos = time.subsec_nanosecond().unsigned_abs();
    let instant = Instant::from_parts(civil.seconds() - i64::from(offset_seconds), nanos)
        .ok_or(TimestampError::OutOfRange)?;
    Ok(Reading { instant, offset_seconds, form: Form::Irregular })
}

/// The digits of the second, if the time of day has one: `hh:mm:ss` or `hhmmss`.
fn stated_second(text: &str) -> Option<[u8; 2]> {
    let (_, time) = text.split_once(['T', 't', ' '])?;
    let time = time.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b':');
    let mut second = time.filter(|byte| *byte != b':').skip(4);
    Some([second.next()?, second.next()?])
}
