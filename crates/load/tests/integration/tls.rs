//! TLS: who is trusted, who is shown, and what is resumed.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use load::engine::{self, StartError};
use load::measure::{Failure, Trend};
use load::plan::{Keeping, Pem, Protocol, Scenario, Tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::plans::{Ran, plan, rate, run, scenario};
use crate::server::CREATED;

/// An authority, as people make one for a test.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("all of it is ours");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer =
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("all of it is ours"))
                .expect("all of it is ours");
        Self { issuer }
    }

    pub(crate) fn ca(&self) -> Pem {
        Pem(self.issuer.pem())
    }

    /// A certificate for `name`, and its key.
    fn certify(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("all of it is ours");
        let params = CertificateParams::new([name.to_owned()]).expect("all of it is ours");
        (params.signed_by(&key, &self.issuer).expect("all of it is ours"), key)
    }

    /// How a server for `name` speaks TLS; clients show a certificate if `asks`.
    pub(crate) fn server(&self, name: &str, asks: bool) -> ServerConfig {
        let (certificate, key) = self.certify(name);
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("all of it is ours");
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("all of it is ours");
        let builder = if asks {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("all of it is ours"))
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("all of it is ours");
        builder.with_single_cert(vec![certificate.der().clone()], key).expect("all of it is ours")
    }

    /// A client's certificate and key.
    fn client(&self) -> (Pem, Pem) {
        let (certificate, key) = self.certify("client");
        (Pem(certificate.pem()), Pem(key.serialize_pem()))
    }
}

/// A server that speaks TLS, answers 201, and notes how each connection was secured.
struct TlsServer {
    address: SocketAddr,
    handshakes: Arc<Mutex<Vec<HandshakeKind>>>,
}

impl TlsServer {
    fn start(config: ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let handshakes = Arc::<Mutex<Vec<HandshakeKind>>>::default();
        let (config, noted) = (Arc::new(config), Arc::clone(&handshakes));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, config, noted) =
                    (stream.expect("all of it is ours"), config.clone(), noted.clone());
                stream.set_read_timeout(Some(Duration::from_secs(30))).expect("all of it is ours");
                thread::spawn(move || {
                    let tls = ServerConnection::new(config).expect("all of it is ours");
                    let _ = serve(StreamOwned::new(tls, stream), &noted);
                });
            }
        });
        Self { address, handshakes }
    }

    fn resumed(&self) -> usize {
        let handshakes = self.handshakes.lock().expect("nobody panics with it");
        handshakes.iter().filter(|kind| **kind == HandshakeKind::Resumed).count()
    }
}

fn serve(
    mut stream: StreamOwned<ServerConnection, std::net::TcpStream>,
    noted: &Mutex<Vec<HandshakeKind>>,
) -> io::Result<()> {
    let (mut came, mut buffer) = (Vec::new(), [0; 4096]);
    let mut first = true;
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            bytes => came.extend_from_slice(&buffer[..bytes]),
        }
        if std::mem::take(&mut first) {
            noted.lock().expect("nobody panics with it").extend(stream.conn.handshake_kind());
        }
        // The body is the last of a request, and the only place with a closing brace.
        if came.ends_with(b"}") {
            came.clear();
            stream.write_all(CREATED)?;
        }
    }
}

/// Twenty requests by TLS as `tls` has it.
fn twenty(address: SocketAddr, tls: Tls, change: impl Fn(&mut Scenario)) -> Ran {
    let mut scenario = scenario(address, rate(200.0, 100));
    scenario.target.https = true;
    scenario.connections.tls = tls;
    change(&mut scenario);
    run(plan(scenario))
}

fn trusting(authority: &Authority) -> Tls {
    Tls { ca: Some(authority.ca()), resume: true, ..Tls::default() }
}

fn anew(scenario: &mut Scenario) {
    scenario.connections.keeping = Keeping::PerRequest { max: 1, server_closes: false };
}

#[test]
fn a_trusted_server_is_spoken_to() {
    let authority = Authority::new();
    let server = TlsServer::start(authority.server("127.0.0.1", false));
    let ran = twenty(server.address, trusting(&authority), |_| ());
    assert_eq!((ran.statuses(), ran.failures()), (vec![(201, 20)], vec![]));
    assert!(ran.percentile(Trend::TlsHandshaking, 100.0) > 0.0);
    let plain: usize = 20 * CREATED.len();
    assert!(ran.counts().bytes_received > plain as u64, "what TLS adds counts as well");
}

