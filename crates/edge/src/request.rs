//! A request as a service sees it, and its answer.

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::header::HeaderValue;
use http_body_util::Full;
use hyper::body::Incoming;
use telemetry::{CoreMetrics, Route};

use crate::body::{self, BodyError};
use crate::connection::ConnectionState;
use crate::control::{Control, FailOnPanic};
use crate::problem::Problem;

#[cfg(doc)]
use crate::core::Config;

/// Longest X-Request-Id that is echoed.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// Answers are whole when they are handed over.
pub type Response = http::Response<Full<Bytes>>;

/// What a service on one core is given.
#[derive(Clone)]
pub struct CoreContext {
    /// The core's number, from 0.
    pub core: usize,
    /// The core's cells, which only this thread writes.
    pub metrics: Arc<CoreMetrics>,
    pub(crate) control: Arc<Control>,
}

impl CoreContext {
    /// Runs `task` on the core's thread, beside its requests. The core cannot do without it: a panic in
    /// it makes the core a failed one ([`Control::failed_core`]).
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let guard = FailOnPanic { control: Arc::clone(&self.control), core: self.core };
        tokio::task::spawn_local(async move {
            let _guard = guard;
            task.await;
        });
    }
}

/// Answers requests, on one core's thread.
pub trait Service: 'static {
    /// Answers one request. Errors are answers too.
    fn call(&self, request: Request) -> impl Future<Output = Answer>;

    /// Called about ten times a second, for what has a deadline.
    fn tick(&self) {}

    /// Whether a request to `path` is answered even when [`Config::connections_max`] are open. Such
    /// answers must be small and immediate.
    fn admits_always(&self, path: &str) -> bool {
        let _ = path;
        false
    }
}

/// One request; its head is there, its body may still be on its way.
pub struct Request {
    /// Method, URI, version and headers.
    pub head: http::request::Parts,
    pub(crate) body: Incoming,
    pub(crate) connection: Rc<ConnectionState>,
}

impl Request {
    /// The length that the head declares; `None` for a chunked body.
    pub fn declared_length(&self) -> Option<u64> {
        use http_body::Body as _;
        self.body.size_hint().exact()
    }

    /// Reads the body, at most `bytes_max` of it, within the configured time. A body that is already
    /// in the connection's buffer is handed over without a copy.
    pub async fn read_body(&mut self, bytes_max: usize) -> Result<Bytes, BodyError> {
        body::read(&mut self.body, bytes_max, &mut |_| true, &self.connection).await
    }

    /// The same, asking `reserve` before the body in memory grows to so many bytes. Refused, the
    /// error is [`BodyError::NoRoom`].
    pub async fn read_body_within(
        &mut self,
        bytes_max: usize,
        mut reserve: impl FnMut(usize) -> bool,
    ) -> Result<Bytes, BodyError> {
        body::read(&mut self.body, bytes_max, &mut reserve, &self.connection).await
    }
}

/// An answer, and what is told about it.
pub struct Answer {
    /// What the client gets.
    pub response: Response,
    /// Which call it was.
    pub route: Route,
    /// The problem's slug, for the log.
    pub problem: Option<&'static str>,
    /// Whether the connection ends with it.
    pub close: bool,
    /// What is to be let go once the client has taken all of it, such as a share of a budget.
    pub held: Option<Box<dyn Any>>,
}

impl Answer {
    /// A fulfilled request.
    pub fn new(route: Route, response: Response) -> Self {
        Self { response, route, problem: None, close: false, held: None }
    }

    /// A problem.
    pub fn problem(route: Route, problem: &Problem) -> Self {
        Self {
            response: problem.response(),
            route,
            problem: Some(problem.kind.slug),
            close: problem.close,
            held: None,
        }
    }
}

/// The id by which a request is found in the logs: the sender's, if it looks like an id, which is 1 to
/// 64 letters, digits, dots, hyphens and underscores; else one made of the process's start and a count.
pub(crate) fn request_id(sent: Option<&HeaderValue>, made: impl FnOnce() -> u64) -> HeaderValue {
    let is_id = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len())
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
    };
    match sent.filter(is_id) {
        Some(value) => value.clone(),
        None => {
            const DIGITS: &[u8; 16] = b"0123456789abcdef";
            let number = made();
            let text: [u8; 16] =
                std::array::from_fn(|place| DIGITS[((number >> (60 - 4 * place)) & 15) as usize]);
            HeaderValue::from_maybe_shared(Bytes::copy_from_slice(&text))
                .expect("hexadecimal digits are visible ASCII")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repro_only_what_looks_like_a_request_id_is_used() {
        let check = |sent: &[u8], expected: &str| {
            let sent = HeaderValue::from_bytes(sent).expect("a header value");
            assert_eq!(request_id(Some(&sent), || 0xAB), expected);
        };
        check(b"abc-123", "abc-123");
        check(b"01JCX-4_z.9", "01JCX-4_z.9");
        check(&[b'x'; 64], &"x".repeat(64));
        check(b"with space", "00000000000000ab");
        check(b"patient@example.com", "00000000000000ab");
        check(b"{\"patientId\":\"100\"}", "00000000000000ab");
        check(b"<script>", "00000000000000ab");
        check(b"a/b", "00000000000000ab");
        check(b"", "00000000000000ab");
        check("é".as_bytes(), "00000000000000ab");
        check(&[b'x'; 65], "00000000000000ab");
        assert_eq!(request_id(None, || u64::MAX), "ffffffffffffffff");
    }
}
