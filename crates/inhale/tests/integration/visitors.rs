//! Whom the server answers: requests for its own hosts, from devices and its own pages. What a page
//! of another site makes a browser send is refused, on both listeners. `scripts/browser` shows the
//! same in Chromium.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream, UdpSocket};

use crate::http::{Answer, BODY, read_answer, status_is_listed};
use crate::process::{Folder, Server};
use crate::program::Started;

/// Sends a request whose Host is among the header `lines`, and holds the answer against the contract.
fn send(address: SocketAddr, request: &str, lines: &[&str], body: &str) -> Answer {
    let (start, version) = match request.strip_suffix(" HTTP/1.0") {
        Some(start) => (start, "HTTP/1.0"),
        None => (request, "HTTP/1.1"),
    };
    let mut head = format!("{start} {version}\r\nConnection: close\r\n");
    lines.iter().for_each(|line| head += &format!("{line}\r\n"));
    if !body.is_empty() {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).expect("it reads");
    let (method, target) = start.split_once(' ').expect("a method and a target");
    let answer = read_answer(&mut stream, method).expect("it answers");
    let path = target.split('?').next().unwrap_or_default();
    if path.starts_with("/api") && method != "OPTIONS" {
        assert_eq!(status_is_listed(method, path, answer.status), None);
    }
    answer
}

/// Sends a usage with these lines beside its own.
fn post(address: SocketAddr, lines: &[&str]) -> Answer {
    send(address, "POST /api/usages", &[&["Content-Type: application/json"], lines].concat(), BODY)
}

fn stored(server: &Server) -> u64 {
    server.figure("inhale_usages_accepted_total")
}

#[test]
fn repro_a_request_for_a_foreign_host_reads_and_writes_nothing() {
    let folder = Folder::new();
    let server = folder.serve(&["--host", "inhale.example", "--host", "10.9.8.7"]);
    let (api, admin) = (server.address, server.admin);
    let history = "GET /api/usages?patientId=100";
    post(api, &["Host: localhost"]).expect(201);
    for host in
        ["Host: evil.example", "Host: evil.example:3000", "Host: 8.8.8.8", "Host: a.localhost"]
    {
        post(api, &[host]).expect_problem(421, "misdirected-request");
        send(api, history, &[host], "").expect_problem(421, "misdirected-request");
        let refused = send(admin, "GET /metrics", &[host], "");
        let refused = refused.expect_problem(421, "misdirected-request");
        assert!(refused.body.contains("--host"), "{refused:?}");
        assert!(!refused.body.contains("evil"), "nothing is echoed: {refused:?}");
        send(admin, "GET /status", &[host], "").expect_problem(421, "misdirected-request");
        send(admin, "GET /healthz", &[host], "").expect(200);
        send(admin, "GET /readyz", &[host], "").expect(200);
    }
    assert_eq!(stored(&server), 1);
    // The controls.
    for host in ["127.0.0.1", "LocalHost:1", "[::1]", "INHALE.example.", "10.9.8.7:3000"] {
        let host = format!("Host: {host}");
        post(api, &[&host]).expect(201);
        send(api, history, &[&host], "").expect(200);
        send(admin, "GET /metrics", &[&host], "").expect(200);
    }
    send(api, history, &["Host: evil.example"], "").expect(421);
}

#[test]
fn repro_no_host_two_hosts_and_malformed_ones_are_refused() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let json = "Content-Type: application/json";
    for lines in [
        &[][..],
        &["Host:"],
        &["Host: localhost", "Host: localhost"],
        &["Host: localhost", "Host: evil.example"],
        &["Host: local host"],
        &["Host: me@localhost"],
        &["Host: localhost:port"],
        &["Host: http://localhost"],
        &["Host: localhost, localhost"],
    ] {
        post(server.address, lines).expect_problem(400, "malformed");
        send(server.admin, "GET /healthz", lines, "").expect_problem(400, "malformed");
    }
    let old = |lines: &[&str]| send(server.address, "POST /api/usages HTTP/1.0", lines, BODY);
    old(&[json, "Host: evil.example"]).expect_problem(421, "misdirected-request");
    old(&[json, "Host: localhost", "Host: localhost"]).expect_problem(400, "malformed");
    assert_eq!(stored(&server), 0);
    // The controls: load balancers and probes speak HTTP/1.0, and proxies name the whole URL.
    old(&[json]).expect(201);
    send(server.admin, "GET /healthz HTTP/1.0", &[], "").expect(200);
    let proxied = |target: &str, host: &str| {
        send(server.address, &format!("GET http://{target}/docs"), &[host], "").status
    };
    assert_eq!(proxied("localhost:3000", "Host: localhost:3000"), 200);
    assert_eq!(proxied("localhost:3000", "Host: evil.example"), 200, "the target counts");
    assert_eq!(proxied("evil.example", "Host: localhost:3000"), 421);
}

