//! The disk as the journal sees it: one directory of flat file names, behind a trait with a real
//! and a simulated implementation.

use std::io;
use std::os::fd::BorrowedFd;

pub mod real;
pub mod sim;

pub use real::RealDisk;
pub use sim::SimDisk;

/// Free and total bytes of the file system that holds the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that an unprivileged process may still use.
    pub free_bytes: u64,
    /// Size of the file system.
    pub total_bytes: u64,
}

/// One directory. Names are flat: no separators.
pub trait Disk: Send + Sync {
    /// Names of the files in the directory, in any order.
    fn list(&self) -> io::Result<Vec<String>>;
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
    /// Free and total bytes.
    fn space(&self) -> io::Result<Space>;
    /// Takes an exclusive lock, held until the value is dropped; `WouldBlock` when another holds it.
    fn lock(&self, name: &str) -> io::Result<Box<dyn Lock>>;
}

/// The exclusive use of a directory.
pub trait Lock: Send + Sync {
    /// The open files that are locked. Each lock lasts until every duplicate of its descriptor is
    /// closed, in whichever process (flock(2)).
    fn descriptors(&self) -> Vec<BorrowedFd<'_>>;
}

/// One open file.
pub trait File: Send + Sync {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
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
