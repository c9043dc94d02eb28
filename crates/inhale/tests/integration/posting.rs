//! What comes of posting: the contract of `POST /api/usages`, answer by answer.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};

use serde_json::json;

use crate::http::{BODY, call, get, post, read_answer, text, try_call};
use crate::process::Folder;

#[test]
fn a_usage_posted_is_a_usage_given_back() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let answer = post(server.address, BODY).expect(201);
    assert_eq!(answer.header("durability"), Some("fsync"));
    let id = text(&answer.json()["id"]);
    let place = format!("/api/usages/{id}");
    assert_eq!(answer.header("location"), Some(place.as_str()));

    let receipt = get(server.address, &place).expect(200);
    assert_eq!(receipt.header("cache-control"), Some("no-store"));
    let mut said = receipt.json();
    assert!(text(&said["receivedAt"]).ends_with('Z'));
    said.as_object_mut().expect("an object").remove("receivedAt");
    let expected = json!({
        "id": id, "patientId": "100", "timestamp": "Tue Nov 01 2016 09:11:51 GMT-0500 (CDT)",
        "instant": "2016-11-01T14:11:51Z", "offset": "-05:00", "medication": "Albuterol", "flags": ["past"],
    });
    assert_eq!(said, expected);
    let head = call(server.address, "HEAD", &place, "", "").expect(200);
    assert_eq!(head.body, "");

    // A number is given back as a number, attributes as they were sent, the future is flagged.
    let body = r#"{"patientId":"100","timestamp":4102444800123,"medication":"Albuterol","attributes":{"b": 1.50,"a":[]}}"#;
    let id = post(server.address, body).id();
    let receipt = get(server.address, &format!("/api/usages/{id}")).expect(200);
    let said = receipt.json();
    assert_eq!(said["timestamp"], json!(4_102_444_800_123_u64));
    assert_eq!(said["instant"], "2100-01-01T00:00:00.123Z");
    assert_eq!(said["flags"], json!(["future"]));
    assert!(receipt.body.contains(r#""attributes":{"b": 1.50,"a":[]}"#), "{}", receipt.body);
}

#[test]
fn an_id_that_was_never_given_is_not_found() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let id = post(server.address, BODY).id();
    get(server.address, &format!("/api/usages/{id}")).expect(200);
    // The last 18 bits are a check that only the store can make.
    for bit in 0..18 {
        let mut number = u128::from_str_radix(&id.replace('-', ""), 16).expect("an id is a UUID");
        number ^= 1 << bit;
        let digits = format!("{number:032x}");
        let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
        get(server.address, &format!("/api/usages/{}", parts.join("-")))
            .expect_problem(404, "not-found");
    }
    for wrong in ["none", "00000000-0000-4000-8000-000000000000", "%00"] {
        get(server.address, &format!("/api/usages/{wrong}")).expect_problem(404, "not-found");
    }
}

#[test]
fn wrong_bodies_are_refused_and_every_field_is_named() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let address = server.address;
    for broken in ["", "{", "nonsense", "{\"patientId\":", "[", "[{}", "\u{0}"] {
        post(address, broken).expect_problem(400, "not-json");
    }
    let all = r#"{"patientId":"","timestamp":"yesterday","medication":5,"eventId":true,"attributes":[],"dose":1}"#;
    let pointers = post(address, all).expect_problem(422, "invalid").pointers();
    assert_eq!(
        pointers,
        ["/patientId", "/timestamp", "/medication", "/eventId", "/attributes", "/dose"]
    );
    assert_eq!(
        post(address, "{}").expect_problem(422, "invalid").pointers(),
        ["/patientId", "/timestamp", "/medication"]
    );
    let json = |headers: &str, body: &str| call(address, "POST", "/api/usages", headers, body);
    json("Content-Type: text/plain\r\n", BODY).expect_problem(415, "unsupported-media-type");
    let encoded = json("Content-Type: application/json\r\nContent-Encoding: gzip\r\n", BODY)
        .expect_problem(415, "unsupported-media-type");
    assert_eq!(encoded.header("accept-encoding"), Some("identity"));
    assert_eq!(get(address, "/api/usages?patientId=100").expect(200).json()["usages"], json!([]));
}

