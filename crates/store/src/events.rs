//! The journal's file `events`: the sequence from which on an event id belongs to its patient.
//!
//! Earlier versions made the id of a usage with an `eventId` from principal and event id only, like
//! that of an `Idempotency-Key`. A retry of such a usage is found under its former id for as long as
//! keys are remembered.

use std::io;

use journal::NumberFile;
use journal::disk::Disk;
use usage::{Usage, UsageId};

const FILE: NumberFile = NumberFile { name: "events", tmp: "events.tmp", magic: *b"inhEVNT1" };

/// The first sequence whose event ids belong to their patients, as the file says. Without a file it is
/// `end_seq`, one past the journal's last frame, which is then written; for a new journal that is its
/// first sequence.
pub(crate) fn scoped_from(disk: &dyn Disk, end_seq: u64) -> io::Result<u64> {
    if let Some(seq) = FILE.load(disk)? {
        return Ok(seq);
    }
    FILE.store(disk, end_seq)?;
    Ok(end_seq)
}

/// An event id in its former scope, the principal.
#[derive(Clone, Copy)]
pub(crate) struct FormerEvent<'a> {
    pub(crate) principal: &'a str,
    pub(crate) event_id: &'a str,
}

impl FormerEvent<'_> {
    /// The id that a usage of this event had.
    pub(crate) fn id(self) -> UsageId {
        UsageId::keyed(self.principal, self.event_id)
    }

    /// Whether `stored`, found under [`FormerEvent::id`], is this event of the patient of `sent`, and
    /// not another patient's event or a usage whose key came in a header.
    pub(crate) fn is(self, stored: &Usage<'_>, sent: &Usage<'_>) -> bool {
        stored.patient_id == sent.patient_id && stored.event_id.as_deref() == Some(self.event_id)
    }
}
