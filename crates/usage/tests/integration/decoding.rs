//! One usage from JSON.

use std::borrow::Cow;

use usage::{Rejection, UnknownFields, decode, limits};

use crate::{ORIGINAL, outcome};

/// Decodes a body and compares what became of it.
fn check(body: impl AsRef<[u8]>, expected: &str) {
    let body = body.as_ref();
    let found = outcome(&decode(body, UnknownFields::Refuse));
    assert_eq!(found, expected, "{}", String::from_utf8_lossy(&body[..body.len().min(200)]));
}

/// A body of the three required fields, one of them replaced by `json`.
fn with(field: &str, json: &str) -> String {
    let mut fields = vec![
        ("patientId", r#""100""#),
        ("timestamp", r#""2016-11-01T14:11:51Z""#),
        ("medication", r#""Albuterol""#),
    ];
    match fields.iter_mut().find(|(name, _)| *name == field) {
        Some(slot) => slot.1 = json,
        None => fields.push((field, json)),
    }
    let fields: Vec<_> = fields.iter().map(|(name, json)| format!(r#""{name}":{json}"#)).collect();
    format!("{{{}}}", fields.join(","))
}

fn quoted(c: &str, count: usize) -> String {
    format!("\"{}\"", c.repeat(count))
}

#[test]
fn the_original_body_is_borrowed() {
    let usage = decode(ORIGINAL.as_bytes(), UnknownFields::Refuse).unwrap();
    assert!(matches!(usage.patient_id, Cow::Borrowed("100")));
    assert!(matches!(usage.medication, Cow::Borrowed("Albuterol")));
    let text = &usage.timestamp.text;
    assert!(matches!(text, Cow::Borrowed("Tue Nov 01 2016 09:11:51 GMT-0500 (CDT)")));
    assert_eq!(usage.timestamp.instant.to_string(), "2016-11-01T14:11:51Z");
    assert_eq!(usage.timestamp.offset_seconds, -5 * 3600);
    assert_eq!((usage.event_id, usage.attributes), (None, None));
}

#[test]
fn strings_are_unescaped() {
    let body = with("patientId", r#""J\u00fcrgen \ud83d\ude00""#);
    let usage = decode(body.as_bytes(), UnknownFields::Refuse).unwrap();
    assert_eq!(usage.patient_id, "Jürgen 😀");
    let body = r#"{"patient\u0049d":"1","timestamp":1478009511000,"medicatio\u006e":"m"}"#;
    let usage = decode(body.as_bytes(), UnknownFields::Refuse).unwrap();
    assert_eq!((&*usage.patient_id, &*usage.timestamp.text), ("1", "1478009511000"));
}

#[test]
fn bytes_that_are_no_usage() {
    for body in [
        "",
        " \n",
        "{",
        "}",
        "{\"patientId\":",
        "nul",
        "{}{}",
        "{} x",
        "{\"a\":1,}",
        "{a:1}",
        "'x'",
        "\u{feff}{}",
        "{\"patientId\":\"\u{1}\"}",
        "{\"patientId\":\"\\x\"}",
        "{\"patientId\":01}",
        "[1",
        "{\"patientId\":\"\\ud800\"}",
        "{\"patientId\":\"\\udc00x\"}",
    ] {
        check(body, "not JSON");
    }
    check(b"{\"patientId\":\"\xff\"}", "not JSON");
    check(b"{\"patientId\":\"\xed\xa0\x80\"}", "not JSON");
    for body in ["[]", "[[1]]", "null", "true", "12", "-1", "1.5", "1e999", "\"x\""] {
        let expected = if body == "1e999" { "not JSON" } else { " wrong-type" };
        check(body, expected);
    }
}

#[test]
fn repro_a_byte_order_mark_stands_before_a_body() {
    let marked = ["\u{feff}", ORIGINAL].concat();
    check(usage::without_bom(marked.as_bytes()), "ok");
    check(usage::without_bom(ORIGINAL.as_bytes()), "ok");
    let twice = ["\u{feff}", &marked].concat();
    check(usage::without_bom(twice.as_bytes()), "not JSON");
    assert_eq!(usage::without_bom(b"\xef\xbb"), b"\xef\xbb");
}

#[test]
fn repro_the_detail_says_what_else_the_body_is() {
    let check = |body: &[u8], word: &str| match decode(body, UnknownFields::Refuse) {
        Err(Rejection::NotJson { detail }) => assert!(detail.contains(word), "{detail}"),
        other => panic!("{other:?}"),
    };
    let lines = [ORIGINAL, "\r\n", ORIGINAL, "\n"].concat();
    check(lines.as_bytes(), "application/x-ndjson");
    check(&lines.as_bytes()[..lines.len() - 20], "application/x-ndjson");
    // On one line they are no lines.
    check([ORIGINAL, " ", ORIGINAL].concat().as_bytes(), "trailing characters");
    check([ORIGINAL, "\n]"].concat().as_bytes(), "trailing characters");
    let utf16: Vec<u8> =
        ["\u{feff}", ORIGINAL].concat().encode_utf16().flat_map(u16::to_le_bytes).collect();
    check(&utf16, "UTF-16");
}

#[test]
fn an_object_that_is_no_usage_says_where_and_stays_bounded() {
    let deep = |count: usize| "[".repeat(count) + &"]".repeat(count);
    check(with("medication", &deep(100_000)), "/medication wrong-type");
    check("[".repeat(500_000), "not JSON");
    let unknown: Vec<_> = (0..100).map(|n| format!(r#""f{n}":{n}"#)).collect();
    let body = format!("{{{}}}", unknown.join(","));
    let Err(Rejection::Invalid(errors)) = decode(body.as_bytes(), UnknownFields::Refuse) else {
        panic!("unknown fields are refused");
    };
    assert_eq!(errors.len(), limits::ERRORS_MAX + 1);
    assert_eq!(errors[limits::ERRORS_MAX].code, "more-errors");
}

#[test]
fn every_wrong_field_is_told_at_once() {
    check("{}", "/patientId required, /timestamp required, /medication required");
    check(
        r#"{"patientId":1,"timestamp":"now","medication":"","eventId":[],"attributes":3,"dose":2}"#,
        "/patientId wrong-type, /timestamp timestamp-form, /medication empty, \
         /eventId wrong-type, /attributes wrong-type, /dose unknown-field",
    );
    check(
        r#"{"medication":null,"patientId":"1","medication":"a","patientId":"1","eventId":null}"#,
        "/medication duplicate-field, /patientId duplicate-field, /timestamp required, \
         /medication required",
    );
}

#[test]
fn pointers_are_escaped_and_cut() {
    check(with("a/b~c", "1"), "/a~1b~0c unknown-field");
    check(with("", "1"), "/ unknown-field");
    let long = "é".repeat(1000);
    let cut = "é".repeat(limits::ERROR_NAME_CHARS_MAX);
    check(with(&long, "1"), &format!("/{cut}… unknown-field"));
}

#[test]
fn text_fields() {
    for (field, chars_max) in [
        ("patientId", limits::PATIENT_ID_CHARS_MAX),
        ("medication", limits::MEDICATION_CHARS_MAX),
        ("eventId", limits::EVENT_ID_CHARS_MAX),
    ] {
        let error = |code: &str| format!("/{field} {code}");
        for c in ["x", "é", "😀", "\\ud83d\\ude00"] {
            check(with(field, &quoted(c, chars_max)), "ok");
            check(with(field, &quoted(c, chars_max + 1)), &error("too-long"));
        }
        for blank in ["\"\"", "\" \"", "\"\\t\\n\"", "\"\u{3000}\""] {
            check(with(field, blank), &error("empty"));
        }
        for control in ["\\u0000", "\\n", "\u{7f}", "\u{85}", "\\u009f"] {
            check(with(field, &format!("\"a{control}\"")), &error("control-character"));
        }
        for other in ["1", "1.5", "true", "[\"a\"]", "{\"a\":{}}"] {
            check(with(field, other), &error("wrong-type"));
        }
        check(with(field, "\" a b \""), "ok");
        let absent = if field == "eventId" { "ok".to_owned() } else { error("required") };
        check(with(field, "null"), &absent);
    }
}

#[test]
fn timestamps_as_numbers() {
    let error = |code: &str| format!("/timestamp timestamp-{code}");
    for (json, expected) in [
        ("1478009511000", "ok".to_owned()),
        ("0", "ok".to_owned()),
        ("-2208988800000", "ok".to_owned()),
        ("-2208988800001", error("out-of-range")),
        ("253370764799999", "ok".to_owned()),
        ("253370764800000", error("out-of-range")),
        ("18446744073709551615", error("out-of-range")),
        ("1478009511000.0", error("not-whole")),
        ("1478009511e3", error("not-whole")),
        ("-0", error("not-whole")),
        ("99999999999999999999", error("not-whole")),
        ("\"1478009511000\"", error("number-as-text")),
        ("true", "/timestamp wrong-type".to_owned()),
        ("\"\"", "/timestamp empty".to_owned()),
    ] {
        check(with("timestamp", json), &expected);
    }
    let body = with("timestamp", "1478009511123");
    let usage = decode(body.as_bytes(), UnknownFields::Refuse).unwrap();
    assert!(usage.timestamp.is_number());
    assert_eq!(usage.timestamp.instant.to_string(), "2016-11-01T14:11:51.123Z");
}

#[test]
fn attributes_are_kept_as_sent() {
    let sent = r#"{ "b":1.0, "a" : ["\u00e9", null ] }"#;
    let body = with("attributes", &format!("  {sent}  "));
    let usage = decode(body.as_bytes(), UnknownFields::Refuse).unwrap();
    assert_eq!(usage.attributes.as_deref(), Some(sent));
    assert!(matches!(usage.attributes, Some(Cow::Borrowed(_))));

    let of_bytes = |bytes: usize| format!("{{\"a\":{}}}", quoted("x", bytes - 8));
    let of_depth =
        |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    for (json, expected) in [
        ("{}".to_owned(), "ok"),
        ("null".to_owned(), "ok"),
        ("[]".to_owned(), "/attributes wrong-type"),
        ("\"{}\"".to_owned(), "/attributes wrong-type"),
        (of_bytes(limits::ATTRIBUTES_BYTES_MAX), "ok"),
        (of_bytes(limits::ATTRIBUTES_BYTES_MAX + 1), "/attributes too-large"),
        (of_depth(limits::ATTRIBUTES_DEPTH_MAX), "ok"),
        (of_depth(limits::ATTRIBUTES_DEPTH_MAX + 1), "/attributes too-deep"),
        (r#"{"a":"[[[[[[[[[[[[[[[[[[[["}"#.to_owned(), "ok"),
        (r#"{"a":"\"[[[[[[[[[[[[[[[[[[[["}"#.to_owned(), "ok"),
        (r#"{"a":"\ud83d\ude00 \\ud800 \u00e9"}"#.to_owned(), "ok"),
        (r#"{"a":"\ud83d"}"#.to_owned(), "/attributes lone-surrogate"),
        (r#"{"a":"\ude00\ud83d"}"#.to_owned(), "/attributes lone-surrogate"),
        (r#"{"\ud83dx":1}"#.to_owned(), "/attributes lone-surrogate"),
        (r#"{"a":"\ud83d\u0041"}"#.to_owned(), "/attributes lone-surrogate"),
    ] {
        check(with("attributes", &json), expected);
    }
    check(with("attributes", "{\"a\":}"), "not JSON");
}
