//! Why the index did not work, and whether making it anew may help.

use std::error::Error;
use std::io;

use rustix::io::Errno;

/// Why the index did not work. Nothing is lost: it can be made again from the journal.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Another process has not let go of it, or a read of this one that outlives a failure.
    #[error("it is still open, in another process or to a read that has not ended")]
    Locked,
    /// The library or the disk failed.
    #[error("the index's files: {0}")]
    Fjall(#[source] fjall::Error),
    /// The folder that the library's files stand in could not be used.
    #[error("{doing}: {source}")]
    Folder {
        /// What was being done.
        doing: &'static str,
        /// The operating system's answer.
        source: io::Error,
    },
    /// It has read frames that the journal does not have: the journal has lost them.
    #[error("it has read up to {cursor}, but the journal ends at {durable}: frames are missing")]
    Ahead {
        /// One past the last sequence that it has read.
        cursor: u64,
        /// One past the journal's last sequence.
        durable: u64,
    },
    /// A row is not what was written there.
    #[error("a row of the index is damaged: {0}")]
    Damaged(&'static str),
    /// Rows are missing that were durable.
    #[error("the index is incomplete: {0}")]
    Incomplete(String),
    /// A thread could not be started.
    #[error("starting a thread: {0}")]
    Thread(#[from] io::Error),
}

impl From<fjall::Error> for IndexError {
    fn from(error: fjall::Error) -> Self {
        match error {
            fjall::Error::Locked => Self::Locked,
            error => Self::Fjall(error),
        }
    }
}

impl IndexError {
    /// Whether the files may be at fault, so that removing them may help; not where somebody else has
    /// them open, nor where this process is short of something: a new index would be as short of it.
    pub(crate) fn blames_files(&self) -> bool {
        match self {
            Self::Locked | Self::Thread(_) | Self::Ahead { .. } => false,
            Self::Damaged(_) | Self::Incomplete(_) => true,
            Self::Fjall(_) | Self::Folder { .. } => !self.io_error().is_some_and(is_shortage),
        }
    }

    /// The operating system's answer, however deep the library has wrapped it.
    fn io_error(&self) -> Option<&io::Error> {
        let causes = std::iter::successors(self.source(), |&error| error.source());
        causes.into_iter().find_map(|error| error.downcast_ref())
    }
}

fn is_shortage(error: &io::Error) -> bool {
    const SHORTAGES: [Errno; 7] = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::ACCESS,
        Errno::PERM,
    ];
    Errno::from_io_error(error).is_some_and(|errno| SHORTAGES.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_blamed_only_for_what_a_new_index_would_not_suffer_from() {
        let check = |error: IndexError, blames_files: bool| {
            assert_eq!(error.blames_files(), blames_files, "{error}");
        };
        let os = |errno: Errno| io::Error::from(errno);
        let in_a_table = |errno| fjall::Error::Storage(fjall::LsmError::Io(os(errno)));
        check(fjall::Error::Locked.into(), false);
        check(os(Errno::AGAIN).into(), false);
        check(fjall::Error::Io(os(Errno::MFILE)).into(), false);
        check(in_a_table(Errno::NFILE).into(), false);
        check(in_a_table(Errno::NOSPC).into(), false);
        check(IndexError::Folder { doing: "a test", source: os(Errno::ACCESS) }, false);
        check(in_a_table(Errno::IO).into(), true);
        check(fjall::Error::Unrecoverable.into(), true);
        check(IndexError::Folder { doing: "a test", source: os(Errno::NOTDIR) }, true);
        check(IndexError::Damaged("a test"), true);
        check(IndexError::Incomplete("a test".to_owned()), true);
    }
}
