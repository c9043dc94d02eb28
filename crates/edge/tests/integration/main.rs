//! The edge as the network sees it.

mod corpus;
mod deadlines;
mod drain;
mod harness;
mod limits;
mod privacy;
mod raw;
