//! What was sent in is in no log, no figure and nothing else that the program says: marks are put into
//! every part of a request, and then looked for.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::unix::fs::PermissionsExt as _;

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::http::{get, read_answer};
use crate::needs::until;
use crate::process::Folder;
use crate::program::{Started, run};

/// In whatever a sender can fill.
const MARK: &str = "canary-7f3a91d8";

/// Where the sender is; nobody else has this address.
const SENDER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 77);

/// Lines of `said` that hold something of a sender.
fn leaks(said: &str) -> Vec<&str> {
    let sender = SENDER.to_string();
    // Also what is left of a mark when its case or its end is changed.
    let held = |line: &&str| line.to_lowercase().contains(&MARK[..12]) || line.contains(&sender);
    said.lines().filter(held).collect()
}

/// A connection from the sender's address.
fn connect_as_sender(address: SocketAddr) -> TcpStream {
    let stream = socket(AddressFamily::INET, SocketType::STREAM, None).expect("there are sockets");
    bind(&stream, &SocketAddrV4::new(SENDER, 0)).expect("all of 127/8 is ours");
    connect(&stream, &address).expect("it listens");
    TcpStream::from(stream)
}

/// Sends one request and waits for whatever comes back. `lines` are whole header lines.
fn send(address: SocketAddr, request: &str, lines: &str, body: &str) -> u16 {
    let mut stream = connect_as_sender(address);
    let head = format!(
        "{request} HTTP/1.1\r\nHost: {MARK}\r\nConnection: close\r\nUser-Agent: {MARK}\r\n\
         X-Forwarded-For: {MARK}\r\nForwarded: for={MARK}\r\nReferer: http://{MARK}/\r\n\
         Cookie: id={MARK}\r\nAuthorization: Bearer {MARK}\r\nX-{MARK}: 1\r\n{lines}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("it reads");
    read_answer(&mut stream, "GET").expect("it answers").status
}

/// Sends the mark in everything, and gives back the request ids, which are no secret. Each answer
/// must be the one that is named here, so that the mark went where it was meant to go.
fn send_marks(address: SocketAddr, round: &str) -> Vec<String> {
    let good = format!(
        r#"{{"patientId":"{MARK}","timestamp":"2016-11-01T09:11:51-05:00","medication":"{MARK}","attributes":{{"{MARK}":"{MARK}"}}}}"#
    );
    let event = good.replace(r#"{"patientId""#, &format!(r#"{{"eventId":"{MARK}","patientId""#));
    let json = "Content-Type: application/json\r\n";
    let lines = "Content-Type: application/x-ndjson\r\n";
    let keyed = format!("{json}Idempotency-Key: \"{MARK}-key\"\r\n");
    let post = "POST /api/usages";
    let search = "POST /api/usages/search";
    let marked_query = format!("POST /api/usages?{MARK}={MARK}");
    let filter = format!(r#"{{"patientId":"{MARK}","medication":"{MARK}"}}"#);
    let requests: Vec<(&str, &str, String, u16)> = vec![
        (post, json, good.clone(), 201),
        (&marked_query, json, good.clone(), 201),
        (post, json, event.clone(), 201),
        (post, &keyed, good.clone(), 201),
        (post, &keyed, good.replace("2016-11-01", "2016-11-02"), 422),
        (post, &keyed, event.clone(), 422),
        (post, json, format!("[{good},{good}]"), 201),
        (post, json, format!(r#"[{good},{{"{MARK}":1}}]"#), 207),
        (post, lines, format!("{good}\n{good}"), 201),
        (post, lines, format!("{good}\n{MARK}\n{{\"{MARK}\":"), 207),
        (post, json, MARK.to_owned(), 400),
        (post, json, format!(r#"{{"patientId":"{MARK}","#), 400),
        (post, json, format!(r#"{{"{MARK}":"{MARK}"}}"#), 422),
        (post, json, good.replace(r#"{"patientId""#, &format!(r#"{{"{MARK}":1,"patientId""#)), 422),
        (post, json, good.replace("2016-11-01T09:11:51-05:00", MARK), 422),
        (
            post,
            json,
            format!(r#"{{"patientId":["{MARK}"],"timestamp":{{"{MARK}":0}},"medication":null}}"#),
            422,
        ),
        (post, json, good.replace(MARK, &MARK.repeat(50)), 422),
        (post, json, format!("{}{good}", " ".repeat(1 << 20)), 413),
        (post, "Content-Type: text/canary-7f3a91d8\r\n", good.clone(), 415),
        (post, "Content-Encoding: canary-7f3a91d8\r\n", good.clone(), 415),
        (search, json, filter.clone(), 200),
        (search, json, filter.replace("medication", MARK), 422),
        (search, json, filter.replace('}', r#","cursor":"canary-7f3a91d8"}"#), 422),
        ("GET /api/usages?patientId=canary-7f3a91d8", "", String::new(), 200),
        (
            "GET /api/usages?patientId=canary-7f3a91d8&medication=canary-7f3a91d8&limit=1",
            "",
            String::new(),
            200,
        ),
        ("GET /api/usages?patientId=canary-7f3a91d8&from=canary-7f3a91d8", "", String::new(), 422),
        ("GET /api/usages?canary-7f3a91d8", "", String::new(), 422),
        ("GET /api/usages/summary?by=day&tz=canary-7f3a91d8", "", String::new(), 422),
        ("GET /api/usages/canary-7f3a91d8", "", String::new(), 404),
        ("GET /canary-7f3a91d8", "", String::new(), 404),
        ("GET /problems/canary-7f3a91d8", "", String::new(), 404),
        ("GET /api/usages?patientId=canary-7f3a91d8%ff", "", String::new(), 400),
        ("GET /api/usages/canary-7f3a91d8%", "", String::new(), 400),
        ("GET http://not-canary-7f3a91d8/docs", "", String::new(), 421),
        ("GET /docs", "Host: canary-7f3a91d8\r\n", String::new(), 400),
        (post, "Origin: http://not-canary-7f3a91d8\r\n", good.clone(), 403),
        ("CANARY-7F3A91D8 /api/usages", "", String::new(), 405),
        ("DELETE /api/usages?canary-7f3a91d8", "", String::new(), 405),
    ];
    let mut ids = Vec::new();
    for (number, (request, headers, body, status)) in requests.into_iter().enumerate() {
        let id = format!("asked-{round}-{number}.");
        let headers = format!("{headers}X-Request-Id: {id}\r\n");
        assert_eq!(
            send(address, request, &headers, &body),
            status,
            "{request} {headers}{body:.200}"
        );
        ids.push(id);
    }
    send_what_is_no_request(address);
    ids
}

/// What is cut off or broken before it is a request.
fn send_what_is_no_request(address: SocketAddr) {
    for broken in [
        "G@T /",
        "GET / HTTP/1.1\r\nHost ",
        "POST /api/usages HTTP/1.1\r\nHost: localhost\r\nContent-Length: ",
    ] {
        let mut stream = connect_as_sender(address);
        stream.write_all(format!("{broken}{MARK}\r\n\r\n").as_bytes()).expect("it reads");
        // Refused or closed; whatever it says goes back to its sender.
        let _ = read_answer(&mut stream, "GET");
    }
    let mut gone = connect_as_sender(address);
    let head = "POST /api/usages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n";
    gone.write_all(format!("{head}{{\"patientId\":\"{MARK}\"").as_bytes()).expect("it reads");
}

/// A store whose servers say as much as they ever do.
struct Place(TempDir);

impl Place {
    fn start(&self, name: &str, more: &[&str]) -> Started {
        let data = self.0.path().join("data");
        let data = data.to_str().expect("it is text");
        let words = [
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
            "--data",
            data,
            "--log-level",
            "debug",
            "--log-sample",
            "1",
            "--log-slow",
            "0s",
            "--host",
            MARK,
        ];
        Started::start(self.0.path(), name, &[&words, more].concat())
    }
}

#[test]
fn nothing_that_was_sent_is_said() {
    let place = Place(tempfile::tempdir().expect("a folder can be made"));
    let mut said = String::new();
    let figures = |server: &Started| {
        ["/metrics", "/status", "/readyz", "/healthz"]
            .map(|target| get(server.admin, target).body)
            .concat()
    };

    let first = place.start("first", &[]);
    let mut ids = send_marks(first.address, "first");
    said += &figures(&first);
    // The old server ends while a request is in flight.
    let second = place.start("second", &["--takeover"]);
    let (status, text) = first.wait();
    assert!(status.success(), "{text}");
    said += &text;
    until("the index is open", || get(second.admin, "/readyz").status == 200);
    ids.extend(send_marks(second.address, "second"));
    said += &figures(&second);
    // A crash, and what recovery says of it.
    second.signal(Signal::KILL);
    said += &second.wait().1;
    let third = place.start("third", &["--unknown-fields", "keep"]);
    until("the index has caught up", || get(third.admin, "/readyz").status == 200);
    assert_eq!(send(third.address, &format!("GET /api/usages?patientId={MARK}"), "", ""), 200);
    said += &figures(&third);
    third.signal(Signal::TERM);
    let (status, text) = third.wait();
    assert!(status.success(), "{text}");
    said += &text;

    let data = place.0.path().join("data");
    let data = data.to_str().expect("it is text");
    for words in [&["journal", "check", "--data", data][..], &["config", "--data", data]] {
        let output = run(words, &[]);
        assert!(output.status.success(), "{output:?}");
        said += &String::from_utf8_lossy(&[output.stdout, output.stderr].concat());
    }
    assert_eq!(leaks(&said), Vec::<&str>::new());
    // The control: the lines of those very requests are among what was looked through. The killed
    // server may not have written its last ones.
    for id in ids.iter().filter(|id| id.contains("first")) {
        assert!(said.contains(&format!("\"{id}\"")), "no line of {id}");
    }
    assert!(said.contains("asked-second-0."), "nothing of the second server");
    assert!(said.contains("inhale_usages_accepted_total"), "no figures");
}

/// The control: a mark that is logged is found, in the same stream.
#[test]
fn a_mark_that_is_said_is_found() {
    let place = Place(tempfile::tempdir().expect("a folder can be made"));
    let server = place.start("only", &[]);
    send(server.address, "GET /docs", &format!("X-Request-Id: {MARK}\r\n"), "");
    send(server.address, "GET /docs", &format!("X-Request-Id: from-{SENDER}\r\n"), "");
    server.signal(Signal::TERM);
    let (_, said) = server.wait();
    assert_eq!(leaks(&said).len(), 2, "{said}");
}

#[test]
fn repro_other_users_may_not_look_into_the_store() {
    let folder = Folder::new();
    folder.serve(&[]).stop();
    for made in [folder.data(), folder.data().join("journal"), folder.data().join("index")] {
        let mode = std::fs::metadata(&made).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", made.display());
    }
}
