//! Timestamps in all their forms, with jiff as the oracle.

use proptest::prelude::*;
use usage::{Instant, Timestamp, TimestampError as E, limits, offset_text};

use crate::strategies::{instant, offset_minutes, written, zone_name};

const JS: &str = "%a %b %d %Y %H:%M:%S GMT%z";

/// Reads a text and compares instant and offset, or the error.
fn check(text: &str, expected: Result<(&str, &str), E>) {
    let found = Timestamp::parse(text);
    if let Ok(timestamp) = &found {
        assert_eq!(timestamp.text, text);
        assert!(!timestamp.is_number());
    }
    let found = found.map(|found| (found.instant.to_string(), offset_text(found.offset_seconds)));
    let expected = expected.map(|(instant, offset)| (instant.to_owned(), offset.to_owned()));
    assert_eq!(found, expected, "{text}");
}

#[test]
fn javascript_to_string() {
    let cdt = Ok(("2016-11-01T14:11:51Z", "-05:00"));
    check("Tue Nov 01 2016 09:11:51 GMT-0500 (CDT)", cdt);
    check("Tue Nov 01 2016 09:11:51 GMT-0500", cdt);
    check("Tue Nov 01 2016 09:11:51 GMT-0500 (Central Daylight Time)", cdt);
    check("Tue Nov 01 2016 09:11:51 GMT-0500 (heure d’été du Centre)", cdt);
    check("Tue Nov 01 2016 09:11:51 GMT-0500 (北美中部夏令时间)", cdt);
    check("Tue Nov 01 2016 09:11:51 GMT-0500 ()", cdt);
    check("Tue Nov 01 2016 09:11:51 GMT-0500 (GMT-05:00 (Chicago))", cdt);
    check(
        "Tue Nov 01 2016 14:11:51 GMT+0000 (Coordinated Universal Time)",
        Ok(("2016-11-01T14:11:51Z", "+00:00")),
    );
    check("Tue Nov 01 2016 14:11:51 GMT-0000", Ok(("2016-11-01T14:11:51Z", "+00:00")));
    check("Wed Nov 02 2016 00:41:51 GMT+1030 (ACDT)", Ok(("2016-11-01T14:11:51Z", "+10:30")));
    check("Fri Jan 01 1904 00:00:00 GMT-0456 (LMT)", Ok(("1904-01-01T04:56:00Z", "-04:56")));
    check("Thu Feb 29 2024 23:59:59 GMT+2359", Ok(("2024-02-29T00:00:59Z", "+23:59")));
}

#[test]
fn repro_a_day_of_one_digit_as_espruino_prints_it() {
    let cdt = Ok(("2016-11-01T14:11:51Z", "-05:00"));
    check("Tue Nov 1 2016 09:11:51 GMT-0500 (CDT)", cdt);
    check("Tue Nov 1 2016 09:11:51 GMT-0500", cdt);
    check("Wed Nov 9 2016 09:11:51 GMT+0000", Ok(("2016-11-09T09:11:51Z", "+00:00")));
    check("Tue, 1 Nov 2016 14:11:51 GMT", Ok(("2016-11-01T14:11:51Z", "+00:00")));
    check("Tue Nov 1 2016 09:11:51", Err(E::NoOffset));
    check("Mon Nov 1 2016 09:11:51 GMT-0500", Err(E::Weekday));
    check("Mon, 1 Nov 2016 14:11:51 GMT", Err(E::Weekday));
    for text in [
        "Tue Nov 0 2016 09:11:51 GMT-0500",
        "Tue Nov  1 2016 09:11:51 GMT-0500",
        "Tue Nov 1  2016 09:11:51 GMT-0500",
        "Tue Nov 001 2016 09:11:51 GMT-0500",
        "Tue, 1 Nov 2016 14:11:51",
        "Tue Nov 1 ",
        "Tue, 1 ",
    ] {
        check(text, Err(E::Unrecognized));
    }
}

