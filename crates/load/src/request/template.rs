//! Text with placeholders, taken apart once and put together for each request.
//!
//! | placeholder | becomes |
//! | --- | --- |
//! | `{{patient}}` | 100 and up: request `n` is of patient `100 + n mod patients` |
//! | `{{seq}}` | the request's number, from 0 |
//! | `{{uuid}}` | a UUID, the same one wherever it stands in a request |
//! | `{{now}}` | `2016-11-01T14:11:51.123Z` |
//! | `{{now_js}}` | `Tue Nov 01 2016 14:11:51 GMT+0000 (Coordinated Universal Time)` |
//! | `{{medication}}` | a medication's name, the same one wherever it stands in a request |
//! | `{{pick a b c}}` | one of the words; each place picks by itself |
//! | `{{data.COLUMN}}` | the value of a row of the data file |
//!
//! Values are escaped for the place where they stand; words of `pick` stand as they were written.

use std::sync::Arc;

use super::chance::{Seed, UUID_BYTES};
use super::data::{Cells, Data};
use super::escape::Place;
use super::now;

/// The first patient's number.
pub const PATIENT_FIRST: u64 = 100;

/// Bytes of the longest number.
const NUMBER_BYTES_MAX: usize = 20;

/// What `{{medication}}` chooses from: what inhalers hold.
const MEDICATIONS: [&str; 16] = [
    "Albuterol",
    "Salbutamol",
    "Levalbuterol",
    "Terbutaline",
    "Budesonide",
    "Fluticasone",
    "Beclomethasone",
    "Mometasone",
    "Ciclesonide",
    "Salmeterol",
    "Formoterol",
    "Vilanterol",
    "Tiotropium",
    "Ipratropium",
    "Umeclidinium",
    "Indacaterol",
];

/// A placeholder's names, as an error lists them.
const NAMES: [&str; 8] =
    ["patient", "seq", "uuid", "now", "now_js", "medication", "pick a b c", "data.COLUMN"];

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// As it was written.
    Text(Vec<u8>),
    Patient,
    Seq,
    Uuid,
    Now,
    NowJs,
    /// Percent-encoded.
    NowJsEncoded,
    /// One of these.
    Pick(Vec<String>, u64),
    /// A column's value.
    Data(Arc<Cells>),
    /// The number of bytes behind the head, in so many digits or fewer.
    Length(usize),
}

/// What a request's text follows from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values {
    pub(super) number: u64,
    pub(super) wall_ns: u64,
    pub(super) patients: u64,
    pub(super) seed: Seed,
}

impl Piece {
    /// Appends what it becomes.
    #[inline]
    pub(super) fn render(&self, values: &Values, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => out.extend_from_slice(text),
            Self::Patient => write_number(PATIENT_FIRST + values.number % values.patients, out),
            Self::Seq => write_number(values.number, out),
            Self::Uuid => values.seed.uuid(values.number, out),
            Self::Now => now::rfc_3339(values.wall_ns, out),
            Self::NowJs => now::js(values.wall_ns, out),
            Self::NowJsEncoded => now::js_encoded(values.wall_ns, out),
            Self::Pick(words, salt) => {
                let chosen = values.seed.choose(values.number, *salt, words.len());
                out.extend_from_slice(words[chosen].as_bytes());
            }
            Self::Data(cells) => {
                out.extend_from_slice(cells.for_number(values.number).as_bytes());
            }
            Self::Length(digits) => out.resize(out.len() + digits, b' '),
        }
    }

    /// The most bytes that it becomes, but for data.
    pub(super) fn bytes_max(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Patient | Self::Seq => NUMBER_BYTES_MAX,
            Self::Uuid => UUID_BYTES,
            Self::Now => now::RFC_3339_BYTES,
            Self::NowJs => now::JS_BYTES,
            Self::NowJsEncoded => now::JS_BYTES * 3,
            Self::Pick(words, _) => words.iter().map(String::len).max().unwrap_or(0),
            Self::Data(_) => 0,
            Self::Length(digits) => *digits,
        }
    }
}

/// Takes `text` apart for `place`. `salt` must differ from template to template, so that their picks
/// do.
///
/// # Errors
/// In words, with the placeholder and those there are.
pub(super) fn parse(
    text: &str,
    place: Place,
    data: Option<&Data>,
    salt: u64,
) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((inside, behind)) = after.split_once("}}") else {
            let shown: String = after.chars().take(20).collect();
            return Err(format!("`{{{{{shown}` has no `}}}}` behind it"));
        };
        push_text(&mut pieces, before.as_bytes());
        let here = salt + pieces.len() as u64 + 1;
        pieces.push(placeholder(inside, place, data, here)?);
        rest = behind;
    }
    push_text(&mut pieces, rest.as_bytes());
    Ok(pieces)
}

/// Appends text to the last piece, or as one more.
pub(super) fn push_text(pieces: &mut Vec<Piece>, text: &[u8]) {
    match pieces.last_mut() {
        Some(Piece::Text(last)) => last.extend_from_slice(text),
        _ if text.is_empty() => {}
        _ => pieces.push(Piece::Text(text.to_vec())),
    }
}

/// Appends pieces, text to text.
pub(super) fn push_all(pieces: &mut Vec<Piece>, more: &[Piece]) {
    for piece in more {
        match piece {
            Piece::Text(text) => push_text(pieces, text),
            other => pieces.push(other.clone()),
        }
    }
}

