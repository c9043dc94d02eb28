//! Inputs that were answered wrongly once, each by its own test.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use serde_json::json;

use crate::http::{Answer, BODY, call, get, post, text};
use crate::needs::until;
use crate::process::Folder;

/// The codes of a problem's errors, in their order.
fn codes(answer: &Answer) -> Vec<String> {
    let json = answer.json();
    json["errors"].as_array().into_iter().flatten().map(|error| text(&error["code"])).collect()
}

fn with_timestamp(timestamp: &str) -> String {
    format!(r#"{{"patientId":"100","timestamp":{timestamp},"medication":"Albuterol"}}"#)
}

#[test]
fn repro_a_timestamp_in_seconds() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let refused = post(server.address, &with_timestamp("1478009511"));
    let refused = refused.expect_problem(422, "invalid");
    assert_eq!(
        (refused.pointers(), codes(&refused)),
        (vec!["/timestamp".to_owned()], vec!["timestamp-seconds".to_owned()])
    );
    assert!(refused.body.contains("looks like seconds; send milliseconds"), "{refused:?}");
    let query = get(server.address, "/api/usages?patientId=100&from=1478009511");
    assert_eq!(codes(&query.expect_problem(422, "invalid")), ["timestamp-seconds"]);
    // What is kept of the distant past is flagged, and what is recent is not.
    let flags = |timestamp: &str| {
        let id = post(server.address, &with_timestamp(timestamp)).id();
        get(server.address, &format!("/api/usages/{id}")).expect(200).json()["flags"].clone()
    };
    assert_eq!(flags("1478009511000"), json!(["past"]));
    assert_eq!(flags("0"), json!(["past"]));
    assert_eq!(flags("\"1970-01-18T02:33:29.511Z\""), json!(["past"]));
    let id = post(server.address, BODY).id();
    let now = get(server.address, &format!("/api/usages/{id}")).json()["receivedAt"].to_string();
    assert_eq!(flags(&now), json!([]));
}

#[test]
fn repro_addresses_that_are_not_encoded_correctly() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    post(server.address, &BODY.replace("100", "x\u{fffd}")).expect(201);
    let check = |target: &str, pointer: &str| {
        let refused = get(server.address, target).expect_problem(400, "bad-encoding");
        assert_eq!(
            (refused.pointers(), codes(&refused)),
            (vec![pointer.to_owned()], vec!["encoding".to_owned()])
        );
    };
    for value in ["x%ff", "%zz", "1%", "%c3", "%C0%80", "%ed%a0%80"] {
        check(&format!("/api/usages?patientId={value}"), "/patientId");
        check(&format!("/api/usages?patientId=1&medication={value}"), "/medication");
        check(&format!("/api/usages/summary?by=day&tz={value}"), "/tz");
        check(&format!("/api/usages/{value}"), "/id");
        check(&format!("/problems/{value}"), "/slug");
    }
    // The controls: the patient that the garbled ones were taken for, and an id written another way.
    let found = get(server.address, "/api/usages?patientId=x%EF%BF%BD").expect(200).json();
    assert_eq!(found["usages"].as_array().map(Vec::len), Some(1));
    let id = text(&found["usages"][0]["id"]).replace('-', "%2d");
    get(server.address, &format!("/api/usages/{id}")).expect(200);
    // Bytes that are no text at all.
    let mut stream = TcpStream::connect(server.address).expect("it listens");
    let head =
        b"GET /api/usages?patientId=\xff HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(head).expect("it reads");
    let answer = crate::http::read_answer(&mut stream, "GET").expect("it is answered");
    assert_eq!(answer.status, 400, "{answer:?}");
}

#[test]
fn repro_a_day_of_one_digit_as_espruino_prints_it() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let sent = "Tue Nov 1 2016 09:11:51 GMT-0500 (CDT)";
    let id = post(server.address, &with_timestamp(&format!("{sent:?}"))).id();
    let kept = get(server.address, &format!("/api/usages/{id}")).expect(200).json();
    assert_eq!(
        (&kept["timestamp"], &kept["instant"]),
        (&json!(sent), &json!("2016-11-01T14:11:51Z"))
    );
    until("the index has it", || {
        get(server.address, "/api/usages?patientId=100").json()["usages"][0] == kept
    });
}

