//! The file `repairs`: how often the journal was repaired. Whatever was made from the journal
//! before a repair may hold frames that are lost now, and has to be made again after it.

use std::io;

use crate::disk::Disk;
use crate::mark::{Mark, MarkFile};
use crate::prepare::remove_if_there;

/// The file's name.
pub(crate) const REPAIRS_FILE: &str = "repairs";
const REPAIRS_TMP: &str = "repairs.tmp";
/// Digits of the largest count.
const FILE_BYTES_MAX: u64 = 20;

/// How often; never the same again after another repair. A damaged file is a count of its own.
pub(crate) fn count(disk: &dyn Disk) -> io::Result<u64> {
    let file = match disk.open(REPAIRS_FILE) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let len = file.len()?.min(FILE_BYTES_MAX);
    let mut bytes = vec![0; usize::try_from(len).expect("at most twenty")];
    file.read_exact_at(&mut bytes, 0)?;
    let text = std::str::from_utf8(&bytes).ok();
    Ok(text.and_then(|text| text.trim_end().parse().ok()).unwrap_or(u64::MAX))
}

/// How often, where the mark knows too: a count that is damaged or missing is no reason to ignore
/// witnesses of the store, or to believe those from before a repair.
pub(crate) fn count_by(disk: &dyn Disk, mark: Option<&Mark>) -> io::Result<u64> {
    Ok(match (count(disk)?, mark) {
        (u64::MAX, Some(mark)) => mark.repairs,
        (counted, Some(mark)) => counted.max(mark.repairs),
        (counted, None) => counted,
    })
}

/// Counts another one, durably, before it begins. The mark that is to hold afterwards is written
/// first: it counts with either number, so there is one at every step.
pub(crate) fn count_another(disk: &dyn Disk, before: u64, mark: Option<Mark>) -> io::Result<()> {
    // After a damaged count, one that no counting reaches.
    let times = before.checked_add(1).unwrap_or(1 << 32);
    if let Some(mark) = mark {
        drop(MarkFile::create(disk, Mark { repairs: times, ..mark })?);
    }
    remove_if_there(disk, REPAIRS_TMP)?;
    let file = disk.create(REPAIRS_TMP)?;
    file.write_all_at(format!("{times}\n").as_bytes(), 0)?;
    file.sync_all()?;
    disk.rename(REPAIRS_TMP, REPAIRS_FILE)?;
    disk.sync_dir()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SimDisk;

    #[test]
    fn every_repair_changes_the_count() {
        let disk = SimDisk::new(1);
        assert_eq!(count(&disk).expect("alive"), 0);
        for times in 1..12 {
            count_another(&disk, times - 1, None).expect("alive");
            assert_eq!(count(&disk).expect("alive"), times);
        }
        disk.flip_bit(REPAIRS_FILE, 0, 7);
        assert_eq!(count(&disk).expect("alive"), u64::MAX);
        count_another(&disk, u64::MAX, None).expect("alive");
        assert_eq!(count(&disk).expect("alive"), 1 << 32);
    }

    #[test]
    fn the_mark_knows_the_count_too_and_comes_first() {
        let disk = SimDisk::new(1);
        let mark = Mark { store_id: [1; 16], repairs: 0, durable: 5, limit: 9, written_ms: 3 };
        let read = || match crate::mark::read(&disk, &[1; 16]).expect("alive") {
            crate::mark::Reading::Own(mark) => mark,
            crate::mark::Reading::None(why) => panic!("{why}"),
        };
        count_another(&disk, 6, Some(mark)).expect("alive");
        assert_eq!(read(), Mark { repairs: 7, ..mark });
        let by = |mark: &Mark| count_by(&disk, Some(mark)).expect("alive");
        assert_eq!(by(&read()), 7);
        assert_eq!(by(&Mark { repairs: 6, ..mark }), 7);
        assert_eq!(by(&Mark { repairs: 8, ..mark }), 8);
        disk.flip_bit(REPAIRS_FILE, 0, 7);
        assert_eq!(by(&read()), 7);
        assert_eq!(count_by(&disk, None).expect("alive"), u64::MAX);
    }
}
