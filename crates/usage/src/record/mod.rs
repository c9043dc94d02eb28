//! The record: a usage in the few bytes that the journal keeps of it. `docs/format.md` gives it
//! byte by byte under "The usage record".

use std::fmt;

use crate::body::Usage;
use crate::id::UsageId;
use crate::instant::Instant;

mod bytes;
mod decode;
mod encode;
mod names;
mod tag;

pub use decode::{decode, peek};
pub use encode::encode;
pub use tag::patient_tag;

/// Version of the layout, in the three high bits of a record's first byte.
const VERSION: u8 = 1;
const VERSION_SHIFT: u32 = 5;

/// Flags in the low bits of the first byte. Bit 4 is free and must be zero.
const FLAG_KEY: u8 = 1 << 0;
const FLAG_EVENT_ID: u8 = 1 << 1;
const FLAG_ATTRIBUTES: u8 = 1 << 2;
/// At the end stand further bytes, which a reader that does not know them skips.
const FLAG_EXTENSION: u8 = 1 << 3;
const FLAGS_KNOWN: u8 = FLAG_KEY | FLAG_EVENT_ID | FLAG_ATTRIBUTES | FLAG_EXTENSION;

/// Codes of the timestamp's form, in the high half of its byte; the low half counts digits.
const FORM_IRREGULAR: u8 = 0;
const FORM_EPOCH_MILLIS: u8 = 1;
const FORM_JS: u8 = 2;
const FORM_JS_NAMED: u8 = 3;
const FORM_ZULU: u8 = 4;
const FORM_OFFSET: u8 = 5;
const FORM_HTTP: u8 = 6;

/// Fractional digits of a number of milliseconds: always three.
const EPOCH_MILLIS_DIGITS: u8 = 3;
/// Fractional digits of an irregular text's instant: always nine.
const IRREGULAR_DIGITS: u8 = 9;

/// A usage as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// When it was received, in milliseconds since 1970.
    pub received_ms: u64,
    /// Its id, if it came with an idempotency key; else its sequence makes the id.
    pub key: Option<UsageId>,
    /// The usage itself.
    pub usage: Usage<'a>,
}

/// What is found in a record without writing texts out again or checking them. `Debug` shows no
/// patient and no medication.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Peek<'a> {
    /// When it was received, in milliseconds since 1970.
    pub received_ms: u64,
    /// Its id, if it came with an idempotency key.
    pub key: Option<UsageId>,
    /// The patient's id in UTF-8, not checked.
    pub patient_id: &'a [u8],
    /// The medication in UTF-8, not checked.
    pub medication: &'a [u8],
    /// When the usage happened.
    pub instant: Instant,
}

impl fmt::Debug for Peek<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peek")
            .field("received_ms", &self.received_ms)
            .field("key", &self.key)
            .field("instant", &self.instant)
            .finish_non_exhaustive()
    }
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A layout that this program does not know.
    #[error("the record was written by a newer version")]
    Newer,
    /// The bytes end before the record does.
    #[error("the record ends too early")]
    Short,
    /// Bytes that no record has, or bytes after its end.
    #[error("the record is damaged")]
    Damaged,
}
