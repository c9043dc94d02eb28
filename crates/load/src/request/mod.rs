//! What requests say: templates, filled in for each request from its number. A request's content
//! follows from its number and the plan's seed alone, `{{now}}` apart, so that machines which divide
//! a plan send what one would have sent.

mod build;
mod chance;
mod data;
mod escape;
mod now;
mod template;

use chance::Seed;
use template::{Piece, Values};

pub(crate) use build::{Part, Spec, USAGE_BODY};
pub(crate) use data::Data;
pub use template::PATIENT_FIRST;

/// A scenario's requests.
#[derive(Debug)]
pub struct Requests {
    method: String,
    /// HTTP/1.1 for a connection that is kept and for one that is closed, up to the body; with a
    /// single item in a body, body and all.
    kept: Vec<Piece>,
    closed: Vec<Piece>,
    path: Vec<Piece>,
    /// Names in lower case.
    headers: Vec<(String, Vec<Piece>)>,
    /// `None` without a body.
    body: Option<Vec<Piece>>,
    /// Items of a body, a line each.
    batch: u64,
    patients: u64,
    seed: Seed,
    bytes_max: usize,
}

/// A request in the parts that HTTP/2 wants.
#[derive(Debug, Default)]
pub struct Parts {
    /// `POST`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case, and values. Neither `host` nor `connection` is among them.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Requests {
    /// Usages as the default body has them, posted to `path` at `authority`.
    pub fn usages(authority: &str, path: &str) -> Self {
        let spec = Spec { authority, path, ..Spec::default() };
        Self::new(&spec).expect("the default body and a plain path are in order")
    }

    /// Requests of `body`, a template, posted to `path` at `authority`.
    ///
    /// # Panics
    /// When a placeholder in them is unknown: they are written in code, not typed by somebody.
    pub fn posts(authority: &str, path: &str, body: &str) -> Self {
        let spec = Spec { authority, path, body: Some(body), ..Spec::default() };
        Self::new(&spec).expect("a body and a path that are written in code are in order")
    }

    /// `POST`.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The most bytes that a request has, head and body.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Appends request `number` as HTTP/1.1 writes it, head and body, to `out`. `wall_ns` is what
    /// `{{now}}` says. `close` adds `Connection: close`.
    pub fn write_http1(&self, number: u64, wall_ns: u64, close: bool, out: &mut Vec<u8>) {
        let pieces = if close { &self.closed } else { &self.kept };
        let values = self.values(number, wall_ns);
        let mut length = None;
        for piece in pieces {
            if let Piece::Length(digits) = piece {
                length = Some((out.len(), *digits));
            }
            piece.render(&values, out);
        }
        if self.batch > 1 {
            self.write_items(number, wall_ns, out);
        }
        if let Some((at, digits)) = length {
            patch_length(out, at, digits);
        }
    }

    /// Fills `parts` with request `number`. What memory `parts` has is used again.
    pub fn fill_parts(&self, number: u64, wall_ns: u64, parts: &mut Parts) {
        let values = self.values(number, wall_ns);
        parts.method.clone_from(&self.method);
        fill(&self.path, &values, &mut parts.path);
        parts.body.clear();
        let own = self.headers.len();
        parts.headers.truncate(own + usize::from(self.body.is_some()));
        for (at, (name, value)) in self.headers.iter().enumerate() {
            let (_, text) = header(&mut parts.headers, at, name);
            fill(value, &values, text);
        }
        if let Some(body) = &self.body {
            if self.batch > 1 {
                self.write_items(number, wall_ns, &mut parts.body);
            } else {
                body.iter().for_each(|piece| piece.render(&values, &mut parts.body));
            }
            let (_, text) = header(&mut parts.headers, own, "content-length");
            text.clear();
            text.push_str(itoa::Buffer::new().format(parts.body.len()));
        }
    }

    fn values(&self, number: u64, wall_ns: u64) -> Values {
        Values { number, wall_ns, patients: self.patients, seed: self.seed }
    }

    /// Items are numbered through all requests, so that patients and rows still come in turn.
    fn write_items(&self, number: u64, wall_ns: u64, out: &mut Vec<u8>) {
        let first = number.wrapping_mul(self.batch);
        for item in 0..self.batch {
            let values = self.values(first.wrapping_add(item), wall_ns);
            self.body.iter().flatten().for_each(|piece| piece.render(&values, out));
            out.push(b'\n');
        }
    }
}

/// The blanks at `at` become the length of the body, which begins behind them and an empty line. Few
/// requests have fewer digits than the longest: for them the rest moves up.
fn patch_length(out: &mut Vec<u8>, at: usize, digits: usize) {
    let body_at = at + digits + b"\r\n\r\n".len();
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(out.len() - body_at).as_bytes();
    let blanks = digits - text.len();
    out[at + blanks..at + digits].copy_from_slice(text);
    if blanks > 0 {
        out.drain(at..at + blanks);
    }
}

fn fill(pieces: &[Piece], values: &Values, text: &mut String) {
    let mut bytes = std::mem::take(text).into_bytes();
    bytes.clear();
    pieces.iter().for_each(|piece| piece.render(values, &mut bytes));
    *text = String::from_utf8(bytes).expect("pieces are text");
}

/// The header at `at`, which may have to be made, with this name.
fn header<'a>(
    headers: &'a mut Vec<(String, String)>,
    at: usize,
    name: &str,
) -> &'a mut (String, String) {
    if headers.len() <= at {
        headers.push((name.to_owned(), String::new()));
    } else if headers[at].0 != name {
        name.clone_into(&mut headers[at].0);
    }
    &mut headers[at]
}

#[cfg(test)]
mod tests;
