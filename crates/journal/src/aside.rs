//! Files set aside: what does not belong where it was and may not be removed without proof. They
//! count as used disk, nothing reads them, and only [`discard`] removes them.

use std::collections::BTreeSet;
use std::io;

use crate::check::{CheckError, take_lock};
use crate::disk::{ASIDE, Disk};
use crate::error::{OpenError, opening};
use crate::prepare::remove_if_there;
use crate::scan::{is_zero, read_whole};

/// What earlier versions named the copy of a segment that a repair rewrote, beside the segments.
const CUT_SUFFIX: &str = ".cut";

/// A file that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsideFile {
    /// Its name in the journal's directory, `set-aside/` included.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// Every file that was set aside, in the order of the names.
pub fn list(disk: &dyn Disk) -> io::Result<Vec<AsideFile>> {
    let cut = disk.list()?.into_iter().filter(|name| name.ends_with(CUT_SUFFIX));
    let aside = disk.list_aside()?.into_iter().map(|name| format!("{ASIDE}/{name}"));
    let mut names: Vec<String> = cut.chain(aside).collect();
    names.sort();
    let file = |name: String| Ok(AsideFile { bytes: disk.open(&name)?.len()?, name });
    names.into_iter().map(file).collect()
}

/// Bytes of every file that was set aside.
pub(crate) fn bytes(disk: &dyn Disk) -> io::Result<u64> {
    Ok(list(disk)?.iter().map(|file| file.bytes).sum())
}

/// Removes `files`, each durably. What is set aside by another process meanwhile stays.
///
/// # Errors
/// When the store is open elsewhere, or the disk fails.
pub fn discard(disk: &dyn Disk, files: &[AsideFile]) -> Result<(), CheckError> {
    if files.is_empty() {
        return Ok(());
    }
    let _lock = take_lock(disk)?;
    let removed = || {
        files.iter().try_for_each(|file| remove_if_there(disk, &file.name))?;
        disk.sync_aside()?;
        disk.sync_dir()
    };
    Ok(removed().map_err(opening("removing what was set aside"))?)
}

/// Names in the folder that are taken, to choose free ones.
pub(crate) struct Names(BTreeSet<String>);

impl Names {
    pub(crate) fn new(disk: &dyn Disk) -> io::Result<Self> {
        Ok(Self(disk.list_aside()?.into_iter().collect()))
    }

    /// Takes a name that was given by another.
    pub(crate) fn reserve(&mut self, kept: &str) {
        if let Some(name) = kept.strip_prefix(ASIDE).and_then(|name| name.strip_prefix('/')) {
            self.0.insert(name.to_owned());
        }
    }

    /// The name of a file of the directory once it is set aside: its own, with a number behind it
    /// when an earlier one has that.
    pub(crate) fn take(&mut self, name: &str) -> String {
        let numbered = |count: u32| match count {
            1 => name.to_owned(),
            _ => format!("{name}.{count}"),
        };
        let free = (1u32..).map(numbered).find(|name| self.0.insert(name.clone()));
        format!("{ASIDE}/{}", free.expect("there are fewer files than numbers"))
    }
}

/// Moves a file into the folder, durably. Returns its name there.
pub(crate) fn set_aside(disk: &dyn Disk, name: &str) -> io::Result<String> {
    let kept = Names::new(disk)?.take(name);
    set_aside_as(disk, name, &kept)?;
    Ok(kept)
}

/// The same under a name that [`Names`] has given.
pub(crate) fn set_aside_as(disk: &dyn Disk, name: &str, kept: &str) -> io::Result<()> {
    disk.sync_aside()?;
    disk.rename(name, kept)?;
    disk.sync_aside()?;
    disk.sync_dir()
}

/// Keeps a copy of a file that is about to be replaced, durably, under a name of [`Names`].
pub(crate) fn keep_copy(disk: &dyn Disk, name: &str, kept: &str) -> Result<(), OpenError> {
    let doing = || format!("keeping a copy of {name} in {kept}");
    let bytes = disk.open(name).and_then(|file| read_whole(&*file)).map_err(opening(doing()))?;
    let tmp = format!("{name}.copy.tmp");
    let copied = || {
        // A copy that was cut short, of what is still there.
        remove_if_there(disk, &tmp)?;
        let file = disk.create(&tmp)?;
        file.write_all_at(&bytes, 0)?;
        file.sync_all()?;
        set_aside_as(disk, &tmp, kept)
    };
    copied().map_err(opening(doing()))
}

/// Frees a name that is about to be used: a file of zeros goes, any other is set aside.
pub(crate) fn make_way(disk: &dyn Disk, name: &str) -> io::Result<()> {
    let file = match disk.open(name) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if is_zero(&read_whole(&*file)?) {
        return remove_if_there(disk, name);
    }
    set_aside(disk, name).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SimDisk;

    fn put(disk: &SimDisk, name: &str, bytes: &[u8]) {
        disk.create(name).expect("free").write_all_at(bytes, 0).expect("alive");
    }

    #[test]
    fn nothing_in_the_folder_is_ever_replaced_and_only_discard_removes_it() {
        let disk = SimDisk::new(1);
        for n in 1..=3u8 {
            put(&disk, "a", &[n; 5]);
            make_way(&disk, "a").expect("alive");
            put(&disk, "a", &[0; 9]);
            make_way(&disk, "a").expect("alive");
        }
        put(&disk, "b.cut", &[7; 4]);
        let files = list(&disk).expect("alive");
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["b.cut", "set-aside/a", "set-aside/a.2", "set-aside/a.3"]);
        assert_eq!(bytes(&disk).expect("alive"), 19);
        assert_eq!(disk.list().expect("alive"), ["b.cut"]);
        for (file, n) in files[1..].iter().zip(1u8..) {
            let kept = read_whole(&*disk.open(&file.name).expect("there")).expect("alive");
            assert_eq!(kept, [n; 5]);
        }
        put(&disk, "a", &[4; 5]);
        make_way(&disk, "a").expect("alive");
        discard(&disk, &files).expect("unlocked");
        assert_eq!(list(&disk).expect("alive").len(), 1, "not shown, not removed");
    }
}
