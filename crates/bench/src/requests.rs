//! The requests that the client sends: built once, then patched in place, so that a million different
//! patients cost hardly more than one.

use crate::calendar::{LOCAL_TEXT_BYTES, LocalText, write_digits};
use crate::patients::{FIRST_PATIENT, Patients, id_digits};

/// The local time of the original body, 2016-11-01 09:11:51, in seconds since 1970.
const ORIGINAL_LOCAL_SECONDS: u64 = 1_477_991_511;
const SECONDS_PER_DAY: u64 = 86_400;
/// Has no factor in common with a day's seconds: visits each of them, not in order.
const SECOND_STRIDE: u64 = 7_919;
/// Digits of a key's own number.
const KEY_DIGITS: usize = 14;
const MEDICATIONS: [&str; 20] = [
    "Albuterol",
    "Budesonide",
    "Fluticasone",
    "Salmeterol",
    "Formoterol",
    "Tiotropium",
    "Ipratropium",
    "Beclomethasone",
    "Mometasone",
    "Ciclesonide",
    "Levalbuterol",
    "Umeclidinium",
    "Vilanterol",
    "Indacaterol",
    "Olodaterol",
    "Glycopyrronium",
    "Aclidinium",
    "Terbutaline",
    "Salbutamol",
    "Cromolyn",
];

/// What the posts are like.
#[derive(Debug, Clone)]
pub(crate) struct PostShape {
    pub(crate) path: String,
    pub(crate) patients: u64,
    /// The exponent of Zipf's law; without it everyone comes in turn.
    pub(crate) zipf: Option<f64>,
    pub(crate) medications: usize,
    pub(crate) distinct_times: bool,
    /// The start of every key; none sends no keys.
    pub(crate) key_prefix: Option<String>,
    /// Usages a request; 1 sends a JSON object, more send NDJSON.
    pub(crate) batch: usize,
    /// The number of the first usage, so that a later run goes on where an earlier one ended.
    pub(crate) first: u64,
    pub(crate) close: bool,
}

/// What a client sends, one request after another.
pub(crate) enum Requests {
    /// Usages.
    Posts(Posts),
    /// Questions for a patient's usages.
    Gets(Gets),
}

impl Requests {
    /// The bytes of the next request, good until the one after it.
    pub(crate) fn next(&mut self) -> &[u8] {
        match self {
            Self::Posts(posts) => posts.next(),
            Self::Gets(gets) => gets.next(),
        }
    }

    /// Usages that a good answer stands for.
    pub(crate) fn usages_each(&self) -> u64 {
        match self {
            Self::Posts(posts) => posts.usages_each,
            Self::Gets(_) => 1,
        }
    }

    /// The status of a good answer.
    pub(crate) fn expected_status(&self) -> u16 {
        match self {
            Self::Posts(_) => 201,
            Self::Gets(_) => 200,
        }
    }
}

/// Posts of usages.
pub(crate) struct Posts {
    templates: Vec<Template>,
    patients: Patients,
    distinct_times: bool,
    local: LocalText,
    usages_each: u64,
    next_usage: u64,
    next_request: u64,
}

/// A whole request with the places that change.
struct Template {
    bytes: Vec<u8>,
    usages: Vec<Places>,
    key: Option<usize>,
}

#[derive(Clone, Copy)]
struct Places {
    patient: usize,
    patient_digits: usize,
    time: usize,
}

impl Posts {
    pub(crate) fn new(shape: &PostShape) -> Self {
        let batch = shape.batch.max(1);
        let medications = shape.medications.clamp(1, MEDICATIONS.len());
        // The lines of a batch may differ in length, whole requests only from template to template.
        let count = if batch == 1 { medications } else { 1 };
        let templates = (0..count).map(|index| Template::new(shape, index, medications)).collect();
        let patients = match shape.zipf {
            None => Patients::each(shape.patients),
            Some(exponent) => {
                let count = u32::try_from(shape.patients).unwrap_or(u32::MAX);
                Patients::Zipf(crate::patients::Zipf::new(count, exponent, shape.first ^ 1))
            }
        };
        Self {
            templates,
            patients,
            distinct_times: shape.distinct_times,
            local: LocalText::new(),
            usages_each: batch as u64,
            next_usage: shape.first,
            next_request: 0,
        }
    }