#[test]
fn repro_a_byte_order_mark_before_a_body() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let send = |target: &str, media: &str, body: &str| {
        let headers = format!("Content-Type: {media}\r\n");
        call(server.address, "POST", target, &headers, &format!("\u{feff}{body}"))
    };
    send("/api/usages", "application/json", BODY).expect(201);
    send("/api/usages", "application/json", &format!("[{BODY},{BODY}]")).expect(201);
    send("/api/usages", "application/x-ndjson", &format!("{BODY}\n{BODY}\n")).expect(201);
    send("/api/usages/search", "application/json", r#"{"patientId":"100"}"#).expect(200);
    send("/api/usages", "application/json", &format!("\u{feff}{BODY}"))
        .expect_problem(400, "not-json");
}

#[test]
fn repro_lines_sent_as_json_learn_their_media_type() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let refused = post(server.address, &format!("{BODY}\n{BODY}\n"));
    let refused = refused.expect_problem(400, "not-json");
    assert!(refused.body.contains("application/x-ndjson"), "{refused:?}");
    // The control: other faults are described as before.
    let refused = post(server.address, "{nonsense\n").expect_problem(400, "not-json");
    assert!(!refused.body.contains("application/x-ndjson"), "{refused:?}");
}

/// As every `PostAsJsonAsync` of .NET sends it.
#[test]
fn repro_a_chunked_post_keeps_its_connection() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let stream = TcpStream::connect(server.address).expect("it listens");
    let mut answers = BufReader::new(stream.try_clone().expect("a descriptor"));
    let mut stream = stream;
    for _ in 0..3 {
        let half = BODY.len() / 2;
        let (first, second) = BODY.split_at(half);
        let request = format!(
            "POST /api/usages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
            first.len(),
            second.len()
        );
        stream.write_all(request.as_bytes()).expect("the connection is there");
        let mut line = String::new();
        answers.read_line(&mut line).expect("it is answered");
        assert!(line.contains(" 201 "), "{line}");
        let mut length = 0;
        while line.trim() != "" {
            line.clear();
            answers.read_line(&mut line).expect("a head has an end");
            let line = line.to_ascii_lowercase();
            assert!(!line.starts_with("connection: close"), "{line}");
            if let Some(text) = line.strip_prefix("content-length: ") {
                length = text.trim().parse().expect("a number");
            }
        }
        answers.read_exact(&mut vec![0; length]).expect("a body");
    }
    assert_eq!(server.figure("inhale_usages_accepted_total"), 3);
}

#[test]
fn repro_head_is_get_without_a_body_and_the_root_leads_to_the_pages() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let id = post(server.address, BODY).id();
    let check = |address: SocketAddr, target: &str, status: u16| {
        let full = call(address, "GET", target, "", "").expect(status);
        let head = call(address, "HEAD", target, "", "").expect(status);
        assert_eq!(head.body, "", "{target}");
        for name in ["content-type", "cache-control", "link", "location", "allow"] {
            assert_eq!(head.header(name), full.header(name), "{target}: {name}");
        }
        // That of an empty body may be left out (RFC 9110, section 8.6).
        let length = full.header("content-length").filter(|length| *length != "0");
        assert_eq!(head.header("content-length"), length, "{target}");
        assert_eq!(head.header("connection"), Some("close"), "as asked");
        full
    };
    for target in ["/docs", "/openapi.json", "/problems/invalid"] {
        check(server.address, target, 200);
    }
    until("the index has it", || get(server.address, "/api/usages?patientId=100").status == 200);
    check(server.address, "/api/usages?patientId=100&limit=1", 200);
    check(server.address, "/api/usages/summary?by=day", 200);
    check(server.address, &format!("/api/usages/{id}"), 200);
    check(server.address, "/api/usages", 422);
    check(server.address, "/api/usages/nothing", 404);
    check(server.address, "/api/usages/search", 405);
    let root = check(server.address, "/", 302);
    assert_eq!(root.header("location"), Some("/docs"));
    for target in ["/healthz", "/readyz"] {
        check(server.admin, target, 200);
    }
}

