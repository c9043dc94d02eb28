//! Counts the index in full, offline.

use crate::config::Config;
use crate::index::{IndexError, IndexReport, verify};
use crate::slot::VERSION_DIR;

/// Counts the index of the store in `config.dir`, which no process may have open, row by row, and
/// compares it with what it says of itself. Usages below `kept_from`, the oldest sequence that the
/// journal keeps, have expired. `None` where there is no index: the next start makes it.
///
/// # Errors
/// When somebody has the index open, or this process is short of something. What is wrong with the
/// index itself is no error but part of the report.
pub fn check_index(config: &Config, kept_from: u64) -> Result<Option<IndexReport>, IndexError> {
    verify(&config.index_dir().join(VERSION_DIR), kept_from)
}
