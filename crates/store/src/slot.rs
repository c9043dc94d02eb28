//! The place of the index: it may be missing, fail at any time, and be put back.

use std::fmt::Display;
use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use journal::Witness;

use crate::config::Config;
use crate::error::ReadError;
use crate::index::{Index, IndexError, IndexOptions, Snapshot};

/// Where the index's own files stand, in its folder.
pub(crate) const VERSION_DIR: &str = "v1";
/// Among them: what the library locks for as long as it has them open.
const LOCK_FILE: &str = "lock";
/// Beside them: whose index it is.
const OWNER_FILE: &str = "store-id";

/// Why there is no index to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) why: String,
    /// Whether the index's files may be at fault: then making them anew may help.
    pub(crate) blames_files: bool,
    /// Whether nothing has failed yet: the index is still to be opened for the first time.
    pub(crate) unopened: bool,
}

impl Failure {
    pub(crate) fn of_files(why: impl Display) -> Self {
        Self { why: why.to_string(), blames_files: true, unopened: false }
    }

    /// Not a failure that blames the files.
    pub(crate) fn of_nothing(why: &str) -> Self {
        Self { why: why.to_owned(), blames_files: false, unopened: false }
    }

    /// The index is opened after the store.
    pub(crate) fn unopened() -> Self {
        Self { unopened: true, ..Self::of_nothing("it is not open yet") }
    }
}

impl From<&IndexError> for Failure {
    fn from(error: &IndexError) -> Self {
        Self { why: error.to_string(), blames_files: error.blames_files(), unopened: false }
    }
}

/// Why an index that works cannot catch up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stuck {
    pub(crate) why: String,
    /// The damaged place, if the journal is damaged where the index has to go on.
    pub(crate) damage: Option<String>,
}

/// Holds the index while it works, and why it does not while it does not.
pub(crate) struct IndexSlot {
    state: RwLock<Result<Arc<Index>, Failure>>,
    /// What has failed and is still to be let go of.
    failed: Mutex<Option<Arc<Index>>>,
    /// Why the index, though it works, cannot catch up.
    stuck: Mutex<Option<Stuck>>,
    rebuilds: Mutex<Rebuilds>,
}

/// How often the index was begun anew because its files were at fault.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rebuilds {
    pub(crate) count: u64,
    /// Why it was the last time.
    pub(crate) why: Option<String>,
}

impl Rebuilds {
    fn note(&mut self, index: &Index) {
        if let Some(why) = index.rebuilt() {
            *self = Self { count: self.count + 1, why: Some(why.to_owned()) };
        }
    }
}

impl IndexSlot {
    pub(crate) fn new(index: Result<Index, Failure>) -> Self {
        let mut rebuilds = Rebuilds::default();
        match &index {
            Ok(index) => rebuilds.note(index),
            Err(Failure { unopened: true, .. }) => {}
            Err(Failure { why, .. }) => tracing::warn!(why, "the index did not open"),
        }
        Self {
            state: RwLock::new(index.map(Arc::new)),
            failed: Mutex::default(),
            stuck: Mutex::default(),
            rebuilds: Mutex::new(rebuilds),
        }
    }

    /// The index, or why there is none.
    pub(crate) fn get(&self) -> Result<Arc<Index>, Failure> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A snapshot that holds every frame below `first_seq`, the tail's beginning, which the caller
    /// has to have read before.
    pub(crate) fn snapshot(&self, first_seq: u64) -> Result<Snapshot, ReadError> {
        let index = self.get().map_err(|_| ReadError::IndexUnavailable)?;
        let snapshot = index.snapshot();
        if snapshot.cursor() < first_seq {
            // What is damaged does not come back by trying again.
            let damage = self.stuck().and_then(|stuck| stuck.damage);
            return Err(damage.map_or(ReadError::IndexUnavailable, ReadError::Damaged));
        }
        Ok(snapshot)
    }