#[test]
fn whoever_is_not_trusted_is_not_spoken_to() {
    let (authority, other) = (Authority::new(), Authority::new());
    for (name, ca, insecure, expected) in [
        ("127.0.0.1", &authority, false, None),
        ("127.0.0.1", &other, false, Some(Failure::Tls)),
        ("somebody.example", &authority, false, Some(Failure::Tls)),
        ("somebody.example", &other, true, None),
    ] {
        let server = TlsServer::start(authority.server(name, false));
        let ran = twenty(server.address, Tls { insecure, ..trusting(ca) }, |_| ());
        let failed: Vec<_> = expected.map(|failure| (failure, 20)).into_iter().collect();
        assert_eq!(ran.failures(), failed, "{name}");
        assert_eq!(ran.counts().answered, 20 - failed.iter().map(|(_, n)| n).sum::<u64>());
    }
}

#[test]
fn a_server_may_ask_who_calls() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = TlsServer::start(authority.server("127.0.0.1", true));
    for (client, expected) in [
        (Some(authority.client()), vec![]),
        (Some(other.client()), vec![(Failure::Tls, 20)]),
        (None, vec![(Failure::Tls, 20)]),
    ] {
        let ran = twenty(server.address, Tls { client, ..trusting(&authority) }, |_| ());
        assert_eq!(ran.failures(), expected);
    }
}

#[test]
fn sessions_are_resumed_only_when_they_are_to_be() {
    let authority = Authority::new();
    for (resume, expected) in [(true, 19), (false, 0)] {
        let server = TlsServer::start(authority.server("127.0.0.1", false));
        let ran = twenty(server.address, Tls { resume, ..trusting(&authority) }, anew);
        assert_eq!((ran.statuses(), ran.counts().connections), (vec![(201, 20)], 20));
        assert_eq!(server.resumed(), expected);
    }
}

#[test]
fn a_server_without_tls_is_no_server_with_it() {
    let authority = Authority::new();
    let server = crate::server::Server::start(|peer| {
        peer.stream.write_all(CREATED)?;
        peer.wait_for_end()
    });
    let ran = twenty(server.address, trusting(&authority), |_| ());
    assert_eq!(ran.failures(), [(Failure::Tls, 20)]);
    // Whoever says nothing is waited for as long as connecting may take.
    let silent = crate::server::Server::start(crate::server::Peer::wait_for_end);
    let ran = twenty(silent.address, trusting(&authority), |scenario| {
        scenario.connect_timeout = Duration::from_millis(100);
    });
    assert_eq!(ran.failures(), [(Failure::ConnectTimeout, 20)]);
}

/// An answer without a length ends with its connection. Only TLS can say that this was meant: what is
/// cut off between looks the same. What is no TLS any more is no handshake that failed: the request
/// was sent, and may have been heeded.
#[test]
fn repro_an_answer_that_is_cut_off_is_not_whole() {
    type Stream = StreamOwned<ServerConnection, std::net::TcpStream>;
    let authority = Authority::new();
    let ends: [(fn(&mut Stream), _); 3] = [
        (|stream| stream.conn.send_close_notify(), vec![]),
        (|_| (), vec![(Failure::ClosedEarly, 20)]),
        (
            |stream| {
                let _ = stream.flush().and_then(|()| stream.sock.write_all(b"no record of TLS"));
            },
            vec![(Failure::Garbage, 20)],
        ),
    ];
    for (number, (end, expected)) in ends.into_iter().enumerate() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let config = Arc::new(authority.server("127.0.0.1", false));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let tls = ServerConnection::new(config.clone()).expect("all of it is ours");
                let mut stream = StreamOwned::new(tls, stream.expect("all of it is ours"));
                let mut came = Vec::new();
                while !came.ends_with(b"}") {
                    let mut buffer = [0; 4096];
                    match stream.read(&mut buffer) {
                        Ok(bytes) if bytes > 0 => came.extend_from_slice(&buffer[..bytes]),
                        _ => break,
                    }
                }
                let _ = stream.write_all(b"HTTP/1.1 201 Created\r\nConnection: close\r\n\r\nhalf");
                end(&mut stream);
                let _ = stream.flush();
            }
        });
        let ran = twenty(address, trusting(&authority), anew);
        assert_eq!(ran.failures(), expected, "end {number}");
    }
}

