//! What may happen in a history, and how often.

use journal::disk::sim::{Crash, Rng};

/// One step of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// Appends so many frames through one guard.
    Append(u64),
    /// Commits what is pending.
    Commit,
    /// One round of background work.
    Housekeep,
    /// Writes the mark.
    Mark,
    /// Writes the mark, ends the process or the machine, and loses so many synced batches at the end
    /// of the newest segment, as a disk does that lies.
    LoseTail(u64),
    /// Reads one frame by its sequence.
    Read,
    /// Lets the tailing reader read a few batches.
    Tail,
    /// Ends the process or the machine, and opens again.
    Crash(Crash),
    /// Lets the machine stop in the middle of a later operation.
    HaltIn(u64),
    /// Fails a later sync.
    FailSyncIn(u64),
    /// Fails a later write.
    FailWriteIn(u64),
    /// Leaves so many bytes free on the file system.
    LeaveFree(u64),
    /// Gives the file system room again.
    FreeSpace,
    /// Lets time pass on both clocks.
    Wait(u64),
    /// Moves the wall clock alone, by milliseconds.
    Jump(i64),
    /// Confirms the wall clock.
    ConfirmClock,
    /// Closes in order and opens again.
    Close,
    /// Ends the process or the machine, checks what is left, and opens again.
    Check,
}

const HOUR_MS: u64 = 3_600_000;

impl Op {
    /// A random one.
    pub(super) fn pick(rng: &mut Rng) -> Self {
        match rng.below(100) {
            0..26 => Self::Append(1 + rng.below(8)),
            26..48 => Self::Commit,
            48..50 => Self::Mark,
            50..61 => Self::Housekeep,
            61..66 => Self::Read,
            66..72 => Self::Tail,
            72..76 => Self::Crash(Crash::Power),
            76..79 => Self::Crash(Crash::Kill),
            79..83 => Self::HaltIn(rng.below(24)),
            83..85 => Self::FailSyncIn(rng.below(5)),
            85..87 => Self::FailWriteIn(rng.below(5)),
            87..88 => Self::LeaveFree(rng.below(80 << 10)),
            88..90 => Self::FreeSpace,
            90..93 => Self::Wait(rng.below(30 * HOUR_MS)),
            93..94 => {
                Self::Jump(rng.below(80 * HOUR_MS).cast_signed() - 10 * HOUR_MS.cast_signed())
            }
            94..95 => Self::ConfirmClock,
            95..97 => Self::Close,
            97..98 => Self::LoseTail(1 + rng.below(6)),
            _ => Self::Check,
        }
    }
}
