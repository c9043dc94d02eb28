//! A file system of its own, in a file, whose power can be cut.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::needs::run;

/// What is needed for it, beside root.
pub(crate) const PROGRAMS: [&str; 4] = ["mkfs.ext4", "mount", "umount", "xfs_io"];

/// A mounted file system; gone with its test.
pub(crate) struct Mounted {
    folder: TempDir,
}

impl Mounted {
    /// Makes and mounts an ext4 of this size.
    pub(crate) fn new(bytes: u64) -> Self {
        Self::of(&["mkfs.ext4", "-q", "-F"], bytes)
    }

    /// Makes one of this size with the command `make`, and mounts it.
    pub(crate) fn of(make: &[&str], bytes: u64) -> Self {
        let mounted = Self { folder: tempfile::tempdir().expect("a folder can be made") };
        std::fs::create_dir(mounted.place()).expect("a folder can be made");
        let image = std::fs::File::create(mounted.image()).expect("a file can be made");
        image.set_len(bytes).expect("it is sparse");
        run(make[0], &[&make[1..], &[text(&mounted.image())]].concat());
        mounted.mount();
        mounted
    }

    /// The root of the file system.
    pub(crate) fn place(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.place().join("data")
    }

    /// For logs, which are not on the file system itself.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    fn mount(&self) {
        run("mount", &["-o", "loop", text(&self.image()), text(&self.place())]);
    }

    /// Nothing is written from here on, not even what the file system's own log was about to take.
    pub(crate) fn cut_power(&self) {
        run("xfs_io", &["-x", "-c", "shutdown", text(&self.place())]);
    }

    /// Brings it back, once no process uses it any more.
    pub(crate) fn come_back(&self) {
        run("umount", &[text(&self.place())]);
        self.mount();
    }

    /// Bytes that are free for all users.
    pub(crate) fn free_bytes(&self) -> u64 {
        let space = rustix::fs::statvfs(self.place()).expect("it is mounted");
        space.f_bavail * space.f_frsize
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: after a failure somebody may still use it.
        let place = self.place();
        let _ = std::process::Command::new("umount").args(["-l", text(&place)]).status();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}