    fn next(&mut self) -> &[u8] {
        let count = self.templates.len() as u64;
        let turn = usize::try_from(self.next_request % count).expect("below a template count");
        let template = &mut self.templates[turn];
        if let Some(at) = template.key {
            write_digits(&mut template.bytes[at..at + KEY_DIGITS], self.next_usage);
        }
        for places in &template.usages {
            let patient = FIRST_PATIENT + self.patients.pick(self.next_usage);
            let id = places.patient..places.patient + places.patient_digits;
            write_digits(&mut template.bytes[id], patient);
            if self.distinct_times {
                let time = places.time..places.time + LOCAL_TEXT_BYTES;
                template.bytes[time].copy_from_slice(self.local.at(usage_seconds(self.next_usage)));
            }
            self.next_usage += 1;
        }
        self.next_request += 1;
        &template.bytes
    }
}

/// Each usage's own second, from the original body's day on.
fn usage_seconds(index: u64) -> u64 {
    let first_day = ORIGINAL_LOCAL_SECONDS / SECONDS_PER_DAY;
    (first_day + index / SECONDS_PER_DAY) * SECONDS_PER_DAY
        + index % SECONDS_PER_DAY * SECOND_STRIDE % SECONDS_PER_DAY
}

impl Template {
    fn new(shape: &PostShape, index: usize, medications: usize) -> Self {
        let digits = id_digits(shape.patients);
        let mut body = Vec::new();
        let mut usages = Vec::new();
        for line in 0..shape.batch.max(1) {
            let medication = MEDICATIONS[(index + line) % medications];
            body.extend_from_slice(b"{\"patientId\":\"");
            let patient = body.len();
            body.resize(patient + digits, b'0');
            write_digits(&mut body[patient..], FIRST_PATIENT);
            body.extend_from_slice(b"\",\"timestamp\":\"");
            let time = body.len();
            body.extend_from_slice(LocalText::new().at(ORIGINAL_LOCAL_SECONDS));
            body.extend_from_slice(b" GMT-0500 (CDT)\",\"medication\":\"");
            body.extend_from_slice(medication.as_bytes());
            body.extend_from_slice(b"\"}");
            if shape.batch > 1 {
                body.push(b'\n');
            }
            usages.push(Places { patient, patient_digits: digits, time });
        }
        let kind = if shape.batch > 1 { "application/x-ndjson" } else { "application/json" };
        let mut bytes = format!(
            "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n",
            shape.path,
            body.len()
        )
        .into_bytes();
        if shape.close {
            bytes.extend_from_slice(b"Connection: close\r\n");
        }
        let key = shape.key_prefix.as_ref().map(|prefix| {
            bytes.extend_from_slice(format!("Idempotency-Key: \"{prefix}").as_bytes());
            let at = bytes.len();
            bytes.resize(at + KEY_DIGITS, b'0');
            bytes.extend_from_slice(b"\"\r\n");
            at
        });
        bytes.extend_from_slice(b"\r\n");
        for places in &mut usages {
            places.patient += bytes.len();
            places.time += bytes.len();
        }
        bytes.extend_from_slice(&body);
        Self { bytes, usages, key }
    }
}

/// Questions for the usages of patients.
pub(crate) struct Gets {
    bytes: Vec<u8>,
    patient: usize,
    digits: usize,
    patients: Patients,
    next: u64,
}