#[test]
fn repro_a_search_says_its_own_limit_and_errors_have_one_format() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let headers = "Content-Type: application/json\r\n";
    let search = |body: &str| call(server.address, "POST", "/api/usages/search", headers, body);
    let large = format!(r#"{{"patientId":"1","cursor":"{}"}}"#, "x".repeat(16 << 10));
    let large = search(&large).expect_problem(413, "too-large");
    assert!(large.body.contains("at most 16384 bytes"), "{large:?}");
    let large = post(server.address, &" ".repeat((1 << 20) + 1)).expect_problem(413, "too-large");
    assert!(large.body.contains("at most 1048576 bytes"), "{large:?}");
    // The same mistakes in a query and in a body.
    let long = "x".repeat(129);
    for (query, body) in [
        (String::new(), "{}".to_owned()),
        ("patientId=".to_owned(), r#"{"patientId":""}"#.to_owned()),
        (format!("patientId={long}"), format!(r#"{{"patientId":"{long}"}}"#)),
        ("patientId=1&x=1".to_owned(), r#"{"patientId":"1","x":1}"#.to_owned()),
        (
            "patientId=1&limit=0&from=x".to_owned(),
            r#"{"patientId":"1","limit":0,"from":"x"}"#.to_owned(),
        ),
        ("patientId=1&patientId=1".to_owned(), r#"{"patientId":"1","patientId":"1"}"#.to_owned()),
        ("patientId=1&cursor=x".to_owned(), r#"{"patientId":"1","cursor":"x"}"#.to_owned()),
    ] {
        let asked = get(server.address, &format!("/api/usages?{query}"));
        let asked = asked.expect_problem(422, "invalid").json();
        let searched = search(&body).expect_problem(422, "invalid").json();
        assert_eq!(asked["errors"], searched["errors"], "{query}");
        assert!(text(&asked["errors"][0]["pointer"]).starts_with('/'), "{asked}");
    }
    let no_object = search("[]").expect_problem(422, "invalid");
    assert_eq!(
        (no_object.pointers(), codes(&no_object)),
        (vec![String::new()], vec!["wrong-type".to_owned()])
    );
    search("{").expect_problem(400, "not-json");
}

#[test]
fn repro_a_compressed_body_learns_that_compression_comes_later() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    for coding in ["gzip", "deflate", "br", "zstd", "identity, gzip"] {
        let headers = format!("Content-Type: application/json\r\nContent-Encoding: {coding}\r\n");
        let refused = call(server.address, "POST", "/api/usages", &headers, BODY);
        let refused = refused.expect_problem(415, "unsupported-media-type");
        assert!(
            refused.body.contains("compression is not supported yet; send the body uncompressed")
        );
        assert_eq!(refused.header("accept-encoding"), Some("identity"));
    }
}

#[test]
fn repro_only_a_plausible_request_id_is_used() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let id_for = |sent: &str| {
        let answer = call(server.address, "GET", "/docs", &format!("X-Request-Id: {sent}\r\n"), "");
        answer.expect(200).header("x-request-id").expect("it has one").to_owned()
    };
    for id in ["f47ac10b-58cc-4372-a567-0e02b2c3d479", "1.2_3-a", &"a".repeat(64)] {
        assert_eq!(id_for(id), id);
    }
    for not_id in ["me@example.com", "a b", "<b>", "patient=100", &"a".repeat(65), "\"a\""] {
        let made = id_for(not_id);
        assert!(made.len() == 16 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{made}");
    }
    server.stop();
    let log = std::fs::read_to_string(folder.log()).expect("there is a log");
    assert!(!log.contains("example.com") && !log.contains("patient=100"), "{log}");
}

#[test]
fn repro_a_summary_of_fifty_thousand_medications_and_more() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let headers = "Content-Type: application/x-ndjson\r\n";
    for batch in 0..51 {
        let lines: Vec<_> = (0..1000)
            .map(|number| BODY.replace("Albuterol", &format!("m{batch:02}-{number:03}")))
            .collect();
        call(server.address, "POST", "/api/usages", headers, &lines.join("\n")).expect(201);
    }
    post(server.address, &BODY.replace("Albuterol", "m50-999")).expect(201);
    let summary = get(server.address, "/api/usages/summary?by=medication").expect(200).json();
    let rows = summary["rows"].as_array().expect("a list");
    assert_eq!(rows.len(), 50_000);
    assert_eq!(rows[49_999], json!({ "medication": "m50-999", "count": 2 }));
    assert_eq!(summary["other"], json!({ "medications": 1000, "usages": 1000 }));
    let few = get(server.address, "/api/usages/summary?by=day").expect(200).json();
    assert_eq!(few.get("other"), None);
}