    /// Takes the index out of use. The indexer opens it anew.
    pub(crate) fn fail(&self, failure: impl Into<Failure>) {
        let failure = failure.into();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.is_ok() {
            tracing::error!(why = failure.why, "the index failed; it will be opened anew");
            let failed = std::mem::replace(&mut *state, Err(failure)).ok();
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = failed;
        }
    }

    /// Lets go of an index that has failed. That waits for its merges, so it is the indexer's to do,
    /// and not of whoever found the failure while answering.
    pub(crate) fn let_go(&self) {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(failed);
    }

    /// Says why the index could not be opened again.
    pub(crate) fn still_failed(&self, error: &IndexError) {
        let failure = Failure::from(error);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let unopened = state.as_ref().is_err_and(|failure| failure.unopened);
        if unopened && matches!(error, IndexError::Locked) {
            // The server before this one is still ending.
            return;
        }
        if state.as_ref().err() != Some(&failure) {
            tracing::error!(why = failure.why, "the index could not be opened");
            *state = Err(failure);
        }
    }

    fn lock_stuck(&self) -> MutexGuard<'_, Option<Stuck>> {
        self.stuck.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says why the index cannot catch up, though it works.
    pub(crate) fn cannot_go_on(&self, now: Stuck) {
        let mut stuck = self.lock_stuck();
        if stuck.as_ref() != Some(&now) {
            tracing::error!(why = now.why, "the index cannot catch up");
            *stuck = Some(now);
        }
    }

    /// Says that it catches up again.
    pub(crate) fn goes_on(&self) {
        *self.lock_stuck() = None;
    }

    /// Why the index cannot catch up, if it cannot.
    pub(crate) fn stuck(&self) -> Option<Stuck> {
        self.lock_stuck().clone()
    }

    /// How often the index was begun anew, and why.
    pub(crate) fn rebuilds(&self) -> Rebuilds {
        self.rebuilds.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the index out of use for good, and closes it: waits for its merges.
    pub(crate) fn close(&self) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let index = std::mem::replace(&mut *state, Err(Failure::of_nothing("it is closed")));
        drop(state);
        drop(index);
    }

    /// Puts an index to use.
    pub(crate) fn put(&self, index: Index) {
        self.rebuilds.lock().unwrap_or_else(PoisonError::into_inner).note(&index);
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Ok(Arc::new(index));
    }
}

/// The journal that an index is made from: the store's, and as of which repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) store_id: [u8; 16],
    pub(crate) repairs: u64,
}

impl Owner {
    /// Whose index stands in this folder, if any does whose owner's name makes sense.
    fn of(dir: &Path) -> Result<Option<Self>, IndexError> {
        match std::fs::read_to_string(dir.join(OWNER_FILE)) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
            // Whose it is has to be known: that its name cannot be read now is no reason to remove it.
            Err(source) => Err(IndexError::Folder { doing: "reading whose index it is", source }),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (store_id, repairs) = text.split_once(' ').unwrap_or((text, "0"));
        let store_id = u128::from_str_radix(store_id, 16).ok()?.to_be_bytes();
        Some(Self { store_id, repairs: repairs.parse().ok()? })
    }

    fn text(self) -> String {
        let store_id = format!("{:032x}", u128::from_be_bytes(self.store_id));
        match self.repairs {
            0 => store_id,
            repairs => format!("{store_id} {repairs}"),
        }
    }
}

/// An index as it was found in its folder. Finding it removes nothing: it is a witness of how far
/// the journal was durable, and has to be heard before anything of it goes.
pub(crate) struct FoundIndex {
    /// The index, or why it holds less than it once did.
    index: Result<Index, IndexError>,
    owner: Owner,
}

impl FoundIndex {
    /// Opens the index in `dir`, if there is one.
    pub(crate) fn open(dir: &Path, options: &IndexOptions) -> Result<Option<Self>, IndexError> {
        let Some(owner) = Owner::of(dir)? else { return Ok(None) };
        let version_dir = dir.join(VERSION_DIR);
        if !version_dir.is_dir() {
            return Ok(None);
        }
        let index = match Index::open(&version_dir, options.clone()) {
            Err(error) if !matches!(error, IndexError::Incomplete(_)) => return Err(error),
            opened => opened,
        };
        Ok(Some(Self { index, owner }))
    }