#[test]
fn what_is_no_certificate_is_told_before_the_start() {
    let authority = Authority::new();
    let garbage = || Pem("-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n".to_owned());
    let (certificate, key) = authority.client();
    for (tls, expected) in [
        (Tls { ca: Some(garbage()), ..Tls::default() }, "--ca is not a certificate"),
        (Tls { ca: Some(key), ..Tls::default() }, "--ca is not a certificate in PEM: it has none"),
        (Tls { client: Some((certificate, garbage())), ..trusting(&authority) }, "--key is not"),
    ] {
        let mut scenario = scenario("127.0.0.1:1".parse().unwrap(), rate(1.0, 1_000));
        scenario.target.https = true;
        scenario.connections.tls = tls;
        let error = engine::start(Arc::new(plan(scenario)), 0, 1, 0, None).unwrap_err();
        assert!(matches!(error, StartError::Tls { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

/// What is said before the first request to a server that speaks TLS as `server` has it.
fn preflight(address: SocketAddr, tls: Tls, protocol: Protocol) -> Vec<String> {
    let mut scenario = scenario(address, rate(200.0, 100));
    scenario.target.https = true;
    scenario.connections.tls = tls;
    scenario.connections.protocol = protocol;
    scenario.connect_timeout = Duration::from_secs(1);
    load::preflight::preflight(&plan(scenario), 1).errors
}

#[test]
fn what_tls_refuses_is_told_before_the_first_request() {
    let (ours, strangers) = (Authority::new(), Authority::new());
    let server = TlsServer::start(ours.server("127.0.0.1", false));
    let asking = TlsServer::start(ours.server("127.0.0.1", true));
    let plain = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let plain_address = plain.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in plain.incoming() {
            let _ = stream.expect("all of it is ours").write_all(CREATED);
        }
    });
    let trusting = |ca: Pem, client| Tls { ca: Some(ca), client, ..Tls::default() };
    let known = || trusting(ours.ca(), None);
    let check = |address, tls, protocol, expected: Option<&str>| {
        let errors = preflight(address, tls, protocol);
        match expected {
            None => assert_eq!(errors, Vec::<String>::new()),
            Some(words) => {
                assert!(errors.len() == 1 && errors[0].contains(words), "{words}: {errors:?}");
            }
        }
    };
    check(server.address, known(), Protocol::Http1, None);
    check(server.address, trusting(strangers.ca(), None), Protocol::Http1, Some("--ca FILE"));
    let anybody = Tls { insecure: true, ..Tls::default() };
    check(server.address, anybody, Protocol::Http1, None);
    check(asking.address, trusting(ours.ca(), Some(ours.client())), Protocol::Http1, None);
    check(asking.address, known(), Protocol::Http1, Some("--cert FILE"));
    check(plain_address, known(), Protocol::Http1, Some("write http://"));
    check(server.address, known(), Protocol::Http2 { streams_max: 1 }, Some("--http2"));
    let mut old = ours.server("127.0.0.1", false);
    old.alpn_protocols = vec![b"http/1.1".to_vec()];
    let old = TlsServer::start(old);
    check(old.address, known(), Protocol::Http2 { streams_max: 1 }, Some("leave --http2 out"));
    let mut new = ours.server("127.0.0.1", false);
    new.alpn_protocols = vec![b"h2".to_vec()];
    check(TlsServer::start(new).address, known(), Protocol::Http1, Some("say --http2"));
    // Some go without a word when they have seen whom they speak with.
    let picky = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let picky_address = picky.local_addr().expect("it is bound");
    let config = Arc::new(ours.server("127.0.0.1", false));
    thread::spawn(move || {
        for stream in picky.incoming() {
            let mut tls = ServerConnection::new(config.clone()).expect("all of it is ours");
            let _ = tls.complete_io(&mut stream.expect("all of it is ours"));
        }
    });
    check(picky_address, known(), Protocol::Http1, Some("wants a certificate (--cert FILE"));
    let shown = trusting(ours.ca(), Some(strangers.client()));
    check(picky_address, shown, Protocol::Http1, Some("wants another certificate"));
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let silent_address = silent.local_addr().expect("it is bound");
    check(silent_address, known(), Protocol::Http1, Some("--connect-timeout"));
}
