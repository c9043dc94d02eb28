//! The journal from outside: what it promises, on the real disk and on the simulated one.

mod damage;
mod dead_ends;
mod displaced;
mod fixtures;
mod full;
mod helpers;
mod housekeeping;
mod intact;
mod lost_end;
mod memory;
mod misplaced;
mod misuse;
mod recovery;
mod repair;
mod room;
mod roundtrip;
mod running;
mod simulation;