fn placeholder(
    inside: &str,
    place: Place,
    data: Option<&Data>,
    salt: u64,
) -> Result<Piece, String> {
    // The names of columns are others' to choose, and may have blanks in them.
    if let Some(column) = inside.trim().strip_prefix("data.") {
        return data_column(column, place, data);
    }
    let mut words = inside.split_whitespace();
    let name = words.next().unwrap_or_default();
    if name == "pick" {
        let words: Vec<String> = words.map(str::to_owned).collect();
        return match words.len() {
            0 => Err("`{{pick}}` needs words to pick from: {{pick a b c}}".to_owned()),
            _ => Ok(Piece::Pick(words, salt)),
        };
    }
    if words.next().is_some() {
        return Err(unknown(inside));
    }
    match name {
        "patient" => Ok(Piece::Patient),
        "seq" => Ok(Piece::Seq),
        "uuid" => Ok(Piece::Uuid),
        "now" => Ok(Piece::Now),
        "now_js" if place == Place::Path => Ok(Piece::NowJsEncoded),
        "now_js" => Ok(Piece::NowJs),
        "medication" => Ok(Piece::Pick(MEDICATIONS.map(str::to_owned).to_vec(), 0)),
        _ => Err(unknown(inside)),
    }
}

fn data_column(column: &str, place: Place, data: Option<&Data>) -> Result<Piece, String> {
    let data =
        data.ok_or_else(|| format!("`{{{{data.{column}}}}}` needs a file of rows: --data FILE"))?;
    let number = data.column(column).ok_or_else(|| {
        let columns = data.columns().join(", ");
        format!("the data has no column `{column}`; it has {columns}")
    })?;
    data.cells(number, place).map(|cells| Piece::Data(Arc::new(cells)))
}

fn unknown(inside: &str) -> String {
    let names = NAMES.map(|name| format!("{{{{{name}}}}}")).join(" ");
    format!("there is no placeholder `{{{{{inside}}}}}`; there are {names}")
}

fn write_number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL_NS: u64 = 1_477_991_511_123_000_000;

    fn render(text: &str, place: Place, number: u64) -> String {
        let data = Data::parse("name,the dose\nAnn,1\nB\"o,2\nC d,3").expect("three rows");
        let pieces = parse(text, place, Some(&data), 1 << 8).expect(text);
        let values = Values { number, wall_ns: WALL_NS, patients: 3, seed: Seed::new(1, "s") };
        let mut out = Vec::new();
        pieces.iter().for_each(|piece| piece.render(&values, &mut out));
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn placeholders_become_what_they_stand_for() {
        let check = |text: &str, place: Place, number: u64, expected: &str| {
            assert_eq!(render(text, place, number), expected, "{text} of {number}");
        };
        check("", Place::Body, 0, "");
        check("{\"a\":{\"b\":1}}", Place::JsonBody, 0, "{\"a\":{\"b\":1}}");
        check("{{patient}}", Place::Body, 0, "100");
        check("<{{ patient }}{{seq}}>", Place::Body, 5, "<1025>");
        check("{{patient}} {{seq}}", Place::Body, u64::MAX, "100 18446744073709551615");
        check("{{now}}", Place::Body, 0, "2016-11-01T09:11:51.123Z");
        check(
            "{{now_js}}",
            Place::JsonBody,
            0,
            "Tue Nov 01 2016 09:11:51 GMT+0000 (Coordinated Universal Time)",
        );
        check("/{{data.name}}?d={{ data.the dose }}", Place::Path, 5, "/C%20d?d=3");
        check("\"{{data.name}}\"", Place::JsonBody, 4, "\"B\\\"o\"");
        check("{{data.name}}", Place::Body, 4, "B\"o");
        check("{{pick x}}", Place::Body, 9, "x");
    }

    #[test]
    fn chance_follows_from_the_number() {
        let text = "{{uuid}} {{uuid}} {{medication}} {{medication}} {{pick a b}} {{pick a b}}";
        let mut picks_differ = false;
        for number in 0..50 {
            let first = render(text, Place::Body, number);
            assert_eq!(first, render(text, Place::Body, number));
            assert_ne!(first, render(text, Place::Body, number + 1));
            let words: Vec<&str> = first.split(' ').collect();
            assert_eq!((words[0], words[2]), (words[1], words[3]));
            picks_differ |= words[4] != words[5];
        }
        assert!(picks_differ);
    }

    #[test]
    fn wrong_placeholders_are_told_with_those_there_are() {
        let data = Data::parse("a,b\n1,2").expect("a row");
        let check = |text: &str, data: Option<&Data>, expected: &str| {
            let error = parse(text, Place::Body, data, 0).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        };
        check("x {{patient", None, "`{{patient` has no `}}`");
        check("{{patent}}", None, "no placeholder `{{patent}}`; there are {{patient}} {{seq}}");
        check("{{}}", None, "no placeholder `{{}}`");
        check("{{patient 3}}", None, "no placeholder `{{patient 3}}`");
        check("{{pick}}", None, "words to pick from");
        check("{{data.a}}", None, "--data FILE");
        check("{{data.c}}", Some(&data), "no column `c`; it has a, b");
    }
}
