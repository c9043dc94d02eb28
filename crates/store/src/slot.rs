//! The place of the index: it may be missing, fail at any time, and be put back.

use std::fmt::Display;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::config::Config;
use crate::error::ReadError;
use crate::index::{Index, Snapshot};

/// Where the index's own files stand, in its folder.
const VERSION_DIR: &str = "v1";
/// Beside them: whose index it is.
const OWNER_FILE: &str = "store-id";

/// Holds the index while it works, and why it does not while it does not.
pub(crate) struct IndexSlot {
    state: RwLock<Result<Arc<Index>, String>>,
    /// Why the index, though it works, cannot catch up.
    stuck: Mutex<Option<String>>,
}

impl IndexSlot {
    pub(crate) fn new(index: Result<Index, String>) -> Self {
        if let Err(why) = &index {
            tracing::warn!(why, "the index did not open");
        }
        Self { state: RwLock::new(index.map(Arc::new)), stuck: Mutex::default() }
    }

    /// The index, or why there is none.
    pub(crate) fn get(&self) -> Result<Arc<Index>, String> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A snapshot that holds every frame below `first_seq`, the tail's beginning, which the caller
    /// has to have read before.
    pub(crate) fn snapshot(&self, first_seq: u64) -> Result<Snapshot, ReadError> {
        let index = self.get().map_err(|_| ReadError::IndexUnavailable)?;
        let snapshot = index.snapshot();
        if snapshot.cursor() < first_seq {
            return Err(ReadError::IndexUnavailable);
        }
        Ok(snapshot)
    }

    /// Takes the index out of use. The indexer opens it anew.
    pub(crate) fn fail(&self, why: &dyn Display) {
        let why = why.to_string();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.is_ok() {
            tracing::error!(why, "the index failed; it will be opened anew");
            *state = Err(why);
        }
    }

    /// Says why the index could not be opened again.
    pub(crate) fn still_failed(&self, why: String) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.as_ref().err() != Some(&why) {
            tracing::error!(why, "the index could not be opened");
            *state = Err(why);
        }
    }

    fn lock_stuck(&self) -> MutexGuard<'_, Option<String>> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says why the index cannot catch up, though it works.
    pub(crate) fn cannot_go_on(&self, why: String) {
        let mut stuck = self.lock_stuck();
        if stuck.as_ref() != Some(&why) {
            tracing::error!(why, "the index cannot catch up");
            *stuck = Some(why);
        }
    }

    /// Says that it catches up again.
    pub(crate) fn goes_on(&self) {
        *self.lock_stuck() = None;
    }

    /// Why the index cannot catch up, if it cannot.
    pub(crate) fn stuck(&self) -> Option<String> {
        self.lock_stuck().clone()
    }

    /// Puts an index to use.
    pub(crate) fn put(&self, index: Index) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Ok(Arc::new(index));
    }
}

/// The journal that an index is made from: the store's, and as of which repair.
#[derive(Clone, Copy)]
pub(crate) struct Owner {
    pub(crate) store_id: [u8; 16],
    pub(crate) repairs: u64,
}

impl Owner {
    fn text(self) -> String {
        let store_id = format!("{:032x}", u128::from_be_bytes(self.store_id));
        match self.repairs {
            0 => store_id,
            repairs => format!("{store_id} {repairs}"),
        }
    }
}

/// Opens the index that belongs to the journal `owner`, which keeps the sequences `kept`. One that
/// belongs to another journal, or to this one before a repair, or claims to have read further than
/// it goes, or lacks its beginning, is removed and begun anew: nothing is lost with it.
pub(crate) fn open_index(config: &Config, owner: Owner, kept: Range<u64>) -> Result<Index, String> {
    let dir = config.index_dir();
    let owner = owner.text();
    let found = std::fs::read_to_string(dir.join(OWNER_FILE));
    if !found.is_ok_and(|found| found == owner) {
        begin(&dir, &owner).map_err(|error| format!("beginning the index: {error}"))?;
    }
    let open = || {
        let index = Index::open(&dir.join(VERSION_DIR), config.index.clone());
        index.map_err(|error| error.to_string())
    };
    let index = open()?;
    if index.cursor() <= kept.end && index.begins() <= kept.start {
        return Ok(index);
    }
    tracing::warn!(
        begins = index.begins(),
        cursor = index.cursor(),
        ?kept,
        "the index lacks its beginning, or is ahead of the journal, which must have been restored \
         or repaired; it is rebuilt"
    );
    drop(index);
    begin(&dir, &owner).map_err(|error| format!("beginning the index anew: {error}"))?;
    open()
}

/// Removes the index's folder and all in it.
pub(crate) fn remove_index(config: &Config) -> io::Result<()> {
    match std::fs::remove_dir_all(config.index_dir()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// An empty folder with the owner's name in it. The name is written last of all that is removed
/// or made here, so that a crash in between leads here again.
fn begin(dir: &Path, owner: &str) -> io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::create_dir_all(dir)?;
    std::fs::write(dir.join(OWNER_FILE), owner)
}
