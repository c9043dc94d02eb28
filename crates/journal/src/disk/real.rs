//! The real disk: a directory of the operating system, through rustix.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};

use super::{Disk, File, Lock, Space};

/// A directory opened once; every name is resolved against its descriptor, so that renaming the
/// directory under a running journal changes nothing.
#[derive(Debug)]
pub struct RealDisk {
    dir: OwnedFd,
    path: PathBuf,
    /// Locked already; for the next call of [`Disk::lock`].
    adopted: Mutex<Vec<OwnedFd>>,
}

impl RealDisk {
    /// Opens `path`, creating it (mode 0700) when it is missing.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        sync_parents(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self { dir, path: path.to_path_buf(), adopted: Mutex::default() })
    }

    /// The path it was opened with.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Has the next [`Disk::lock`] go on with a lock that is held already: `descriptors` are
    /// duplicates of those in [`Lock::descriptors`], in the same order. So a lock passes from one
    /// process or value to another without ever being free.
    #[must_use]
    pub fn adopt_lock(self, descriptors: Vec<OwnedFd>) -> Self {
        Self { adopted: Mutex::new(descriptors), ..self }
    }

    fn open_at(&self, name: &str, extra: OFlags) -> io::Result<fs::File> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | extra;
        let fd = rustix::fs::openat(&self.dir, name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(fs::File::from(fd))
    }

    /// The adopted `file`, if it is what now has this name.
    fn check_named(&self, file: OwnedFd, name: &str) -> io::Result<fs::File> {
        let (open, named) = (
            rustix::fs::fstat(&file)?,
            rustix::fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW)?,
        );
        if (open.st_dev, open.st_ino) != (named.st_dev, named.st_ino) {
            return Err(io::Error::other(format!(
                "`{name}` is not the file whose lock was handed over"
            )));
        }
        Ok(file.into())
    }
}

/// Syncs the directories above within the file system, whoever has made them, so that a power cut
/// cannot take away the directory of a journal that has already acknowledged something.
fn sync_parents(path: &Path) -> io::Result<()> {
    let path = path.canonicalize()?;
    let device = path.metadata()?.dev();
    for parent in path.ancestors().skip(1) {
        if parent.metadata()?.dev() != device {
            break;
        }
        match fs::File::open(parent).and_then(|parent| parent.sync_all()) {
            // What may not be read cannot be synced; its owner has made it, and answers for it.
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

impl Disk for RealDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.dir)? {
            let entry = entry?;
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry.file_name().to_str()
                && name != "."
                && name != ".."
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        Ok(Box::new(RealFile { file: self.open_at(name, OFlags::CREATE | OFlags::EXCL)? }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        Ok(Box::new(RealFile { file: self.open_at(name, OFlags::empty())? }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.dir, from, &self.dir, to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.dir, name, AtFlags::empty())?)
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.dir)?)
    }

    fn space(&self) -> io::Result<Space> {
        let stat = rustix::fs::fstatvfs(&self.dir)?;
        Ok(Space {
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn Lock>> {
        let adopted =
            std::mem::take(&mut *self.adopted.lock().unwrap_or_else(PoisonError::into_inner));
        let mut adopted = adopted.into_iter();
        let file = match adopted.next() {
            Some(file) => self.check_named(file, name)?,
            None => self.open_at(name, OFlags::CREATE)?,
        };
        // flock belongs to the open file, so a second open in the same process is refused too,
        // and the kernel releases it whatever way the process ends.
        // A file that is locked already stays so.
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(RealLock { file }))
    }
}

struct RealLock {
    file: fs::File,
}

impl Lock for RealLock {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.file.as_fd()]
    }
}

struct RealFile {
    file: fs::File,
}

impl File for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_is_refused_until_the_first_is_dropped() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let disk = RealDisk::open(dir.path()).expect("open");
        let held = disk.lock("lock").expect("first lock");
        let refused = disk.lock("lock").map(|_| ()).expect_err("second lock");
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        drop(held);
        drop(disk.lock("lock").expect("lock after release"));
    }

    #[test]
    fn a_lock_passes_on_without_being_free() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let disk = RealDisk::open(dir.path()).expect("open");
        let held = disk.lock("lock").expect("first lock");
        let duplicates = || {
            let descriptors = held.descriptors().into_iter();
            descriptors.map(|open| open.try_clone_to_owned().expect("a descriptor")).collect()
        };
        let (first, second): (Vec<_>, Vec<_>) = (duplicates(), duplicates());
        let kept: Vec<_> = duplicates();
        let next = RealDisk::open(dir.path()).expect("open").adopt_lock(first);
        let adopted = next.lock("lock").expect("it is the same lock");
        drop(held);
        drop(adopted);
        disk.lock("lock").map(drop).expect_err("a duplicate is still open");
        drop(kept);
        let next = RealDisk::open(dir.path()).expect("open").adopt_lock(second);
        drop(next.lock("lock").expect("the last duplicate"));
        // Controls: all are closed; and a lock of another file is no lock of this one.
        let held = disk.lock("lock").expect("it is free");
        let duplicate = held.descriptors()[0].try_clone_to_owned().expect("a descriptor");
        let other = tempfile::tempdir().expect("a temporary directory");
        let other = RealDisk::open(other.path()).expect("open");
        drop(other.lock("lock").expect("it is free"));
        let refused = other.adopt_lock(vec![duplicate]).lock("lock").map(drop);
        refused.expect_err("another file");
    }

    #[test]
    fn files_are_created_once_renamed_over_and_removed() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let disk = RealDisk::open(dir.path().join("a/b")).expect("open");
        let file = disk.create("one").expect("create");
        file.write_all_at(b"hello", 3).expect("write");
        file.sync_data().expect("sync");
        assert_eq!(file.len().expect("len"), 8);
        let exists = disk.create("one").map(|_| ()).expect_err("create again");
        assert_eq!(exists.kind(), io::ErrorKind::AlreadyExists);
        drop(disk.create("two").expect("create two"));
        disk.rename("one", "two").expect("rename");
        disk.sync_dir().expect("sync dir");
        assert_eq!(disk.list().expect("list"), ["two"]);
        let mut bytes = [9u8; 8];
        disk.open("two").expect("open").read_exact_at(&mut bytes, 0).expect("read");
        assert_eq!(&bytes, b"\0\0\0hello");
        disk.remove("two").expect("remove");
        assert!(disk.list().expect("list").is_empty());
        assert!(disk.space().expect("space").total_bytes > 0);
    }
}