#[test]
fn repro_seconds_are_distinguished_from_milliseconds() {
    let check = |number: i64, expected: Result<&str, E>| {
        let found = Timestamp::from_number(number).map(|found| found.instant.to_string());
        assert_eq!(found, expected.map(str::to_owned), "{number}");
    };
    check(1_478_009_511, Err(E::Seconds));
    check(1_478_009_511_000, Ok("2016-11-01T14:11:51Z"));
    check(946_684_799, Ok("1970-01-11T22:58:04.799Z"));
    check(946_684_800, Err(E::Seconds));
    check(946_684_799_999, Err(E::Seconds));
    check(946_684_800_000, Ok("2000-01-01T00:00:00Z"));
    check(0, Ok("1970-01-01T00:00:00Z"));
    check(-1_478_009_511, Ok("1969-12-14T21:26:30.489Z"));
    check(i64::MAX, Err(E::OutOfRange));
}

#[test]
fn javascript_to_string_refused() {
    check("Invalid Date", Err(E::InvalidDate));
    check("Tue Nov 01 2016 09:11:51", Err(E::NoOffset));
    check("Tue Nov 01 2016 09:11:51 GMT", Err(E::NoOffset));
    check("Mon Nov 01 2016 09:11:51 GMT-0500 (CDT)", Err(E::Weekday));
    check("Tue Feb 30 2016 09:11:51 GMT-0500", Err(E::NoSuchDate));
    check("Wed Feb 29 2023 09:11:51 GMT-0500", Err(E::NoSuchDate));
    check("Tue Nov 00 2016 09:11:51 GMT-0500", Err(E::NoSuchDate));
    check("Tue Nov 01 2016 24:00:00 GMT-0500", Err(E::NoSuchTime));
    check("Tue Nov 01 2016 09:60:51 GMT-0500", Err(E::NoSuchTime));
    check("Tue Nov 01 2016 09:11:61 GMT-0500", Err(E::NoSuchTime));
    check("Sat Dec 31 2016 23:59:60 GMT+0000", Err(E::LeapSecond));
    check("Tue Nov 01 2016 09:11:51 GMT-2400", Err(E::OffsetRange));
    check("Tue Nov 01 2016 09:11:51 GMT-0560", Err(E::OffsetRange));
    check("Sun Dec 31 1899 23:59:59 GMT+0000", Err(E::OutOfRange));
    check("Fri Jan 01 9999 00:00:00 GMT+0000", Err(E::OutOfRange));
    for text in [
        "tue Nov 01 2016 09:11:51 GMT-0500",
        "Xyz Nov 01 2016 09:11:51 GMT-0500",
        "Tue Nob 01 2016 09:11:51 GMT-0500",
        "Tue Nov 01 2016 09:11:51 GMT-05:00",
        "Tue Nov 01 2016 09:11:51 GMT 0500",
        "Tue Nov 01 2016 09:11:51 UTC-0500",
        "Tue Nov 01 2016 09:11:51 GMT-0500 ",
        "Tue Nov 01 2016 09:11:51 GMT-0500 CDT",
        "Tue Nov 01 2016 09:11:51 GMT-0500 (CDT",
        "Tue Nov 01 2016 09:11:51 GMT-0500 (C\u{7}DT)",
        "Tue Nov 01 2016 09:11:51 GMT-0500 (C\u{85}DT)",
        " Tue Nov 01 2016 09:11:51 GMT-0500",
        "Tue Nov 01 2016 0９:11:51 GMT-0500",
        "Tue ",
        "Sun Nov  6 08:49:37 1994",
    ] {
        check(text, Err(E::Unrecognized));
    }
}