    /// What it knows of the journal; nothing if it is incomplete.
    pub(crate) fn witness(&self) -> Option<Witness> {
        Some(Witness {
            name: "the index".to_owned(),
            store_id: self.owner.store_id,
            repairs: self.owner.repairs,
            durable: self.index.as_ref().ok()?.cursor(),
        })
    }
}

/// What the index of the store with this configuration knows of its journal, while no process has
/// the store open. `None` when there is no index, or it does not open.
pub fn index_witness(config: &Config) -> Option<Witness> {
    let found = FoundIndex::open(&config.index_dir(), &config.index);
    found.ok().flatten().and_then(|found| found.witness())
}

/// Opens the index that belongs to the journal `owner`, which keeps the sequences `kept`.
pub(crate) fn open_index(
    dir: &Path,
    options: &IndexOptions,
    owner: Owner,
    kept: Range<u64>,
) -> Result<Index, IndexError> {
    use_index(FoundIndex::open(dir, options)?, dir, options, owner, kept)
}

/// Puts to use what was found. An index that belongs to another journal, or to this one before a
/// repair, or lacks the journal's beginning or anything that it once had, is removed and begun anew:
/// nothing is lost with it. One that has read further than the journal goes is evidence of a loss and
/// stays.
pub(crate) fn use_index(
    found: Option<FoundIndex>,
    dir: &Path,
    options: &IndexOptions,
    owner: Owner,
    kept: Range<u64>,
) -> Result<Index, IndexError> {
    let library = dir.join(VERSION_DIR);
    let rebuilt = match found {
        None => library.exists().then(|| "nothing tells whose it is".to_owned()),
        Some(found) if found.owner != owner => {
            Some("it is not of this journal as it is now".to_owned())
        }
        Some(FoundIndex { index: Err(incomplete), .. }) => Some(incomplete.to_string()),
        Some(FoundIndex { index: Ok(index), .. }) => {
            let (begins, cursor) = (index.begins(), index.cursor());
            if cursor > kept.end {
                return Err(IndexError::Ahead { cursor, durable: kept.end });
            }
            if begins <= kept.start {
                return Ok(index);
            }
            Some(format!("it begins with sequence {begins}, the journal with {}", kept.start))
        }
    };
    begin(dir, &owner.text())?;
    let index = Index::open(&library, options.clone())?;
    let Some(why) = rebuilt else { return Ok(index) };
    tracing::error!(why, "the index is rebuilt from the journal");
    Ok(index.rebuilt_because(why))
}

/// Removes the index's folder and all in it, unless somebody has it open.
pub(crate) fn remove_index(dir: &Path) -> Result<(), IndexError> {
    let failed = |source| IndexError::Folder { doing: "removing the index", source };
    let lock = match File::open(dir.join(VERSION_DIR).join(LOCK_FILE)) {
        Ok(lock) => lock.try_lock().map(|()| Some(lock)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(TryLockError::Error(error)),
    };
    let _lock = lock.map_err(|error| match error {
        TryLockError::WouldBlock => IndexError::Locked,
        TryLockError::Error(error) => failed(error),
    })?;
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    }
}

