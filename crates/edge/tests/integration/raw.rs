//! A client that sends bytes as they are, so that what no HTTP library would send can be sent, and
//! that sees how a connection ends: answered, closed, or reset.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// How long anything may take before a test calls it a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// One connection, and what came in on it.
pub(crate) struct Raw {
    stream: TcpStream,
    received: Vec<u8>,
}

/// A parsed answer. Header names are in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// An orderly end of the stream.
    Closed,
    /// The peer threw the connection away.
    Reset,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether the server said that it closes the connection after this answer.
    pub(crate) fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

impl Raw {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::from(TcpStream::connect_timeout(&address, PATIENCE).expect("the server listens"))
    }

    pub(crate) fn from(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_nodelay(true).expect("nodelay can be set");
        Self { stream, received: Vec::new() }
    }

    /// Sends all bytes; `Err` when the server would not take them.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> Result<(), ErrorKind> {
        self.stream.write_all(bytes).map_err(|error| error.kind())
    }

    /// Sends all bytes, as long as the server takes them.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.try_send(bytes.as_ref());
        self
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish(&mut self) -> &mut Self {
        let _ = self.stream.shutdown(Shutdown::Write);
        self
    }

    /// The next answer to a request that may have a body in its answer, interim answers included.
    ///
    /// # Panics
    /// When the connection ends first, or nothing comes in time.
    pub(crate) fn answer(&mut self) -> Answer {
        loop {
            if let Some((answer, used)) = parse(&self.received) {
                self.received.drain(..used);
                return answer;
            }
            match self.fill() {
                Ok(()) => {}
                Err(end) => panic!("{end:?} after {:?}", shown(&self.received)),
            }
        }
    }

    /// Every answer until the connection ends, and how it ended.
    pub(crate) fn answers_to_the_end(&mut self) -> (Vec<Answer>, End) {
        let end = loop {
            if let Err(end) = self.fill() {
                break end;
            }
        };
        let mut answers = Vec::new();
        while let Some((answer, used)) = parse(&self.received) {
            self.received.drain(..used);
            answers.push(answer);
        }
        assert_eq!(shown(&self.received), "", "bytes that are no whole answer");
        (answers, end)
    }

    /// Sends `bytes` again and again, a hundred times a second, until the connection ends.
    ///
    /// # Panics
    /// When it goes on for too long.
    pub(crate) fn drip_until_end(&mut self, bytes: &[u8]) {
        let pause = Duration::from_millis(10);
        self.stream.set_read_timeout(Some(pause)).expect("a timeout can be set");
        let drips_max = PATIENCE.as_millis() / pause.as_millis();
        for _ in 0..drips_max {
            if self.try_send(bytes).is_err() {
                return;
            }
            match self.stream.read(&mut [0; 1024]) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return,
            }
        }
        panic!("dripped for {PATIENCE:?} without an end");
    }

    /// Waits until there is something to read, and leaves it there.
    pub(crate) fn wait_for_some(&self) {
        self.stream.peek(&mut [0]).expect("something comes");
    }

    /// Takes a little a hundred times a second until the connection ends, and says how much came.
    ///
    /// # Panics
    /// When it goes on for too long.
    pub(crate) fn sip_until_end(&mut self) -> usize {
        let (mut sips, mut bytes, mut mouthful) = (PATIENCE.as_millis() / 10, 0, [0; 64 << 10]);
        while let Ok(taken @ 1..) = self.stream.read(&mut mouthful) {
            bytes += taken;
            sips = sips.checked_sub(1).expect("the server lets go");
            std::thread::sleep(Duration::from_millis(10));
        }
        bytes
    }

    /// Whether the connection is open and has nothing to read now.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.stream.set_nonblocking(true).expect("a mode can be set");
        let mut byte = [0];
        let quiet = matches!(self.stream.peek(&mut byte), Err(error) if error.kind() == ErrorKind::WouldBlock);
        self.stream.set_nonblocking(false).expect("a mode can be set");
        quiet && self.received.is_empty()
    }

    fn fill(&mut self) -> Result<(), End> {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(End::Closed),
            Ok(read) => {
                self.received.extend_from_slice(&chunk[..read]);
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Err(End::Reset),
            Err(error) => {
                panic!("no end within {PATIENCE:?} ({error}), after {:?}", shown(&self.received))
            }
        }
    }
}

/// The beginning of `bytes`, for a message.
fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned()
}

/// The first whole answer in `bytes` and its length.
fn parse(bytes: &[u8]) -> Option<(Answer, usize)> {
    let head_end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..head_end]).expect("heads are ASCII");
    let mut lines = head.split("\r\n");
    let status_line = lines.next().expect("split gives one at least");
    assert!(status_line.starts_with("HTTP/1."), "no status line: {status_line:?}");
    let status = status_line[9..12].parse().expect("a status is a number");
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .map_or(0, |(_, value)| value.parse().expect("a length is a number"));
    let body = bytes.get(head_end..head_end + length)?.to_vec();
    Some((Answer { status, headers, body }, head_end + length))
}