#[test]
fn rfc3339() {
    let z = |text: &str, instant: &str| check(text, Ok((instant, "+00:00")));
    z("2016-11-01T14:11:51Z", "2016-11-01T14:11:51Z");
    z("2016-11-01T14:11:51.5Z", "2016-11-01T14:11:51.500Z");
    z("2016-11-01T14:11:51.000Z", "2016-11-01T14:11:51Z");
    z("2016-11-01T14:11:51.123456Z", "2016-11-01T14:11:51.123456Z");
    z("2016-11-01T14:11:51.123456789Z", "2016-11-01T14:11:51.123456789Z");
    z("2016-11-01T14:11:51.1234567899999Z", "2016-11-01T14:11:51.123456789Z");
    z("2016-11-01t14:11:51z", "2016-11-01T14:11:51Z");
    z("2016-11-01 14:11:51Z", "2016-11-01T14:11:51Z");
    z("2016-11-01T14:11:51-00:00", "2016-11-01T14:11:51Z");
    z("1900-01-01T00:00:00Z", "1900-01-01T00:00:00Z");
    z("9998-12-31T23:59:59.999999999Z", "9998-12-31T23:59:59.999999999Z");
    z("2000-02-29T00:00:00Z", "2000-02-29T00:00:00Z");
    check("2016-11-01T09:11:51-05:00", Ok(("2016-11-01T14:11:51Z", "-05:00")));
    check("2016-11-01T19:56:51.25+05:45", Ok(("2016-11-01T14:11:51.250Z", "+05:45")));
    check("9999-01-01T00:00:00+00:01", Ok(("9998-12-31T23:59:00Z", "+00:01")));
}

#[test]
fn rarer_spellings_of_iso8601() {
    let cdt = Ok(("2016-11-01T14:11:51Z", "-05:00"));
    check("20161101T091151-0500", cdt);
    check("2016-11-01T09:11:51-0500", cdt);
    check("2016-11-01T09:11:51-05", cdt);
    check("2016-11-01T09:11:51-05:00[America/Chicago]", cdt);
    check("2016-11-01T09:11-05:00", Ok(("2016-11-01T14:11:00Z", "-05:00")));
    check("2016-11-01T14:11Z", Ok(("2016-11-01T14:11:00Z", "+00:00")));
    check("2016-11-01T14Z", Ok(("2016-11-01T14:00:00Z", "+00:00")));
    check("2016-11-01T14:11:51,25Z", Ok(("2016-11-01T14:11:51.250Z", "+00:00")));
}

#[test]
fn repro_an_offset_is_no_leap_second() {
    check("2016-11-01T09-06:00", Ok(("2016-11-01T15:00:00Z", "-06:00")));
    check("2016-11-01T09-0600", Ok(("2016-11-01T15:00:00Z", "-06:00")));
    check("20161101T09+0600", Ok(("2016-11-01T03:00:00Z", "+06:00")));
    check("2016-11-01T09:00,60Z", Err(E::Unrecognized));
    check(
        "2016-11-01T09:11:51.60-06:00[America/Chicago]",
        Ok(("2016-11-01T15:11:51.600Z", "-06:00")),
    );
    // The control: with a second it is one.
    check("2016-11-01T09:59:60-06", Err(E::LeapSecond));
    check("20161101T095960-06", Err(E::LeapSecond));
}

