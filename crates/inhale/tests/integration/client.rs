//! Clients that post usages without pause and count what comes of it. They are strict: whatever is
//! no whole answer to a request is a failure.

use std::io::{self, Read as _, Write as _};
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
    /// Of the failed: those whose answer had begun.
    pub(crate) cut_off: AtomicU64,
}

/// Clients at work.
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    pub(crate) counts: Arc<Counts>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    /// Starts `count` clients, every second of which opens a connection for each request. Each usage
    /// is of `patient`. A client ends with its first failure.
    pub(crate) fn start(address: SocketAddr, count: usize, patient: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let counts = Arc::new(Counts::default());
        let threads = (0..count)
            .map(|number| {
                let close = if number % 2 == 0 { "" } else { "Connection: close\r\n" };
                let body = format!(
                    r#"{{"patientId":"{patient}","timestamp":"Tue Nov 01 2016 09:11:51 GMT-0500 (CDT)","medication":"Albuterol"}}"#
                );
                let request = format!(
                    "POST /api/usages HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{close}Content-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                let (stop, counts) = (Arc::clone(&stop), Arc::clone(&counts));
                std::thread::spawn(move || {
                    while !stop.load(Relaxed) {
                        let connection = TcpStream::connect(address);
                        if connection.and_then(|stream| post(stream, &request, &stop, &counts)).is_err() {
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

/// Posts on one connection until the server or the test ends it.
fn post(
    mut stream: TcpStream,
    request: &str,
    stop: &AtomicBool,
    counts: &Counts,
) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    while !stop.load(Relaxed) {
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        let head = loop {
            if let Some(head) = whole_head(&answer) {
                break head;
            }
            let mut chunk = [0; 4096];
            let read = stream.read(&mut chunk);
            if !answer.is_empty() && !matches!(read, Ok(1..)) {
                counts.cut_off.fetch_add(1, Relaxed);
            }
            match read? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => answer.extend_from_slice(&chunk[..read]),
            }
        };
        if !head.starts_with("http/1.1 201 ") {
            return Err(io::Error::other(head));
        }
        counts.acknowledged.fetch_add(1, Relaxed);
        if head.contains("connection: close") {
            break;
        }
    }
    Ok(())
}

/// The head of a whole answer in lower case, when `answer` holds one.
fn whole_head(answer: &[u8]) -> Option<String> {
    let head_end = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&answer[..head_end]).to_ascii_lowercase();
    let length = head.split("\r\n").find_map(|line| line.strip_prefix("content-length: "))?;
    let length: usize = length.parse().ok()?;
    (answer.len() >= head_end + length).then_some(head)
}
