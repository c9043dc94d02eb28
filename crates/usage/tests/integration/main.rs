//! The crate as its users see it: tables of inputs with what is expected of each, and properties.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod decoding;
mod strategies;
