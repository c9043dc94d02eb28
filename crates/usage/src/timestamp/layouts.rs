//! The layouts whose fields stand at fixed places: JavaScript's `Date.toString()`, RFC 3339 and
//! the date of HTTP. Nearly every timestamp is read here.

use super::{Form, Reading, TimestampError};
use crate::civil::{Civil, MONTHS, WEEKDAYS, days_in_month, weekday};
use crate::instant::Instant;

const NANOS_DIGITS: usize = 9;

/// `Tue Nov 01 2016 09:11:51 GMT-0500`, then nothing or ` (name)`.
#[inline]
pub(super) fn js(bytes: &[u8]) -> Result<Reading, TimestampError> {
    if let [_, _, _, _, _, _, _, _, b'1'..=b'9', b' ', ..] = bytes {
        return padded(bytes, 8, js);
    }
    let Some((head, name)) = bytes.split_first_chunk::<33>() else {
        return Err(short_js(bytes));
    };
    let punctuated = head[3] == b' '
        && head[7] == b' '
        && head[10] == b' '
        && head[15] == b' '
        && head[18] == b':'
        && head[21] == b':'
        && head[24..28] == *b" GMT";
    if !punctuated {
        return Err(TimestampError::Unrecognized);
    }
    let (civil, stated_weekday) = js_civil(&head[..24])?;
    check(&civil)?;
    check_weekday(&civil, stated_weekday)?;
    let (negative, zero_form) = match head[28] {
        b'+' => (false, true),
        b'-' => (true, false),
        _ => return Err(TimestampError::Unrecognized),
    };
    let offset_seconds = offset(negative, two(head[29], head[30])?, two(head[31], head[32])?)?;
    let form = match name {
        [] => Form::Js,
        [b' ', b'(', name @ .., b')'] if is_name(name) => Form::JsNamed,
        _ => return Err(TimestampError::Unrecognized),
    };
    // JavaScript writes +0000; the other zero is kept as text.
    let form = if offset_seconds == 0 && !zero_form { Form::Irregular } else { form };
    reading(&civil, 0, offset_seconds, form)
}

/// `2016-11-01T09:11:51`, a fraction or none, then `Z` or `-05:00`.
#[inline]
pub(super) fn rfc3339(bytes: &[u8]) -> Result<Reading, TimestampError> {
    let Some((head, tail)) = bytes.split_first_chunk::<19>() else {
        return Err(TimestampError::Unrecognized);
    };
    let punctuated = head[4] == b'-'
        && head[7] == b'-'
        && matches!(head[10], b'T' | b't' | b' ')
        && head[13] == b':'
        && head[16] == b':';
    if !punctuated {
        return Err(TimestampError::Unrecognized);
    }
    let civil = Civil {
        year: four(&head[..4])?,
        month: two(head[5], head[6])?,
        day: two(head[8], head[9])?,
        hour: two(head[11], head[12])?,
        minute: two(head[14], head[15])?,
        second: two(head[17], head[18])?,
    };
    check(&civil)?;
    let (nanos, digits, zone) = fraction(tail)?;
    let regular = head[10] == b'T' && usize::from(digits) <= NANOS_DIGITS;
    let (offset_seconds, form) = match *zone {
        [b'Z'] => (0, Form::Zulu { digits }),
        [b'z'] => (0, Form::Irregular),
        [sign @ (b'+' | b'-'), h, hh, b':', m, mm] => {
            let offset_seconds = offset(sign == b'-', two(h, hh)?, two(m, mm)?)?;
            // RFC 3339, section 4.3: -00:00 is UTC from a clock that does not know its offset.
            let unknown = sign == b'-' && offset_seconds == 0;
            (offset_seconds, if unknown { Form::Irregular } else { Form::Offset { digits } })
        }
        [] => return Err(TimestampError::NoOffset),
        _ => return Err(TimestampError::Unrecognized),
    };
    reading(&civil, nanos, offset_seconds, if regular { form } else { Form::Irregular })
}

/// `Tue, 01 Nov 2016 14:11:51 GMT` (RFC 9110, section 5.6.7, the preferred format).
pub(super) fn http(bytes: &[u8]) -> Result<Reading, TimestampError> {
    if let [_, _, _, _, _, b'1'..=b'9', b' ', ..] = bytes {
        return padded(bytes, 5, http);
    }
    let Ok(all) = <&[u8; 29]>::try_from(bytes) else {
        return Err(TimestampError::Unrecognized);
    };
    let punctuated = all[3..5] == *b", "
        && all[7] == b' '
        && all[11] == b' '
        && all[16] == b' '
        && all[19] == b':'
        && all[22] == b':'
        && all[25..] == *b" GMT";
    if !punctuated {
        return Err(TimestampError::Unrecognized);
    }
    let civil = Civil {
        year: four(&all[12..16])?,
        month: month(&all[8..11])?,
        day: two(all[5], all[6])?,
        hour: two(all[17], all[18])?,
        minute: two(all[20], all[21])?,
        second: two(all[23], all[24])?,
    };
    check(&civil)?;
    check_weekday(&civil, &all[..3])?;
    reading(&civil, 0, 0, Form::Http)
}

