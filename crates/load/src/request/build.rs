//! From what somebody asked for to requests that can be written: every placeholder known, every
//! header one, and no request too long.

use super::Requests;
use super::chance::Seed;
use super::data::Data;
use super::escape::{Place, is_header_value};
use super::template::{self, Piece, Values, push_all, push_text};
use crate::limits::{PATH_BYTES_MAX, REQUEST_BYTES_MAX};

/// What a usage looks like unless somebody says otherwise.
pub(crate) const USAGE_BODY: &str =
    r#"{"patientId":"load-{{patient}}","timestamp":"{{now_js}}","medication":"{{medication}}"}"#;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spec<'a> {
    /// In upper case.
    pub(crate) method: &'a str,
    /// `host:port`.
    pub(crate) authority: &'a str,
    /// Path and query, a template.
    pub(crate) path: &'a str,
    /// Names and templates.
    pub(crate) headers: &'a [(String, String)],
    /// A template.
    pub(crate) body: Option<&'a str>,
    /// A template, which becomes the quoted `Idempotency-Key`.
    pub(crate) idempotency_key: Option<&'a str>,
    /// For `{{data.COLUMN}}`.
    pub(crate) data: Option<&'a Data>,
    /// Items in a body; more than 1 make it NDJSON.
    pub(crate) batch: u64,
    /// At least 1.
    pub(crate) patients: u64,
    /// The run's.
    pub(crate) seed: u64,
    /// The scenario's name.
    pub(crate) scenario: &'a str,
}

impl Default for Spec<'_> {
    fn default() -> Self {
        Self {
            method: "POST",
            authority: "localhost",
            path: "/",
            headers: &[],
            body: Some(USAGE_BODY),
            idempotency_key: None,
            data: None,
            batch: 1,
            patients: 1_000_000,
            seed: 0,
            scenario: "",
        }
    }
}

/// The part of a request that something is wrong with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Method,
    Path,
    Header,
    IdempotencyKey,
    Body,
    Batch,
}

/// What is wrong, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) part: Part,
    pub(crate) words: String,
}

/// Headers that are the generator's to write.
const OURS: [&str; 4] = ["content-length", "transfer-encoding", "connection", "expect"];

/// A header: its name as it is written, and its value.
type Header = (String, Vec<Piece>);

impl Requests {
    /// Takes it all apart.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn new(spec: &Spec<'_>) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        check_method(spec, &mut faults);
        let headers = headers(spec, &mut faults);
        let place = if is_json(&headers) { Place::JsonBody } else { Place::Body };
        let path = template(Part::Path, spec.path, Place::Path, spec.data, &mut faults);
        check_path(&path, &mut faults);
        let body = spec.body.map(|body| template(Part::Body, body, place, spec.data, &mut faults));
        check_batch(spec, body.as_deref(), &mut faults);
        if !faults.is_empty() {
            return Err(faults);
        }
        let (kept, closed) = (http1(spec, &path, &headers, body.as_deref(), false), true);
        let closed = http1(spec, &path, &headers, body.as_deref(), closed);
        let batch = spec.batch.max(1);
        let items = body.as_deref().filter(|_| batch > 1);
        let item_bytes = items.map_or(0, |item| longest(item).saturating_add(1));
        let items_bytes = item_bytes.saturating_mul(usize::try_from(batch).unwrap_or(usize::MAX));
        let requests = Self {
            method: spec.method.to_owned(),
            bytes_max: longest(&closed).saturating_add(items_bytes),
            kept,
            closed,
            path,
            headers: headers.into_iter().map(|(name, v)| (name.to_ascii_lowercase(), v)).collect(),
            body,
            batch,
            patients: spec.patients,
            seed: Seed::new(spec.seed, spec.scenario),
        };
        if requests.bytes_max > REQUEST_BYTES_MAX {
            let part = if batch > 1 { Part::Batch } else { Part::Body };
            let (bytes, max) = (requests.bytes_max, REQUEST_BYTES_MAX);
            let words = format!("the longest request has {bytes} bytes; at most {max} are sent");
            return Err(vec![Fault { part, words }]);
        }
        Ok(requests)
    }

    /// Whether any of it is of the rows of data.
    pub(crate) fn takes_data(&self) -> bool {
        let headers = self.headers.iter().flat_map(|(_, value)| value);
        let mut pieces = self.path.iter().chain(headers).chain(self.body.iter().flatten());
        pieces.any(|piece| matches!(piece, Piece::Data(_)))
    }

    /// Whether the bodies that say they are JSON are, judged by the first and by one with the
    /// longest of each choice.
    pub(crate) fn body_is_what_it_says(&self) -> bool {
        let json = |(name, value): &(String, Vec<Piece>)| {
            name == "content-type" && matches!(value.as_slice(), [Piece::Text(t)] if says_json(t))
        };
        let Some(body) = self.body.as_ref().filter(|_| self.headers.iter().any(json)) else {
            return true;
        };
        [0, 1].into_iter().all(|number| {
            let mut text = Vec::new();
            let values = Values { number, wall_ns: 0, patients: self.patients, seed: self.seed };
            body.iter().for_each(|piece| piece.render(&values, &mut text));
            // One value, or one on each line.
            let mut values =
                serde_json::Deserializer::from_slice(&text).into_iter::<serde::de::IgnoredAny>();
            values.all(|value| value.is_ok())
        })
    }
}

