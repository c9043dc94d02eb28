//! The store as its users see it: what is acknowledged is read, once, whatever happens between.

mod damaged;
mod expiry;
mod failing;
mod harness;
mod hindered;
mod index_files;
mod keys;
mod killed;
mod model;
mod reading;
mod repaired;
mod restart;
mod simulation;
mod switched_off;
mod waiting;
