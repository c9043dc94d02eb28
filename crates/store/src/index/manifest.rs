//! How much the index held when that was last written down: for each keyspace its cursor and how many
//! rows it had at least. The library takes a keyspace whose files are gone, or that it has lost track
//! of, for an empty one. So every open compares what it finds with this file, which stands beside the
//! library's files, and an index that holds less is incomplete.
//!
//! What it says was durable before it was written, and stays true whatever a crash cuts off: runs and
//! merges take no row away, and before the two that do, the expiry of parts and the summing up of
//! counts, a manifest is written that does not promise what they remove. So it may lag behind, but an
//! index that holds less than it says has lost something.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use fjall::{AbstractTree as _, Keyspace};
use sha2::{Digest as _, Sha256};

use super::IndexError;
use super::part::Part;
use super::rows::OWN_ROW;

const FILE: &str = "manifest";
const NEW_FILE: &str = "manifest.new";
/// The first line.
const HEAD: &str = "inhale index manifest 1";
/// What the last line begins with; the digest of everything before it follows.
const DIGEST: &str = "sha256 ";

/// How far a keyspace has come, and how many rows it has at least, without its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) cursor: u64,
    pub(super) rows: u64,
}

/// A part's keyspaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PartExtent {
    pub(super) number: u32,
    pub(super) usages: Extent,
    pub(super) keys: Extent,
    pub(super) counts: Extent,
}

/// The parts in order. Only the last one takes runs, so that all others stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Manifest(Vec<PartExtent>);

impl Manifest {
    /// What `parts` hold now. One whose first run is not whole is none yet.
    pub(super) fn of(parts: &[Part]) -> Self {
        Self(parts.iter().map(Part::extent).filter(|part| part.usages.rows > 0).collect())
    }

    pub(super) fn part(&self, number: u32) -> Option<&PartExtent> {
        self.0.iter().find(|part| part.number == number)
    }

    /// Compares what is promised with the parts found whole.
    pub(super) fn compare(&self, found: &[PartExtent]) -> Result<(), IndexError> {
        for (at, promised) in self.0.iter().enumerate() {
            let number = promised.number;
            let Some(part) = found.iter().find(|part| part.number == number) else {
                return Err(incomplete(format!("part {number} is missing or not whole")));
            };
            let grows = at + 1 == self.0.len();
            if !grows && part.usages != promised.usages {
                return Err(incomplete(format!("part {number} is not as it was when it was full")));
            }
            for (name, found, promised) in [
                ("usages", part.usages, promised.usages),
                ("keys", part.keys, promised.keys),
                ("counts", part.counts, promised.counts),
            ] {
                if found.cursor < promised.cursor {
                    return Err(incomplete(format!(
                        "the {name} of part {number} end at sequence {}, not at {}",
                        found.cursor, promised.cursor
                    )));
                }
                check_rows(name, number, found.rows, promised.rows)?;
            }
        }
        Ok(())
    }

    /// The manifest in `dir`, if there is one.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, IndexError> {
        let bytes = match std::fs::read(dir.join(FILE)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(IndexError::Folder { doing: "reading the index's manifest", source });
            }
        };
        let manifest = std::str::from_utf8(&bytes).ok().and_then(Self::parse);
        manifest.map(Some).ok_or_else(|| incomplete("its manifest is damaged".to_owned()))
    }

    /// Puts the manifest in the place of the one in `dir`, durably.
    pub(super) fn write(&self, dir: &Path) -> Result<(), IndexError> {
        let write = || {
            let new = dir.join(NEW_FILE);
            let mut file = File::create(&new)?;
            file.write_all(self.text().as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, dir.join(FILE))?;
            File::open(dir)?.sync_all()
        };
        let failed = |source| IndexError::Folder { doing: "writing the index's manifest", source };
        write().map_err(failed)
    }

    fn text(&self) -> String {
        let mut text = format!("{HEAD}\n");
        for PartExtent { number, usages, keys, counts } in &self.0 {
            for (name, Extent { cursor, rows }) in
                [("usages", usages), ("keys", keys), ("counts", counts)]
            {
                let _ = writeln!(text, "{number:08}-{name} {cursor} {rows}");
            }
        }
        let digest = digest(&text);
        let _ = writeln!(text, "{DIGEST}{digest}");
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let (lines, last) = text.strip_suffix('\n')?.rsplit_once('\n')?;
        if last.strip_prefix(DIGEST)? != digest(&format!("{lines}\n")) {
            return None;
        }
        let mut lines = lines.lines();
        if lines.next() != Some(HEAD) {
            return None;
        }
        let mut parts = Vec::new();
        while let Some(line) = lines.next() {
            let (number, usages) = parse_line(line, "usages")?;
            let (_, keys) = parse_line(lines.next()?, "keys")?;
            let (_, counts) = parse_line(lines.next()?, "counts")?;
            parts.push(PartExtent { number, usages, keys, counts });
        }
        Some(Self(parts))
    }
}

