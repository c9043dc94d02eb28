//! The real disk: a directory of the operating system, through rustix.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::{ASIDE, Disk, File, Identity, Lock, Space, check_same};

/// A directory opened once; every name is resolved against its descriptor, so that no two names are
/// ever looked for in different directories. [`Lock::check_in_place`] notices that it was renamed.
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
        // As it was named, whatever symbolic links it leads through: they may be changed as well.
        let path = std::path::absolute(path)?;
        let dir = rustix::fs::open(&path, flags, Mode::empty())?;
        Ok(Self { dir, path, adopted: Mutex::default() })
    }

    /// The path it was opened with, made absolute.
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
    fn check_named(&self, file: OwnedFd, name: &str) -> io::Result<OwnedFd> {
        let named = rustix::fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if identity(rustix::fs::fstat(&file)?) != identity(named) {
            return Err(io::Error::other(format!(
                "`{name}` is not the file whose lock was handed over"
            )));
        }
        Ok(file)
    }

    fn open_aside(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        Ok(rustix::fs::openat(&self.dir, ASIDE, flags, Mode::empty())?)
    }
}

/// Names of everything in a directory but folders, which are none of the journal's.
fn names(dir: &OwnedFd) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        // The journal writes no name that is not UTF-8.
        if let Ok(name) = entry.file_name().to_str()
            && entry.file_type() != FileType::Directory
            && ![".", "..", ASIDE].contains(&name)
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
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
        names(&self.dir)
    }

    fn list_aside(&self) -> io::Result<Vec<String>> {
        match self.open_aside() {
            Ok(aside) => names(&aside),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
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

    fn sync_aside(&self) -> io::Result<()> {
        match rustix::fs::mkdirat(&self.dir, ASIDE, Mode::RWXU) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(rustix::fs::fsync(self.open_aside()?)?)
    }

    fn space(&self) -> io::Result<Space> {
        let stat = rustix::fs::fstatvfs(&self.dir)?;
        Ok(Space {
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }

    fn identity(&self, name: &str) -> io::Result<Identity> {
        Ok(identity(rustix::fs::statat(&self.dir, name, AtFlags::SYMLINK_NOFOLLOW)?))
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn Lock>> {
        // flock belongs to the open file, so a second open in the same process is refused too,
        // and the kernel releases it whatever way the process ends. Hence the directory is opened
        // once more: its lock ends with this value, not with the disk's.
        // What was adopted is locked already, and stays so.
        let adopted =
            std::mem::take(&mut *self.adopted.lock().unwrap_or_else(PoisonError::into_inner));
        let mut adopted = adopted.into_iter();
        let dir = match adopted.next() {
            Some(dir) => self.check_named(dir, ".")?,
            None => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                rustix::fs::openat(&self.dir, ".", flags, Mode::empty())?
            }
        };
        match rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            // NFS locks only what is open for writing, which no directory can be.
            Ok(()) | Err(Errno::BADF) => {}
            Err(error) => return Err(error.into()),
        }
        let file = match adopted.next() {
            Some(file) => self.check_named(file, name)?.into(),
            None => self.open_at(name, OFlags::CREATE)?,
        };
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let identified = (identity(rustix::fs::fstat(&dir)?), identity(rustix::fs::fstat(&file)?));
        Ok(Box::new(RealLock {
            dir: (dir, identified.0),
            file: (file, identified.1),
            path: self.path.clone(),
            name: name.to_owned(),
        }))
    }
}

fn identity(stat: Stat) -> Identity {
    Identity { device: stat.st_dev, inode: stat.st_ino }
}

/// Two locks: the file's keeps out processes of versions that know no other, and the directory's
/// cannot be removed without the journal itself.
struct RealLock {
    dir: (OwnedFd, Identity),
    file: (fs::File, Identity),
    path: PathBuf,
    name: String,
}

impl Lock for RealLock {
    fn check_in_place(&self) -> io::Result<()> {
        let ((dir, dir_identity), (_, file_identity)) = (&self.dir, &self.file);
        let named = rustix::fs::stat(&self.path).map(identity);
        check_same(named.map_err(Into::into), *dir_identity, "the journal's directory")?;
        let named = rustix::fs::statat(dir, &self.name, AtFlags::SYMLINK_NOFOLLOW).map(identity);
        check_same(named.map_err(Into::into), *file_identity, "the journal's lock file")
    }

    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.dir.0.as_fd(), self.file.0.as_fd()]
    }
}

struct RealFile {
    file: fs::File,
}

impl File for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn identity(&self) -> io::Result<Identity> {
        Ok(identity(rustix::fs::fstat(&self.file)?))
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
