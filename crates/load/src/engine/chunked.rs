//! A body in chunks (RFC 9112, section 7.1), taken as it comes.

use crate::limits::ANSWER_HEAD_BYTES_MAX;

use super::http1::Garbage;

/// How far a body in chunks has come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunked {
    state: State,
    /// Bytes of sizes, extensions and trailers so far, which have a bound like those of a head.
    framing: usize,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// In the digits of a size.
    Size { value: u64, digits: u8 },
    /// Behind them, up to the end of the line.
    Extension { value: u64 },
    /// In the data, of which so much is left.
    Data { left: u64 },
    /// At the line's end behind the data.
    DataEnd,
    /// In a line behind the last chunk, which ends all when it is empty.
    Trailer { empty: bool },
}

/// What was taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// Bytes of it.
    pub(super) bytes: usize,
    /// Whether the body ended there.
    pub(super) ended: bool,
}

impl Default for Chunked {
    fn default() -> Self {
        Self { state: State::Size { value: 0, digits: 0 }, framing: 0 }
    }
}

impl Chunked {
    /// Takes what came, up to the body's end, and gives its data to `sink`.
    pub(super) fn take(
        &mut self,
        came: &[u8],
        mut sink: impl FnMut(&[u8]),
    ) -> Result<Taken, Garbage> {
        let mut at = 0;
        while at < came.len() {
            if let State::Data { left } = self.state {
                let rest = &came[at..];
                let data = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                sink(&rest[..data]);
                at += data;
                let left = left - data as u64;
                self.state = if left == 0 { State::DataEnd } else { State::Data { left } };
                continue;
            }
            let byte = came[at];
            at += 1;
            self.framing += 1;
            if self.step(byte)? {
                return Ok(Taken { bytes: at, ended: true });
            }
            if self.framing > ANSWER_HEAD_BYTES_MAX {
                return Err(Garbage);
            }
        }
        Ok(Taken { bytes: at, ended: false })
    }

    /// One byte that is not data; whether it is the last of all.
    fn step(&mut self, byte: u8) -> Result<bool, Garbage> {
        self.state = match (self.state, byte) {
            (State::Size { value, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).expect("it is one, as was just seen");
                // Sixteen digits fill 64 bits; no body is as long as fifteen say.
                if digits == 15 {
                    return Err(Garbage);
                }
                State::Size { value: value << 4 | u64::from(digit), digits: digits + 1 }
            }
            (State::Size { digits: 0, .. }, _) => return Err(Garbage),
            (State::Size { value, .. } | State::Extension { value }, b'\n') => {
                // What long bodies cost in framing is not held against them.
                self.framing = 0;
                if value == 0 {
                    State::Trailer { empty: true }
                } else {
                    State::Data { left: value }
                }
            }
            (State::Size { value, .. }, b'\r' | b';' | b' ' | b'\t') => State::Extension { value },
            (State::Size { .. }, _) => return Err(Garbage),
            (State::Extension { value }, _) => State::Extension { value },
            (State::DataEnd, b'\r') => State::DataEnd,
            (State::DataEnd, b'\n') => State::Size { value: 0, digits: 0 },
            (State::DataEnd, _) => return Err(Garbage),
            (State::Trailer { empty: true }, b'\n') => return Ok(true),
            (State::Trailer { .. }, b'\n') => State::Trailer { empty: true },
            (State::Trailer { empty }, b'\r') => State::Trailer { empty },
            (State::Trailer { .. }, _) => State::Trailer { empty: false },
            (State::Data { .. }, _) => unreachable!("data is taken as a whole"),
        };
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Takes `text` in two parts.
    fn take(text: &[u8], cut: usize) -> Result<(Vec<u8>, Taken), Garbage> {
        let (mut chunked, mut body) = (Chunked::default(), Vec::new());
        let (one, two) = text.split_at(cut.min(text.len()));
        let mut taken = chunked.take(one, |data| body.extend_from_slice(data))?;
        if !taken.ended {
            let second = chunked.take(two, |data| body.extend_from_slice(data))?;
            taken = Taken { bytes: taken.bytes + second.bytes, ended: second.ended };
        }
        Ok((body, taken))
    }

    fn check(text: &str, expected: Option<&str>) {
        for cut in 0..=text.len() {
            match (take(text.as_bytes(), cut), expected) {
                (Ok((body, taken)), Some(expected)) => {
                    assert_eq!(String::from_utf8_lossy(&body), expected, "{text:?} cut at {cut}");
                    assert_eq!(taken, Taken { bytes: text.len(), ended: true }, "{text:?}");
                }
                (Err(Garbage), None) => {}
                (other, _) => panic!("{other:?} for {text:?} cut at {cut}"),
            }
        }
    }

    #[test]
    fn what_a_body_may_look_like() {
        check("0\r\n\r\n", Some(""));
        check("5\r\nhello\r\n0\r\n\r\n", Some("hello"));
        check("005;name=\"x\"\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n", Some("hello0123456789"));
        check("3\r\n\r\n\n\r\n0\r\nTrailer: x\r\nOther: y\r\n\r\n", Some("\r\n\n"));
    }

    #[test]
    fn what_it_may_not() {
        for text in ["\r\n", "x\r\n", "-1\r\n", "1000000000000000\r\n", "1\r\nab\r\n"] {
            check(text, None);
        }
    }

    #[test]
    fn endless_framing_is_garbage() {
        for start in ["5;", "0\r\nx"] {
            let mut text = start.as_bytes().to_vec();
            text.resize(ANSWER_HEAD_BYTES_MAX + 10, b'x');
            assert!(take(&text, 100).is_err(), "{start}");
        }
    }

    proptest! {
        #[test]
        fn chunks_come_back_together(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            behind in prop::collection::vec(any::<u8>(), 0..5),
            cut in 0usize..200,
        ) {
            let mut text = Vec::new();
            for chunk in &chunks {
                text.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                text.extend_from_slice(chunk);
                text.extend_from_slice(b"\r\n");
            }
            text.extend_from_slice(b"0\r\n\r\n");
            let whole = text.len();
            text.extend_from_slice(&behind);
            let (body, taken) = take(&text, cut).expect("it is well formed");
            prop_assert_eq!(body, chunks.concat());
            prop_assert_eq!(taken, Taken { bytes: whole, ended: true });
        }

        #[test]
        fn nothing_panics(text in prop::collection::vec(any::<u8>(), 0..60), cut in 0usize..60) {
            if let Ok((body, taken)) = take(&text, cut) {
                prop_assert!(body.len() <= text.len() && taken.bytes <= text.len());
            }
        }
    }
}