/// What a page may send without the browser asking first: `fetch` with `no-cors` and `sendBeacon`
/// send bytes without a Content-Type, forms send theirs.
#[test]
fn repro_a_page_of_another_origin_writes_nothing() {
    let folder = Folder::new();
    let server = folder.serve(&["--allow-origin", "https://app.example"]);
    let (host, evil) = ("Host: localhost:3000", "Origin: https://evil.example");
    let cross = "Sec-Fetch-Site: cross-site";
    let json = "Content-Type: application/json";
    let check = |request: &str, lines: &[&str], body: &str, status: u16| {
        let answer = send(server.address, request, &[&[host], lines].concat(), body);
        assert_eq!(answer.status, status, "{request} {lines:?} {answer:?}");
    };
    let post = "POST /api/usages";
    check(post, &[evil, cross], BODY, 403);
    check(post, &[evil], BODY, 403);
    check(post, &[cross], BODY, 403);
    check(post, &[evil, json], BODY, 403);
    check(post, &["Origin: null", "Content-Type: text/plain"], BODY, 403);
    check(post, &["Origin: http://localhost:3001", json], BODY, 403);
    check(post, &["Origin: http://localhost", json], BODY, 403);
    check("POST /api/usages/search", &[evil, json], r#"{"patientId":"100"}"#, 403);
    check("GET /api/usages?patientId=100", &[evil], "", 403);
    check("GET /api/usages?patientId=100", &[cross, "Sec-Fetch-Mode: navigate"], "", 403);
    check("GET /docs", &[cross, "Sec-Fetch-Mode: no-cors"], "", 403);
    check("OPTIONS /api/usages", &[evil], "", 403);
    let metrics = send(server.admin, "GET /metrics", &[host, evil], "");
    metrics.expect_problem(403, "cross-origin");
    send(server.admin, "GET /metrics", &[host, cross, "Sec-Fetch-Mode: navigate"], "").expect(403);
    // A page of this server has to say what it sends.
    let own = "Origin: http://localhost:3000";
    check(post, &[own], BODY, 415);
    check(post, &["Sec-Fetch-Site: same-origin"], BODY, 415);
    assert_eq!(stored(&server), 0);

    // The controls: a device, this server's page, an allowed page, and links from anywhere.
    check(post, &[], BODY, 201);
    check(post, &[own, "Sec-Fetch-Site: same-origin", json], BODY, 201);
    check(post, &["Origin: https://localhost:3000", json], BODY, 201);
    check(post, &["Origin: https://app.example", cross, json], BODY, 201);
    for path in ["/docs", "/openapi.json"] {
        check(&format!("GET {path}"), &[cross, "Sec-Fetch-Mode: navigate"], "", 200);
    }
    check("GET /", &[cross, "Sec-Fetch-Mode: navigate"], "", 302);
    for path in ["/", "/status"] {
        let lines = [host, cross, "Sec-Fetch-Mode: navigate"];
        send(server.admin, &format!("GET {path}"), &lines, "").expect(200);
    }
    assert_eq!(stored(&server), 4);
}

/// An address of this machine that others can reach, if it has one.
fn outer_address() -> Option<std::net::IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: the kernel only chooses a route.
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback())
}

#[test]
fn beyond_loopback_the_address_and_the_hostname_are_served() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let data = folder.path().join("data");
    let data = data.to_str().expect("it is text");
    let words = ["--listen", "0.0.0.0:0", "--admin-listen", "127.0.0.1:0", "--allow-anonymous"];
    let server = Started::start(folder.path(), "server", &[&words[..], &["--data", data]].concat());
    let port = server.address.port();
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    assert!(server.address.ip().is_loopback(), "the banner's address can be opened");
    post(server.address, &["Host: localhost"]).expect(201);
    post(server.address, &[&format!("Host: {hostname}")]).expect(201);
    post(server.address, &[&format!("Host: 0.0.0.0:{port}")]).expect(421);
    let Some(outer) = outer_address() else { return };
    let there = SocketAddr::new(outer, port);
    post(there, &[&format!("Host: {there}")]).expect(201);
    post(there, &[&format!("Host: {hostname}")]).expect(201);
    post(there, &["Host: localhost"]).expect(421);
    post(there, &["Host: 127.0.0.1"]).expect(421);
}
