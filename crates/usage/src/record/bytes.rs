//! Numbers of variable length and slices with their length: seven bits a byte, low ones first.

use super::RecordError;

/// Appends a number: one byte below 128, at most ten.
#[inline]
pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(low_byte(number) | 0x80);
        number >>= 7;
    }
    out.push(low_byte(number));
}

/// Appends a number that may be negative, small ones of either sign in few bytes.
#[inline]
pub(super) fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_number(out, ((number << 1) ^ (number >> 63)).cast_unsigned());
}

/// Appends a slice with its length before it.
#[inline]
pub(super) fn put_slice(out: &mut Vec<u8>, slice: &[u8]) {
    put_number(out, slice.len() as u64);
    out.extend_from_slice(slice);
}

#[expect(clippy::cast_possible_truncation, reason = "the low byte is what is asked for")]
const fn low_byte(number: u64) -> u8 {
    number as u8
}

/// Reads a record from its front.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, RecordError> {
        let (&byte, rest) = self.rest.split_first().ok_or(RecordError::Short)?;
        self.rest = rest;
        Ok(byte)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let (&array, rest) = self.rest.split_first_chunk().ok_or(RecordError::Short)?;
        self.rest = rest;
        Ok(array)
    }

    #[inline]
    pub(super) fn number(&mut self) -> Result<u64, RecordError> {
        let mut number = 0;
        let mut shift = 0;
        loop {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit, and a zero at the end would be a second
            // spelling of a shorter number.
            if (shift == 63 && bits > 1) || (shift > 0 && byte == 0) {
                return Err(RecordError::Damaged);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
            shift += 7;
            if shift > 63 {
                return Err(RecordError::Damaged);
            }
        }
    }

    #[inline]
    pub(super) fn signed(&mut self) -> Result<i64, RecordError> {
        let number = self.number()?;
        Ok((number >> 1).cast_signed() ^ -((number & 1).cast_signed()))
    }

    #[inline]
    pub(super) fn slice(&mut self) -> Result<&'a [u8], RecordError> {
        let length = usize::try_from(self.number()?).map_err(|_| RecordError::Short)?;
        let (slice, rest) = self.rest.split_at_checked(length).ok_or(RecordError::Short)?;
        self.rest = rest;
        Ok(slice)
    }

    #[inline]
    pub(super) fn text(&mut self) -> Result<&'a str, RecordError> {
        str::from_utf8(self.slice()?).map_err(|_| RecordError::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_number_comes_back(number: u64, shift in 0_u32..64) {
            let number = number >> shift;
            let mut out = Vec::new();
            put_number(&mut out, number);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.number(), Ok(number));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn a_signed_number_comes_back(number: i64, shift in 0_u32..64) {
            let number = number >> shift;
            let mut out = Vec::new();
            put_signed(&mut out, number);
            prop_assert_eq!(Reader::new(&out).signed(), Ok(number));
        }

        #[test]
        fn bytes_are_a_number_in_one_way_only(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let mut reader = Reader::new(&bytes);
            if let Ok(number) = reader.number() {
                let mut out = Vec::new();
                put_number(&mut out, number);
                prop_assert!(bytes.starts_with(&out));
            }
        }
    }
}
