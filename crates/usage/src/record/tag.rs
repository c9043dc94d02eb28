//! A fast hash of a patient's id, by which the usages in memory are scanned.

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
const SEED: u64 = 0x2545_f491_4f6c_dd1d;

/// A 64-bit hash of a patient's id, the same in every process. It is no protection against ids
/// chosen to collide: whoever finds a tag compares the ids themselves.
#[inline]
pub fn patient_tag(patient_id: &str) -> u64 {
    let bytes = patient_id.as_bytes();
    let (words, rest) = bytes.as_chunks::<8>();
    let mut state = SEED ^ bytes.len() as u64;
    for word in words {
        state = fold(state ^ u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    fold(fold(state ^ u64::from_le_bytes(last)))
}

/// Multiplies to twice the width and folds the halves, so that every bit reaches every other.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
fn fold(word: u64) -> u64 {
    let product = u128::from(word) * u128::from(MULTIPLIER);
    let (low, high) = (product as u64, (product >> 64) as u64);
    low ^ high
}
