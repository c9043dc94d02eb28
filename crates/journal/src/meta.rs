//! `store.meta`: who the store is, and its secret. Two equal copies, because nothing else holds the
//! secret. Written when the store is created, and once more when a store of an earlier version gets
//! its mark.

use std::fmt;
use std::io;

use crate::disk::Disk;
use crate::error::{OpenError, opening};
use crate::limits::STORE_NUMBER_MAX;

/// The file's name.
pub(crate) const META_FILE: &str = "store.meta";
const META_TMP: &str = "store.meta.tmp";
const MAGIC: [u8; 8] = *b"inhMETA1";
const VERSION: u32 = 1;
const COPY_BYTES: usize = 512;
const CRC_AT: usize = COPY_BYTES - 4;

/// What `store.meta` holds.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreMeta {
    /// Random, in every segment's header.
    pub store_id: [u8; 16],
    /// 12 bits, part of every id made from a sequence.
    pub store_number: u16,
    /// The secret behind the check bits of ids.
    pub check_key: [u8; 16],
    /// Wall time of the creation, milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// Whether the store has a file `mark`, so that one that is missing was lost.
    pub marked: bool,
}

impl fmt::Debug for StoreMeta {
    /// Never the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreMeta")
            .field("store_number", &self.store_number)
            .finish_non_exhaustive()
    }
}

impl StoreMeta {
    /// One copy as written.
    fn encode(&self) -> [u8; COPY_BYTES] {
        let mut bytes = [0u8; COPY_BYTES];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.store_number.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.store_id);
        bytes[32..48].copy_from_slice(&self.check_key);
        bytes[48..56].copy_from_slice(&self.created_ms.to_le_bytes());
        bytes[56] = u8::from(self.marked);
        let crc = crc32c::crc32c(&bytes[..CRC_AT]);
        bytes[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn parse(bytes: &[u8]) -> Result<Self, OpenError> {
        let array4 = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        let crc = u32::from_le_bytes(array4(CRC_AT));
        if bytes[0..8] != MAGIC || crc32c::crc32c(&bytes[..CRC_AT]) != crc {
            return Err(OpenError::Meta("its checksum does not match".to_owned()));
        }
        let version = u32::from_le_bytes(array4(8));
        if version != VERSION {
            return Err(OpenError::Newer { file: META_FILE.to_owned(), version });
        }
        let mut meta = Self {
            store_id: [0; 16],
            store_number: u16::from_le_bytes([bytes[12], bytes[13]]),
            check_key: [0; 16],
            created_ms: 0,
            marked: bytes[56] != 0,
        };
        meta.store_id.copy_from_slice(&bytes[16..32]);
        meta.check_key.copy_from_slice(&bytes[32..48]);
        let mut created = [0u8; 8];
        created.copy_from_slice(&bytes[48..56]);
        meta.created_ms = u64::from_le_bytes(created);
        if meta.store_number > STORE_NUMBER_MAX {
            return Err(OpenError::Meta("it holds an impossible store number".to_owned()));
        }
        Ok(meta)
    }

    /// Writes the file so that it is there whole, durably, or not at all.
    pub(crate) fn create(&self, disk: &dyn Disk) -> io::Result<()> {
        self.put(disk)?;
        disk.sync_dir().inspect_err(|_| {
            // An entry that may not be durable must not be found by the next open.
            let _ = disk.remove(META_FILE);
        })
    }

    /// Puts it in the place of an earlier one, which stays if this fails.
    pub(crate) fn replace(&self, disk: &dyn Disk) -> io::Result<()> {
        self.put(disk)?;
        disk.sync_dir()
    }

    fn put(&self, disk: &dyn Disk) -> io::Result<()> {
        match disk.remove(META_TMP) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = disk.create(META_TMP)?;
        let copy = self.encode();
        file.write_all_at(&copy, 0)?;
        file.write_all_at(&copy, COPY_BYTES as u64)?;
        file.sync_all()?;
        disk.rename(META_TMP, META_FILE)
    }

    /// Reads the file. One damaged copy is forgiven, two or two that differ are not.
    pub fn load(disk: &dyn Disk) -> Result<Self, OpenError> {
        let file = disk.open(META_FILE).map_err(opening("opening store.meta"))?;
        let len = file.len().map_err(opening("reading store.meta"))?;
        if len != 2 * COPY_BYTES as u64 {
            return Err(OpenError::Meta(format!("it has {len} bytes, not {}", 2 * COPY_BYTES)));
        }
        let mut bytes = [0u8; 2 * COPY_BYTES];
        file.read_exact_at(&mut bytes, 0).map_err(opening("reading store.meta"))?;
        match (Self::parse(&bytes[..COPY_BYTES]), Self::parse(&bytes[COPY_BYTES..])) {
            (Ok(one), Ok(two)) if one == two => Ok(one),
            (Ok(_), Ok(_)) => Err(OpenError::Meta("its two copies differ".to_owned())),
            (Ok(meta), Err(_)) | (Err(_), Ok(meta)) => Ok(meta),
            // Damage to one copy does not hide what the other says.
            (Err(OpenError::Meta(_)), Err(why)) | (Err(why), Err(_)) => Err(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    fn meta() -> StoreMeta {
        StoreMeta {
            store_id: [3; 16],
            store_number: 77,
            check_key: [5; 16],
            created_ms: 9,
            marked: true,
        }
    }

    #[test]
    fn one_damaged_copy_is_forgiven_and_two_are_not() {
        fn check(flips: &[usize], expected: bool) {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let disk = RealDisk::open(dir.path()).expect("open");
            meta().create(&disk).expect("create");
            let file = disk.open(META_FILE).expect("open");
            for &at in flips {
                let mut byte = [0u8];
                file.read_exact_at(&mut byte, at as u64).expect("read");
                file.write_all_at(&[byte[0] ^ 4], at as u64).expect("write");
            }
            match StoreMeta::load(&disk) {
                Ok(loaded) => assert!(expected && loaded == meta(), "{flips:?}"),
                Err(error) => assert!(!expected, "{flips:?}: {error}"),
            }
        }
        check(&[], true);
        check(&[20], true);
        check(&[COPY_BYTES + 40], true);
        check(&[20, COPY_BYTES + 40], false);
    }

    #[test]
    fn the_secret_is_not_printed() {
        assert_eq!(format!("{:?}", meta()), "StoreMeta { store_number: 77, .. }");
    }
}
