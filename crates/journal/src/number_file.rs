//! A small file that holds one number under a checksum, such as `clock`. It is replaced by a rename,
//! so that it is there whole, durably, or as it was.

use std::io;

use crate::disk::Disk;
use crate::prepare::remove_if_there;

const FILE_BYTES: usize = 20;

/// The file's names and its first eight bytes.
#[derive(Clone, Copy, Debug)]
pub struct NumberFile {
    /// The name in the journal's directory.
    pub name: &'static str,
    /// The name until it is whole. Ends in `.tmp`, so that the next open removes what a crash left.
    pub tmp: &'static str,
    /// What the file begins with.
    pub magic: [u8; 8],
}

impl NumberFile {
    /// Writes the number, durably.
    pub fn store(self, disk: &dyn Disk, number: u64) -> io::Result<()> {
        let mut bytes = [0u8; FILE_BYTES];
        bytes[..8].copy_from_slice(&self.magic);
        bytes[8..16].copy_from_slice(&number.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..16]);
        bytes[16..].copy_from_slice(&crc.to_le_bytes());
        remove_if_there(disk, self.tmp)?;
        let file = disk.create(self.tmp)?;
        file.write_all_at(&bytes, 0)?;
        file.sync_all()?;
        disk.rename(self.tmp, self.name)?;
        disk.sync_dir()
    }

    /// Reads the number; `None` when the file is missing or damaged.
    pub fn load(self, disk: &dyn Disk) -> io::Result<Option<u64>> {
        let file = match disk.open(self.name) {
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
        let mut number = [0u8; 8];
        number.copy_from_slice(&bytes[8..16]);
        let whole = bytes[..8] == self.magic && bytes[16..] == crc;
        Ok(whole.then(|| u64::from_le_bytes(number)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SimDisk;

    const FILE: NumberFile = NumberFile { name: "n", tmp: "n.tmp", magic: *b"inhTEST1" };

    #[test]
    fn what_was_stored_is_loaded_and_damage_is_nothing() {
        let disk = SimDisk::new(1);
        assert_eq!(FILE.load(&disk).expect("alive"), None);
        for number in [0, 7, u64::MAX] {
            FILE.store(&disk, number).expect("alive");
            assert_eq!(FILE.load(&disk).expect("alive"), Some(number));
        }
        for byte in 0..FILE_BYTES as u64 {
            FILE.store(&disk, 7).expect("alive");
            disk.flip_bit(FILE.name, byte, 3);
            assert_eq!(FILE.load(&disk).expect("alive"), None, "byte {byte}");
        }
    }
}
