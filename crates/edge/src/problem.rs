//! Problem details (RFC 9457): what a client is told when its request is not fulfilled.

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Method, StatusCode};
use http_body_util::Full;

use crate::request::Response;

/// A kind of problem: its `type` is `/problems/{slug}`, a page that explains it.
#[derive(Debug, PartialEq, Eq)]
pub struct ProblemKind {
    /// The last part of the `type` URI.
    pub slug: &'static str,
    /// The status it comes with.
    pub status: u16,
    /// The same for every occurrence.
    pub title: &'static str,
    /// What happened, and what of the request was done.
    pub happened: &'static str,
    /// What the client should do.
    pub action: &'static str,
    /// Whether the same request, unchanged, can be answered otherwise later.
    pub retry_helps: bool,
}

/// Declares the kinds and a table of them all, which the pages are made from.
macro_rules! kinds {
    ($($name:ident = $status:literal, $slug:literal, $title:literal, $happened:literal, $action:literal, $retry_helps:literal;)+) => {
        impl ProblemKind {
            $(#[doc = $title] pub const $name: &'static ProblemKind = &ProblemKind {
                slug: $slug, status: $status, title: $title,
                happened: $happened, action: $action, retry_helps: $retry_helps,
            };)+

            /// Every kind there is.
            pub const ALL: &'static [&'static ProblemKind] = &[$(ProblemKind::$name,)+];
        }
    };
}