/// Whether there is no such file, or not even a folder where it would be.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// An empty folder with the owner's name in it, for this user only: there will be patients' usages in
/// it. The name is written last of all that is removed or made here, so that a crash in between leads
/// here again.
fn begin(dir: &Path, owner: &str) -> Result<(), IndexError> {
    remove_index(dir)?;
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    let begun = made.and_then(|()| std::fs::write(dir.join(OWNER_FILE), owner));
    begun.map_err(|source| IndexError::Folder { doing: "beginning the index", source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_of(config: &Config, owner: Owner) -> Result<Index, IndexError> {
        open_index(&config.index_dir(), &config.index, owner, 1..1)
    }

    fn open(config: &Config) -> Result<Index, IndexError> {
        open_of(config, Owner { store_id: [7; 16], repairs: 0 })
    }

    #[test]
    fn an_index_that_is_open_is_not_removed() {
        let dir = tempfile::tempdir().expect("a folder");
        let config = Config::new(dir.path());
        let index = open(&config).expect("opens");
        let refused = remove_index(&config.index_dir()).expect_err("it is open");
        assert!(matches!(refused, IndexError::Locked), "{refused}");
        let of_another = Owner { store_id: [8; 16], repairs: 0 };
        let refused = open_of(&config, of_another).map(drop).expect_err("it is open");
        assert!(matches!(refused, IndexError::Locked), "{refused}");
        drop(index);
        remove_index(&config.index_dir()).expect("it is closed");
        assert!(!config.index_dir().exists());
        remove_index(&config.index_dir()).expect("there is none");
    }

    #[test]
    fn an_owner_is_read_as_it_was_written() {
        for owner in [
            Owner { store_id: [0; 16], repairs: 0 },
            Owner { store_id: [0xab; 16], repairs: 7 },
            Owner { store_id: [1; 16], repairs: u64::MAX },
        ] {
            assert_eq!(Owner::parse(&owner.text()), Some(owner));
        }
        assert_eq!(Owner::parse("nobody"), None);
        assert_eq!(Owner::parse(""), None);
    }

    #[test]
    fn repro_an_index_that_was_ahead_of_its_journal_was_deleted_on_a_guess() {
        let dir = tempfile::tempdir().expect("a folder");
        let config = Config::new(dir.path());
        let owner = Owner { store_id: [7; 16], repairs: 0 };
        let settle = |owner_now, kept| {
            let index = open(&config).expect("opens");
            index.advance(30).expect("advances");
            std::fs::write(config.index_dir().join("kept"), "").expect("written");
            let found = Some(FoundIndex { index: Ok(index), owner });
            use_index(found, &config.index_dir(), &config.index, owner_now, kept)
        };
        let kept = || config.index_dir().join("kept").exists();
        let refused = settle(owner, 29..29).map(drop).expect_err("it is ahead");
        assert!(matches!(refused, IndexError::Ahead { cursor: 30, durable: 29 }), "{refused}");
        assert!(!refused.blames_files() && kept());
        assert!(settle(owner, 30..30).is_ok() && kept());
        // The control: from before a repair it is no longer evidence.
        assert!(settle(Owner { repairs: 1, ..owner }, 29..29).is_ok() && !kept());
    }

    #[test]
    fn repro_an_index_whose_owner_cannot_be_read_is_not_removed() {
        let dir = tempfile::tempdir().expect("a folder");
        let config = Config::new(dir.path());
        drop(open(&config).expect("opens"));
        let owner = config.index_dir().join(OWNER_FILE);
        let mark = config.index_dir().join("mark");
        std::fs::write(&mark, "of this index").expect("written");
        std::fs::rename(&owner, owner.with_extension("kept")).expect("renamed");
        std::fs::create_dir(&owner).expect("what cannot be read as a file");
        open(&config).map(drop).expect_err("whose it is cannot be told");
        assert!(mark.exists(), "it was left as it is");
        // The controls: a name that can be read, and one that is missing.
        std::fs::remove_dir(&owner).expect("removed");
        std::fs::rename(owner.with_extension("kept"), &owner).expect("renamed");
        drop(open(&config).expect("opens"));
        assert!(mark.exists());
        std::fs::remove_file(&owner).expect("removed");
        drop(open(&config).expect("begun anew"));
        assert!(!mark.exists());
    }

    #[test]
    fn repro_others_may_not_look_into_the_index() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("a folder");
        let config = Config::new(dir.path().join("data"));
        drop(open(&config).expect("opens"));
        for made in [&config.dir, &config.index_dir()] {
            let mode = std::fs::metadata(made).expect("it is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{}", made.display());
        }
    }
}