#[test]
fn unknown_fields_are_kept_when_asked_to() {
    let body = r#"{"patientId":"1","timestamp":0,"medication":"m","dose":2,"attributes":{"a":1}}"#;
    let folder = Folder::new();
    let server = folder.serve(&[]);
    assert_eq!(post(server.address, body).expect_problem(422, "invalid").pointers(), ["/dose"]);
    server.stop();
    let server = folder.serve(&["--unknown-fields", "keep"]);
    let id = post(server.address, body).id();
    let said = get(server.address, &format!("/api/usages/{id}")).expect(200).json();
    assert_eq!(said["attributes"], json!({ "a": 1, "dose": 2 }));
}

#[test]
fn paths_and_methods_that_are_not_there() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let check = |method: &str, target: &str, allowed: &str| {
        let answer = call(server.address, method, target, "", "");
        let answer = answer.expect_problem(405, "method-not-allowed");
        assert_eq!(answer.header("allow"), Some(allowed), "{method} {target}");
    };
    check("PUT", "/api/usages", "GET, HEAD, POST");
    check("GET", "/api/usages/search", "POST");
    check("DELETE", "/api/usages/summary", "GET, HEAD");
    check("PATCH", "/api/usages/01a20b1d-d330-7000-8000-0000000674b9", "GET, HEAD");
    check("POST", "/docs", "GET, HEAD");
    for target in ["//", "/api", "/api/usages/", "/metrics2", "/healthz2"] {
        get(server.address, target).expect_problem(404, "not-found");
    }
}

#[test]
fn too_much_and_too_slow() {
    let folder = Folder::new();
    let server = folder.serve(&["--body-timeout", "200ms"]);
    // The sender of ten megabytes reads the answer, and no reset.
    let large = vec![b' '; 10_000_000];
    let headers = "Content-Type: application/json\r\n";
    try_call(server.address, "POST", "/api/usages", headers, &large)
        .expect("the answer is read")
        .expect_problem(413, "too-large");
    let giant = format!("X-Giant: {}\r\n", "x".repeat(20_000));
    let answer = call(server.address, "GET", "/api/usages?patientId=1", &giant, "");
    answer.expect(431);
    let mut stream = TcpStream::connect(server.address).expect("it listens");
    let head = "POST /api/usages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{";
    stream.write_all(head.as_bytes()).expect("it reads");
    let answer = read_answer(&mut stream, "POST").expect("it is answered");
    answer.expect_problem(408, "body-timeout");
    post(server.address, BODY).expect(201);
}

fn ndjson(address: SocketAddr, body: &str) -> crate::http::Answer {
    call(address, "POST", "/api/usages", "Content-Type: application/x-ndjson\r\n", body)
}

