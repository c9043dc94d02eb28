//! The store as its users see it: what is acknowledged is read, once, whatever happens between.

mod damaged;
mod events;
mod expiry;
mod failing;
mod full;
mod harness;
mod hindered;
mod index_files;
mod keys;
mod killed;
mod lost_end;
mod model;
mod reading;
mod repaired;
mod restart;
mod simulation;
mod switched_off;
mod waiting;
