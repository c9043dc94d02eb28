//! The journal from outside: what it promises, on the real disk and on the simulated one.

mod helpers;
mod roundtrip;
