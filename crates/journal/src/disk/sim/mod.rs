//! A simulated disk: one directory in memory whose faults follow from a seed. Power cuts keep
//! unsynced sectors and directory changes at random, a kill keeps the page cache, a failed sync
//! forgets data and then lies about it as kernels do.
//!
//! What it assumes of real disks: a write does not harm bytes outside of it, and what a
//! successful sync has covered stays.

mod directory;
mod image;
mod rng;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use directory::{Directory, Inode};
use image::Image;
pub use rng::Rng;

use super::{Disk, File, Lock, Space};

/// How the running system ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// `kill -9`: the page cache stays.
    Kill,
    /// Everything not synced is at the mercy of the seed.
    Power,
}

/// Which syncs only pretend, so that a test can show that it would notice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lie {
    /// Every sync does what it says.
    #[default]
    None,
    /// `sync_data` answers without doing anything.
    Data,
    /// `sync_dir` answers without doing anything.
    Directory,
    /// A `sync_data` that fails answers as if it had not: a caller that does not look.
    Failure,
}

/// A handle to the simulated disk; clones share it.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Clone)]
struct State {
    rng: Rng,
    directory: Directory,
    images: BTreeMap<Inode, Image>,
    next_inode: Inode,
    /// Moves at each crash: handles and locks of an earlier life are dead.
    life: u64,
    locks: BTreeSet<String>,
    capacity_bytes: u64,
    operations: u64,
    syncs: u64,
    /// Counted down by operations that change something; at zero the machine stops.
    halt_in: Option<u64>,
    halted: bool,
    fail_sync_in: Option<u64>,
    fail_write_in: Option<u64>,
    lie: Lie,
}

struct SimFile {
    disk: SimDisk,
    inode: Inode,
    life: u64,
}

struct SimLock {
    disk: SimDisk,
    name: String,
    life: u64,
}

impl SimDisk {
    /// An empty disk of 1 TiB whose faults follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = State {
            rng: Rng::new(seed),
            directory: Directory::default(),
            images: BTreeMap::new(),
            next_inode: 1,
            life: 0,
            locks: BTreeSet::new(),
            capacity_bytes: 1 << 40,
            operations: 0,
            syncs: 0,
            halt_in: None,
            halted: false,
            fail_sync_in: None,
            fail_write_in: None,
            lie: Lie::None,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another disk with the same content, as the page cache shows it, and the same faults to come.
    /// Nothing is open on it.
    #[must_use]
    pub fn fork(&self) -> Self {
        let mut state = self.state().clone();
        state.life += 1;
        state.locks.clear();
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Ends the life of everything that is open and leaves what this kind of crash leaves.
    /// Planned faults are forgotten. Threads that still work on the disk must have ended before
    /// ([`SimDisk::halt_in`] makes them), or they would live on in the new life.
    pub fn crash(&self, crash: Crash) {
        let state = &mut *self.state();
        state.life += 1;
        state.locks.clear();
        (state.halted, state.halt_in) = (false, None);
        (state.fail_sync_in, state.fail_write_in) = (None, None);
        if crash == Crash::Power {
            state.directory.power_cut(&mut state.rng);
        }
        let reachable = state.directory.reachable();
        state.images.retain(|inode, _| reachable.contains(inode));
        for image in state.images.values_mut() {
            match crash {
                Crash::Power => image.power_cut(&mut state.rng),
                Crash::Kill if state.rng.chance(1, 2) => image.evict(),
                Crash::Kill => {}
            }
        }
    }

    /// Lets the machine stop in the middle of the operation number `operations` from now that
    /// changes something. From then on everything fails until [`SimDisk::crash`].
    pub fn halt_in(&self, operations: u64) {
        self.state().halt_in = Some(operations);
    }

    /// Whether the machine has stopped.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.state().halted
    }

    /// Fails the sync number `syncs` from now (0: the next) with EIO. The pages are then clean:
    /// later syncs succeed although the data is not durable.
    pub fn fail_sync_in(&self, syncs: u64) {
        self.state().fail_sync_in = Some(syncs);
    }

    /// Fails the write number `writes` from now (0: the next) with EIO, after a part of it.
    pub fn fail_write_in(&self, writes: u64) {
        self.state().fail_write_in = Some(writes);
    }

    /// Forgets planned faults that have not happened.
    pub fn forget_faults(&self) {
        let state = &mut *self.state();
        (state.fail_sync_in, state.fail_write_in, state.halt_in) = (None, None, None);
    }

    /// Sets the size of the file system. Writes that would need more fail with ENOSPC.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity_bytes = bytes;
    }

    /// Bytes of all files that have a name.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.state().used_bytes()
    }

    /// Makes some syncs pretend: the negative control of every test about durability.
    pub fn set_lie(&self, lie: Lie) {
        self.state().lie = lie;
    }

    /// Flips one bit of a file, as a failing medium would. Nothing happens past its end.
    pub fn flip_bit(&self, name: &str, offset: u64, bit: u8) {
        let state = &mut *self.state();
        if let Some(inode) = state.directory.get(name)
            && let Some(image) = state.images.get_mut(&inode)
        {
            image.flip(offset, bit);
        }
    }

    /// How many syncs of files and of the directory were asked for.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// How many operations that change something were asked for.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }
}

impl State {
    fn used_bytes(&self) -> u64 {
        let len = |inode| self.images.get(&inode).map_or(0, Image::len);
        self.directory.inodes().map(len).sum()
    }

    fn check_alive(&self, life: u64) -> io::Result<()> {
        if self.halted || life != self.life {
            return Err(io::Error::other("the simulated machine has stopped"));
        }
        Ok(())
    }

