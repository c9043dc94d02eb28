//! Answers of HTTP/1.0 and 1.1 (RFC 9112), taken as they come, one after the other on a connection.

use std::mem::MaybeUninit;

use crate::limits::ANSWER_HEAD_BYTES_MAX;

use super::chunked::Chunked;
use super::scrutiny::{Scrutiny, keep};

/// Headers of an answer.
const HEADERS_MAX: usize = 128;
/// A buffer above this is let go after its answer, so that a large answer now and then does not cost
/// memory on every connection for ever.
pub(super) const BUFFER_BYTES_KEPT: usize = 4 << 10;

/// What no answer may look like.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Garbage;

/// A whole answer. Its body, as far as it was to be kept, is [`Reader::body`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) status: u16,
    /// Whether the connection is of no more use.
    pub(super) close: bool,
    /// The checks that pass by status and headers.
    pub(super) passed: u32,
}

/// Takes the answers of one connection.
#[derive(Debug)]
pub(super) struct Reader {
    state: State,
    /// The answer as far as its head has told.
    whole: Whole,
    to_head_request: bool,
    keeps_body: bool,
    /// A head of which a part is still to come.
    partial: Vec<u8>,
    /// Bytes of heads of this answer, interim ones included.
    head_bytes: usize,
    body: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// No answer is expected.
    Idle,
    /// In the head.
    Head,
    /// In a body of which so much is left.
    Length(u64),
    /// In a body in chunks.
    Chunked(Chunked),
    /// In a body that ends with the connection.
    UntilClose,
}

/// How long the body is.
enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            state: State::Idle,
            whole: Whole { status: 0, close: false, passed: 0 },
            to_head_request: false,
            keeps_body: false,
            partial: Vec::new(),
            head_bytes: 0,
            body: Vec::new(),
        }
    }
}

impl Reader {
    /// An answer is expected from here on; `to_head_request` says that it has no body in any case.
    pub(super) fn expect(&mut self, to_head_request: bool) {
        self.reset();
        self.state = State::Head;
        self.to_head_request = to_head_request;
    }

    /// No answer is expected.
    pub(super) fn reset(&mut self) {
        self.state = State::Idle;
        self.keeps_body = false;
        self.head_bytes = 0;
        for buffer in [&mut self.partial, &mut self.body] {
            buffer.clear();
            buffer.shrink_to(BUFFER_BYTES_KEPT);
        }
    }

    /// The body of the answer that was whole last, as far as it was to be kept.
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Takes what came; the answer, once it is whole.
    ///
    /// # Errors
    /// When it is none, or more than one.
    pub(super) fn take(
        &mut self,
        came: &[u8],
        scrutiny: &Scrutiny,
    ) -> Result<Option<Whole>, Garbage> {
        if self.partial.is_empty() {
            return self.take_all(came, scrutiny);
        }
        let mut all = std::mem::take(&mut self.partial);
        all.extend_from_slice(came);
        self.take_all(&all, scrutiny)
    }

    /// The connection has ended; the answer, if that makes it whole.
    pub(super) fn take_end(&mut self) -> Option<Whole> {
        matches!(self.state, State::UntilClose).then(|| self.finish())
    }

    fn take_all(&mut self, mut came: &[u8], scrutiny: &Scrutiny) -> Result<Option<Whole>, Garbage> {
        // Interim answers come before the one that counts, perhaps in one piece with it.
        while let State::Head = self.state {
            match self.take_head(came, scrutiny)? {
                Some(bytes) => came = &came[bytes..],
                None => return Ok(None),
            }
        }
        self.take_body(came)
    }