kinds! {
    NOT_JSON = 400, "not-json", "The body is not JSON",
        "The body could not be read as JSON; `detail` says where reading stopped. Nothing was stored.",
        "Mend the body before sending it again.", false;
    MALFORMED = 400, "malformed", "The request is not valid HTTP/1.1",
        "The request's head breaks the rules of HTTP/1.1: a line is malformed, or it does not have exactly one well-formed `Host`. Nothing was stored.",
        "Correct the program that sends it, or the proxy between it and the server.", false;
    BAD_ENCODING = 400, "bad-encoding", "The request's address is not encoded correctly",
        "A parameter or the path holds a `%` without two hexadecimal digits after it, or bytes that are not UTF-8; `errors` names it. Nothing was read and nothing was stored.",
        "Encode the value as UTF-8 and then percent-encode it, as `encodeURIComponent` does.", false;
    BROKEN_BODY = 400, "broken-body", "The body did not arrive whole",
        "The connection ended, or its framing broke, before the body was complete. Nothing was stored.",
        "Send it again on a new connection.", true;
    CROSS_ORIGIN = 403, "cross-origin", "The request comes from a web page of another origin",
        "A browser sent the request for a page whose origin (`Origin`, `Sec-Fetch-Site`) is not this server's. Nothing was read and nothing was stored.",
        "If the page may use this server, the operator adds its origin with `--allow-origin`, such as `--allow-origin https://app.example`.", false;
    NOT_FOUND = 404, "not-found", "There is nothing here",
        "No call has this path, or no usage has this id. An id that this store did not make is answered the same way.",
        "Check the path and the id; an id stands in the answer of the POST that stored the usage.", false;
    METHOD_NOT_ALLOWED = 405, "method-not-allowed", "This call has other methods",
        "The path is right, but this method is none of its methods.",
        "Use a method that the `Allow` header names.", false;
    BODY_TIMEOUT = 408, "body-timeout", "The body did not arrive in time",
        "The server waits a bounded time for a body (--body-timeout). Nothing was stored.",
        "Send it again, on a better connection or in smaller batches.", true;
    EXPIRED = 410, "expired", "The usage has expired",
        "There was a usage with this id, and the operator's retention let it go (--retain).",
        "Nothing: it does not come back.", false;
    TOO_LARGE = 413, "too-large", "The body is too large",
        "The body has more bytes than this call accepts: 1 MiB for usages, 16 KiB for a search; `detail` says which. Nothing was stored.",
        "Send usages in smaller batches. A search needs no more than a patient, bounds and a medication.", false;
    UNSUPPORTED_MEDIA_TYPE = 415, "unsupported-media-type", "The body's media type or encoding is not supported",
        "The call does not read this `Content-Type`, or the body is compressed, which is not supported yet. A web page has to send a `Content-Type`. Nothing was stored.",
        "Send `Content-Type: application/json`, or for a batch of lines `application/x-ndjson`, and send the body uncompressed.", false;
    MISDIRECTED = 421, "misdirected-request", "The server does not serve this host",
        "The `Host` header names a host that this server does not serve. It serves the IP address that the client connected to, the machine's hostname, the names of loopback for clients on the same machine, and each `--host`. Nothing was read and nothing was stored.",
        "Use one of those names, or have the operator add this one with `--host`, such as `--host inhale.example`.", false;
    INVALID = 422, "invalid", "The request is wrong",
        "`errors` names everything that is wrong at once, each with a JSON pointer to the member of the body or the parameter of the query, a code, and what is expected; for a batch `results` has them, item by item, up to 64 KiB. Nothing was stored.",
        "Mend what is named before sending it again.", false;
    KEY_REUSED = 422, "key-reused", "The idempotency key was used with other content",
        "A usage with this key is stored, and its content differs from this one's. Nothing was stored now.",
        "Give a new usage a new key; in a retry send what was sent first, to the letter.", false;
    HEAD_TOO_LARGE = 431, "head-too-large", "The request's head is too large",
        "A head may have 16 KiB and 100 headers. Nothing was stored.",
        "Send fewer or shorter headers, or put a long filter into the body of a search.", false;
    OUTCOME_UNKNOWN = 500, "outcome-unknown", "Whether the usage was stored is unknown",
        "The disk failed while the usage was being written, or did not complete the write in time (--commit-timeout).",
        "Once a server answers again, send the usage again with its idempotency key: it is stored once. Without a key, look in the patient's history first.", true;
    DISK_FAILED = 500, "disk-failed", "The disk has failed",
        "An earlier write failed, so the server takes nothing in any more and is stopping. This request stored nothing.",
        "Send it again once a server answers.", true;
    INTERNAL = 500, "internal", "The server failed",
        "The fault is the server's. If it was a POST, whether it was stored is unknown.",
        "Quote the request id to whoever runs the server. A usage with an idempotency key may be sent again: it is stored once.", true;
    DATA_DAMAGED = 500, "data-damaged", "Stored data is damaged",
        "What this request needs cannot be read: a stored file is damaged or missing. If it was a POST with a key, nothing was stored, because the usage that already used the key cannot be compared; `detail` has that usage's id.",
        "Do not retry; report it to the operator of the server, who can stop it and run `inhale journal check` to see the damage. All other usages are still served.", false;
    OVERLOADED = 503, "overloaded", "There is no room right now",
        "The memory for requests, the connections (--connections-max) or the places for waiting calls are all in use. Nothing was stored.",
        "Send again after `Retry-After` seconds; with an idempotency key that is safe however often.", true;
    DISK_STUCK = 503, "disk-stuck", "The disk does not complete its writes",
        "Usages that arrived earlier still wait for the disk (--stuck-after), so the server accepts no new ones. Nothing was stored.",
        "Send again after `Retry-After` seconds. The server accepts usages again as soon as the disk completes a write.", true;
    CATCHING_UP = 503, "catching-up", "What this call needs is catching up",
        "The index, which reads and idempotency keys need, is away or behind. Usages without a key are still taken in.",
        "Send again after `Retry-After` seconds.", true;
    TOO_SLOW = 503, "too-slow", "Counting took too long",
        "The summary had to read more usages, one by one, than it had time for (--summary-timeout). That is so where `from` or `to` lies within a quarter of an hour, and while a stretch of the journal expires.",
        "Ask for bounds on whole quarters of an hour, which are counted already, or for a shorter range. The same may be answered when less is asked of the server.", true;
    NOT_SECURED = 503, "not-secured", "Whether the usage is stored is not certain yet",
        "The server had just written this usage when it was stopped. It must write it once more before it can confirm it, and the disk has no room for that. Nothing was stored now.",
        "Send again after `Retry-After` seconds. It is answered as soon as the operator has freed space.", true;
    STOPPING = 503, "stopping", "The server is stopping",
        "The server takes nothing in any more because it was told to end. Nothing was stored.",
        "Send again: another server, or this one once it is back, will take it.", true;
    DISK_FULL = 507, "disk-full", "The disk is full to its reserve",
        "Nothing was stored. Reads go on; as soon as the operator frees space, usages are taken in again.",
        "Keep the usage and send it again later.", true;
}

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldProblem {
    /// A JSON pointer (RFC 6901) to the member of the body or the parameter of the query, or a header's name.
    pub pointer: String,
    /// A word for programs.
    pub code: &'static str,
    /// What is expected. Never holds what was sent.
    pub detail: String,
}

/// One occurrence of a problem.
#[derive(Debug)]
pub struct Problem {
    /// What kind it is of.
    pub kind: &'static ProblemKind,
    /// What is particular about this occurrence. Never holds what was sent.
    pub detail: Option<String>,
    /// Everything wrong, for kinds that can list it.
    pub errors: Vec<FieldProblem>,
    /// Seconds after which to try again.
    pub retry_after: Option<u32>,
    /// Methods, for 405.
    pub allow: Option<&'static [Method]>,
    /// Whether the connection ends with this answer.
    pub close: bool,
}

