//! The id of a usage: a UUID that says where in which journal the usage is, or that anybody can
//! derive again from its idempotency key.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use siphasher::sip::SipHasher24;
use uuid::Uuid;

use crate::limits::{RECEIVED_MS_MAX, SEQUENCE_MAX, STORE_NUMBER_MAX};

const CHECK_BITS: u32 = 18;
const CHECK_MASK: u64 = (1 << CHECK_BITS) - 1;
const VERSION_SHIFT: u32 = 76;
const VARIANT_SHIFT: u32 = 62;
const VARIANT: u128 = 0b10;
const KEYED_DOMAIN: &[u8] = b"inhale usage id from key v1";
const EVENT_DOMAIN: &[u8] = b"inhale usage id from event v1";

/// The id of a usage, a UUID (RFC 9562).
///
/// A usage without an idempotency key has a UUIDv7, from its high bits to its low ones: 48 bits of
/// milliseconds since 1970 at receipt, version 7, 12 bits of store number, variant `10`, 44 bits
/// of sequence in the store's journal, 18 check bits. So ids sort by time of receipt, and a
/// receipt needs no index. A keyed usage has a UUIDv8, made of the first bytes of a SHA-256, the same
/// on every instance: of (domain, length of principal, principal, key) if the key is an
/// `Idempotency-Key`, and of (another domain, principal, patient, event id), each with its length
/// before it, if it is an event id. Lengths are in bytes, as 64-bit big-endian integers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UsageId(u128);

/// The secret of a store from which the check bits of its ids are made (SipHash-2-4), so that
/// nobody outside can count through the receipts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CheckKey(pub [u8; 16]);

/// What an id says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdKind {
    /// A UUIDv7 of ours, if [`UsageId::verify`] holds.
    Plain {
        /// Milliseconds since 1970 at receipt.
        received_ms: u64,
        /// Number of the store, 12 bits.
        store_number: u16,
        /// Sequence in that store's journal, 44 bits.
        seq: u64,
        /// The check bits, 18 of them.
        check: u32,
    },
    /// A UUIDv8: derived from an idempotency key, found through the index of keys.
    Keyed,
    /// A UUID that inhale never makes.
    Foreign,
}

/// The text is not a UUID in its hyphenated form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID of 36 characters with hyphens")]
pub struct IdError;

impl UsageId {
    /// The id of a usage without a key: received at `received_ms` (cut to [`RECEIVED_MS_MAX`]),
    /// kept in store `store_number` (12 bits) under sequence `seq` (44 bits).
    ///
    /// # Panics
    /// If store number or sequence has more bits than its place in the id.
    pub fn plain(received_ms: u64, store_number: u16, seq: u64, key: &CheckKey) -> UsageId {
        let received_ms = received_ms.min(RECEIVED_MS_MAX);
        assert!(store_number <= STORE_NUMBER_MAX, "a store number has 12 bits");
        assert!(seq <= SEQUENCE_MAX, "a sequence has 44 bits");
        let check = check_bits(received_ms, store_number, seq, key);
        UsageId(
            u128::from(received_ms) << 80
                | 7 << VERSION_SHIFT
                | u128::from(store_number) << 64
                | VARIANT << VARIANT_SHIFT
                | u128::from(seq) << CHECK_BITS
                | u128::from(check),
        )
    }

    /// The id of the usage that `principal` sent under the idempotency key `key`. Both may be any
    /// text; different pairs give different ids.
    pub fn keyed(principal: &str, key: &str) -> UsageId {
        let digest = Sha256::new()
            .chain_update(KEYED_DOMAIN)
            .chain_update((principal.len() as u64).to_be_bytes())
            .chain_update(principal)
            .chain_update(key);
        Self::of_hash(digest)
    }

    /// The id of the event that `principal` sent as `event_id` of a patient. All three may be any
    /// text; different triples give different ids, none of them one of [`UsageId::keyed`].
    pub fn event(principal: &str, patient_id: &str, event_id: &str) -> UsageId {
        let mut digest = Sha256::new().chain_update(EVENT_DOMAIN);
        for field in [principal, patient_id, event_id] {
            digest.update((field.len() as u64).to_be_bytes());
            digest.update(field);
        }
        Self::of_hash(digest)
    }

    fn of_hash(digest: Sha256) -> UsageId {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest.finalize()[..16]);
        let free = u128::from_be_bytes(bytes) & !(0xf << VERSION_SHIFT | 0b11 << VARIANT_SHIFT);
        UsageId(free | 8 << VERSION_SHIFT | VARIANT << VARIANT_SHIFT)
    }

    /// What the id says of itself; for a plain one [`UsageId::verify`] tells whether it is true.
    #[expect(clippy::cast_possible_truncation, reason = "each part is cut to its bits on purpose")]
    pub fn kind(&self) -> IdKind {
        if self.0 >> VARIANT_SHIFT & 0b11 != VARIANT {
            return IdKind::Foreign;
        }
        match self.0 >> VERSION_SHIFT & 0xf {
            7 => IdKind::Plain {
                received_ms: (self.0 >> 80) as u64,
                store_number: (self.0 >> 64) as u16 & STORE_NUMBER_MAX,
                seq: (self.0 as u64 >> CHECK_BITS) & SEQUENCE_MAX,
                check: (self.0 as u64 & CHECK_MASK) as u32,
            },
            8 => IdKind::Keyed,
            _ => IdKind::Foreign,
        }
    }

    /// Whether this is a plain id whose check bits were made with `key`.
    pub fn verify(&self, key: &CheckKey) -> bool {
        match self.kind() {
            IdKind::Plain { received_ms, store_number, seq, check } => {
                check_bits(received_ms, store_number, seq, key) == check
            }
            IdKind::Keyed | IdKind::Foreign => false,
        }
    }

    /// The id whose bytes, most significant first, are these.
    pub const fn from_bytes(bytes: [u8; 16]) -> UsageId {
        UsageId(u128::from_be_bytes(bytes))
    }

    /// The bytes, most significant first, which sort as the ids do.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The 36 characters of the hyphenated form, written into `buffer`.
    pub fn encode(self, buffer: &mut [u8; 36]) -> &str {
        Uuid::from_u128(self.0).hyphenated().encode_lower(buffer)
    }
}

fn check_bits(received_ms: u64, store_number: u16, seq: u64, key: &CheckKey) -> u32 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&(received_ms << 12 | u64::from(store_number)).to_le_bytes());
    bytes[8..].copy_from_slice(&seq.to_le_bytes());
    (SipHasher24::new_with_key(&key.0).hash(&bytes) & CHECK_MASK) as u32
}

impl fmt::Display for UsageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.encode(&mut [0; 36]))
    }
}

impl fmt::Debug for UsageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for UsageId {
    type Err = IdError;

    /// Reads the hyphenated form, in either case; no braces, URN or bare digits, so that an id has
    /// one spelling in a URL.
    fn from_str(text: &str) -> Result<UsageId, IdError> {
        if text.len() != 36 {
            return Err(IdError);
        }
        Uuid::try_parse(text).map(|uuid| UsageId(uuid.as_u128())).map_err(|_| IdError)
    }
}

impl fmt::Debug for CheckKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CheckKey(secret)")
    }
}
