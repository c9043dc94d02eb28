//! A usage as it is read back.

use usage::{CheckKey, Instant, Record, UsageId};

/// How much later than its receipt a usage may claim to be before it is flagged: devices' clocks
/// are off by minutes in good faith.
const FUTURE_MS_MIN: i64 = 3_600_000;

/// How much earlier than its receipt a usage may claim to be before it is flagged: five years of
/// 365.25 days. Devices whose clock has lost its time begin at 1970 or 2000.
const PAST_MS_MIN: i64 = 5 * 31_557_600_000;

/// A usage as it is read back: everything as sent, and what the store knows about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredUsage {
    /// Its id.
    pub id: UsageId,
    /// Its place in the journal.
    pub seq: u64,
    /// The patient, as sent.
    pub patient_id: String,
    /// The timestamp's text, as sent.
    pub timestamp: String,
    /// Whether the timestamp was sent as a JSON number, and so is given back as one.
    pub timestamp_is_number: bool,
    /// The point in time that the timestamp names.
    pub instant: Instant,
    /// The timestamp's offset from UTC, in seconds.
    pub offset_seconds: i32,
    /// The medication, as sent.
    pub medication: String,
    /// The event's id, as sent.
    pub event_id: Option<String>,
    /// The attributes, a JSON object as sent.
    pub attributes: Option<String>,
    /// When it was received, milliseconds since the Unix epoch.
    pub received_ms: u64,
    /// Whether the instant lies more than an hour after the receipt.
    pub future: bool,
    /// Whether the instant lies more than five years before the receipt.
    pub past: bool,
}

impl StoredUsage {
    /// The usage that `record` holds, found under `seq` in the store with this number and secret.
    pub(crate) fn new(record: Record<'_>, seq: u64, store_number: u16, secret: &CheckKey) -> Self {
        let Record { received_ms, key, usage } = record;
        let id = key.unwrap_or_else(|| UsageId::plain(received_ms, store_number, seq, secret));
        let instant = usage.timestamp.instant;
        let received = i64::try_from(received_ms).unwrap_or(i64::MAX);
        Self {
            id,
            seq,
            patient_id: usage.patient_id.into_owned(),
            instant,
            offset_seconds: usage.timestamp.offset_seconds,
            timestamp_is_number: usage.timestamp.is_number(),
            timestamp: usage.timestamp.text.into_owned(),
            medication: usage.medication.into_owned(),
            event_id: usage.event_id.map(Into::into),
            attributes: usage.attributes.map(Into::into),
            received_ms,
            future: instant.millis().saturating_sub(received) > FUTURE_MS_MIN,
            past: received.saturating_sub(instant.millis()) > PAST_MS_MIN,
        }
    }
}
