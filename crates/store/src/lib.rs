//! The store: a journal with its index. Appends answer with a place in the journal and a ticket
//! for its durability; reads merge a snapshot of the index with what it has not taken yet, so that
//! they see every usage acknowledged before they began.
//!
//! [`Store::open`] recovers; [`Store::start`] runs the threads; no async runtime is needed, only
//! whatever polls the futures of [`Tickets`].

pub mod index;

mod append;
mod check;
mod claims;
mod config;
mod cursor;
mod damage;
mod effort;
mod error;
mod events;
mod indexer;
mod key_search;
mod medications;
mod query;
mod read;
mod rebuild;
mod restore;
mod slot;
mod status;
mod store;
mod stored;
mod summary;
mod tail;
mod tickets;

pub use append::{Accepted, BatchItem, Key};
pub use check::check_index;
pub use config::{Config, RunOptions};
pub use cursor::{CursorError, HistoryCursor};
pub use damage::Damage;
pub use effort::Effort;
pub use error::{AppendRefused, OpenError, OutcomeUnknown, ReadError, RebuildError};
pub use index::{IndexOptions, IndexReport};
pub use journal::{Clock, SystemClock};
pub use query::{
    HistoryPage, HistoryQuery, Rest, Summary, SummaryBy, SummaryGroup, SummaryQuery, SummaryRow,
};
pub use rebuild::{RebuildProgress, rebuild};
pub use slot::index_witness;
pub use status::{IndexState, Status};
pub use store::Store;
pub use stored::StoredUsage;
pub use tickets::Tickets;