impl Gets {
    /// Asks `path` for the last `limit` usages of one patient at a time.
    pub(crate) fn new(path: &str, patients: Patients, digits: usize, limit: u32) -> Self {
        let mut bytes = format!("GET {path}?patientId=").into_bytes();
        let patient = bytes.len();
        bytes.resize(patient + digits, b'0');
        bytes.extend_from_slice(
            format!("&limit={limit} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes(),
        );
        Self { bytes, patient, digits, patients, next: 0 }
    }

    fn next(&mut self) -> &[u8] {
        let patient = FIRST_PATIENT + self.patients.pick(self.next);
        write_digits(&mut self.bytes[self.patient..self.patient + self.digits], patient);
        self.next += 1;
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn shape() -> PostShape {
        PostShape {
            path: "/api/usages".to_owned(),
            patients: 1,
            zipf: None,
            medications: 1,
            distinct_times: false,
            key_prefix: None,
            batch: 1,
            first: 0,
            close: false,
        }
    }

    /// The headers and the body of the next request, whose length must be as told.
    fn next(posts: &mut Posts) -> (String, String) {
        let text = String::from_utf8(posts.next().to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains(&format!("Content-Length: {}\r", body.len()))
                || head.ends_with(&format!("Content-Length: {}", body.len()))
        );
        (head.to_owned(), body.to_owned())
    }

    #[test]
    fn the_plain_request_is_the_original_body() {
        let (head, body) = next(&mut Posts::new(&shape()));
        assert!(head.starts_with("POST /api/usages HTTP/1.1\r\n"));
        let original = r#"{"patientId":"100","timestamp":"Tue Nov 01 2016 09:11:51 GMT-0500 (CDT)","medication":"Albuterol"}"#;
        assert_eq!(body, original);
    }

    #[test]
    fn a_million_requests_are_a_million_patients() {
        let mut posts = Posts::new(&PostShape { patients: 1_000_000, ..shape() });
        let at = posts.templates[0].usages[0].patient;
        let seen: HashSet<Vec<u8>> =
            (0..1_000_000).map(|_| posts.next()[at..at + 7].to_vec()).collect();
        assert_eq!(seen.len(), 1_000_000);
    }

    #[test]
    fn times_differ_and_are_real() {
        let mut posts = Posts::new(&PostShape { distinct_times: true, ..shape() });
        let at = posts.templates[0].usages[0].time;
        let seen: HashSet<Vec<u8>> =
            (0..200_000).map(|_| posts.next()[at..at + LOCAL_TEXT_BYTES].to_vec()).collect();
        assert_eq!(seen.len(), 200_000);
        assert!(seen.contains(b"Tue Nov 01 2016 00:00:00".as_slice()));
        assert!(seen.contains(b"Thu Nov 03 2016 00:00:00".as_slice()));
    }

    #[test]
    fn keys_differ_and_medications_take_turns() {
        let wanted = PostShape { key_prefix: Some("run-".to_owned()), medications: 20, ..shape() };
        let mut posts = Posts::new(&PostShape { first: 7, close: true, ..wanted });
        let mut keys = HashSet::new();
        let mut medications = HashSet::new();
        for index in 0..40 {
            let (head, body) = next(&mut posts);
            assert!(head.contains("\r\nConnection: close\r\n"));
            assert!(head.ends_with(&format!("Idempotency-Key: \"run-{:014}\"", index + 7)));
            keys.insert(head.rsplit('"').nth(1).unwrap().to_owned());
            let value: serde_json::Value = serde_json::from_str(&body).unwrap();
            medications.insert(value["medication"].as_str().unwrap().to_owned());
        }
        assert_eq!((keys.len(), medications.len()), (40, 20));
    }

    #[test]
    fn a_batch_is_so_many_lines_of_json() {
        let mut posts =
            Posts::new(&PostShape { batch: 1_000, patients: 5_000, medications: 20, ..shape() });
        let mut patients = HashSet::new();
        for _ in 0..5 {
            let (head, body) = next(&mut posts);
            assert!(head.contains("application/x-ndjson"));
            assert_eq!(body.lines().count(), 1_000);
            for line in body.lines() {
                let value: serde_json::Value = serde_json::from_str(line).unwrap();
                patients.insert(value["patientId"].as_str().unwrap().to_owned());
            }
        }
        assert_eq!(patients.len(), 5_000);
    }

    #[test]
    fn questions_name_the_patients_that_posts_write() {
        let mut gets = Gets::new("/api/usages", Patients::each(1_000), id_digits(1_000), 100);
        let first = String::from_utf8(gets.next().to_vec()).unwrap();
        assert!(
            first.starts_with("GET /api/usages?patientId=0100&limit=100 HTTP/1.1\r\n"),
            "{first}"
        );
        assert!(first.ends_with("\r\n\r\n"));
        assert_ne!(gets.next(), first.as_bytes());
    }
}