#[test]
fn repro_the_answer_to_a_small_batch_is_no_large_one() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let wrong: Vec<_> = (b'a'..b'q').map(|name| format!(r#""{}":0"#, char::from(name))).collect();
    let item = format!("{{{}}}", wrong.join(","));
    let check = |items: usize, listed: bool| {
        let body = format!("[{}]", vec![item.as_str(); items].join(","));
        let answer = post(server.address, &body).expect_problem(422, "invalid");
        let results = answer.json()["results"].as_array().cloned().expect("a list");
        assert_eq!(results.len(), items);
        let errors = |result: &serde_json::Value| {
            let errors = result["error"]["errors"].as_array();
            errors.map_or(0, Vec::len)
        };
        assert_eq!(errors(&results[0]), 17);
        let last = &results[items - 1];
        assert_eq!(errors(last), if listed { 17 } else { 0 }, "{last}");
        let why = last["error"]["detail"].as_str();
        assert_eq!(why.is_some_and(|why| why.contains("not listed")), !listed, "{last}");
        answer.body.len()
    };
    assert!(check(1000, false) < 384 << 10);
    // The control: what has room is listed whole.
    check(20, true);
}

#[test]
fn each_item_of_a_batch_has_its_own_result() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let address = server.address;
    let all = post(address, &format!("[{BODY},{BODY}]")).expect(201);
    assert_eq!(all.header("durability"), Some("fsync"));
    let results = all.json()["results"].as_array().cloned().expect("a list");
    assert_eq!(results.len(), 2);
    for (index, result) in results.iter().enumerate() {
        assert_eq!((&result["index"], &result["status"]), (&json!(index), &json!(201)));
        get(address, &format!("/api/usages/{}", text(&result["id"]))).expect(200);
    }
    let mixed = ndjson(address, &format!("{BODY}\nnonsense\r\n\n{{}}\n{BODY}")).expect(207).json();
    assert_eq!((&mixed["accepted"], &mixed["refused"]), (&json!(2), &json!(2)));
    let statuses: Vec<_> = mixed["results"].as_array().into_iter().flatten().collect();
    let statuses: Vec<_> = statuses.iter().map(|result| result["status"].as_u64()).collect();
    assert_eq!(statuses, [Some(201), Some(400), Some(422), Some(201)]);
    assert_eq!(mixed["results"][1]["retry"], json!(false));
    let none = ndjson(address, "nonsense\n{}").expect_problem(422, "invalid").json();
    assert_eq!((&none["accepted"], &none["refused"]), (&json!(0), &json!(2)));
    assert_eq!(none["results"][0]["error"]["type"], "/problems/not-json");
    post(address, "[]").expect_problem(422, "invalid");
    let many = vec![BODY; 1001].join(",");
    post(address, &format!("[{many}]")).expect_problem(422, "invalid");
    let most = vec![BODY; 1000].join("\n");
    assert_eq!(ndjson(address, &most).expect(201).json()["accepted"], json!(1000));
    let counted = get(address, "/api/usages/summary?by=medication").expect(200).json();
    assert_eq!(counted["rows"], json!([{ "medication": "Albuterol", "count": 1004 }]));
}

/// The header of a batch covers the items that have no key of their own.
#[test]
fn an_item_of_a_keyed_batch_may_name_its_event() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let with_event = r#"{"patientId":"1","timestamp":0,"medication":"m","eventId":"e"}"#;
    let headers = "Content-Type: application/json\r\nIdempotency-Key: \"k\"\r\n";
    let send = |body: &str| call(server.address, "POST", "/api/usages", headers, body);
    let first = send(&format!("[{BODY},{with_event}]")).expect(201).json();
    let again = send(&format!("[{BODY},{with_event}]")).expect(201).json();
    for index in 0..2 {
        assert_eq!(again["results"][index]["id"], first["results"][index]["id"]);
        assert_eq!(again["results"][index]["replayed"], json!(true));
    }
    assert_eq!(json!(post(server.address, with_event).id()), first["results"][1]["id"]);
    send(with_event).expect_problem(422, "invalid");
}

#[test]
fn a_search_is_as_strict_as_a_post() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let check = |headers: &str, body: &str, status: u16| {
        call(server.address, "POST", "/api/usages/search", headers, body).expect(status);
    };
    let body = r#"{"patientId":"1"}"#;
    check("Content-Type: application/json; charset=utf-8\r\n", body, 200);
    check("Content-Type: application/jsonx\r\n", body, 415);
    check("Content-Type: application/x-ndjson\r\n", body, 415);
    check("Content-Type: application/json\r\nContent-Encoding: gzip\r\n", body, 415);
    check("Content-Type: application/json\r\n", r#"{"patientId":"1","patientId":"2"}"#, 422);
    get(server.address, "/api/usages/summary?by=").expect_problem(422, "invalid");
}

#[test]
fn the_contract_and_its_pages() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let contract = get(server.address, "/openapi.json").expect(200).json();
    assert_eq!(contract["openapi"], "3.1.0");
    let docs = get(server.address, "/docs").expect(200);
    assert!(!docs.body.contains("src=\"http"), "nothing comes from elsewhere");
    let policy = docs.header("content-security-policy").expect("it has a policy");
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    for target in ["/healthz", "/readyz", "/metrics", "/status"] {
        get(server.admin, target).expect(200);
        get(server.address, target).expect(404);
    }
}
