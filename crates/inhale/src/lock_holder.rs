//! Which process has a store open, for the error that says that one has.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use journal::check::CheckError;
use journal::repair::RepairError;
use store::RebuildError;

/// Adds the process that holds the lock of the store in `data` to an error that says that it is held.
pub(crate) fn named(error: anyhow::Error, data: &Path) -> anyhow::Error {
    let is_locked = error.chain().any(|cause| {
        // A transparent error stands in the chain in place of its cause.
        use journal::OpenError::Locked;
        matches!(cause.downcast_ref(), Some(store::OpenError::Journal(Locked)))
            || matches!(
                cause.downcast_ref(),
                Some(RebuildError::Open(store::OpenError::Journal(Locked)))
            )
            || matches!(cause.downcast_ref(), Some(CheckError::Locked))
            || matches!(cause.downcast_ref(), Some(RepairError::Check(CheckError::Locked)))
    });
    if !is_locked {
        return error;
    }
    let lock = store::Config::new(data).journal_dir().join("lock");
    match holder(&lock) {
        Some(pid) => {
            error.context(format!("process {pid} has the store in {} open", data.display()))
        }
        None => error,
    }
}

/// The process that holds the flock on `file`, from /proc/locks (proc_locks(5)). `None` when it cannot be
/// told, as when it runs in another container.
fn holder(file: &Path) -> Option<u32> {
    let file = file.metadata().ok()?;
    let device = file.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let place = format!("{major:02x}:{minor:02x}:{}", file.ino());
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let held =
            words.contains(&"FLOCK") && !words.contains(&"->") && words.contains(&place.as_str());
        // Number, kind, mode, access, process, place, range.
        held.then(|| words.get(4)?.parse().ok().filter(|pid| *pid > 0)).flatten()
    })
}
