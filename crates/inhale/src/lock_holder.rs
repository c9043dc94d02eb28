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

/// The process that holds the flock on `file`, from /proc/PID/fdinfo (proc_pid_fdinfo(5)). /proc/locks
/// names the process that took the lock, which has ended if another one took the store over. `None` when
/// it cannot be told, as when the process belongs to another user or container.
fn holder(file: &Path) -> Option<u32> {
    let file = file.metadata().ok()?;
    let device = file.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let place = format!("{major:02x}:{minor:02x}:{}", file.ino());
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let mut descriptors = std::fs::read_dir(process.path().join("fdinfo")).ok()?.flatten();
        descriptors
            .any(|info| std::fs::read_to_string(info.path()).is_ok_and(|info| locks(&info, &place)))
            .then_some(pid)
    })
}

/// Whether the descriptor of `info` holds a flock on the file at `place` (device and inode).
fn locks(info: &str, place: &str) -> bool {
    info.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.first() == Some(&"lock:") && words.contains(&"FLOCK") && words.contains(&place)
    })
}
