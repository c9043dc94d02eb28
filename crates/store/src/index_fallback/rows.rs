//! How the index's rows are written. Numbers are big-endian, so that rows sort as they mean.

use usage::Instant;
use usage::limits::{INSTANT_SECONDS_MIN, SEQUENCE_MAX};

use super::IndexError;

/// The row of a keyspace that says how far it is; before all others.
pub(crate) const CURSOR_KEY: [u8; 1] = [0];
/// The first byte of usages and keys, and of a count's sum.
pub(crate) const ROW: u8 = 1;
/// The first byte of the seconds that a count's usages fall on.
pub(crate) const DETAIL: u8 = 2;

/// Seconds since the earliest instant there is, in five bytes; nanoseconds in four.
const INSTANT_BYTES: usize = 9;
const SEQ_BYTES: usize = 6;
const SEQ_MASK: u64 = (1 << (8 * SEQ_BYTES)) - 1;
const _: () = assert!(SEQUENCE_MAX <= SEQ_MASK);

/// The part of a usage's key that its patient decides: a tag, the length, the id.
pub(crate) fn patient_prefix(patient_id: &[u8], out: &mut Vec<u8>) {
    let len = u16::try_from(patient_id.len()).expect("a patient's id is far shorter");
    out.push(ROW);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(patient_id);
}

/// The part of a usage's key that sorts newest first: instant and sequence, all bits inverted.
pub(crate) fn place(instant: Instant, seq: u64, out: &mut Vec<u8>) {
    out.extend(ordered(instant).map(|byte| !byte));
    out.extend_from_slice(&(!seq).to_be_bytes()[8 - SEQ_BYTES..]);
}

/// Reads what [`place`] wrote at the end of a key.
pub(crate) fn parse_place(key: &[u8]) -> Result<(Instant, u64), IndexError> {
    let damaged = IndexError::Row("a usage's place");
    let Some(at) = key.len().checked_sub(INSTANT_BYTES + SEQ_BYTES) else { return Err(damaged) };
    let (instant, seq) = key[at..].split_at(INSTANT_BYTES);
    let mut inverted = [0; INSTANT_BYTES];
    inverted.copy_from_slice(instant);
    match unordered(inverted.map(|byte| !byte)) {
        Some(instant) => Ok((instant, !parse_number(seq) & SEQ_MASK)),
        None => Err(damaged),
    }
}

fn ordered(instant: Instant) -> [u8; INSTANT_BYTES] {
    let seconds = instant.seconds().abs_diff(INSTANT_SECONDS_MIN);
    let mut out = [0; INSTANT_BYTES];
    out[..5].copy_from_slice(&seconds.to_be_bytes()[3..]);
    out[5..].copy_from_slice(&instant.nanos().to_be_bytes());
    out
}

fn unordered(bytes: [u8; INSTANT_BYTES]) -> Option<Instant> {
    let seconds = i64::try_from(parse_number(&bytes[..5])).ok()? + INSTANT_SECONDS_MIN;
    Instant::from_parts(seconds, u32::try_from(parse_number(&bytes[5..])).ok()?)
}

/// A big-endian number of up to eight bytes.
pub(crate) fn parse_number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The value of a cursor row: how far, and between which instants all usages lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) cursor: u64,
    pub(crate) first: Instant,
    pub(crate) last: Instant,
}

impl Extent {
    /// Nothing yet.
    pub(crate) const EMPTY: Self = Self { cursor: 0, first: Instant::MAX, last: Instant::MIN };

    pub(crate) fn encode(self) -> Vec<u8> {
        let mut out = self.cursor.to_be_bytes().to_vec();
        out.extend(ordered(self.first));
        out.extend(ordered(self.last));
        out
    }

    pub(crate) fn parse(value: &[u8]) -> Result<Self, IndexError> {
        let damaged = || IndexError::Row("a cursor");
        if value.len() != 8 + 2 * INSTANT_BYTES {
            return Err(damaged());
        }
        let instant = |at: usize| {
            let mut bytes = [0; INSTANT_BYTES];
            bytes.copy_from_slice(&value[at..at + INSTANT_BYTES]);
            unordered(bytes).ok_or_else(damaged)
        };
        let cursor = parse_number(&value[..8]);
        Ok(Self { cursor, first: instant(8)?, last: instant(8 + INSTANT_BYTES)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use usage::limits::INSTANT_SECONDS_END;

    fn instants() -> impl Strategy<Value = Instant> {
        (INSTANT_SECONDS_MIN..INSTANT_SECONDS_END, 0u32..1_000_000_000)
            .prop_map(|(seconds, nanos)| Instant::from_parts(seconds, nanos).expect("in range"))
    }

    proptest! {
        #[test]
        fn places_come_back_and_sort_newest_first(
            a in instants(), b in instants(), m in 0..=SEQUENCE_MAX, n in 0..=SEQUENCE_MAX,
        ) {
            let key = |instant, seq| {
                let mut out = Vec::new();
                place(instant, seq, &mut out);
                out
            };
            prop_assert_eq!(parse_place(&key(a, m)).ok(), Some((a, m)));
            prop_assert_eq!(key(a, m).cmp(&key(b, n)), (b, n).cmp(&(a, m)));
        }

        #[test]
        fn extents_come_back(first in instants(), last in instants(), cursor: u64) {
            let extent = Extent { cursor, first, last };
            prop_assert_eq!(Extent::parse(&extent.encode()).ok(), Some(extent));
        }
    }

    #[test]
    fn no_patient_is_the_prefix_of_another() {
        let prefix = |id: &str| {
            let mut out = Vec::new();
            patient_prefix(id.as_bytes(), &mut out);
            out
        };
        assert!(!prefix("100").starts_with(&prefix("10")));
    }
}
