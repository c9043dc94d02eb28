//! The file `mark`: how far the journal was durable, and a limit that no sequence passes before a
//! higher one is durable in the file. It outlives the end of the journal, so a lost end is noticed
//! and its sequences are never given out again.

use std::io;

use crate::disk::{Disk, File};
use crate::error::{OpenError, opening};
use crate::prepare::remove_if_there;
use crate::scan::read_whole;

/// The file's name.
pub(crate) const MARK_FILE: &str = "mark";
const MARK_TMP: &str = "mark.tmp";
const MAGIC: [u8; 8] = *b"inhMARK1";
const VERSION: u32 = 1;
const COPY_BYTES: usize = 4096;
const CRC_AT: usize = COPY_BYTES - 4;

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The store that it belongs to.
    pub(crate) store_id: [u8; 16],
    /// The repair number of the journal that it describes.
    pub(crate) repairs: u64,
    /// Every sequence below this was durable when it was written.
    pub(crate) durable: u64,
    /// No frame with this sequence or a later one was written. Equal to `durable` after a clean stop.
    pub(crate) limit: u64,
    /// Wall time of the writing, milliseconds since the Unix epoch.
    pub(crate) written_ms: u64,
}

/// What reading the file gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// A mark of this store.
    Own(Mark),
    /// None, and why.
    None(&'static str),
}

impl Reading {
    /// The store's mark, if it can be read.
    pub(crate) fn own(&self) -> Option<&Mark> {
        match self {
            Self::Own(mark) => Some(mark),
            Self::None(_) => None,
        }
    }
}

