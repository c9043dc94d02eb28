//! The record of acknowledged ids, which lives with the client: a line for each, written as answers
//! arrive, so that after a crash of the server every promise it made can be held against it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use memchr::memmem;

use crate::limits::ANSWER_KEPT_BYTES_MAX;

/// Nothing is written over.
const ALREADY_THERE: &str =
    "it is there already, maybe as the only record of an earlier run; name another file";

/// A file that ids are appended to. Workers share it: each appends whole lines in one write.
#[derive(Debug)]
pub struct Receipts {
    file: File,
}

impl Receipts {
    /// Creates the file.
    ///
    /// # Errors
    /// When there is one already, which may be the only record of an earlier run, or it cannot be
    /// made.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create_new(true).open(path);
        file.map(|file| Self { file }).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => io::Error::new(error.kind(), ALREADY_THERE),
            _ => error,
        })
    }

    /// Appends `ids` and forgets them.
    ///
    /// # Errors
    /// As writing to a file has them, and when an answer had no id, or was too large for all of them to
    /// be known.
    pub fn append(&self, ids: &mut Ids) -> io::Result<()> {
        if !ids.lines.is_empty() {
            (&self.file).write_all(&ids.lines)?;
            ids.lines.clear();
        }
        if ids.without {
            let words = "an answer acknowledges a usage and has no id as inhale gives them (a UUID): \
                         leave --receipts out";
            return Err(io::Error::other(words));
        }
        if ids.cut_off {
            let kib = ANSWER_KEPT_BYTES_MAX >> 10;
            let words =
                format!("an answer has more than the {kib} KiB that are kept; --batch fewer");
            return Err(io::Error::other(words));
        }
        Ok(())
    }
}

/// Acknowledged ids that are still to be written down.
#[derive(Debug, Default)]
pub struct Ids {
    /// One a line.
    lines: Vec<u8>,
    /// Whether there were more in an answer than was kept of it.
    cut_off: bool,
    /// Whether an answer had none.
    without: bool,
}

impl Ids {
    /// Takes the ids that an answer of inhale acknowledges: that of a single usage, or those of a
    /// batch.
    pub fn take(&mut self, body: &[u8]) {
        self.without |= ids_of(body, &mut self.lines) == 0;
        self.cut_off |= body.len() >= ANSWER_KEPT_BYTES_MAX;
    }
}

/// Appends the ids in an answer to `lines`, one a line. Returns how many.
fn ids_of(body: &[u8], lines: &mut Vec<u8>) -> usize {
    let mut count = 0;
    for at in memmem::find_iter(body, b"\"id\":\"") {
        let rest = &body[at + 6..];
        // An id is a UUID: 36 characters and the quote behind them.
        if rest.get(36) == Some(&b'"')
            && rest[..36].iter().all(|b| b.is_ascii_hexdigit() || *b == b'-')
        {
            lines.extend_from_slice(&rest[..36]);
            lines.push(b'\n');
            count += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: &[&str]) {
        let mut lines = Vec::new();
        let count = ids_of(body.as_bytes(), &mut lines);
        let lines = String::from_utf8(lines).unwrap();
        assert_eq!((count, lines.lines().collect::<Vec<_>>()), (expected.len(), expected.to_vec()));
    }

    #[test]
    fn ids_are_found() {
        let one = "0193591e-0000-7000-8000-000000000000";
        let two = "0193591e-0000-7000-8000-000000000001";
        check(&format!(r#"{{"id":"{one}"}}"#), &[one]);
        check(
            &format!(
                r#"{{"results":[{{"index":0,"id":"{one}"}},{{"index":1,"status":422}},{{"index":2,"id":"{two}"}}]}}"#
            ),
            &[one, two],
        );
        for none in ["", "{}", r#"{"id":""}"#, r#"{"id":"x"}"#, r#"{"id":"0193591e"#] {
            check(none, &[]);
        }
    }

    #[test]
    fn an_earlier_record_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ids");
        let mut ids = Ids { lines: b"a\n".to_vec(), ..Ids::default() };
        Receipts::create(&path).unwrap().append(&mut ids).unwrap();
        assert!(ids.lines.is_empty(), "they are written");
        let refused = Receipts::create(&path).expect_err("it is there").to_string();
        assert!(refused.contains("name another file"), "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), b"a\n");
    }

    #[test]
    fn repro_an_answer_without_an_id_is_no_record() {
        let dir = tempfile::tempdir().unwrap();
        let receipts = Receipts::create(&dir.path().join("ids")).unwrap();
        let mut ids = Ids::default();
        ids.take(br#"{"id":"0193591e-0000-7000-8000-000000000000"}"#);
        receipts.append(&mut ids).expect("it has one");
        ids.take(br#"{"id":"x"}"#);
        let error = receipts.append(&mut ids).expect_err("that is no id of ours");
        assert!(error.to_string().contains("--receipts"), "{error}");
    }

    #[test]
    fn an_answer_that_was_not_kept_whole_is_no_record() {
        let dir = tempfile::tempdir().unwrap();
        let receipts = Receipts::create(&dir.path().join("ids")).unwrap();
        let mut ids = Ids::default();
        let mut answer = br#"{"id":"0193591e-0000-7000-8000-000000000000"}"#.to_vec();
        answer.resize(ANSWER_KEPT_BYTES_MAX - 1, b' ');
        ids.take(&answer);
        receipts.append(&mut ids).expect("it may have been whole");
        answer.push(b' ');
        ids.take(&answer);
        let error = receipts.append(&mut ids).expect_err("more may have come");
        assert!(error.to_string().contains("--batch fewer"), "{error}");
    }
}
