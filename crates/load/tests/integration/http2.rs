//! HTTP/2, against servers made with the `h2` crate.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Request, Response};
use load::measure::{Failure, Trend};
use load::plan::{Check, Keeping, Protocol, Scenario, Tls};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::plans::{Ran, plan, rate, run, scenario, users};
use crate::tls::Authority;

/// A server of HTTP/2.
struct Http2Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    connections: AtomicUsize,
    streams: AtomicUsize,
    streams_max: AtomicUsize,
    numbers: Mutex<Vec<u64>>,
}

/// How it behaves.
#[derive(Clone)]
struct Manner {
    streams_max: u32,
    delay: Duration,
    answer: fn(&Request<RecvStream>, SendResponse<Bytes>),
    tls: Option<TlsAcceptor>,
}

const FRIENDLY: Manner =
    Manner { streams_max: 100, delay: Duration::ZERO, answer: created, tls: None };

fn created(_: &Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let head = Response::builder().status(201).header("durability", "fsync");
    let head = head.body(()).expect("a head");
    let mut body = respond.send_response(head, false).expect("the stream is open");
    body.send_data(Bytes::from_static(b"{\"id\":"), false).expect("the stream is open");
    body.send_data(Bytes::from_static(b"1}"), true).expect("the stream is open");
}

impl Http2Server {
    fn start(manner: Manner) -> Self {
        let shared = Arc::<Shared>::default();
        let of_thread = Arc::clone(&shared);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        listener.set_nonblocking(true).expect("a socket");
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let tasks = tokio::task::LocalSet::new();
            tasks.block_on(&runtime.expect("a runtime"), async move {
                let listener = TcpListener::from_std(listener).expect("a listener");
                while let Ok((stream, _)) = listener.accept().await {
                    of_thread.connections.fetch_add(1, Ordering::Relaxed);
                    tokio::task::spawn_local(secure(stream, manner.clone(), of_thread.clone()));
                }
            });
        });
        Self { address, shared }
    }

    fn numbers(&self) -> Vec<u64> {
        let mut numbers = self.shared.numbers.lock().expect("nobody panics with it").clone();
        numbers.sort_unstable();
        numbers
    }
}

async fn secure(stream: TcpStream, manner: Manner, shared: Arc<Shared>) {
    match manner.tls.clone() {
        None => serve(stream, manner, shared).await,
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                serve(stream, manner, shared).await;
            }
        }
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, manner: Manner, shared: Arc<Shared>) {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(manner.streams_max);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::task::spawn_local(answer(request, respond, manner.clone(), Arc::clone(&shared)));
    }
}

async fn answer(
    mut request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    manner: Manner,
    shared: Arc<Shared>,
) {
    let streams = shared.streams.fetch_add(1, Ordering::Relaxed) + 1;
    shared.streams_max.fetch_max(streams, Ordering::Relaxed);
    let mut body = Vec::new();
    while let Some(Ok(part)) = request.body_mut().data().await {
        let _ = request.body_mut().flow_control().release_capacity(part.len());
        body.extend_from_slice(&part);
    }
    let digits: String =
        body.iter().filter(|b| b.is_ascii_digit()).map(|b| char::from(*b)).collect();
    shared.numbers.lock().expect("nobody panics with it").extend(digits.parse::<u64>());
    tokio::time::sleep(manner.delay).await;
    shared.streams.fetch_sub(1, Ordering::Relaxed);
    (manner.answer)(&request, respond);
}

/// Fifty requests over two connections of at most twenty streams each.
fn fifty(address: SocketAddr, change: impl Fn(&mut Scenario)) -> Ran {
    let mut scenario = scenario(address, rate(500.0, 100));
    scenario.connections.protocol = Protocol::Http2 { streams_max: 20 };
    scenario.connections.keeping = Keeping::Alive { max: 2 };
    change(&mut scenario);
    let ran = run(plan(scenario));
    assert_eq!(ran.counts().due, 50);
    ran
}

