//! The file `clock`: the wall time that was last believed. An open trusts a clock by it alone, and
//! not by the times in batches: a wrong clock would have written those itself, and vouch for itself.

use std::io;

use crate::disk::Disk;
use crate::prepare::remove_if_there;

/// The file's name.
pub(crate) const CLOCK_FILE: &str = "clock";
const CLOCK_TMP: &str = "clock.tmp";
const MAGIC: [u8; 8] = *b"inhCLCK1";
const FILE_BYTES: usize = 20;

/// Believed time may run so far ahead of what the file says before it is written anew.
pub(crate) const ANCHOR_STEP_MS: u64 = 3_600_000;

/// Writes the file so that it is there whole, durably, or as it was.
pub(crate) fn store(disk: &dyn Disk, believed_ms: u64) -> io::Result<()> {
    let mut bytes = [0u8; FILE_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..16].copy_from_slice(&believed_ms.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..16]);
    bytes[16..].copy_from_slice(&crc.to_le_bytes());
    remove_if_there(disk, CLOCK_TMP)?;
    let file = disk.create(CLOCK_TMP)?;
    file.write_all_at(&bytes, 0)?;
    file.sync_all()?;
    disk.rename(CLOCK_TMP, CLOCK_FILE)?;
    disk.sync_dir()
}

/// What the file says; `None` when it is missing or damaged.
pub(crate) fn load(disk: &dyn Disk) -> io::Result<Option<u64>> {
    let file = match disk.open(CLOCK_FILE) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if file.len()? != FILE_BYTES as u64 {
        return Ok(None);
    }
    let mut bytes = [0u8; FILE_BYTES];
    file.read_exact_at(&mut bytes, 0)?;
    let crc = crc32c::crc32c(&bytes[..16]).to_le_bytes();
    let mut believed = [0u8; 8];
    believed.copy_from_slice(&bytes[8..16]);
    let whole = bytes[..8] == MAGIC && bytes[16..] == crc;
    Ok(whole.then(|| u64::from_le_bytes(believed)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SimDisk;

    #[test]
    fn what_was_stored_is_loaded_and_damage_is_nothing() {
        let disk = SimDisk::new(1);
        assert_eq!(load(&disk).expect("alive"), None);
        for believed_ms in [0, 7, u64::MAX] {
            store(&disk, believed_ms).expect("alive");
            assert_eq!(load(&disk).expect("alive"), Some(believed_ms));
        }
        for byte in 0..FILE_BYTES as u64 {
            store(&disk, 7).expect("alive");
            disk.flip_bit(CLOCK_FILE, byte, 3);
            assert_eq!(load(&disk).expect("alive"), None, "byte {byte}");
        }
    }
}
