//! Many usages in one body.

use usage::{BatchError, BatchFormat, UnknownFields, decode_batch, limits};

use crate::{ORIGINAL, outcome};

const OK: &str = r#"{"patientId":"1","timestamp":0,"medication":"m"}"#;
const BAD: &str = r#"{"patientId":"1","timestamp":0}"#;
const REQUIRED: &str = "/medication required";

/// Decodes a batch and compares the items' outcomes, or the error of the whole.
fn check(format: BatchFormat, body: impl AsRef<[u8]>, expected: Result<&[&str], BatchError>) {
    let decoded = decode_batch(body.as_ref(), format, UnknownFields::Refuse);
    let found = decoded.map(|items| items.iter().map(outcome).collect::<Vec<_>>());
    match (found, expected) {
        (Err(BatchError::NotJson { .. }), Err(BatchError::NotJson { .. })) => {}
        (found, expected) => assert_eq!(
            found,
            expected.map(|all| { all.iter().copied().map(str::to_owned).collect::<Vec<_>>() })
        ),
    }
}

fn not_json() -> BatchError {
    BatchError::NotJson { detail: String::new() }
}

#[test]
fn lines() {
    let check = |body: &str, expected| check(BatchFormat::Ndjson, body, expected);
    check(&format!("{OK}\n{ORIGINAL}\n"), Ok(&["ok", "ok"]));
    check(OK, Ok(&["ok"]));
    check(&format!("\n \r\n{OK}\r\n\t\n\n{BAD}\r\n"), Ok(&["ok", REQUIRED]));
    check(
        &format!("{OK}\n{{\n}}\n[]\n{OK}"),
        Ok(&["ok", "not JSON", "not JSON", " wrong-type", "ok"]),
    );
    check(&format!("{OK}{OK}\n{OK}"), Ok(&["not JSON", "ok"]));
    check("", Err(BatchError::Empty));
    check(" \n\r\n", Err(BatchError::Empty));
}

#[test]
fn a_line_that_is_no_text_spoils_no_other() {
    let mut body = format!("{OK}\n").into_bytes();
    body.extend_from_slice(b"{\"patientId\":\"\xff\"}\n");
    body.extend_from_slice(OK.as_bytes());
    check(BatchFormat::Ndjson, body, Ok(&["ok", "not JSON", "ok"]));
}

#[test]
fn lines_and_items_are_capped() {
    let padded = |bytes: usize| format!("{}{}", " ".repeat(bytes - OK.len()), OK);
    let (fits, long) = (padded(limits::LINE_BYTES_MAX), padded(limits::LINE_BYTES_MAX + 1));
    check(BatchFormat::Ndjson, format!("{fits}\n{long}\n{OK}"), Ok(&["ok", " too-long", "ok"]));
    let long = format!(r#"{{"x":"{}"}}"#, "x".repeat(limits::LINE_BYTES_MAX));
    check(BatchFormat::JsonArray, format!("[{long},{OK}]"), Ok(&[" too-long", "ok"]));
}

#[test]
fn arrays() {
    let check = |body: &str, expected| check(BatchFormat::JsonArray, body, expected);
    check(&format!(" [ {OK} , {BAD},{ORIGINAL}]\n"), Ok(&["ok", REQUIRED, "ok"]));
    check(
        &format!(r#"[{OK},null,[{OK}],7,"x",{{"patientId":"\ud800"}},{OK}]"#),
        Ok(&["ok", " wrong-type", " wrong-type", " wrong-type", " wrong-type", "not JSON", "ok"]),
    );
    check("[]", Err(BatchError::Empty));
    for body in ["", "{}", OK, "[", "[{}", "[{},]", "[{}] []", "[{\"a\":}]", "null"] {
        check(body, Err(not_json()));
    }
    check(&"[".repeat(100_000), Err(not_json()));
}

#[test]
fn an_array_that_is_no_text_is_refused_whole() {
    check(BatchFormat::JsonArray, b"[{\"patientId\":\"\xff\"}]", Err(not_json()));
}

#[test]
fn items_are_counted() {
    let max = limits::BATCH_ITEMS_MAX;
    for format in [BatchFormat::JsonArray, BatchFormat::Ndjson] {
        let body = |count: usize| match format {
            BatchFormat::JsonArray => format!("[{}]", vec!["{}"; count].join(",")),
            BatchFormat::Ndjson => "{}\n".repeat(count),
        };
        let longest = body(max);
        let full = decode_batch(longest.as_bytes(), format, UnknownFields::Refuse).unwrap();
        assert_eq!(full.len(), max);
        check(format, body(max + 1), Err(BatchError::TooManyItems { max }));
    }
}
