//! The disk as the journal sees it: one directory of flat file names, behind a trait with a real
//! and a simulated implementation.

use std::io;
use std::os::fd::BorrowedFd;

pub mod real;
pub mod sim;

pub use real::RealDisk;
pub use sim::SimDisk;

/// `Ok` if `named`, what was found under a name, is the file `open`; otherwise an error that says
/// what has become of the file `what`.
pub(crate) fn check_same(
    named: io::Result<Identity>,
    open: Identity,
    what: &str,
) -> io::Result<()> {
    let how = match named {
        Ok(named) if named == open => return Ok(()),
        Ok(_) => "replaced",
        Err(error) if error.kind() == io::ErrorKind::NotFound => "removed or renamed",
        Err(error) => {
            let text = format!("whether {what} is still in place cannot be read: {error}");
            return Err(io::Error::new(error.kind(), text));
        }
    };
    Err(io::Error::other(format!("{what} was {how} while the journal was open")))
}

/// Free and total bytes of the file system that holds the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that an unprivileged process may still use.
    pub free_bytes: u64,
    /// Size of the file system.
    pub total_bytes: u64,
}

/// What a file is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The file system.
    pub device: u64,
    /// The file in it.
    pub inode: u64,
}

/// The one folder in the directory, for files that were set aside. A name in it is written
/// `set-aside/NAME`.
pub const ASIDE: &str = "set-aside";

/// One directory. Names are flat, apart from those in [`ASIDE`].
pub trait Disk: Send + Sync {
    /// Names of the files in the directory, in any order, without those set aside.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Names in [`ASIDE`], in any order, without the folder; none when it is missing.
    fn list_aside(&self) -> io::Result<Vec<String>>;
    /// Creates a file that must not exist yet, open for reading and writing.
    fn create(&self, name: &str) -> io::Result<Box<dyn File>>;
    /// Opens a file that exists, for reading and writing.
    fn open(&self, name: &str) -> io::Result<Box<dyn File>>;
    /// Renames a file, replacing `to` atomically. Durable only after [`Disk::sync_dir`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file. Durable only after [`Disk::sync_dir`].
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes creations, renames and removals so far durable.
    fn sync_dir(&self) -> io::Result<()>;
    /// Makes [`ASIDE`] if it is missing, and the changes in it durable. The folder itself, and what
    /// was moved out of the directory, are durable only after [`Disk::sync_dir`].
    fn sync_aside(&self) -> io::Result<()>;
    /// Free and total bytes.
    fn space(&self) -> io::Result<Space>;
    /// The file that now has this name.
    fn identity(&self, name: &str) -> io::Result<Identity>;
    /// Locks the directory, by itself and by the file `name` in it, until the value is dropped;
    /// `WouldBlock` when another process or another value holds either.
    fn lock(&self, name: &str) -> io::Result<Box<dyn Lock>>;
}

/// The exclusive use of a directory.
pub trait Lock: Send + Sync {
    /// Fails, saying what has happened, unless the directory's path still leads to the directory
    /// that is locked, and the lock file's name to the file that is locked.
    fn check_in_place(&self) -> io::Result<()>;
    /// The open files that are locked. Each lock lasts until every duplicate of its descriptor is
    /// closed, in whichever process (flock(2)).
    fn descriptors(&self) -> Vec<BorrowedFd<'_>>;
}

/// One open file.
pub trait File: Send + Sync {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Which file this is.
    fn identity(&self) -> io::Result<Identity>;
    /// Whether the file holds no byte.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Fills `buf` from `offset`; `UnexpectedEof` when the file ends before.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `buf` at `offset`. Durable only after a sync.
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// Makes the data written so far durable, with the metadata needed to read it back.
    fn sync_data(&self) -> io::Result<()>;
    /// Makes data and all metadata durable.
    fn sync_all(&self) -> io::Result<()>;
    /// Sets the length, cutting off or adding zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
}
