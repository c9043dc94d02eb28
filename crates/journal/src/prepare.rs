//! Preparing a segment ahead of need: zero-filled, synced, and only then under its final name, so
//! that a sync of the committer never has to wait for the file system to allocate.

use std::io;

use rustix::io::Errno;

use crate::disk::{Disk, File};
use crate::error::CommitError;
use crate::format::segment_file_name;
use crate::limits::ZERO_FILL_BYTES;
use crate::shared::{Shared, lock};

/// A segment that waits to be activated: its header page is all zeros.
pub(crate) struct Prepared {
    pub(crate) number: u64,
    pub(crate) bytes: u64,
    pub(crate) file: Box<dyn File>,
}

/// Writes a segment of zeros, durable with its directory entry. On failure what was written is
/// removed again, so that a full disk gets its space back.
pub(crate) fn prepare(disk: &dyn Disk, number: u64, bytes: u64) -> io::Result<Prepared> {
    let name = segment_file_name(number);
    let tmp = format!("{name}.tmp");
    remove_if_there(disk, &tmp)?;
    // Trying would fill the disk to its last byte, for everybody on it, as often as it is tried.
    if disk.space().is_ok_and(|space| space.free_bytes < bytes) {
        return Err(io::ErrorKind::StorageFull.into());
    }
    // The first failure is what the caller must hear of; leftovers are removed at the next open
    // anyway. What has the final name is removed only if it was put there just now.
    let filled = fill(disk, &tmp, bytes);
    let file = filled
        .and_then(|file| disk.rename(&tmp, &name).map(|()| file))
        .inspect_err(|_| drop(remove_if_there(disk, &tmp)))?;
    disk.sync_dir().inspect_err(|_| drop(remove_if_there(disk, &name)))?;
    Ok(Prepared { number, bytes, file })
}

fn fill(disk: &dyn Disk, name: &str, bytes: u64) -> io::Result<Box<dyn File>> {
    let file = disk.create(name)?;
    let zeros = vec![0u8; ZERO_FILL_BYTES.min(usize::try_from(bytes).unwrap_or(ZERO_FILL_BYTES))];
    let mut at = 0u64;
    while at < bytes {
        let len = usize::try_from(bytes - at).unwrap_or(usize::MAX).min(zeros.len());
        file.write_all_at(&zeros[..len], at)?;
        // In small steps: one sync of the whole file would keep the disk from the committer.
        file.sync_data()?;
        at += len as u64;
    }
    file.sync_all()?;
    Ok(file)
}

/// Removes a file, or finds that it is not there.
pub(crate) fn remove_if_there(disk: &dyn Disk, name: &str) -> io::Result<()> {
    match disk.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Shared {
    /// Says that a segment could not be prepared.
    pub(crate) fn not_prepared(&self, number: u64, error: &io::Error) -> CommitError {
        self.short_of(format!("preparing segment {number}: {error}"), error)
    }

    /// Says that something could not be written without which no frame can be. Nothing of it was
    /// acknowledged, so where the disk is whole and only something is short, appends are refused
    /// until it is there; else the journal is poisoned.
    pub(crate) fn short_of(&self, failure: String, error: &io::Error) -> CommitError {
        if !is_shortage(error) {
            self.poison(failure);
            return CommitError::Poisoned;
        }
        self.pending().no_space = true;
        lock(&self.notes).failure = Some(failure);
        CommitError::NoSpace
    }
}

/// Whether a failure says that space, descriptors or memory have run out rather than that the disk is
/// broken.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    const SHORTAGES: [Errno; 3] = [Errno::MFILE, Errno::NFILE, Errno::NOMEM];
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        || Errno::from_io_error(error).is_some_and(|errno| SHORTAGES.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SimDisk;

    #[test]
    fn a_failed_preparation_removes_what_it_wrote_and_nothing_else() {
        fn check(fault: fn(&SimDisk), name_stays: bool) {
            let disk = SimDisk::new(1);
            let name = segment_file_name(2);
            drop(disk.create(&name).expect("alive"));
            fault(&disk);
            assert!(prepare(&disk, 2, 16 << 10).is_err());
            let expected = if name_stays { vec![name] } else { Vec::new() };
            assert_eq!(disk.list().expect("alive"), expected);
        }
        check(|disk| disk.fail_write_in(0), true);
        check(|disk| disk.set_capacity(8 << 10), true);
        // The file's two syncs come before, and the name is taken by then.
        check(|disk| disk.fail_sync_in(2), false);
    }
}