/// Reads a text whose day of the month, at `day`, has one digit, as Espruino writes it and RFC 5322
/// allows. Only the text itself tells that spelling.
#[cold]
fn padded(
    bytes: &[u8],
    day: usize,
    layout: impl FnOnce(&[u8]) -> Result<Reading, TimestampError>,
) -> Result<Reading, TimestampError> {
    let padded = [&bytes[..day], b"0", &bytes[day..]].concat();
    layout(&padded).map(|reading| Reading { form: Form::Irregular, ..reading })
}

/// A date and a time without the rest are a local time; anything else is no form of ours.
#[cold]
fn short_js(bytes: &[u8]) -> TimestampError {
    let local = bytes.get(..24).is_some_and(|head| js_civil(head).is_ok());
    let ends = matches!(bytes.get(24..), Some([] | [b' ', b'G', b'M', b'T']));
    if local && ends { TimestampError::NoOffset } else { TimestampError::Unrecognized }
}

/// The civil time and the weekday of `Tue Nov 01 2016 09:11:51`, 24 bytes.
#[inline]
fn js_civil(head: &[u8]) -> Result<(Civil, &[u8]), TimestampError> {
    let civil = Civil {
        year: four(&head[11..15])?,
        month: month(&head[4..7])?,
        day: two(head[8], head[9])?,
        hour: two(head[16], head[17])?,
        minute: two(head[19], head[20])?,
        second: two(head[22], head[23])?,
    };
    Ok((civil, &head[..3]))
}

/// Nanoseconds, count of digits (or 255 for very many) and what follows them.
#[inline]
fn fraction(tail: &[u8]) -> Result<(u32, u8, &[u8]), TimestampError> {
    let [b'.', digits @ ..] = tail else {
        return Ok((0, 0, tail));
    };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 {
        return Err(TimestampError::Unrecognized);
    }
    let nanos = (0..NANOS_DIGITS).fold(0, |nanos, at| {
        let digit = if at < count { digits[at] - b'0' } else { 0 };
        nanos * 10 + u32::from(digit)
    });
    Ok((nanos, u8::try_from(count).unwrap_or(u8::MAX), &digits[count..]))
}

#[inline]
fn reading(
    civil: &Civil,
    nanos: u32,
    offset_seconds: i32,
    form: Form,
) -> Result<Reading, TimestampError> {
    let seconds = civil.seconds() - i64::from(offset_seconds);
    let instant = Instant::from_parts(seconds, nanos).ok_or(TimestampError::OutOfRange)?;
    Ok(Reading { instant, offset_seconds, form })
}

/// Whether the calendar and the clock have this date and time.
#[inline]
pub(super) fn check(civil: &Civil) -> Result<(), TimestampError> {
    let month_exists = (1..=12).contains(&civil.month);
    if !month_exists || civil.day == 0 || civil.day > days_in_month(civil.year, civil.month) {
        return Err(TimestampError::NoSuchDate);
    }
    if civil.hour > 23 || civil.minute > 59 || civil.second > 60 {
        return Err(TimestampError::NoSuchTime);
    }
    if civil.second == 60 {
        return Err(TimestampError::LeapSecond);
    }
    Ok(())
}

#[inline]
fn check_weekday(civil: &Civil, stated: &[u8]) -> Result<(), TimestampError> {
    if stated == WEEKDAYS[weekday(civil.days())] {
        Ok(())
    } else if WEEKDAYS.iter().any(|name| stated == *name) {
        Err(TimestampError::Weekday)
    } else {
        Err(TimestampError::Unrecognized)
    }
}

#[inline]
fn offset(negative: bool, hours: u32, minutes: u32) -> Result<i32, TimestampError> {
    if hours > 23 || minutes > 59 {
        return Err(TimestampError::OffsetRange);
    }
    let seconds = (hours * 3600 + minutes * 60).cast_signed();
    Ok(if negative { -seconds } else { seconds })
}

/// A name between parentheses: anything but what would disturb a terminal or a database.
#[inline]
fn is_name(name: &[u8]) -> bool {
    // The bytes come from a str; the C1 controls are U+0080 to U+009F, in UTF-8 0xc2 0x80..=0x9f.
    let ascii_controls = name.iter().any(u8::is_ascii_control);
    let c1_controls = name.windows(2).any(|pair| pair[0] == 0xc2 && pair[1] < 0xa0);
    !ascii_controls && !c1_controls
}

#[inline]
fn two(tens: u8, ones: u8) -> Result<u32, TimestampError> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    if tens > 9 || ones > 9 {
        return Err(TimestampError::Unrecognized);
    }
    Ok(u32::from(tens * 10 + ones))
}

#[inline]
fn four(digits: &[u8]) -> Result<i64, TimestampError> {
    Ok(i64::from(two(digits[0], digits[1])? * 100 + two(digits[2], digits[3])?))
}

/// The month from 1 to 12 that three letters name.
#[inline]
fn month(letters: &[u8]) -> Result<u32, TimestampError> {
    (1..)
        .zip(MONTHS)
        .find(|(_, name)| letters == *name)
        .map(|(month, _)| month)
        .ok_or(TimestampError::Unrecognized)
}
