//! The file `repairs`: how often the journal was repaired. Whatever was made from the journal
//! before a repair may hold frames that are lost now, and has to be made again after it.

use std::io;

use crate::disk::Disk;
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

/// Counts another one, durably, before it begins.
pub(crate) fn count_another(disk: &dyn Disk) -> io::Result<()> {
    let times = count(disk)?.wrapping_add(1);
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
            count_another(&disk).expect("alive");
            assert_eq!(count(&disk).expect("alive"), times);
        }
        disk.flip_bit(REPAIRS_FILE, 0, 7);
        assert_eq!(count(&disk).expect("alive"), u64::MAX);
    }
}
