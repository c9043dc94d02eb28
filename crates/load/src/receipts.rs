//! The record of acknowledged ids, which lives with the client: a line for each, written as answers
//! arrive, so that after a crash of the server every promise it made can be held against it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use memchr::memmem;

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
        OpenOptions::new().append(true).create_new(true).open(path).map(|file| Self { file })
    }

    /// Appends lines.
    ///
    /// # Errors
    /// As writing to a file has them.
    pub fn append(&self, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() { Ok(()) } else { (&self.file).write_all(lines) }
    }
}

/// Appends the ids that an answer of inhale acknowledges to `lines`, one a line: that of a single
/// usage, or those of a batch. Returns how many.
pub fn ids_of(body: &[u8], lines: &mut Vec<u8>) -> usize {
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
        Receipts::create(&path).unwrap().append(b"a\n").unwrap();
        Receipts::create(&path).expect_err("it is there");
        assert_eq!(std::fs::read(&path).unwrap(), b"a\n");
    }
}
