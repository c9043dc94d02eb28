//! Where a page of a history ended, as an opaque text that a client hands back.

use std::fmt;
use std::hash::Hasher;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use siphasher::sip::SipHasher24;
use thiserror::Error;
use usage::{CheckKey, Instant};

use crate::query::HistoryQuery;

const VERSION: u8 = 1;
/// Version, pinned position, seconds, nanoseconds, sequence, proof; big-endian.
const BYTES: usize = 1 + 8 + 8 + 4 + 8 + 8;

/// Where a page ended: the journal position that the first page saw, so that later usages do not
/// shift pages, and the last usage shown. It proves, with the store's secret, that it was given
/// out by this store for this patient and filter. Text form: base64url without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryCursor {
    pub(crate) pinned: u64,
    pub(crate) last: (Instant, u64),
    proof: u64,
}

/// The text is not a cursor that any version has given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a cursor")]
pub struct CursorError;

impl HistoryCursor {
    /// The cursor behind the usage `last` on a page of `query` that saw the journal below `pinned`.
    pub(crate) fn new(
        query: &HistoryQuery,
        pinned: u64,
        last: (Instant, u64),
        secret: &CheckKey,
    ) -> Self {
        Self { pinned, last, proof: proof(query, pinned, last, secret) }
    }

    /// Whether this store has given it out for this query.
    pub(crate) fn belongs_to(&self, query: &HistoryQuery, secret: &CheckKey) -> bool {
        self.proof == proof(query, self.pinned, self.last, secret)
    }
}

/// Binds position and filter together. The limit may change from page to page.
fn proof(query: &HistoryQuery, pinned: u64, last: (Instant, u64), secret: &CheckKey) -> u64 {
    fn text(hasher: &mut SipHasher24, text: &str) {
        hasher.write_u64(text.len() as u64);
        hasher.write(text.as_bytes());
    }
    fn instant(hasher: &mut SipHasher24, instant: Instant) {
        hasher.write_i64(instant.seconds());
        hasher.write_u32(instant.nanos());
    }
    let mut hasher = SipHasher24::new_with_key(&secret.0);
    // Ids are checked under the same secret, with 16 bytes of input; this is always longer.
    hasher.write(b"inhale history cursor");
    hasher.write_u8(VERSION);
    hasher.write_u64(pinned);
    instant(&mut hasher, last.0);
    hasher.write_u64(last.1);
    text(&mut hasher, &query.patient_id);
    for bound in [query.from, query.to] {
        hasher.write_u8(u8::from(bound.is_some()));
        if let Some(bound) = bound {
            instant(&mut hasher, bound);
        }
    }
    hasher.write_u8(u8::from(query.medication.is_some()));
    text(&mut hasher, query.medication.as_deref().unwrap_or_default());
    hasher.finish()
}

impl fmt::Display for HistoryCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0u8; BYTES];
        bytes[0] = VERSION;
        bytes[1..9].copy_from_slice(&self.pinned.to_be_bytes());
        bytes[9..17].copy_from_slice(&self.last.0.seconds().to_be_bytes());
        bytes[17..21].copy_from_slice(&self.last.0.nanos().to_be_bytes());
        bytes[21..29].copy_from_slice(&self.last.1.to_be_bytes());
        bytes[29..37].copy_from_slice(&self.proof.to_be_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for HistoryCursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
            bytes[at..at + N].try_into().expect("the length was checked")
        }
        // Checked before decoding, so that a long text costs nothing.
        if text.len() != (BYTES * 4).div_ceil(3) {
            return Err(CursorError);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError)?;
        if bytes.len() != BYTES || bytes[0] != VERSION {
            return Err(CursorError);
        }
        let seconds = i64::from_be_bytes(part(&bytes, 9));
        let nanos = u32::from_be_bytes(part(&bytes, 17));
        let instant = Instant::from_parts(seconds, nanos).ok_or(CursorError)?;
        Ok(Self {
            pinned: u64::from_be_bytes(part(&bytes, 1)),
            last: (instant, u64::from_be_bytes(part(&bytes, 21))),
            proof: u64::from_be_bytes(part(&bytes, 29)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query() -> HistoryQuery {
        HistoryQuery {
            patient_id: "100".into(),
            from: None,
            to: Instant::from_parts(5, 0),
            medication: None,
            limit: 10,
            cursor: None,
        }
    }

    fn cursor() -> HistoryCursor {
        let last = (Instant::from_parts(-3, 7).expect("in range"), 41);
        HistoryCursor::new(&query(), 99, last, &CheckKey([7; 16]))
    }

    #[test]
    fn the_text_leads_back_to_the_cursor() {
        let text = cursor().to_string();
        assert_eq!(text.parse(), Ok(cursor()));
        assert_eq!(text.len(), 50);
    }

    #[test]
    fn other_texts_are_refused() {
        fn check(text: &str) {
            assert_eq!(text.parse::<HistoryCursor>(), Err(CursorError), "{text}");
        }
        check("");
        check("AQ");
        check(&"A".repeat(50));
        check(&format!("{}=", cursor()));
        check(&cursor().to_string().replacen("AQ", "Ag", 1));
    }

    #[test]
    fn a_cursor_belongs_to_its_query_alone() {
        fn check(change: impl FnOnce(&mut HistoryQuery, &mut HistoryCursor), expected: bool) {
            let (mut query, mut cursor) = (query(), cursor());
            change(&mut query, &mut cursor);
            assert_eq!(cursor.belongs_to(&query, &CheckKey([7; 16])), expected, "{query:?}");
        }
        check(|_, _| {}, true);
        check(|query, _| query.limit = 3, true);
        check(|query, _| query.patient_id = "1001".into(), false);
        check(|query, _| query.from = Instant::from_parts(1, 0), false);
        check(|query, _| query.to = None, false);
        check(|query, _| query.medication = Some(String::new()), false);
        check(|_, cursor| cursor.pinned += 1, false);
        check(|_, cursor| cursor.last.1 += 1, false);
        assert!(!cursor().belongs_to(&query(), &CheckKey([8; 16])));
    }
}