fn check_method(spec: &Spec<'_>, faults: &mut Vec<Fault>) {
    let is_one = !spec.method.is_empty() && spec.method.bytes().all(is_token);
    let words = match spec.method {
        // Its answer turns the connection into a tunnel.
        "CONNECT" => "CONNECT is not sent".to_owned(),
        method if !is_one => format!("`{method}` is no method, such as POST or GET"),
        _ => return,
    };
    faults.push(Fault { part: Part::Method, words });
}

fn check_path(path: &[Piece], faults: &mut Vec<Fault>) {
    let mut texts = path.iter().filter_map(|piece| match piece {
        Piece::Text(text) => Some(text.as_slice()),
        _ => None,
    });
    let picks = path.iter().filter_map(|piece| match piece {
        Piece::Pick(words, _) => Some(words),
        _ => None,
    });
    // The others stand in no URL (RFC 3986), and HTTP/2 is told no such path.
    let is_plain = |text: &[u8]| {
        text.iter().all(|b| b.is_ascii_graphic() && !matches!(b, b'#' | b'"' | b'<' | b'>' | b'`'))
    };
    if !texts.all(is_plain) || !picks.flatten().all(|word| is_plain(word.as_bytes())) {
        let words =
            "a path holds ASCII without blanks and # \" < > `; write others as %20".to_owned();
        faults.push(Fault { part: Part::Path, words });
    }
    let bytes = longest(path);
    if bytes > PATH_BYTES_MAX {
        let words =
            format!("the longest path has {bytes} bytes; at most {PATH_BYTES_MAX} are sent");
        faults.push(Fault { part: Part::Path, words });
    }
}

fn check_batch(spec: &Spec<'_>, body: Option<&[Piece]>, faults: &mut Vec<Fault>) {
    if spec.batch <= 1 {
        return;
    }
    let words = match body {
        None => "a batch needs a body".to_owned(),
        Some(body) if body.iter().any(|p| matches!(p, Piece::Text(t) if t.contains(&b'\n'))) => {
            "the items of a batch are lines: write the body on one".to_owned()
        }
        Some(_) => return,
    };
    faults.push(Fault { part: Part::Batch, words });
}

/// All headers but `Host`, `Content-Length` and `Connection`: the generator's own unless they are given, then
/// those that are given, each as often as it is.
fn headers(spec: &Spec<'_>, faults: &mut Vec<Fault>) -> Vec<Header> {
    let mut headers: Vec<Header> = Vec::new();
    let is_given =
        |name: &str| spec.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
    let mut set = |name: &str, value: Vec<Piece>, unless_given: bool| {
        if !(unless_given && is_given(name)) {
            headers.push((name.to_owned(), value));
        }
    };
    let text = |text: &str| vec![Piece::Text(text.as_bytes().to_vec())];
    set("User-Agent", text(concat!("inhale/", env!("CARGO_PKG_VERSION"))), true);
    if spec.body.is_some() {
        let json = if spec.batch > 1 { "application/x-ndjson" } else { "application/json" };
        set("Content-Type", text(json), true);
    }
    if let Some(key) = spec.idempotency_key {
        let mut pieces = vec![Piece::Text(b"\"".to_vec())];
        let inner = template(Part::IdempotencyKey, key, Place::Header, spec.data, faults);
        push_all(&mut pieces, &inner);
        push_text(&mut pieces, b"\"");
        set("Idempotency-Key", pieces, true);
    }
    for (name, value) in spec.headers {
        let lower = name.to_ascii_lowercase();
        let words = if name.is_empty() || !name.bytes().all(is_token) {
            format!("`{name}` is no name of a header")
        } else if OURS.contains(&lower.as_str()) {
            format!("`{name}` is written by the generator itself")
        } else if !is_header_value(value) {
            format!("the value of `{name}` is not printable ASCII")
        } else {
            let pieces = template(Part::Header, value, Place::Header, spec.data, faults);
            if lower != "host" {
                set(name, pieces, false);
            }
            continue;
        };
        faults.push(Fault { part: Part::Header, words });
    }
    headers
}

