//! Being written beside this crate's core.