#[test]
fn iso8601_refused() {
    check("2016-11-01T14:11:51", Err(E::NoOffset));
    check("2016-11-01T14:11:51.123", Err(E::NoOffset));
    check("2016-11-01 14:11", Err(E::NoOffset));
    check("2016-11-01", Err(E::NoOffset));
    check("2016-11-01T14:11:51[America/Chicago]", Err(E::NoOffset));
    check("2016-02-30T14:11:51Z", Err(E::NoSuchDate));
    check("2016-13-01T14:11:51Z", Err(E::NoSuchDate));
    check("2016-00-01T14:11:51Z", Err(E::NoSuchDate));
    check("1900-02-29T14:11:51Z", Err(E::NoSuchDate));
    check("2016-11-01T24:00:00Z", Err(E::NoSuchTime));
    check("2016-12-31T23:59:60Z", Err(E::LeapSecond));
    check("20161231T235960Z", Err(E::LeapSecond));
    check("2016-12-31T23:59:60+0000", Err(E::LeapSecond));
    check("2016-11-01T14:11:51+24:00", Err(E::OffsetRange));
    check("1899-12-31T23:59:59Z", Err(E::OutOfRange));
    check("9999-01-01T00:00:00Z", Err(E::OutOfRange));
    check("1478009511000", Err(E::NumberAsText));
    check("-1478009511000", Err(E::NumberAsText));
    check("20161101", Err(E::NumberAsText));
    check("", Err(E::Empty));
    for text in [
        "2016-11-01T14:11:51.Z",
        "2016-11-01T14:11:51Zx",
        "16-11-01T14:11:51Z",
        "-",
        "1.5",
        "2016-11-01T14:11:51\u{0}Z",
        "2016-W44-2T14:11:51Z ",
        "now",
        "yesterday",
        "T",
        "２０１６",
    ] {
        check(text, Err(E::Unrecognized));
    }
    let digits = |count: usize| format!("2016-11-01T14:11:51.{}Z", "1".repeat(count));
    assert!(Timestamp::parse(&digits(limits::TIMESTAMP_CHARS_MAX - 21)).is_ok());
    check(&digits(limits::TIMESTAMP_CHARS_MAX - 20), Err(E::TooLong));
}

#[test]
fn http_dates() {
    check("Tue, 01 Nov 2016 14:11:51 GMT", Ok(("2016-11-01T14:11:51Z", "+00:00")));
    check("Mon, 01 Nov 2016 14:11:51 GMT", Err(E::Weekday));
    check("Tue, 31 Nov 2016 14:11:51 GMT", Err(E::NoSuchDate));
    check("Tue, 01 Nov 2016 24:11:51 GMT", Err(E::NoSuchTime));
    check("Sat, 31 Dec 2016 23:59:60 GMT", Err(E::LeapSecond));
    check("Tue, 01 Nov 2016 14:11:51 UTC", Err(E::Unrecognized));
}

#[test]
fn each_error_has_a_code_and_says_nothing_of_the_value() {
    let message = |error: E| format!("{}: {error}", error.code());
    assert!(message(E::LeapSecond).starts_with("timestamp-leap-second: names a leap second"));
    assert!(message(E::NoOffset).contains("GMT-0500"));
}

/// Nanoseconds since 1970, as jiff counts them.
fn nanoseconds(instant: Instant) -> i128 {
    i128::from(instant.seconds()) * 1_000_000_000 + i128::from(instant.nanos())
}

/// Whether what jiff has read could have been second 60, of which it makes 59.
fn may_be_60(read: jiff::Timestamp) -> bool {
    read.as_second().rem_euclid(60) == 59
}

/// Spellings of ISO 8601, for jiff to write.
fn layout() -> impl Strategy<Value = String> {
    let dates = prop::sample::select(vec!["%Y-%m-%d", "%Y%m%d"]);
    let times = prop::sample::select(vec!["%H", "%H:%M", "%H%M", "%H:%M:%S", "%H%M%S"]);
    let offsets = prop::sample::select(vec!["%:z", "%z", ".%3f%:z"]);
    (dates, times, offsets).prop_map(|(date, time, offset)| format!("{date}T{time}{offset}"))
}

