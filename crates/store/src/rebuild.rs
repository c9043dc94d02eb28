//! Makes the index again from the journal, offline and in one go.

use std::fs::File;
use std::sync::Arc;

use journal::disk::RealDisk;
use journal::{Clock, Journal};

use crate::config::Config;
use crate::error::{OpenError, RebuildError};
use crate::index::IndexError;
use crate::indexer::{apply_run, read_run};
use crate::slot::{Owner, index_witness, open_index, remove_index};

/// How far a rebuild is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RebuildProgress {
    /// The oldest sequence that the journal keeps.
    pub first_seq: u64,
    /// Every frame below this is in the new index.
    pub done_seq: u64,
    /// One past the last frame.
    pub end_seq: u64,
    /// Usages indexed.
    pub usages: u64,
}

/// Makes the index of the store in `config.dir` again from the journal, while no other process has the
/// store open. The new one stands beside the old one until it is whole, so that a journal that cannot be
/// read to its end costs nothing. `progress` is called after every run; whoever wants a rate takes the
/// time there.
pub fn rebuild(
    config: &Config,
    clock: Arc<dyn Clock>,
    mut progress: impl FnMut(RebuildProgress),
) -> Result<RebuildProgress, RebuildError> {
    let dir = config.journal_dir();
    let io_error = |source| OpenError::Io { doing: format!("opening {}", dir.display()), source };
    let disk = Arc::new(RealDisk::open(&dir).map_err(io_error)?);
    config.validate().map_err(OpenError::Config)?;
    let examined = Journal::examine(disk, clock, config.journal_options());
    // The old index is heard before it goes: it may know more than the journal.
    let witness = index_witness(config);
    let opened = examined.and_then(|examined| examined.open(witness.as_slice()));
    let (journal, recovery) = opened.map_err(OpenError::Journal)?;
    let (dir, new) = (config.index_dir(), config.new_index_dir());
    remove_index(&new)?;
    let end_seq = journal.durable();
    let owner = Owner { store_id: journal.meta().store_id, repairs: recovery.repairs };
    let index = open_index(&new, &config.index, owner, journal.first_seq()..end_seq)?;
    let first_seq = journal.first_seq();
    index.advance(first_seq)?;
    let mut reader = journal.reader(first_seq);
    let mut now = RebuildProgress { first_seq, done_seq: first_seq, end_seq, usages: 0 };
    loop {
        let run = match read_run(&mut reader, config.run.usages_max) {
            Ok(run) => run,
            Err(error) => {
                drop(index);
                remove_index(&new)?;
                return Err(error.into());
            }
        };
        if run.is_empty() {
            break;
        }
        now.usages += apply_run(&index, &run)?;
        now.done_seq = index.cursor();
        progress(now);
    }
    index.write_manifest()?;
    drop(index);
    remove_index(&dir)?;
    let renamed = std::fs::rename(&new, &dir);
    let in_place = |source| IndexError::Folder { doing: "putting the new index in place", source };
    renamed.and_then(|()| File::open(&config.dir)?.sync_all()).map_err(in_place)?;
    journal.close()?;
    Ok(now)
}
