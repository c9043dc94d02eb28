//! No error repeats what stood in a field, and no `Debug` shows it.

use usage::{
    BatchFormat, Rejection, UnknownFields, decode, decode_batch, parse_idempotency_key, record,
};

const CANARY: &str = "CANARY-7f3a";

/// Everything an error could show, to a client or in a log.
fn shown(body: &str) -> String {
    let mut shown = String::new();
    for unknown in [UnknownFields::Refuse, UnknownFields::Keep] {
        let rejection = decode(body.as_bytes(), unknown).expect_err(body);
        shown.push_str(&format!("{rejection} {rejection:?}"));
        for format in [BatchFormat::JsonArray, BatchFormat::Ndjson] {
            shown.push_str(&match decode_batch(body.as_bytes(), format, unknown) {
                Ok(items) => {
                    let rejections: Vec<Rejection> =
                        items.into_iter().filter_map(Result::err).collect();
                    format!("{rejections:?}")
                }
                Err(error) => format!("{error} {error:?}"),
            });
        }
    }
    shown
}

#[test]
fn no_value_is_repeated() {
    let long = CANARY.repeat(100);
    for body in [
        format!(r#""{CANARY}""#),
        CANARY.to_owned(),
        format!(r#"{{"patientId":"{CANARY}"#),
        format!(r#"{{"patientId":"{CANARY}\x"}}"#),
        format!(r#"{{"patientId":["{CANARY}"]}}"#),
        format!(r#"{{"patientId":{{"{CANARY}":1}}}}"#),
        format!(r#"{{"patientId":"{CANARY}\n","medication":"{long}","eventId":"{long}"}}"#),
        format!(r#"{{"timestamp":"{CANARY}"}}"#),
        format!(r#"{{"timestamp":"2016-11-01 {CANARY}"}}"#),
        format!(r#"{{"timestamp":"Tue Nov 01 2016 {CANARY}"}}"#),
        format!(r#"{{"attributes":"{CANARY}"}}"#),
        format!(r#"{{"attributes":{{"a":"{long}{long}{long}"}}}}"#),
        format!(r#"{{"attributes":{{"{CANARY}":"\ud800"}}}}"#),
        format!(r#"{{"a":"{CANARY}","a":"{CANARY}"}}"#),
    ] {
        assert!(!shown(&body).contains(CANARY), "{}", shown(&body));
    }
}

/// The search above would find a value: a field's name, which is told on purpose, is found.
#[test]
fn a_name_is_found() {
    let body = format!(r#"{{"{CANARY}":1,"{CANARY}":1}}"#);
    assert!(shown(&body).contains(CANARY));
}

#[test]
fn no_key_is_repeated() {
    for header in [format!("\"{CANARY}"), format!("{CANARY} x"), CANARY.repeat(100)] {
        let error = parse_idempotency_key(header.as_bytes()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(CANARY));
    }
}

#[test]
fn a_usage_in_a_panic_names_nobody() {
    let body = format!(
        r#"{{"patientId":"{CANARY}","timestamp":"Thu Jan 01 1970 00:00:00 GMT+0000 ({CANARY})",
        "medication":"{CANARY}","eventId":"{CANARY}","attributes":{{"a":"{CANARY}"}}}}"#
    );
    let usage = decode(body.as_bytes(), UnknownFields::Refuse).unwrap();
    let mut bytes = Vec::new();
    record::encode(&usage, 0, None, &mut bytes);
    let (record, peek) = (record::decode(&bytes).unwrap(), record::peek(&bytes).unwrap());
    assert!(!format!("{usage:?} {record:?} {peek:?}").contains(CANARY));
}
