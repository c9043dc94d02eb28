//! A server that does what a test tells it to: a thread for each connection, and a note of each
//! request.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use load::clock;

/// Longer than any test waits.
const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const CREATED: &[u8] = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}";

/// A server; its listener is closed with it.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    accepted: AtomicUsize,
    seen: Mutex<Vec<Seen>>,
    sources: Mutex<Vec<SocketAddr>>,
}

/// A request as the server saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// From its body.
    pub(crate) number: u64,
    /// The number of its connection.
    pub(crate) connection: usize,
    /// When it was there, and when its answer was about to be written.
    pub(crate) received_ns: u64,
    pub(crate) answered_ns: u64,
}

/// One connection, as its thread has it.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    pub(crate) connection: usize,
    shared: Arc<Shared>,
    came: Vec<u8>,
}

/// A request.
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) number: u64,
    received_ns: u64,
}

impl Server {
    /// Serves each connection with `serve`, until it returns or fails.
    pub(crate) fn start(
        serve: impl Fn(&mut Peer) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let serve = Arc::new(serve);
        thread::spawn(move || {
            while let Ok((stream, source)) = listener.accept() {
                if of_thread.over.load(Ordering::Relaxed) {
                    return;
                }
                let connection = of_thread.accepted.fetch_add(1, Ordering::Relaxed);
                of_thread.sources.lock().expect("nobody panics with it").push(source);
                stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
                stream.set_nodelay(true).expect("it is TCP");
                let shared = Arc::clone(&of_thread);
                let serve = Arc::clone(&serve);
                // What a connection ends of is the client's to tell.
                thread::spawn(move || {
                    let _ = serve(&mut Peer { stream, connection, shared, came: Vec::new() });
                });
            }
        });
        Self { address, shared }
    }

    /// Answers everything with 201.
    pub(crate) fn friendly() -> Self {
        Self::start(|peer| {
            while let Some(request) = peer.request()? {
                peer.answer(&request, CREATED)?;
            }
            Ok(())
        })
    }

    /// The same, but each answer takes so long.
    pub(crate) fn slow(by: Duration) -> Self {
        Self::start(move |peer| {
            while let Some(request) = peer.request()? {
                thread::sleep(by);
                peer.answer(&request, CREATED)?;
            }
            Ok(())
        })
    }

    /// Connections that were made.
    pub(crate) fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Requests that were answered, in the order of their numbers.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        let mut seen = self.shared.seen.lock().expect("nobody panics with it").clone();
        seen.sort_by_key(|seen| seen.number);
        seen
    }

    /// The numbers of the requests that were answered, in order.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.seen().iter().map(|seen| seen.number).collect()
    }

    /// Where connections came from.
    pub(crate) fn sources(&self) -> Vec<SocketAddr> {
        self.shared.sources.lock().expect("nobody panics with it").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

impl Peer {
    /// The next request; nothing when the client has closed.
    pub(crate) fn request(&mut self) -> io::Result<Option<Request>> {
        let mut buffer = [0; 16 << 10];
        loop {
            if let Some((head, body, bytes)) = split(&self.came) {
                self.came.drain(..bytes);
                let number =
                    body.bytes().filter(u8::is_ascii_digit).map(char::from).collect::<String>();
                let number = number.parse().unwrap_or(u64::MAX);
                return Ok(Some(Request { head, number, received_ns: clock::now_ns() }));
            }
            match self.stream.read(&mut buffer)? {
                0 => return Ok(None),
                bytes => self.came.extend_from_slice(&buffer[..bytes]),
            }
        }
    }

    /// Answers, and notes that it did.
    pub(crate) fn answer(&mut self, request: &Request, answer: &[u8]) -> io::Result<()> {
        self.shared.seen.lock().expect("nobody panics with it").push(Seen {
            number: request.number,
            connection: self.connection,
            received_ns: request.received_ns,
            answered_ns: clock::now_ns(),
        });
        self.stream.write_all(answer)
    }

    /// Ends this side, and waits for the other to do so.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        self.wait_for_end()
    }

    /// Says nothing until the client closes.
    pub(crate) fn wait_for_end(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 << 10];
        while self.stream.read(&mut buffer)? > 0 {}
        Ok(())
    }

    /// Ends the connection so that the client is told of a reset.
    pub(crate) fn reset(&mut self) -> io::Result<()> {
        rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO))?;
        Ok(())
    }
}

/// Head, body and length of the request that `came` begins with, if it is all there.
fn split(came: &[u8]) -> Option<(String, String, usize)> {
    let text = String::from_utf8_lossy(came);
    let end = text.find("\r\n\r\n")? + 4;
    let length = text[..end].lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let length: usize = length.and_then(|length| length.parse().ok()).unwrap_or(0);
    let body = came.get(end..end + length)?;
    Some((text[..end].to_owned(), String::from_utf8_lossy(body).into_owned(), end + length))
}