proptest! {
    #[test]
    fn what_jiff_writes_as_javascript_is_read(
        instant in instant(), minutes in offset_minutes(), name in prop::option::of(zone_name()),
    ) {
        let mut text = written(instant, minutes, JS);
        if let Some(name) = name {
            text = format!("{text} ({name})");
        }
        let read = Timestamp::parse(&text).unwrap();
        prop_assert_eq!(read.instant.seconds(), instant.seconds());
        prop_assert_eq!((read.instant.nanos(), read.offset_seconds), (0, minutes * 60));
    }

    #[test]
    fn what_jiff_writes_as_rfc3339_is_read(
        instant in instant(), minutes in offset_minutes(), digits in 0_usize..=9,
    ) {
        let fraction = if digits == 0 { String::new() } else { format!(".%{digits}f") };
        let text = written(instant, minutes, &format!("%Y-%m-%dT%H:%M:%S{fraction}%:z"));
        let read = Timestamp::parse(&text).unwrap();
        let unit = 10_u32.pow(9 - u32::try_from(digits).unwrap());
        let nanos = instant.nanos() / unit * unit;
        prop_assert_eq!(read.instant, Instant::from_parts(instant.seconds(), nanos).unwrap());
        prop_assert_eq!(read.offset_seconds, minutes * 60);
    }

    #[test]
    fn what_jiff_writes_as_http_date_is_read(instant in instant()) {
        let text = written(instant, 0, "%a, %d %b %Y %H:%M:%S GMT");
        let read = Timestamp::parse(&text).unwrap();
        prop_assert_eq!(read.instant.seconds(), instant.seconds());
    }

    #[test]
    fn an_instant_is_shown_as_jiff_shows_it(instant in instant()) {
        let read: jiff::Timestamp = instant.to_string().parse().unwrap();
        prop_assert_eq!(read.as_nanosecond(), nanoseconds(instant));
        prop_assert_eq!(Timestamp::parse(&instant.to_string()).unwrap().instant, instant);
    }

    /// Whatever is near a valid text: both read the same instant, or both refuse, but for what we
    /// refuse on purpose.
    #[test]
    fn near_iso8601_jiff_agrees(
        instant in instant(), minutes in offset_minutes(), layout in layout(),
        edits in prop::collection::vec((0_usize..40, "[0-9TZtz:. +-]"), 0..3),
    ) {
        let mut text = written(instant, minutes, &layout);
        for (at, with) in edits {
            if at < text.len() {
                text.replace_range(at..=at, &with);
            }
        }
        match (Timestamp::parse(&text), text.parse::<jiff::Timestamp>()) {
            (Ok(ours), Ok(theirs)) => {
                prop_assert_eq!(nanoseconds(ours.instant), theirs.as_nanosecond());
            }
            (Err(E::LeapSecond), Ok(theirs)) => prop_assert!(may_be_60(theirs), "{}", text),
            (Ok(ours), Err(theirs)) => prop_assert!(false, "{} {:?} {}", text, ours, theirs),
            (Err(E::OutOfRange | E::OffsetRange), _) | (Err(_), Err(_)) => {}
            (Err(ours), Ok(theirs)) => prop_assert!(false, "{} {:?} {}", text, ours, theirs),
        }
    }

    /// The same for JavaScript's form, whose weekday jiff checks as we do.
    #[test]
    fn near_javascript_jiff_agrees(
        instant in instant(), minutes in offset_minutes(),
        edits in prop::collection::vec((0_usize..33, "[0-9]"), 0..3),
    ) {
        let mut text = written(instant, minutes, JS);
        for (at, with) in edits {
            if text.as_bytes()[at].is_ascii_digit() {
                text.replace_range(at..=at, &with);
            }
        }
        let theirs = jiff::ZonedDateTime::strptime(JS, &text);
        match (Timestamp::parse(&text), theirs) {
            (Ok(ours), Ok(theirs)) => {
                prop_assert_eq!(ours.instant.seconds(), theirs.timestamp().as_second());
                prop_assert_eq!(ours.offset_seconds, theirs.offset().seconds());
            }
            (Err(E::LeapSecond), Ok(theirs)) => {
                prop_assert!(may_be_60(theirs.timestamp()), "{}", text);
            }
            (Ok(ours), Err(theirs)) => prop_assert!(false, "{} {:?} {}", text, ours, theirs),
            (Err(E::OutOfRange | E::OffsetRange), _) | (Err(_), Err(_)) => {}
            (Err(ours), Ok(theirs)) => prop_assert!(false, "{} {:?} {}", text, ours, theirs),
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,60}|[A-Z][a-z]{2}[ ,].{0,40}|[0-9]{4}.{0,40}") {
        if let Ok(timestamp) = Timestamp::parse(&text) {
            prop_assert_eq!(&timestamp.text, &text);
        }
    }
}
