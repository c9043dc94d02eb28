//! What an answer is looked at for: the checks of its scenario, and ids to keep.

use crate::limits::ANSWER_KEPT_BYTES_MAX;
use crate::plan::{Answer, Check};

/// Statuses whose bodies acknowledge usages: one, or some of a batch.
const ACKNOWLEDGING: [u16; 2] = [201, 207];

/// What one scenario's answers are looked at for.
#[derive(Debug)]
pub(super) struct Scrutiny {
    checks: Vec<Check>,
    needs_headers: bool,
    needs_body: bool,
    receipts: bool,
}

impl Scrutiny {
    /// For these checks, and with `receipts` also for acknowledged ids.
    pub(super) fn new(checks: &[Check], receipts: bool) -> Self {
        Self {
            needs_headers: checks.iter().any(Check::needs_headers),
            needs_body: checks.iter().any(Check::needs_body),
            checks: checks.to_vec(),
            receipts,
        }
    }

    /// Whether [`Self::of_head`] wants the headers.
    pub(super) fn needs_headers(&self) -> bool {
        self.needs_headers
    }

    /// Whether the body of an answer of this status must be kept, up to its bound.
    pub(super) fn keeps_body(&self, status: u16) -> bool {
        self.needs_body || self.keeps_ids(status)
    }

    /// Whether the body of an answer of this status holds ids to write down.
    pub(super) fn keeps_ids(&self, status: u16) -> bool {
        self.receipts && ACKNOWLEDGING.contains(&status)
    }

    /// The checks, a bit each, that pass by status and headers.
    pub(super) fn of_head(&self, status: u16, headers: &[(&str, &[u8])]) -> u32 {
        self.passing(|check| !check.needs_body(), &Answer { status, headers, body: &[] })
    }

    /// The checks that pass by the body.
    pub(super) fn of_body(&self, status: u16, body: &[u8]) -> u32 {
        if !self.needs_body {
            return 0;
        }
        self.passing(Check::needs_body, &Answer { status, headers: &[], body })
    }

    fn passing(&self, of: impl Fn(&Check) -> bool, answer: &Answer<'_>) -> u32 {
        let mut passed = 0;
        for (bit, check) in self.checks.iter().enumerate() {
            passed |= u32::from(of(check) && check.passes(answer)) << bit;
        }
        passed
    }
}

/// Appends as much of a body as is kept.
pub(super) fn keep(body: &mut Vec<u8>, part: &[u8]) {
    let room = ANSWER_KEPT_BYTES_MAX - body.len();
    body.extend_from_slice(&part[..part.len().min(room)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(pointer: &str, value: Option<serde_json::Value>) -> Check {
        Check::Json { pointer: pointer.to_owned(), value }
    }

    fn header(name: &str, value: Option<&str>) -> Check {
        Check::Header { name: name.to_owned(), value: value.map(str::to_owned) }
    }

    fn check(check: Check, expected: bool) {
        let scrutiny = Scrutiny::new(std::slice::from_ref(&check), false);
        let headers: [(&str, &[u8]); 2] = [("Durability", b"fsync"), ("Location", b"/x")];
        let passed =
            scrutiny.of_head(201, &headers) | scrutiny.of_body(201, br#"{"id":"x","n":[3]}"#);
        assert_eq!(passed, u32::from(expected), "{check:?}");
    }

    #[test]
    fn each_kind_of_check_passes_and_fails() {
        for (one, expected) in [
            (Check::Status(201), true),
            (Check::Status(200), false),
            (header("durability", Some("fsync")), true),
            (header("durability", Some("memory")), false),
            (header("location", None), true),
            (header("etag", None), false),
            (json("/id", None), true),
            (json("/n/0", Some(3.into())), true),
            (json("/n/0", Some(4.into())), false),
            (json("/none", None), false),
            (Check::Body("\"id\"".into()), true),
            (Check::Body("error".into()), false),
        ] {
            check(one, expected);
        }
    }

    #[test]
    fn a_body_is_kept_only_when_it_is_needed_and_only_so_far() {
        assert!(!Scrutiny::new(&[Check::Status(201)], false).keeps_body(201));
        assert!(Scrutiny::new(&[Check::Body(String::new())], false).keeps_body(500));
        let receipts = Scrutiny::new(&[], true);
        assert!(receipts.keeps_body(201) && receipts.keeps_ids(207) && !receipts.keeps_body(422));
        let mut body = Vec::new();
        for _ in 0..3 {
            keep(&mut body, &vec![1; ANSWER_KEPT_BYTES_MAX / 2 + 1]);
        }
        assert_eq!(body.len(), ANSWER_KEPT_BYTES_MAX);
    }
}
