//! The head of an HTTP/1.1 message as far as a benchmark needs it: its first line, how long the body
//! is, and whether the connection ends.

use memchr::{memchr, memmem};

/// A head longer than this is refused.
pub(crate) const HEAD_BYTES_MAX: usize = 16 << 10;

/// What a head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head<'a> {
    /// The first line, without its end.
    pub(crate) first_line: &'a [u8],
    /// Bytes of the head with the empty line that ends it.
    pub(crate) head_bytes: usize,
    /// `Content-Length`; 0 without one.
    pub(crate) body_bytes: usize,
    /// `Connection: close` was said.
    pub(crate) close: bool,
}

/// Why a head cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadError {
    /// Longer than [`HEAD_BYTES_MAX`].
    TooLong,
    /// Not what HTTP/1.1 looks like.
    Malformed,
    /// A body of a length that is not told in advance.
    Chunked,
}

/// Reads the head at the start of `bytes`; `None` when it is not all there yet.
pub(crate) fn parse_head(bytes: &[u8]) -> Result<Option<Head<'_>>, HeadError> {
    let Some(end) = memmem::find(bytes, b"\r\n\r\n") else {
        return if bytes.len() > HEAD_BYTES_MAX { Err(HeadError::TooLong) } else { Ok(None) };
    };
    let lines = &bytes[..end + 2];
    let first_end = memchr(b'\r', lines).expect("the head ends in a line's end");
    let mut head =
        Head { first_line: &lines[..first_end], head_bytes: end + 4, body_bytes: 0, close: false };
    let mut rest = &lines[first_end + 2..];
    while !rest.is_empty() {
        let line_end = memchr(b'\n', rest).ok_or(HeadError::Malformed)?;
        let line = &rest[..line_end];
        rest = &rest[line_end + 1..];
        let colon = memchr(b':', line).ok_or(HeadError::Malformed)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        // Few names have one of these lengths, so most lines cost one comparison of a number.
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                head.body_bytes = parse_decimal(value).ok_or(HeadError::Malformed)?;
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                head.close = value.eq_ignore_ascii_case(b"close");
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                return Err(HeadError::Chunked);
            }
            _ => {}
        }
    }
    Ok(Some(head))
}

/// The status of an answer's first line.
pub(crate) fn parse_status(first_line: &[u8]) -> Option<u16> {
    let rest = first_line.strip_prefix(b"HTTP/1.")?;
    let digits = rest.get(2..5)?;
    u16::try_from(parse_decimal(digits)?).ok().filter(|status| *status >= 100)
}

fn parse_decimal(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > 12 {
        return None;
    }
    digits.iter().try_fold(0usize, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + usize::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &str, expected: Result<Option<(&str, usize, usize, bool)>, HeadError>) {
        let got = parse_head(bytes.as_bytes()).map(|head| {
            head.map(|h| {
                (std::str::from_utf8(h.first_line).unwrap(), h.head_bytes, h.body_bytes, h.close)
            })
        });
        assert_eq!(got, expected, "{bytes:?}");
    }

    #[test]
    fn heads_are_read() {
        check(
            "POST / HTTP/1.1\r\nHost: a\r\ncontent-LENGTH:  12 \r\n\r\n{}",
            Ok(Some(("POST / HTTP/1.1", 50, 12, false))),
        );
        check(
            "HTTP/1.1 201 Created\r\nConnection: Close\r\n\r\n",
            Ok(Some(("HTTP/1.1 201 Created", 43, 0, true))),
        );
        check("HTTP/1.1 200 OK\r\n\r\n", Ok(Some(("HTTP/1.1 200 OK", 19, 0, false))));
    }

    #[test]
    fn an_unfinished_head_waits_for_more() {
        let whole = "HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\n";
        for end in 0..whole.len() {
            check(&whole[..end], Ok(None));
        }
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        check("a\r\nContent-Length: x\r\n\r\n", Err(HeadError::Malformed));
        check("a\r\nContent-Length:\r\n\r\n", Err(HeadError::Malformed));
        check("a\r\nno colon\r\n\r\n", Err(HeadError::Malformed));
        check("a\r\nTransfer-Encoding: chunked\r\n\r\n", Err(HeadError::Chunked));
        check(&"a".repeat(HEAD_BYTES_MAX + 1), Err(HeadError::TooLong));
    }

    #[test]
    fn statuses() {
        for (line, expected) in [
            ("HTTP/1.1 201 Created", Some(201)),
            ("HTTP/1.1 500", Some(500)),
            ("HTTP/1.1 20", None),
            ("HTTP/1.1 abc", None),
            ("HTTP/2 201", None),
            ("HTTP/1.1 099 No", None),
        ] {
            assert_eq!(parse_status(line.as_bytes()), expected, "{line}");
        }
    }
}
