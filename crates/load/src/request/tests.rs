//! Requests as they go out.

use proptest::prelude::*;

use super::*;
use crate::limits::REQUEST_BYTES_MAX;

const WALL_NS: u64 = 1_477_991_511_123_000_000;

fn http1(spec: &Spec<'_>, number: u64, close: bool) -> String {
    let requests = Requests::new(spec).expect("in order");
    let mut out = b"before".to_vec();
    requests.write_http1(number, WALL_NS, close, &mut out);
    let text = String::from_utf8(out).expect("text");
    text.strip_prefix("before").expect("what was there stays").to_owned()
}

/// The head's lines and the body, whose length must be the one that the head says.
fn split(request: &str) -> (Vec<&str>, &str) {
    let (head, body) = request.split_once("\r\n\r\n").expect("a head");
    let lengths: Vec<&str> =
        head.lines().filter_map(|line| line.strip_prefix("Content-Length: ")).collect();
    match lengths.as_slice() {
        [length] => assert_eq!(*length, body.len().to_string(), "{request}"),
        [] => assert_eq!(body, "", "{request}"),
        _ => panic!("two lengths: {request}"),
    }
    (head.lines().collect(), body)
}

fn header(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn the_default_request_is_a_usage() {
    let spec = Spec { authority: "localhost:3000", path: "/api/usages", ..Spec::default() };
    let agent = concat!("User-Agent: inhale/", env!("CARGO_PKG_VERSION"));
    let request = http1(&spec, 0, false);
    let (head, body) = split(&request);
    let expected = [
        "POST /api/usages HTTP/1.1",
        "Host: localhost:3000",
        agent,
        "Content-Type: application/json",
    ];
    assert_eq!(head[..4], expected);
    assert_eq!(head.len(), 5);
    let usage: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(usage["patientId"], "load-100", "nobody takes it for a real patient");
    assert_eq!(
        usage["timestamp"],
        "Tue Nov 01 2016 09:11:51 GMT+0000 (Coordinated Universal Time)"
    );
    let medication = usage["medication"].as_str().expect("a name");
    assert!(medication.len() > 3, "{medication}");

    let closing = http1(&spec, 0, true);
    assert_eq!(closing.replace("Connection: close\r\n", ""), request);
    assert_ne!(closing, request);
}

#[test]
fn every_patient_comes_before_anyone_comes_again() {
    let spec = Spec { patients: 50, ..Spec::default() };
    let patients: Vec<String> = (0..100)
        .map(|number| {
            let request = http1(&spec, number, false);
            let usage: serde_json::Value = serde_json::from_str(split(&request).1).expect("JSON");
            usage["patientId"].as_str().expect("text").to_owned()
        })
        .collect();
    let expected: Vec<String> = (100..150).chain(100..150).map(|id| format!("load-{id}")).collect();
    assert_eq!(patients, expected);
}

#[test]
fn a_request_without_placeholders_is_one_piece() {
    let spec = Spec { body: Some("{\"a\":1}"), ..Spec::default() };
    let requests = Requests::new(&spec).expect("in order");
    assert!(matches!(requests.kept.as_slice(), [Piece::Text(_)]), "{:?}", requests.kept);
    assert!(matches!(requests.closed.as_slice(), [Piece::Text(_)]), "{:?}", requests.closed);
    assert_eq!(split(&http1(&spec, 7, false)).1, "{\"a\":1}");
    let spec = Spec { method: "GET", body: None, path: "/healthz", ..Spec::default() };
    let (request, agent) = (http1(&spec, 7, true), env!("CARGO_PKG_VERSION"));
    let expected = format!(
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nUser-Agent: inhale/{agent}\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(request, expected);
}

#[test]
fn headers_replace_the_generators_own_and_each_that_is_given_is_sent() {
    let headers = [
        header("content-type", "text/plain"),
        header("X-Patient", "p{{patient}}"),
        header("Authorization", "Bearer a"),
        header("authorization", "Bearer {{data.token}}"),
        header("Host", "elsewhere"),
    ];
    let data = Data::parse("token\nt1\nt2").expect("rows");
    let spec = Spec {
        headers: &headers,
        body: Some("{{data.token}}"),
        idempotency_key: Some("{{uuid}}"),
        data: Some(&data),
        ..Spec::default()
    };
    let request = http1(&spec, 3, false);
    let (head, body) = split(&request);
    assert_eq!(body, "t2");
    let key = head.iter().find_map(|line| line.strip_prefix("Idempotency-Key: \"")).expect("a key");
    uuid::Uuid::parse_str(key.strip_suffix('"').expect("quoted")).expect("a UUID");
    for line in [
        "content-type: text/plain",
        "X-Patient: p103",
        "Authorization: Bearer a",
        "authorization: Bearer t2",
    ] {
        assert!(head.contains(&line), "{line} in {head:?}");
    }
    // Who is asked for stands in the target's authority, which the plan takes it from.
    for gone in ["Content-Type", "elsewhere"] {
        assert!(!request.contains(gone), "{gone} in {head:?}");
    }
}

#[test]
fn a_batch_numbers_its_items_through() {
    let body = r#"{"patientId":"{{patient}}","n":{{seq}}}"#;
    let spec = Spec { batch: 3, patients: 4, body: Some(body), ..Spec::default() };
    let request = http1(&spec, 2, false);
    let (head, lines) = split(&request);
    assert!(head.contains(&"Content-Type: application/x-ndjson"), "{head:?}");
    let expected = concat!(
        "{\"patientId\":\"102\",\"n\":6}\n",
        "{\"patientId\":\"103\",\"n\":7}\n",
        "{\"patientId\":\"100\",\"n\":8}\n",
    );
    assert_eq!(lines, expected);
}

#[test]
fn repro_a_path_that_http2_has_no_word_for_is_refused() {
    for byte in ('!'..='~').map(String::from) {
        for path in [format!("/{byte}"), format!("/?{byte}"), format!("/{{{{pick a {byte}}}}}")] {
            if let Ok(requests) = Requests::new(&Spec { path: &path, ..Spec::default() }) {
                let mut parts = Parts::default();
                for number in 0..8 {
                    requests.fill_parts(number, WALL_NS, &mut parts);
                    let known = http::uri::PathAndQuery::try_from(parts.path.as_str());
                    assert!(known.is_ok(), "{}", parts.path);
                }
            }
        }
    }
}

#[test]
fn what_is_wrong_is_told_for_each_part() {
    let check = |spec: Spec<'_>, expected: &[(Part, &str)]| {
        let faults = Requests::new(&spec).expect_err("something is wrong");
        let found: Vec<Part> = faults.iter().map(|fault| fault.part).collect();
        let parts: Vec<Part> = expected.iter().map(|(part, _)| *part).collect();
        assert_eq!(found, parts, "{faults:?}");
        for (fault, (_, words)) in faults.iter().zip(expected) {
            assert!(fault.words.contains(words), "{fault:?} {words}");
        }
    };
    let one = Spec::default();
    check(Spec { method: "CONNECT", ..one }, &[(Part::Method, "CONNECT is not sent")]);
    check(Spec { method: "GE T", ..one }, &[(Part::Method, "no method")]);
    check(Spec { path: "/a b", ..one }, &[(Part::Path, "without blanks")]);
    check(Spec { path: "/a\r\n", ..one }, &[(Part::Path, "without blanks")]);
    check(Spec { path: "/{{pick a ü}}", ..one }, &[(Part::Path, "without blanks")]);
    let long = format!("/{}", "a".repeat(65_534));
    check(Spec { path: &long, ..one }, &[(Part::Path, "has 65535 bytes; at most 65534")]);
    check(Spec { path: "/{{x}}", ..one }, &[(Part::Path, "no placeholder")]);
    check(Spec { body: Some("{{x}}"), ..one }, &[(Part::Body, "no placeholder")]);
    check(Spec { idempotency_key: Some("{{x"), ..one }, &[(Part::IdempotencyKey, "no `}}`")]);
    check(Spec { body: None, batch: 2, ..one }, &[(Part::Batch, "needs a body")]);
    check(Spec { body: Some("a\nb"), batch: 2, ..one }, &[(Part::Batch, "on one")]);
    let headers = [
        header("a b", "x"),
        header("Content-Length", "3"),
        header("x", "a\r\nEvil: 1"),
        header("y", "{{z}}"),
    ];
    check(
        Spec { headers: &headers, path: "/{{p}}", ..one },
        &[
            (Part::Header, "no name"),
            (Part::Header, "generator itself"),
            (Part::Header, "printable"),
            (Part::Header, "no placeholder"),
            (Part::Path, "no placeholder"),
        ],
    );
}

#[test]
fn no_request_is_longer_than_the_limit() {
    let rows = |bytes: usize| format!("v\nshort\n{}\n", "x".repeat(bytes));
    let check = |bytes: usize, fits: bool| {
        let data = Data::parse(&rows(bytes)).expect("rows");
        let spec = Spec { body: Some("{{data.v}}"), data: Some(&data), ..Spec::default() };
        let made = Requests::new(&spec);
        assert_eq!(made.is_ok(), fits, "{bytes}");
        if let Ok(requests) = made {
            let mut out = Vec::new();
            requests.write_http1(1, WALL_NS, true, &mut out);
            assert_eq!(out.len(), requests.bytes_max());
        }
    };
    let head = http1(&Spec { body: Some("{{seq}}"), ..Spec::default() }, 0, true).len() - 2;
    let most = REQUEST_BYTES_MAX - head - "1048576".len();
    check(most, true);
    check(most + 1, false);
    let spec = Spec { batch: 1 << 20, ..Spec::default() };
    assert_eq!(Requests::new(&spec).expect_err("too long")[0].part, Part::Batch);
    let spec = Spec { batch: u64::MAX, ..Spec::default() };
    assert_eq!(Requests::new(&spec).expect_err("too long")[0].part, Part::Batch);
}

#[test]
fn parts_are_the_same_request() {
    let headers = [header("X-Id", "{{seq}}")];
    let spec = Spec { path: "/u/{{patient}}?x=1", headers: &headers, ..Spec::default() };
    let requests = Requests::new(&spec).expect("in order");
    // What another request left behind goes.
    let mut parts = Parts {
        headers: vec![header("content-type", "x"); 9],
        body: b"before".to_vec(),
        ..Parts::default()
    };
    for number in [5, 6] {
        requests.fill_parts(number, WALL_NS, &mut parts);
        let request = http1(&spec, number, false);
        let (head, body) = split(&request);
        assert_eq!(head[0], format!("{} {} HTTP/1.1", parts.method, parts.path));
        let lines = head[1..].iter().filter(|line| !line.starts_with("Host: "));
        let expected: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").expect("a header"))
            .map(|(name, value)| header(&name.to_ascii_lowercase(), value))
            .collect();
        assert_eq!(parts.headers, expected);
        assert_eq!(parts.body, body.as_bytes());
    }
}

#[test]
fn a_body_that_is_not_json_is_noticed() {
    let text = [header("Content-Type", "text/plain")];
    let check = |body: &str, headers: &[(String, String)], expected: bool| {
        let spec = Spec { body: Some(body), headers, ..Spec::default() };
        let requests = Requests::new(&spec).expect("in order");
        assert_eq!(requests.body_is_what_it_says(), expected, "{body}");
    };
    check(USAGE_BODY, &[], true);
    check("{patientId:100}", &[], false);
    check("{\"a\":{{patient}},\"b\":{{pick \"x\" \"y\"}}}", &[], true);
    check("{patientId:100}", &text, true);
}

/// Text of plain characters and of every placeholder.
fn body() -> impl Strategy<Value = String> {
    let placeholder = prop::sample::select(vec![
        "{{patient}}",
        "{{seq}}",
        "{{uuid}}",
        "{{now}}",
        "{{now_js}}",
        "{{medication}}",
        "{{pick a bb ccc}}",
        "{{data.v}}",
    ]);
    let text = "[a-zé ]{0,6}";
    prop::collection::vec(prop_oneof![placeholder.prop_map(str::to_owned), text], 0..8)
        .prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn lengths_are_right_and_json_stays_json(
        body in body(),
        values in prop::collection::vec(any::<String>(), 1..4),
        number in any::<u64>(),
        patients in 1u64..2_000_000,
        batch in 1u64..4,
        seed in any::<u64>(),
    ) {
        let rows: Vec<String> =
            values.iter().map(|v| serde_json::json!({ "v": v }).to_string()).collect();
        let data = Data::parse(&rows.join("\n")).expect("rows");
        let json = format!("{{\"text\":\"{body}\"}}");
        let spec = Spec { body: Some(&json), data: Some(&data), patients, batch, seed, ..Spec::default() };
        let requests = Requests::new(&spec).expect("in order");
        let mut out = Vec::new();
        requests.write_http1(number, WALL_NS, false, &mut out);
        prop_assert!(out.len() <= requests.bytes_max());
        let text = String::from_utf8(out).expect("text");
        let (_, rendered) = split(&text);
        let mut items = 0;
        for line in rendered.lines() {
            let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
            prop_assert!(value["text"].is_string());
            items += 1;
        }
        prop_assert_eq!(items, batch);
        let mut parts = Parts::default();
        requests.fill_parts(number, WALL_NS, &mut parts);
        prop_assert_eq!(parts.body, rendered.as_bytes());
    }

    #[test]
    fn any_template_is_taken_or_refused(body in "[{}a-z. ]{0,40}", path in "/[{}a-z. ]{0,20}") {
        let spec = Spec { body: Some(&body), path: &path, ..Spec::default() };
        if let Ok(requests) = Requests::new(&spec) {
            let mut out = Vec::new();
            requests.write_http1(1, WALL_NS, false, &mut out);
            split(std::str::from_utf8(&out).expect("text"));
        }
    }
}