/// Each request was closed or answered in HTTP/1.1, and told as a failure of its own.
#[test]
fn repro_a_server_without_http2_is_told_before_the_first_request() {
    let told = |address| {
        let mut scenario = scenario(address, rate(100.0, 100));
        scenario.connections.protocol = Protocol::Http2 { streams_max: 1 };
        scenario.connect_timeout = Duration::from_millis(300);
        load::preflight::preflight(&plan(scenario), 1).errors
    };
    let speaking = |first: &'static [u8]| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.expect("all of it is ours");
                let _ = stream.write_all(first);
                // One that has nothing to say keeps its connections.
                if first.is_empty() {
                    held.push(stream);
                }
            }
        });
        address
    };
    let settings = b"\0\0\0\x04\0\0\0\0\0";
    assert_eq!(told(speaking(settings)), Vec::<String>::new());
    for (first, words) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "does not speak HTTP/2 without TLS"),
        (b"HTTP", "leave --http2 out"),
        (b"", "--connect-timeout"),
    ] {
        let errors = told(speaking(first));
        assert!(errors.len() == 1 && errors[0].contains(words), "{words}: {errors:?}");
    }
}

#[test]
fn requests_share_connections() {
    let server = Http2Server::start(Manner { delay: Duration::from_millis(20), ..FRIENDLY });
    let ran = fifty(server.address, |scenario| {
        scenario.checks = vec![
            Check::Status(201),
            Check::Header { name: "durability".into(), value: Some("fsync".into()) },
            Check::Json { pointer: "/id".into(), value: Some(1.into()) },
            Check::Status(200),
        ];
    });
    assert_eq!((ran.statuses(), ran.failures()), (vec![(201, 50)], vec![]));
    assert_eq!(ran.counts().checks_passed, [50, 50, 50, 0]);
    assert_eq!(server.numbers(), (0..50).collect::<Vec<_>>());
    let shared = &server.shared;
    assert!(shared.connections.load(Ordering::Relaxed) <= 2);
    assert!(shared.streams_max.load(Ordering::Relaxed) > 2, "several at once on each");
    assert!(ran.percentile(Trend::Waiting, 0.0) >= 19.0, "each waited for its answer");
    assert!(ran.counts().bytes_sent > 50 * 20 && ran.counts().bytes_received > 50 * 8);
}

#[test]
fn no_more_streams_than_either_side_allows() {
    for (server_max, own_max) in [(3, 20), (100, 2)] {
        let delay = Duration::from_millis(5);
        let server = Http2Server::start(Manner { streams_max: server_max, delay, ..FRIENDLY });
        let ran = fifty(server.address, |scenario| {
            scenario.connections.protocol = Protocol::Http2 { streams_max: own_max };
            scenario.connections.keeping = Keeping::Alive { max: 1 };
        });
        assert_eq!(ran.statuses(), [(201, 50)]);
        assert!(ran.counts().waited > 0, "more were due than there were streams");
        let most = server.shared.streams_max.load(Ordering::Relaxed);
        assert_eq!(most, own_max.min(server_max as usize));
    }
}

#[test]
fn it_is_agreed_on_in_tls() {
    let authority = Authority::new();
    let spoken = |protocol: &[u8]| vec![protocol.to_vec()];
    for (protocols, expected) in [
        (spoken(b"h2"), None),
        (spoken(b"http/1.1"), Some(Failure::Tls)),
        // Who says nothing speaks what was before there was anything to say.
        (vec![], Some(Failure::Tls)),
    ] {
        let mut config = authority.server("127.0.0.1", false);
        config.alpn_protocols = protocols;
        let tls = Some(TlsAcceptor::from(Arc::new(config)));
        let server = Http2Server::start(Manner { tls, ..FRIENDLY });
        let secure = |scenario: &mut Scenario| {
            scenario.target.https = true;
            scenario.connections.tls = Tls { ca: Some(authority.ca()), ..Tls::default() };
        };
        let mut alone = scenario(server.address, rate(1.0, 1_000));
        alone.connections.protocol = Protocol::Http2 { streams_max: 1 };
        secure(&mut alone);
        let errors = load::preflight::preflight(&plan(alone), 1).errors;
        assert_eq!(errors.is_empty(), expected.is_none(), "{errors:?}");
        let ran = fifty(server.address, secure);
        let failed: Vec<_> = expected.map(|failure| (failure, 50)).into_iter().collect();
        assert_eq!(ran.failures(), failed);
        assert_eq!(ran.statuses().len(), 1 - failed.len());
    }
}

