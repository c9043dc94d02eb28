//! A disk in memory for tests of the format and the rules: fast, copied in one call, open to
//! damage, and able to fail on demand. What a crash loses is the simulated disk's business.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use journal::disk::{Disk, File, Lock, Space};

type Bytes = Arc<Mutex<Vec<u8>>>;

#[derive(Default)]
pub(crate) struct MemoryDisk {
    files: Mutex<BTreeMap<String, Bytes>>,
    locked: Arc<AtomicBool>,
    state: Arc<State>,
}

/// What every file of the disk shares.
#[derive(Default)]
struct State {
    syncs: AtomicUsize,
    /// The sync, counted from 1, that fails; 0 for none.
    fail_sync: AtomicUsize,
    /// Changes and syncs so far, and the one from which on all fail, as after a kill; 0 for none.
    steps: AtomicUsize,
    dead_from: AtomicUsize,
    /// Whether files may grow.
    full: AtomicBool,
    /// The operating system's error number for every file that is to be created; 0 for none.
    refuses_files: AtomicI32,
    free_bytes: AtomicU64,
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no test panics while holding it")
}

impl MemoryDisk {
    pub(crate) fn new() -> Arc<Self> {
        let disk = Self::default();
        disk.state.free_bytes.store(1 << 40, Ordering::SeqCst);
        Arc::new(disk)
    }

    /// The same files, nobody's lock, no faults.
    pub(crate) fn copy(&self) -> Arc<Self> {
        let copy = Self::new();
        for (name, bytes) in &*guard(&self.files) {
            let bytes = guard(bytes).clone();
            guard(&copy.files).insert(name.clone(), Arc::new(Mutex::new(bytes)));
        }
        copy
    }

    /// A copy with one file changed.
    pub(crate) fn damaged(&self, name: &str, damage: impl FnOnce(&mut Vec<u8>)) -> Arc<Self> {
        let copy = self.copy();
        damage(&mut guard(&guard(&copy.files)[name]));
        copy
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        guard(&guard(&self.files)[name]).clone()
    }

    pub(crate) fn put(&self, name: &str, bytes: Vec<u8>) {
        guard(&self.files).insert(name.to_owned(), Arc::new(Mutex::new(bytes)));
    }

    pub(crate) fn take_away(&self, name: &str) {
        guard(&self.files).remove(name).expect("the file is there");
    }

    /// Names of the segment files, in order.
    pub(crate) fn segments(&self) -> Vec<String> {
        let names = guard(&self.files).keys().cloned().collect::<Vec<_>>();
        names.into_iter().filter(|name| name.ends_with(".seg")).collect()
    }

    pub(crate) fn syncs(&self) -> usize {
        self.state.syncs.load(Ordering::SeqCst)
    }

    /// Makes the `nth` sync from now fail.
    pub(crate) fn fail_sync(&self, nth: usize) {
        self.state.fail_sync.store(self.syncs() + nth, Ordering::SeqCst);
    }

    /// Lets `steps` more changes and syncs happen, then none.
    pub(crate) fn kill_after(&self, steps: usize) {
        let now = self.state.steps.load(Ordering::SeqCst);
        self.state.dead_from.store(now + steps + 1, Ordering::SeqCst);
    }

    pub(crate) fn is_dead(&self) -> bool {
        let dead_from = self.state.dead_from.load(Ordering::SeqCst);
        dead_from != 0 && self.state.steps.load(Ordering::SeqCst) >= dead_from
    }

    pub(crate) fn set_full(&self, full: bool) {
        self.state.full.store(full, Ordering::SeqCst);
    }

    /// Has files be created no more, for the reason `errno`; 0 for them to be created again.
    pub(crate) fn refuse_files(&self, errno: i32) {
        self.state.refuses_files.store(errno, Ordering::SeqCst);
    }

    pub(crate) fn set_free_bytes(&self, bytes: u64) {
        self.state.free_bytes.store(bytes, Ordering::SeqCst);
    }
}

impl State {
    fn step(&self) -> io::Result<()> {
        let nth = self.steps.fetch_add(1, Ordering::SeqCst) + 1;
        match self.dead_from.load(Ordering::SeqCst) {
            dead_from if dead_from != 0 && nth >= dead_from => Err(io::Error::other("killed")),
            _ => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.step()?;
        let nth = self.syncs.fetch_add(1, Ordering::SeqCst) + 1;
        if nth == self.fail_sync.load(Ordering::SeqCst) {
            return Err(io::Error::other("EIO"));
        }
        Ok(())
    }
}

struct MemoryFile {
    bytes: Bytes,
    state: Arc<State>,
}

impl Disk for MemoryDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(guard(&self.files).keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        self.state.step()?;
        if guard(&self.files).contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        match self.state.refuses_files.load(Ordering::SeqCst) {
            0 => {}
            errno => return Err(io::Error::from_raw_os_error(errno)),
        }
        self.put(name, Vec::new());
        self.open(name)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        let bytes = guard(&self.files).get(name).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(MemoryFile { bytes, state: self.state.clone() }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.state.step()?;
        let mut files = guard(&self.files);
        let bytes = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), bytes);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.state.step()?;
        let removed = guard(&self.files).remove(name);
        removed.map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.state.sync()
    }

    fn space(&self) -> io::Result<Space> {
        let free_bytes = self.state.free_bytes.load(Ordering::SeqCst);
        Ok(Space { free_bytes, total_bytes: 1 << 40 })
    }

    fn lock(&self, _name: &str) -> io::Result<Box<dyn Lock>> {
        if self.locked.swap(true, Ordering::SeqCst) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Held(self.locked.clone())))
    }
}

struct Held(Arc<AtomicBool>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl File for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(guard(&self.bytes).len() as u64)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = guard(&self.bytes);
        let from = usize::try_from(offset).expect("small");
        let found = bytes.get(from..from + buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(found);
        Ok(())
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.state.step()?;
        let mut bytes = guard(&self.bytes);
        let from = usize::try_from(offset).expect("small");
        if bytes.len() < from + buf.len() {
            if self.state.full.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            bytes.resize(from + buf.len(), 0);
        }
        bytes[from..from + buf.len()].copy_from_slice(buf);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.state.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.state.sync()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        guard(&self.bytes).resize(usize::try_from(len).expect("small"), 0);
        Ok(())
    }
}

impl Lock for Held {
    fn descriptors(&self) -> Vec<std::os::fd::BorrowedFd<'_>> {
        Vec::new()
    }
}