/// Refuses a keyspace that has fewer rows than it should.
pub(super) fn check_rows(
    name: &str,
    number: u32,
    found: u64,
    expected: u64,
) -> Result<(), IndexError> {
    if found >= expected {
        return Ok(());
    }
    Err(incomplete(format!("the {name} of part {number} have {found} rows, not {expected}")))
}

pub(super) fn incomplete(why: String) -> IndexError {
    IndexError::Incomplete(why)
}

/// How many rows a keyspace may have besides its own, by what its tables say of themselves: every row
/// counts, but also what newer ones have replaced and merges have not removed yet.
pub(super) fn rows_at_most(keyspace: &Keyspace) -> u64 {
    let version = keyspace.tree.current_version();
    let rows = version.iter_tables().map(|table| {
        // A table that begins with the own row holds one at least.
        let own = u64::from(table.metadata.key_range.min()[..] == OWN_ROW);
        table.metadata.item_count.saturating_sub(own)
    });
    rows.sum()
}

fn parse_line(line: &str, name: &str) -> Option<(u32, Extent)> {
    let mut words = line.split(' ');
    let (number, found) = words.next()?.split_once('-')?;
    let (cursor, rows) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let extent = Extent { cursor, rows };
    (found == name && words.next().is_none()).then_some((number.parse().ok()?, extent))
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: u32, cursor: u64, rows: u64) -> PartExtent {
        let extent = Extent { cursor, rows };
        PartExtent { number, usages: extent, keys: extent, counts: extent }
    }

    #[test]
    fn a_manifest_comes_back_and_no_change_of_it_does() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(Manifest::read(dir.path()).expect("there is none"), None);
        for parts in [vec![], vec![part(1, 41, 40), part(2, 60, 19)]] {
            let manifest = Manifest(parts);
            manifest.write(dir.path()).expect("written");
            assert_eq!(Manifest::read(dir.path()).expect("read"), Some(manifest.clone()));
            let text = manifest.text().into_bytes();
            for at in 0..text.len() {
                let mut changed = text.clone();
                changed[at] ^= 1;
                for damaged in [&changed[..], &text[..at]] {
                    std::fs::write(dir.path().join(FILE), damaged).expect("written");
                    let refused = Manifest::read(dir.path()).expect_err("it is damaged");
                    assert!(matches!(refused, IndexError::Incomplete(_)), "{refused}");
                }
            }
        }
    }

    #[test]
    fn what_is_less_than_promised_is_incomplete() {
        let promised = Manifest(vec![part(1, 41, 40), part(2, 60, 19)]);
        let check = |found: &[PartExtent], expected: bool| {
            assert_eq!(promised.compare(found).is_ok(), expected, "{found:?}");
        };
        check(&[part(1, 41, 40), part(2, 60, 19)], true);
        check(&[part(1, 41, 40), part(2, 70, 29), part(3, 80, 10)], true);
        check(&[part(1, 41, 40)], false);
        check(&[part(2, 60, 19)], false);
        check(&[part(1, 42, 41), part(2, 60, 19)], false);
        check(&[part(1, 41, 40), part(2, 59, 19)], false);
        check(&[part(1, 41, 40), part(2, 60, 18)], false);
    }
}