#[test]
fn new_connections_and_users_speak_it_too() {
    let server = Http2Server::start(FRIENDLY);
    let ran = fifty(server.address, |scenario| {
        scenario.connections.keeping = Keeping::PerRequest { max: 5, server_closes: false };
    });
    assert_eq!((ran.statuses(), ran.counts().connections), (vec![(201, 50)], 50));
    let tls = ran.percentile(Trend::TlsHandshaking, 100.0);
    assert!(tls < 1e-9, "{tls} ms of TLS without any");
    let server = Http2Server::start(FRIENDLY);
    let mut scenario = scenario(server.address, users(3, 100, 1));
    scenario.connections.protocol = Protocol::Http2 { streams_max: 20 };
    let ran = run(plan(scenario));
    assert_eq!((ran.failures(), ran.counts().connections), (vec![], 3));
    assert_eq!(server.numbers().len() as u64, ran.counts().answered);
}

#[test]
fn a_stream_that_is_reset_or_not_answered_fails_alone() {
    fn odd_ones_are_reset(request: &Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        if request.headers()["content-length"] == "13" {
            respond.send_reset(Reason::INTERNAL_ERROR);
        } else {
            created(request, respond);
        }
    }
    // Requests of one digit are one byte shorter.
    let server = Http2Server::start(Manner { answer: odd_ones_are_reset, ..FRIENDLY });
    let ran = fifty(server.address, |_| ());
    assert_eq!(ran.statuses(), [(201, 10)]);
    assert_eq!(ran.failures(), [(Failure::Reset, 40)]);
    assert!(ran.counts().connections <= 2);

    fn some_wait(request: &Request<RecvStream>, respond: SendResponse<Bytes>) {
        if request.headers()["content-length"] == "13" {
            created(request, respond);
        } else {
            std::mem::forget(respond);
        }
    }
    let server = Http2Server::start(Manner { answer: some_wait, ..FRIENDLY });
    let ran = fifty(server.address, |scenario| scenario.timeout = Duration::from_secs(1));
    assert_eq!((ran.statuses(), ran.failures()), (vec![(201, 40)], vec![(Failure::Timeout, 10)]));
}

#[test]
fn servers_that_do_not_speak_it() {
    fn http1(peer: &mut crate::server::Peer) -> io::Result<()> {
        peer.stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")?;
        peer.wait_for_end()
    }
    fn closing(peer: &mut crate::server::Peer) -> io::Result<()> {
        peer.close()
    }
    for (serve, failure) in
        [(http1 as fn(&mut _) -> _, Failure::Garbage), (closing, Failure::ClosedEarly)]
    {
        let server = crate::server::Server::start(serve);
        let ran = fifty(server.address, |_| ());
        assert_eq!(ran.failures(), [(failure, 50)]);
    }
    let silent = crate::server::Server::start(crate::server::Peer::wait_for_end);
    let ran = fifty(silent.address, |scenario| scenario.timeout = Duration::from_millis(50));
    assert_eq!(ran.failures(), [(Failure::Timeout, 50)]);
}

#[test]
fn a_large_answer_is_counted() {
    fn large(_: &Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let head = Response::builder().status(200).body(()).expect("a head");
        let mut body = respond.send_response(head, false).expect("the stream is open");
        body.send_data(Bytes::from(vec![b'x'; 10 << 20]), true).expect("the stream is open");
    }
    let server = Http2Server::start(Manner { answer: large, ..FRIENDLY });
    let mut scenario = scenario(server.address, rate(100.0, 30));
    scenario.connections.protocol = Protocol::Http2 { streams_max: 2 };
    scenario.checks = vec![Check::Body("xxx".into())];
    let ran = run(plan(scenario));
    assert_eq!((ran.statuses(), ran.counts().checks_succeeded()), (vec![(200, 3)], 3));
    assert!(ran.counts().bytes_received > 3 * (10 << 20));
}
