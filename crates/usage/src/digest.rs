//! The digest by which a retry under the same idempotency key is told from another usage.

use sha2::{Digest, Sha256};

use crate::attributes;
use crate::body::Usage;

const DOMAIN: &[u8] = b"inhale usage content v1";

/// A stable 128-bit digest of a usage's content: the first half of SHA-256 over its decoded
/// fields, each with its length, the timestamp as sent (a number differs from any text), and the
/// attributes in canonical form, in which the order of keys, blanks and escapes do not count but
/// the spelling of numbers does.
pub fn content_digest(usage: &Usage<'_>) -> u128 {
    let mut hasher = Sha256::new();
    hasher.update(DOMAIN);
    put(&mut hasher, Some(&usage.patient_id));
    hasher.update([u8::from(usage.timestamp.is_number())]);
    put(&mut hasher, Some(&usage.timestamp.text));
    put(&mut hasher, Some(&usage.medication));
    put(&mut hasher, usage.event_id.as_deref());
    put(&mut hasher, usage.attributes.as_deref().map(attributes::canonical).as_deref());
    let digest = hasher.finalize();
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    u128::from_be_bytes(half)
}

/// A field with its length before it; an absent one has a length that no text has.
fn put(hasher: &mut Sha256, field: Option<&str>) {
    let length = field.map_or(u64::MAX, |text| text.len() as u64);
    hasher.update(length.to_le_bytes());
    hasher.update(field.unwrap_or_default());
}
