//! What a store tells about itself.

use crate::damage::Damage;

/// A snapshot of the store's state, cheap enough to take at every scrape.
#[derive(Clone, Debug)]
pub struct Status {
    /// One past the last durable sequence.
    pub durable: u64,
    /// Every frame below this sequence is in the index; 0 while there is none.
    pub index_cursor: u64,
    /// Durable frames that the index has not taken yet.
    pub index_lag: u64,
    /// Whether reads and keyed usages are served.
    pub index_state: IndexState,
    /// Usages that the index has taken since the open.
    pub index_usages: u64,
    /// Runs that the index has taken since the open.
    pub index_runs: u64,
    /// How often the index was begun anew since the open because its files were damaged or
    /// incomplete, or not of this journal.
    pub index_rebuilds: u64,
    /// Why it was the last time.
    pub index_rebuilt: Option<String>,
    /// Bytes of the index on disk.
    pub index_bytes: u64,
    /// Damage that reads have met in the journal, if any. What is intact is served nevertheless.
    pub damage: Option<Damage>,
    /// Memory of durable usages that the index has not taken yet.
    pub tail_bytes: usize,
    /// The oldest sequence in the tail.
    pub tail_first_seq: u64,
    /// Idempotency keys held in memory until the index has them.
    pub keys_in_memory: usize,
    /// The journal's own.
    pub journal: journal::Status,
}

/// How the index does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexState {
    /// There is to be none: reads and keyed usages are refused, keyless ones accepted.
    Off,
    /// Index and tail hold everything that is durable.
    Ready,
    /// The index reads the journal and has not met the tail yet: reads and keyed usages are
    /// refused, keyless ones accepted.
    CatchingUp {
        /// Where it is.
        cursor: u64,
        /// Where it will meet the tail.
        target: u64,
    },
    /// The index is being opened, or the server before this one has not closed it yet: reads and
    /// keyed usages are refused, keyless ones accepted.
    Opening,
    /// There is no usable index, or the journal cannot be read for it; it is tried again.
    Failed {
        /// Why.
        why: String,
    },
}