    /// Takes a head; its length, or nothing when a part is still to come.
    fn take_head(&mut self, came: &[u8], scrutiny: &Scrutiny) -> Result<Option<usize>, Garbage> {
        let mut headers = [MaybeUninit::uninit(); HEADERS_MAX];
        let mut response = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default()
            .parse_response_with_uninit_headers(&mut response, came, &mut headers)
            .map_err(|_| Garbage)?;
        let too_long = |bytes| self.head_bytes + bytes > ANSWER_HEAD_BYTES_MAX;
        let bytes = match parsed {
            httparse::Status::Complete(bytes) if !too_long(bytes) => bytes,
            httparse::Status::Partial if !too_long(came.len()) => {
                self.partial.extend_from_slice(came);
                return Ok(None);
            }
            _ => return Err(Garbage),
        };
        self.head_bytes += bytes;
        let status = response.code.expect("a whole head has a status");
        if status < 100 {
            return Err(Garbage);
        }
        if (100..200).contains(&status) && status != 101 {
            return Ok(Some(bytes));
        }
        let (framing, close) = framing(&response)?;
        let passed = if scrutiny.needs_headers() {
            let mut pairs: [(&str, &[u8]); HEADERS_MAX] = [("", &[]); HEADERS_MAX];
            for (pair, header) in pairs.iter_mut().zip(&*response.headers) {
                *pair = (header.name, header.value);
            }
            scrutiny.of_head(status, &pairs[..response.headers.len()])
        } else {
            scrutiny.of_head(status, &[])
        };
        self.whole = Whole { status, close, passed };
        self.keeps_body = scrutiny.keeps_body(status);
        let none = self.to_head_request || matches!(status, 101 | 204 | 304);
        self.state = match framing {
            _ if none => State::Length(0),
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Chunked(Chunked::default()),
            Framing::UntilClose => State::UntilClose,
        };
        // After 101 the connection speaks another protocol.
        self.whole.close |= status == 101 || matches!(self.state, State::UntilClose);
        Ok(Some(bytes))
    }

    fn take_body(&mut self, came: &[u8]) -> Result<Option<Whole>, Garbage> {
        let (keeps, body) = (self.keeps_body, &mut self.body);
        let mut sink = |part: &[u8]| {
            if keeps {
                keep(body, part);
            }
        };
        match &mut self.state {
            State::Idle | State::Head => {
                if came.is_empty() {
                    return Ok(None);
                }
                return Err(Garbage);
            }
            State::UntilClose => {
                sink(came);
                return Ok(None);
            }
            State::Length(left) => {
                sink(came);
                *left = left.checked_sub(came.len() as u64).ok_or(Garbage)?;
                if *left > 0 {
                    return Ok(None);
                }
            }
            State::Chunked(chunked) => {
                let taken = chunked.take(came, sink)?;
                if taken.bytes < came.len() {
                    return Err(Garbage);
                }
                if !taken.ended {
                    return Ok(None);
                }
            }
        }
        Ok(Some(self.finish()))
    }

    fn finish(&mut self) -> Whole {
        self.state = State::Idle;
        self.whole
    }
}

/// How long the body of an answer is, and whether the connection ends with it.
fn framing(response: &httparse::Response<'_, '_>) -> Result<(Framing, bool), Garbage> {
    let mut length = None;
    let mut chunked = false;
    let mut encoded = false;
    // HTTP/1.0 closes unless it says otherwise.
    let mut close = response.version == Some(0);
    for header in &*response.headers {
        if header.name.eq_ignore_ascii_case("content-length") {
            let value = parse_length(header.value).ok_or(Garbage)?;
            if length.is_some_and(|other| other != value) {
                return Err(Garbage);
            }
            length = Some(value);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            encoded = true;
            chunked =
                words(header.value).last().is_some_and(|w| w.eq_ignore_ascii_case(b"chunked"));
        } else if header.name.eq_ignore_ascii_case("connection") {
            for word in words(header.value) {
                if word.eq_ignore_ascii_case(b"close") {
                    close = true;
                } else if word.eq_ignore_ascii_case(b"keep-alive") && response.version == Some(0) {
                    close = false;
                }
            }
        }
    }
    let framing = match (encoded, length) {
        (true, _) if chunked => Framing::Chunked,
        (true, _) => Framing::UntilClose,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::UntilClose,
    };
    Ok((framing, close))
}

fn parse_length(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

#[cfg(test)]
#[path = "http1_tests.rs"]
mod tests;
