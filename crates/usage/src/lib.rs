//! A medication usage and how it is written down: fields, limits, JSON, timestamps, ids, and the
//! record that the journal keeps. Pure: no I/O, no clock, no threads.

pub mod limits;

mod attributes;
mod body;
mod civil;
mod digest;
mod id;
mod idempotency;
mod instant;
pub mod record;
mod rejection;
mod timestamp;

pub use body::{BatchError, BatchFormat, UnknownFields, Usage, decode, decode_batch, without_bom};
pub use digest::content_digest;
pub use id::{CheckKey, IdError, IdKind, UsageId};
pub use idempotency::{KeyError, item_key, parse_idempotency_key};
pub use instant::{Instant, offset_text};
pub use record::{Peek, Record, RecordError};
pub use rejection::{FieldError, Rejection};
pub use timestamp::{Timestamp, TimestampError};