    /// Counts an operation that changes something. `true` when the machine stops in its middle.
    fn begin_change(&mut self, life: u64) -> io::Result<bool> {
        self.check_alive(life)?;
        self.operations += 1;
        self.halted = count_down(&mut self.halt_in);
        Ok(self.halted)
    }

    fn inode(&self, name: &str) -> io::Result<Inode> {
        self.directory.get(name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn image(&mut self, inode: Inode) -> &mut Image {
        self.images.entry(inode).or_default()
    }

    fn change_names(&mut self, life: u64, change: impl FnOnce(&mut Directory)) -> io::Result<()> {
        // A change of names happens whole or not at all, even when the machine stops.
        let halts = self.begin_change(life)?;
        if !halts || self.rng.chance(1, 2) {
            change(&mut self.directory);
        }
        if halts { Err(halted()) } else { Ok(()) }
    }

    fn write(&mut self, file: &SimFile, bytes: &[u8], offset: u64) -> io::Result<()> {
        let halts = self.begin_change(file.life)?;
        let failure = if halts {
            Some(halted())
        } else if count_down(&mut self.fail_write_in) {
            Some(broken())
        } else {
            None
        };
        let end = offset + bytes.len() as u64;
        let grows = end.saturating_sub(self.image(file.inode).len());
        let free = self.capacity_bytes.saturating_sub(self.used_bytes());
        let failure = match failure {
            None if grows > free => Some(io::ErrorKind::StorageFull.into()),
            failure => failure,
        };
        let Some(failure) = failure else {
            self.image(file.inode).write(offset, bytes);
            return self.maybe_write_back(file.inode);
        };
        // A part may be there, as far as there is room for it.
        let room = bytes.len() as u64 - grows + grows.min(free);
        let part = self.rng.below(room + 1);
        let part = usize::try_from(part).expect("it is at most a slice's length");
        self.image(file.inode).write(offset, &bytes[..part]);
        Err(failure)
    }

    fn maybe_write_back(&mut self, inode: Inode) -> io::Result<()> {
        if self.rng.chance(1, 8) {
            let image = self.images.get_mut(&inode).expect("it was written a moment ago");
            image.write_back(&mut self.rng);
        }
        Ok(())
    }

    fn sync(&mut self, file: &SimFile, lie: Lie) -> io::Result<()> {
        self.syncs += 1;
        let halts = self.begin_change(file.life)?;
        let fails = count_down(&mut self.fail_sync_in);
        let image = self.images.entry(file.inode).or_default();
        match (halts, fails, lie) {
            (true, ..) => return Err(halted()),
            (_, true, _) => {
                image.lose(&mut self.rng);
                return if lie == Lie::Failure { Ok(()) } else { Err(broken()) };
            }
            (.., Lie::Data) => {}
            _ => image.sync(),
        }
        Ok(())
    }
}

/// Counts a planned fault down; `true` when it is due, once.
fn count_down(counter: &mut Option<u64>) -> bool {
    match counter {
        Some(0) => {
            *counter = None;
            true
        }
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}

fn halted() -> io::Error {
    io::Error::other("the simulated machine stops here")
}

fn broken() -> io::Error {
    // EIO has no kind of its own.
    io::Error::from_raw_os_error(5)
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let state = self.state();
        state.check_alive(state.life)?;
        Ok(state.directory.names().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        let state = &mut *self.state();
        if state.directory.get(name).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let (life, inode) = (state.life, state.next_inode);
        state.next_inode += 1;
        state.images.insert(inode, Image::default());
        state.change_names(life, |directory| directory.create(name, inode))?;
        Ok(Box::new(SimFile { disk: self.clone(), inode, life }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        let state = self.state();
        state.check_alive(state.life)?;
        let inode = state.inode(name)?;
        Ok(Box::new(SimFile { disk: self.clone(), inode, life: state.life }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let state = &mut *self.state();
        state.inode(from)?;
        state.change_names(state.life, |directory| directory.rename(from, to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let state = &mut *self.state();
        state.inode(name)?;
        state.change_names(state.life, |directory| directory.remove(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        let state = &mut *self.state();
        state.syncs += 1;
        if state.begin_change(state.life)? {
            return Err(halted());
        }
        if count_down(&mut state.fail_sync_in) {
            return Err(broken());
        }
        if state.lie != Lie::Directory {
            state.directory.sync();
        }
        Ok(())
    }

    fn space(&self) -> io::Result<Space> {
        let state = self.state();
        state.check_alive(state.life)?;
        let total_bytes = state.capacity_bytes;
        Ok(Space { free_bytes: total_bytes.saturating_sub(state.used_bytes()), total_bytes })
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn Lock>> {
        let state = &mut *self.state();
        state.check_alive(state.life)?;
        if !state.locks.insert(name.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock { disk: self.clone(), name: name.to_owned(), life: state.life }))
    }
}

impl Lock for SimLock {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let state = &mut *self.disk.state();
        if state.life == self.life {
            state.locks.remove(&self.name);
        }
    }
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        let state = &mut *self.disk.state();
        state.check_alive(self.life)?;
        Ok(state.image(self.inode).len())
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let state = &mut *self.disk.state();
        state.check_alive(self.life)?;
        let read = state.image(self.inode).read(offset, buf);
        read.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.disk.state().write(self, buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        let state = &mut *self.disk.state();
        state.sync(self, state.lie)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.disk.state().sync(self, Lie::None)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let state = &mut *self.disk.state();
        if state.begin_change(self.life)? {
            return Err(halted());
        }
        let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        state.image(self.inode).set_len(len);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