fn template(
    part: Part,
    text: &str,
    place: Place,
    data: Option<&Data>,
    faults: &mut Vec<Fault>,
) -> Vec<Piece> {
    // A pick's salt is the template's own plus its place in it: no two in a request are alike.
    let salt = text.bytes().fold(part as u64 + 1, |salt, byte| {
        (salt.rotate_left(5) ^ u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    template::parse(text, place, data, salt >> 8).unwrap_or_else(|words| {
        faults.push(Fault { part, words });
        Vec::new()
    })
}

/// The whole request; without its body if that is a batch.
fn http1(
    spec: &Spec<'_>,
    path: &[Piece],
    headers: &[Header],
    body: Option<&[Piece]>,
    close: bool,
) -> Vec<Piece> {
    let mut pieces = Vec::new();
    push_text(&mut pieces, format!("{} ", spec.method).as_bytes());
    push_all(&mut pieces, path);
    push_text(&mut pieces, format!(" HTTP/1.1\r\nHost: {}\r\n", spec.authority).as_bytes());
    for (name, value) in headers {
        push_text(&mut pieces, format!("{name}: ").as_bytes());
        push_all(&mut pieces, value);
        push_text(&mut pieces, b"\r\n");
    }
    if close {
        push_text(&mut pieces, b"Connection: close\r\n");
    }
    let Some(body) = body else {
        push_text(&mut pieces, b"\r\n");
        return pieces;
    };
    push_text(&mut pieces, b"Content-Length: ");
    match (spec.batch > 1, body) {
        (false, []) => push_text(&mut pieces, b"0"),
        (false, [Piece::Text(text)]) => {
            push_text(&mut pieces, text.len().to_string().as_bytes());
        }
        _ => {
            let bytes = longest(body)
                .saturating_add(1)
                .saturating_mul(usize::try_from(spec.batch.max(1)).unwrap_or(usize::MAX));
            pieces.push(Piece::Length(bytes.to_string().len()));
        }
    }
    push_text(&mut pieces, b"\r\n\r\n");
    if spec.batch <= 1 {
        push_all(&mut pieces, body);
    }
    pieces
}

/// The bytes of the longest that pieces become, over all rows of data.
fn longest(pieces: &[Piece]) -> usize {
    let without: usize = pieces.iter().map(Piece::bytes_max).sum();
    let columns: Vec<_> = pieces
        .iter()
        .filter_map(|piece| match piece {
            Piece::Data(cells) => Some(cells),
            _ => None,
        })
        .collect();
    let rows = columns.first().map_or(0, |cells| cells.rows());
    let row_bytes = |row| columns.iter().map(|cells| cells.get(row, 0).len()).sum::<usize>();
    without.saturating_add((0..rows).map(row_bytes).max().unwrap_or(0))
}

fn is_json(headers: &[Header]) -> bool {
    headers.iter().any(|(name, value)| {
        name.eq_ignore_ascii_case("content-type")
            && matches!(value.as_slice(), [Piece::Text(text)] if says_json(text))
    })
}

/// `application/json`, `application/x-ndjson`, `application/problem+json; charset=utf-8`.
fn says_json(media_type: &[u8]) -> bool {
    let text = String::from_utf8_lossy(media_type).to_ascii_lowercase();
    let essence = text.split(';').next().unwrap_or_default().trim();
    essence.ends_with("json") || essence.ends_with("jsonl")
}

/// RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