impl Mark {
    fn encode(&self) -> Box<[u8; COPY_BYTES]> {
        let mut page = Box::new([0u8; COPY_BYTES]);
        page[0..8].copy_from_slice(&MAGIC);
        page[8..12].copy_from_slice(&VERSION.to_le_bytes());
        page[16..32].copy_from_slice(&self.store_id);
        page[32..40].copy_from_slice(&self.repairs.to_le_bytes());
        page[40..48].copy_from_slice(&self.durable.to_le_bytes());
        page[48..56].copy_from_slice(&self.limit.to_le_bytes());
        page[56..64].copy_from_slice(&self.written_ms.to_le_bytes());
        let crc = crc32c::crc32c(&page[..CRC_AT]);
        page[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        page
    }

    /// One copy; `None` when its checksum does not hold.
    fn parse(page: &[u8; COPY_BYTES]) -> Result<Option<Self>, OpenError> {
        let crc = crc32c::crc32c(&page[..CRC_AT]).to_le_bytes();
        if page[0..8] != MAGIC || page[CRC_AT..] != crc {
            return Ok(None);
        }
        let version = u32::from_le_bytes([page[8], page[9], page[10], page[11]]);
        if version != VERSION {
            return Err(OpenError::Newer { file: MARK_FILE.to_owned(), version });
        }
        let number = |at: usize| {
            let mut bytes = [0u8; 8];
            bytes.copy_from_slice(&page[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        let mut mark = Self {
            store_id: [0; 16],
            repairs: number(32),
            durable: number(40),
            limit: number(48),
            written_ms: number(56),
        };
        mark.store_id.copy_from_slice(&page[16..32]);
        Ok(Some(mark))
    }

    /// What two copies of the same repair number say together. A writing that was cut short leaves
    /// them different, and each field only grows, but for a limit that a clean stop has lowered.
    fn join(self, other: Self) -> Self {
        match self.repairs.cmp(&other.repairs) {
            std::cmp::Ordering::Less => other,
            std::cmp::Ordering::Greater => self,
            std::cmp::Ordering::Equal => Self {
                durable: self.durable.max(other.durable),
                limit: self.limit.max(other.limit),
                written_ms: self.written_ms.max(other.written_ms),
                ..self
            },
        }
    }
}

/// Reads the mark of the store with this id.
pub(crate) fn read(disk: &dyn Disk, store_id: &[u8; 16]) -> Result<Reading, OpenError> {
    let Some(copies) = copies(disk)? else { return Ok(Reading::None("it is missing")) };
    let foreign = copies.iter().any(|copy| copy.store_id != *store_id);
    let own = copies.into_iter().filter(|copy| copy.store_id == *store_id);
    Ok(match own.reduce(Mark::join) {
        Some(mark) => Reading::Own(mark),
        None if foreign => Reading::None("it belongs to another store"),
        None => Reading::None("both of its copies are damaged"),
    })
}

/// Whether some store has held frames here. A store whose creation was cut short has not.
pub(crate) fn tells_of_frames(disk: &dyn Disk) -> Result<bool, OpenError> {
    Ok(copies(disk)?.unwrap_or_default().iter().any(|copy| copy.durable > 1))
}

/// The copies whose checksums hold; `None` when there is no file.
fn copies(disk: &dyn Disk) -> Result<Option<Vec<Mark>>, OpenError> {
    let bytes = match disk.open(MARK_FILE).and_then(|file| read_whole(&*file)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(opening("reading the file `mark`")(error)),
    };
    let pages = bytes.as_chunks().0.iter().take(2);
    let copies: Result<Vec<_>, _> = pages.map(Mark::parse).collect();
    Ok(Some(copies?.into_iter().flatten().collect()))
}

/// The file, and what it says durably.
pub(crate) struct MarkFile {
    /// `None` where a write or sync may have failed, in this life or in an earlier one: what the page
    /// cache shows is then no proof of what is on the disk. Only a new file is.
    file: Option<Box<dyn File>>,
    pub(crate) mark: Mark,
}

impl MarkFile {
    /// Puts a file with this mark in the place of whatever is there, durably or not at all.
    pub(crate) fn create(disk: &dyn Disk, mark: Mark) -> io::Result<Self> {
        remove_if_there(disk, MARK_TMP)?;
        let file = disk.create(MARK_TMP)?;
        let page = mark.encode();
        file.write_all_at(&page[..], 0)?;
        file.write_all_at(&page[..], COPY_BYTES as u64)?;
        file.sync_all()?;
        disk.rename(MARK_TMP, MARK_FILE)?;
        disk.sync_dir()?;
        Ok(Self { file: Some(file), mark })
    }

    /// The file as an earlier life has left it, which says `mark`.
    pub(crate) fn found(mark: Mark) -> Self {
        Self { file: None, mark }
    }

    /// Writes both copies, each synced before the other is touched, so that one is always whole.
    /// After an error the file says what it said before or what it was to say.
    pub(crate) fn write(&mut self, disk: &dyn Disk, mark: Mark) -> io::Result<()> {
        let Some(file) = self.file.take() else {
            *self = Self::create(disk, mark)?;
            return Ok(());
        };
        let page = mark.encode();
        for at in [0, COPY_BYTES as u64] {
            file.write_all_at(&page[..], at)?;
            file.sync_data()?;
        }
        *self = Self { file: Some(file), mark };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SimDisk;
    use crate::disk::sim::Crash;

    const ID: [u8; 16] = [3; 16];

    fn mark(durable: u64) -> Mark {
        Mark { store_id: ID, repairs: 2, durable, limit: durable + 100, written_ms: durable * 7 }
    }

    #[test]
    fn either_copy_is_enough_and_damage_to_both_is_reported() {
        let disk = SimDisk::new(1);
        assert_eq!(read(&disk, &ID).expect("alive"), Reading::None("it is missing"));
        for byte in 0..2 * COPY_BYTES as u64 {
            drop(MarkFile::create(&disk, mark(9)).expect("alive"));
            disk.flip_bit(MARK_FILE, byte, 3);
            assert_eq!(read(&disk, &ID).expect("alive"), Reading::Own(mark(9)), "byte {byte}");
        }
        disk.flip_bit(MARK_FILE, 5, 0);
        let expected = Reading::None("both of its copies are damaged");
        assert_eq!(read(&disk, &ID).expect("alive"), expected);
        drop(MarkFile::create(&disk, mark(9)).expect("alive"));
        let expected = Reading::None("it belongs to another store");
        assert_eq!(read(&disk, &[4; 16]).expect("alive"), expected);
    }

    #[test]
    fn copies_that_differ_are_joined_and_a_later_repair_counts_alone() {
        let low = Mark { limit: 9, ..mark(9) };
        assert_eq!(low.join(mark(7)), Mark { limit: 107, ..mark(9) });
        assert_eq!(mark(7).join(low), Mark { limit: 107, ..mark(9) });
        let later = Mark { repairs: 3, ..mark(1) };
        assert_eq!(later.join(mark(9)), later);
        assert_eq!(mark(9).join(later), later);
    }

    #[test]
    fn a_power_cut_at_any_step_leaves_the_old_mark_or_the_new_one() {
        for seed in 0..200 {
            let disk = SimDisk::new(seed);
            let mut file = MarkFile::create(&disk, mark(9)).expect("alive");
            disk.halt_in(seed % 5);
            let written = file.write(&disk, mark(20));
            assert_eq!(written.is_ok(), seed % 5 == 4);
            drop(file);
            disk.crash(Crash::Power);
            match read(&disk, &ID).expect("alive") {
                Reading::Own(found) if found == mark(9) => assert!(written.is_err()),
                found => assert_eq!(found, Reading::Own(mark(20)), "seed {seed}"),
            }
        }
    }

    /// A failure tore one copy, and another one, in the same life or the next, the other copy: what
    /// the first had lost still looked whole in the page cache.
    #[test]
    fn repro_two_failures_in_a_row_tore_one_copy_each() {
        let failures = (0..8).flat_map(|one| (0..8).map(move |two| (one, two)));
        for (seed, (one, two)) in (0..20).flat_map(|seed| failures.clone().map(move |f| (seed, f)))
        {
            for crash in [None, Some(Crash::Kill), Some(Crash::Power)] {
                let disk = SimDisk::new(seed);
                let mut file = MarkFile::create(&disk, mark(9)).expect("alive");
                for (nth, durable) in [(one, 20), (two, 30)] {
                    match nth % 2 {
                        0 => disk.fail_write_in(nth / 2 % 2),
                        _ => disk.fail_sync_in(nth / 2 % 2),
                    }
                    // In its place, a new file may have fewer writes and syncs.
                    let _ = file.write(&disk, mark(durable));
                    if let Some(crash) = crash {
                        disk.crash(crash);
                        let found =
                            *read(&disk, &ID).expect("alive").own().expect("a copy is whole");
                        file = MarkFile::found(found);
                    }
                }
                disk.crash(Crash::Power);
                let found = read(&disk, &ID).expect("alive");
                assert!(found.own().is_some(), "{seed} {one} {two} {crash:?}: {found:?}");
            }
        }
    }

    #[test]
    fn a_version_that_is_not_known_is_refused() {
        let disk = SimDisk::new(1);
        let mut page = mark(9).encode();
        page[8] = 2;
        let crc = crc32c::crc32c(&page[..CRC_AT]);
        page[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        let file = disk.create(MARK_FILE).expect("alive");
        file.write_all_at(&page[..], 0).expect("alive");
        let refused = read(&disk, &ID).expect_err("it is newer");
        assert!(matches!(refused, OpenError::Newer { version: 2, .. }), "{refused}");
    }
}
