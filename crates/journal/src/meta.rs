//! `store.meta`: who the store is, and its secret. Written once, when the store is created.

use std::fmt;

/// What `store.meta` holds.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreMeta {
    /// Random, in every segment's header.
    pub store_id: [u8; 16],
    /// 12 bits, part of every id made from a sequence.
    pub store_number: u16,
    /// The secret behind the check bits of ids.
    pub check_key: [u8; 16],
    /// Wall time of the creation, milliseconds since the Unix epoch.
    pub created_ms: u64,
}

impl fmt::Debug for StoreMeta {
    /// Never the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreMeta")
            .field("store_number", &self.store_number)
            .finish_non_exhaustive()
    }
}
