//! How rows are written: keys that sort as they are to be read, values without what the key says.

use usage::limits::INSTANT_SECONDS_MIN;
use usage::{Instant, UsageId};

use super::IndexError;

/// The key of a keyspace's own row, which sorts before every other.
pub(super) const OWN_ROW: [u8; 1] = [0];
/// Bytes of an instant and a sequence at the end of a usage's key.
const PLACE_BYTES: usize = 15;
/// Bytes of a record before the patient's length: version and flags, time of receipt.
const RECORD_HEAD_BYTES: usize = 7;

/// `[length][patient]`: what all keys of a patient begin with. Patients with equal beginnings are
/// told apart by the length; zero is free for [`OWN_ROW`].
pub(super) fn patient_prefix(patient: &[u8], out: &mut Vec<u8>) {
    match u8::try_from(patient.len()) {
        Ok(short) if short < u8::MAX => out.push(short),
        _ => {
            let length = u16::try_from(patient.len())
                .expect("a patient's id has at most 128 characters of at most four bytes");
            out.push(u8::MAX);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
    out.extend_from_slice(patient);
}

/// Appends the place of a usage in its patient's history: seconds, nanoseconds, sequence, each
/// big-endian.
pub(super) fn place(instant: Instant, seq: u64, out: &mut Vec<u8>) {
    // From 1900 on, in 39 bits.
    let seconds = (instant.seconds() - INSTANT_SECONDS_MIN).cast_unsigned();
    out.extend_from_slice(&seconds.to_be_bytes()[3..]);
    out.extend_from_slice(&instant.nanos().to_be_bytes());
    out.extend_from_slice(&seq.to_be_bytes()[2..]);
}

/// The instant and the sequence at the end of a usage's key.
pub(super) fn read_place(key: &[u8]) -> Result<(Instant, u64), IndexError> {
    let damaged = || IndexError::Damaged("a usage's key is too short or out of range");
    let at = key.len().checked_sub(PLACE_BYTES).ok_or_else(damaged)?;
    let number = |from: usize, to: usize| {
        key[at + from..at + to].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let seconds = number(0, 5).cast_signed() + INSTANT_SECONDS_MIN;
    let nanos = u32::try_from(number(5, 9)).map_err(|_| damaged())?;
    Ok((Instant::from_parts(seconds, nanos).ok_or_else(damaged)?, number(9, 15)))
}

/// Where the patient stands in a record: behind its length, a number in seven bits a byte.
fn patient_at(patient: &[u8]) -> usize {
    let length_bytes = if patient.len() < 1 << 7 { 1 } else { 2 };
    RECORD_HEAD_BYTES + length_bytes
}

/// A record without its patient, which the key holds.
pub(super) fn usage_value(payload: &[u8], patient: &[u8], out: &mut Vec<u8>) {
    let at = patient_at(patient);
    out.extend_from_slice(&payload[..at]);
    out.extend_from_slice(&payload[at + patient.len()..]);
}

/// The record that [`usage_value`] was made from.
pub(super) fn read_usage_value(value: &[u8], patient: &[u8]) -> Result<Vec<u8>, IndexError> {
    let at = patient_at(patient);
    if value.len() < at {
        return Err(IndexError::Damaged("a usage's value is too short"));
    }
    let mut payload = Vec::with_capacity(value.len() + patient.len());
    payload.extend_from_slice(&value[..at]);
    payload.extend_from_slice(patient);
    payload.extend_from_slice(&value[at..]);
    Ok(payload)
}

/// The patient in a usage's key.
pub(super) fn key_patient(key: &[u8]) -> Result<&[u8], IndexError> {
    let length_bytes = if key.first() == Some(&u8::MAX) { 3 } else { 1 };
    key.get(length_bytes..key.len().saturating_sub(PLACE_BYTES))
        .ok_or(IndexError::Damaged("a usage's key is too short"))
}

/// The key of an idempotency key's row. Behind a byte, so that no id is [`OWN_ROW`].
pub(super) fn keyed(id: UsageId) -> [u8; 17] {
    let mut key = [1; 17];
    key[1..].copy_from_slice(&id.to_bytes());
    key
}

/// The id in the key of an idempotency key's row; `None` for [`OWN_ROW`].
pub(super) fn read_keyed(key: &[u8]) -> Result<Option<UsageId>, IndexError> {
    if key == OWN_ROW {
        return Ok(None);
    }
    let id = key.get(1..).and_then(|id| id.try_into().ok());
    let id = id.ok_or(IndexError::Damaged("a key's row has a wrong length"))?;
    Ok(Some(UsageId::from_bytes(id)))
}

/// A sequence as a value: as few bytes as it needs.
pub(super) fn seq_value(seq: u64) -> Vec<u8> {
    let bytes = seq.to_be_bytes();
    bytes[(seq.leading_zeros() / 8).min(7) as usize..].to_vec()
}

/// The sequence in a value.
pub(super) fn read_seq(value: &[u8]) -> Result<u64, IndexError> {
    if value.is_empty() || value.len() > 8 {
        return Err(IndexError::Damaged("a sequence has a wrong length"));
    }
    Ok(value.iter().fold(0, |seq, byte| seq << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use usage::{Timestamp, Usage, record};

    proptest! {
        #[test]
        fn a_usage_survives_key_and_value(
            patient in "\\PC{1,128}", ms in -2_000_000_000_000_i64..200_000_000_000_000, seq in 1_u64..1 << 44,
        ) {
            let usage = Usage {
                patient_id: patient.as_str().into(),
                timestamp: Timestamp::from_epoch_ms(ms).expect("in range"),
                medication: "m".into(),
                event_id: None,
                attributes: None,
            };
            let mut payload = Vec::new();
            record::encode(&usage, 1_700_000_000_000, None, &mut payload);
            let (mut key, mut value) = (Vec::new(), Vec::new());
            patient_prefix(patient.as_bytes(), &mut key);
            place(usage.timestamp.instant, seq, &mut key);
            usage_value(&payload, patient.as_bytes(), &mut value);
            prop_assert_eq!(read_place(&key).expect("it reads"), (usage.timestamp.instant, seq));
            prop_assert_eq!(key_patient(&key).expect("it reads"), patient.as_bytes());
            prop_assert_eq!(read_usage_value(&value, patient.as_bytes()).expect("it reads"), payload);
            prop_assert!(key.as_slice() > &OWN_ROW[..]);
        }

        #[test]
        fn keys_sort_by_instant_then_sequence(a in any::<(i32, u32, u32)>(), b in any::<(i32, u32, u32)>()) {
            let made = |(seconds, nanos, seq): (i32, u32, u32)| {
                let instant = Instant::from_parts(seconds.into(), nanos % 1_000_000_000).expect("in range");
                let mut key = Vec::new();
                patient_prefix(b"p", &mut key);
                place(instant, seq.into(), &mut key);
                ((instant, seq), key)
            };
            let ((a, a_key), (b, b_key)) = (made(a), made(b));
            prop_assert_eq!(a.cmp(&b), a_key.cmp(&b_key));
        }

        #[test]
        fn sequences_survive(seq in 0_u64..u64::MAX) {
            prop_assert_eq!(read_seq(&seq_value(seq)).expect("it reads"), seq);
        }
    }
}
