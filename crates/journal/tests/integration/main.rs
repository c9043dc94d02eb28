//! The journal from outside: what it promises, on the real disk and on the simulated one.

mod damage;
mod dead_ends;
mod fixtures;
mod helpers;
mod housekeeping;
mod intact;
mod memory;
mod recovery;
mod repair;
mod room;
mod roundtrip;
mod running;
mod simulation;
