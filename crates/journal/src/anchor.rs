//! The file `clock`: the wall time that was last believed. An open trusts a clock by it alone, and
//! not by the times in batches: a wrong clock would have written those itself, and vouch for itself.

use std::io;

use crate::disk::Disk;
use crate::number_file::NumberFile;

const CLOCK: NumberFile = NumberFile { name: "clock", tmp: "clock.tmp", magic: *b"inhCLCK1" };

/// Believed time may run so far ahead of what the file says before it is written anew.
pub(crate) const ANCHOR_STEP_MS: u64 = 3_600_000;

/// Writes the file so that it is there whole, durably, or as it was.
pub(crate) fn store(disk: &dyn Disk, believed_ms: u64) -> io::Result<()> {
    CLOCK.store(disk, believed_ms)
}

/// What the file says; `None` when it is missing or damaged.
pub(crate) fn load(disk: &dyn Disk) -> io::Result<Option<u64>> {
    CLOCK.load(disk)
}