impl From<&'static ProblemKind> for Problem {
    fn from(kind: &'static ProblemKind) -> Self {
        let retry_after = (kind.status == 503).then_some(1);
        Self { kind, detail: None, errors: Vec::new(), retry_after, allow: None, close: false }
    }
}

impl Problem {
    /// With what is particular about it.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// With everything that is wrong.
    pub fn errors(mut self, errors: Vec<FieldProblem>) -> Self {
        self.errors = errors;
        self
    }

    /// With the methods there are.
    pub fn allow(mut self, methods: &'static [Method]) -> Self {
        self.allow = Some(methods);
        self
    }

    /// As the last answer of its connection.
    pub fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// The JSON object of RFC 9457, to stand alone or inside another.
    pub fn json(&self) -> String {
        self.json_with("")
    }

    /// The same with `members` of its own kind, such as `"a":1`, after the standard ones.
    pub fn json_with(&self, members: &str) -> String {
        let kind = self.kind;
        let mut json = format!(
            r#"{{"type":"/problems/{}","title":{},"status":{}"#,
            kind.slug,
            quoted(kind.title),
            kind.status
        );
        if let Some(detail) = &self.detail {
            let _ = write!(json, r#","detail":{}"#, quoted(detail));
        }
        if !self.errors.is_empty() {
            json.push_str(r#","errors":["#);
            for (index, error) in self.errors.iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                let _ = write!(
                    json,
                    r#"{comma}{{"pointer":{},"code":"{}","detail":{}}}"#,
                    quoted(&error.pointer),
                    error.code,
                    quoted(&error.detail)
                );
            }
            json.push(']');
        }
        if !members.is_empty() {
            json.push(',');
            json.push_str(members);
        }
        json.push('}');
        json
    }

    /// The whole answer.
    pub fn response(&self) -> Response {
        self.response_with("")
    }

    /// The whole answer, with `members` as in [`Problem::json_with`].
    pub fn response_with(&self, members: &str) -> Response {
        let mut response = http::Response::new(Full::new(Bytes::from(self.json_with(members))));
        *response.status_mut() =
            StatusCode::from_u16(self.kind.status).expect("the table holds valid statuses");
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(methods) = self.allow {
            let names: Vec<_> = methods.iter().map(Method::as_str).collect();
            let value =
                HeaderValue::from_str(&names.join(", ")).expect("method names are visible ASCII");
            headers.insert(ALLOW, value);
        }
        if self.kind.status == 415 {
            headers.insert(
                HeaderName::from_static("accept-encoding"),
                HeaderValue::from_static("identity"),
            );
        }
        response
    }
}

/// `text` as a JSON string (RFC 8259, section 7).
fn quoted(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            control if control < ' ' => {
                let _ = write!(json, "\\u{:04x}", u32::from(control));
            }
            other => json.push(other),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_as_rfc_9457_has_it() {
        let problem = Problem::from(ProblemKind::INVALID).errors(vec![FieldProblem {
            pointer: "/a\"b".to_owned(),
            code: "missing",
            detail: "is\nrequired".to_owned(),
        }]);
        assert_eq!(
            problem.json(),
            r#"{"type":"/problems/invalid","title":"The request is wrong","status":422,"errors":[{"pointer":"/a\"b","code":"missing","detail":"is\u000arequired"}]}"#
        );
        assert_eq!(problem.response().status(), 422);
        let more = Problem::from(ProblemKind::INVALID).json_with(r#""a":1"#);
        assert!(more.ends_with(r#""status":422,"a":1}"#), "{more}");
    }

    #[test]
    fn what_may_be_sent_again_says_when() {
        let check = |kind: &'static ProblemKind, expected: Option<&str>| {
            let response = Problem::from(kind).response();
            let found =
                response.headers().get(RETRY_AFTER).map(|value| value.to_str().expect("digits"));
            assert_eq!(found, expected, "{}", kind.slug);
        };
        check(ProblemKind::OVERLOADED, Some("1"));
        check(ProblemKind::OUTCOME_UNKNOWN, None);
        check(ProblemKind::INVALID, None);
    }

    #[test]
    fn every_status_is_counted_by_itself() {
        for kind in ProblemKind::ALL {
            let counted = telemetry::STATUSES[telemetry::status_index(kind.status)];
            assert_eq!(counted, kind.status, "{}", kind.slug);
        }
    }

    #[test]
    fn slugs_are_unique() {
        let mut slugs: Vec<_> = ProblemKind::ALL.iter().map(|kind| kind.slug).collect();
        slugs.sort_unstable();
        slugs.dedup();
        assert_eq!(slugs.len(), ProblemKind::ALL.len());
    }
}
