//! Clients that post usages without pause and count what comes of it. They are strict: whatever is
//! no whole answer to a request is a failure.

use std::io::{self, Read as _, Write as _};
use std::iter::Peekable;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long anything may take before it counts as a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came of all requests.
#[derive(Default)]
pub(crate) struct Counts {
    /// Answered with 201.
    pub(crate) acknowledged: AtomicU64,
    /// Without a whole answer, or answered otherwise.
    pub(crate) failed: AtomicU64,
    /// Of the failed: those on a connection that the server had taken, as its answers before or the
    /// beginning of this one show. Who only waited to be accepted is not among them.
    pub(crate) cut_off: AtomicU64,
}

/// Clients at work.
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    pub(crate) counts: Arc<Counts>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    /// Starts `count` clients, every second of which opens a connection for each request. Half of
    /// either kind give each usage a key. Each usage is of `patient`. A client ends with its first
    /// failure.
    pub(crate) fn start(address: SocketAddr, count: usize, patient: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let counts = Arc::new(Counts::default());
        let threads = (0..count)
            .map(|number| {
                let mut requests = requests(number, patient).peekable();
                let (stop, counts) = (Arc::clone(&stop), Arc::clone(&counts));
                std::thread::spawn(move || {
                    while !stop.load(Relaxed) {
                        let connection = TcpStream::connect(address);
                        let posted = connection
                            .and_then(|stream| post(stream, &mut requests, &stop, &counts));
                        if posted.is_err() {
                            counts.failed.fetch_add(1, Relaxed);
                            return;
                        }
                    }
                })
            })
            .collect();
        Self { stop, counts, threads }
    }

    /// Waits until `more` requests have been answered with 201, or any has failed.
    pub(crate) fn wait_for(&self, more: u64) {
        let target = self.counts.acknowledged.load(Relaxed) + more;
        let pause = Duration::from_millis(1);
        let mut pauses = PATIENCE.as_millis() / pause.as_millis();
        while self.counts.acknowledged.load(Relaxed) < target
            && self.counts.failed.load(Relaxed) == 0
        {
            pauses = pauses.checked_sub(1).expect("usages are acknowledged in time");
            std::thread::sleep(pause);
        }
    }

    /// Has them finish, and gives back what came of it all.
    pub(crate) fn stop(self) -> Arc<Counts> {
        self.stop.store(true, Relaxed);
        for thread in self.threads {
            thread.join().expect("clients count failures");
        }
        self.counts
    }
}

/// All that the client of this number will send.
fn requests(number: usize, patient: &str) -> impl Iterator<Item = String> + Send + use<> {
    let close = if number.is_multiple_of(2) { "" } else { "Connection: close\r\n" };
    let body = format!(
        r#"{{"patientId":"{patient}","timestamp":"Tue Nov 01 2016 09:11:51 GMT-0500 (CDT)","medication":"Albuterol"}}"#
    );
    (0_u64..).map(move |count| {
        let key = match number / 2 % 2 {
            0 => String::new(),
            _ => format!("Idempotency-Key: {number}-{count}\r\n"),
        };
        format!(
            "POST /api/usages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{close}{key}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    })
}

/// Posts on one connection until the server or the test ends it.
fn post(
    mut stream: TcpStream,
    requests: &mut Peekable<impl Iterator<Item = String>>,
    stop: &AtomicBool,
    counts: &Counts,
) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut taken = false;
    while !stop.load(Relaxed) {
        let request = requests.peek().expect("they have no end");
        let head = exchange(&mut stream, request, &mut taken).inspect_err(|_| {
            counts.cut_off.fetch_add(u64::from(taken), Relaxed);
        })?;
        if head.starts_with("http/1.1 201 ") {
            counts.acknowledged.fetch_add(1, Relaxed);
            requests.next();
        } else if head.starts_with("http/1.1 503 ") && request.contains("Idempotency-Key: ") {
            // Whether a key was used is not known until a successor has the index.
            std::thread::sleep(Duration::from_millis(10));
        } else {
            return Err(io::Error::other(head));
        }
        if head.contains("connection: close") {
            break;
        }
    }
    Ok(())
}

/// Sends a request and waits for the head of its whole answer. Notes whether anything has come back.
fn exchange(stream: &mut TcpStream, request: &str, taken: &mut bool) -> io::Result<String> {
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    loop {
        if let Some(head) = whole_head(&answer) {
            return Ok(head);
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => answer.extend_from_slice(&chunk[..read]),
        }
        *taken = true;
    }
}

/// The head of a whole answer in lower case, when `answer` holds one.
fn whole_head(answer: &[u8]) -> Option<String> {
    let head_end = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&answer[..head_end]).to_ascii_lowercase();
    let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length: "))?;
    let length: usize = length.parse().ok()?;
    (answer.len() >= head_end + length).then_some(head)
}
