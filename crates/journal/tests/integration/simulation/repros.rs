//! Histories that once went wrong, each named after what it broke.
