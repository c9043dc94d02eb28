//! A receipts file, read line by line in bounded memory.

use std::io::{BufRead, Read as _};

use super::VerifyError;

/// Characters of an id, a UUID.
const ID_BYTES: usize = 36;

/// The lines of a receipts file.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: R,
    line: u64,
    /// Bytes read so far.
    pub(super) bytes: u64,
    /// The line that was cut off in writing, once it was come upon.
    pub(super) torn: Option<u64>,
}

impl<R: BufRead> Lines<R> {
    /// From its beginning.
    pub(super) fn new(reader: R) -> Self {
        Self { reader, line: 0, bytes: 0, torn: None }
    }

    /// The next id with its line; `None` at the end.
    pub(super) fn next_id(&mut self) -> Result<Option<(u64, String)>, VerifyError> {
        let mut line = Vec::with_capacity(ID_BYTES + 1);
        // A file of something else may have no end of line at all.
        let most = (ID_BYTES + 1) as u64;
        self.bytes += self.reader.by_ref().take(most).read_until(b'\n', &mut line)? as u64;
        if line.is_empty() {
            return Ok(None);
        }
        self.line += 1;
        let is_whole = line.last() == Some(&b'\n');
        let id = if is_whole { &line[..line.len() - 1] } else { &line[..] };
        if id.len() == ID_BYTES && id.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-') {
            return Ok(Some((self.line, String::from_utf8_lossy(id).into_owned())));
        }
        // The last line may have been cut off with its writer.
        if self.reader.fill_buf()?.is_empty() && !is_whole && self.line > 1 {
            self.torn = Some(self.line);
            return Ok(None);
        }
        Err(VerifyError::NotAnId(self.line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0193591e-0000-7000-8000-000000000000";

    /// The lines that ids stand in, and the one that is torn; or the one that is no id.
    fn read(text: &str) -> Result<(Vec<u64>, Option<u64>), u64> {
        let mut lines = Lines::new(text.as_bytes());
        let mut found = Vec::new();
        loop {
            match lines.next_id() {
                Ok(Some((line, id))) if id == ID => found.push(line),
                Ok(None) => return Ok((found, lines.torn)),
                Err(VerifyError::NotAnId(line)) => return Err(line),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn each_line_is_an_id() {
        assert_eq!(read(""), Ok((vec![], None)));
        assert_eq!(read(&format!("{ID}\n{ID}\n")), Ok((vec![1, 2], None)));
    }

    #[test]
    fn the_last_may_be_torn() {
        assert_eq!(read(&format!("{ID}\n{ID}")), Ok((vec![1, 2], None)), "only its end is gone");
        assert_eq!(read(&format!("{ID}\n0193591e-00")), Ok((vec![1], Some(2))));
        assert_eq!(read(&format!("{ID}\n0193591e-00\n{ID}\n")), Err(2), "not in the middle");
    }

    #[test]
    fn another_file_is_none() {
        for text in ["hello", "hello\n", "\n", &"x".repeat(10_000), &format!("{ID}{ID}\n")] {
            assert_eq!(read(text), Err(1), "{text}");
        }
        assert_eq!(read(&format!("{ID}\nhello\n")), Err(2));
    }
}
