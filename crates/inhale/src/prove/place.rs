//! Where a store under test lives and how it crashes: a plain directory, whose server is killed, or
//! a loop-mounted file system that is shut down without flushing its log, as when power fails.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::server::ServerProcess;

/// Size of the file that holds a file system; XFS wants at least 300 MB.
const IMAGE_BYTES: u64 = 1 << 30;

/// What is made and crashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Directory,
    Ext4,
    Xfs,
}

/// A place for a store.
pub(crate) struct Place {
    kind: Kind,
    root: PathBuf,
    mounted: bool,
}

impl Place {
    pub(crate) fn directory(dir: &Path) -> Self {
        Self { kind: Kind::Directory, root: dir.join("kill"), mounted: false }
    }

    pub(crate) fn ext4(dir: &Path) -> Self {
        Self { kind: Kind::Ext4, root: dir.join("ext4"), mounted: false }
    }

    pub(crate) fn xfs(dir: &Path) -> Self {
        Self { kind: Kind::Xfs, root: dir.join("xfs"), mounted: false }
    }

    /// The store's directory.
    pub(crate) fn store(&self) -> PathBuf {
        self.root.join("mount").join("store")
    }

    fn mount_point(&self) -> PathBuf {
        self.root.join("mount")
    }

    fn image(&self) -> PathBuf {
        self.root.join("image")
    }

    /// Makes the place, empty. What stood there before is an error, not overwritten.
    pub(crate) fn make(&mut self) -> Result<()> {
        std::fs::create_dir(&self.root).with_context(|| {
            format!("cannot make {}; if an earlier run left it, remove it", self.root.display())
        })?;
        std::fs::create_dir(self.mount_point())?;
        if self.kind != Kind::Directory {
            File::create_new(self.image())?.set_len(IMAGE_BYTES)?;
            match self.kind {
                Kind::Ext4 => run("mkfs.ext4", "e2fsprogs", &["-q", "-F"], &[&self.image()])?,
                _ => run("mkfs.xfs", "xfsprogs", &["-q"], &[&self.image()])?,
            }
            self.mount()?;
        }
        Ok(())
    }

    fn mount(&mut self) -> Result<()> {
        run("mount", "mount", &["-o", "loop"], &[&self.image(), &self.mount_point()])?;
        self.mounted = true;
        Ok(())
    }

    fn unmount(&mut self) -> Result<()> {
        run("umount", "mount", &[], &[&self.mount_point()])?;
        self.mounted = false;
        Ok(())
    }

    /// Ends everything at once: the file system first, so that nothing written later counts.
    pub(crate) fn crash(&mut self, server: &mut ServerProcess) -> Result<()> {
        if self.kind != Kind::Directory {
            // `-x` allows what only an expert does; without `-f` the log is not flushed.
            run("xfs_io", "xfsprogs", &["-x", "-c", "shutdown"], &[&self.mount_point()])?;
        }
        server.kill()
    }

    /// Brings the file system back, as after a reboot.
    pub(crate) fn come_back(&mut self) -> Result<()> {
        if self.kind != Kind::Directory {
            self.unmount()?;
            self.mount()?;
        }
        Ok(())
    }

    /// Zeroes the last `bytes` that are not zero of the newest journal file that holds anything.
    pub(crate) fn damage_tail(&self, bytes: u64) -> Result<()> {
        let mut names: Vec<_> = walk(&self.store())?
            .into_iter()
            .filter(|path| path.extension().is_some_and(|ext| ext == "seg"))
            .collect();
        names.sort();
        for path in names.iter().rev() {
            let content = std::fs::read(path)?;
            let Some(end) = content.iter().rposition(|byte| *byte != 0).map(|last| last as u64 + 1)
            else {
                continue;
            };
            let start = end.saturating_sub(bytes);
            let file = OpenOptions::new().write(true).open(path)?;
            file.write_all_at(&vec![0; usize::try_from(end - start)?], start)?;
            return Ok(());
        }
        bail!("no journal file holds anything to damage");
    }

    /// Unmounts and removes everything that `make` made.
    pub(crate) fn clean(&mut self) -> Result<()> {
        if self.mounted {
            self.unmount()?;
        }
        std::fs::remove_dir_all(&self.root)
            .with_context(|| format!("removing {}", self.root.display()))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Directory => "kill -9",
            Kind::Ext4 => "power cut, ext4",
            Kind::Xfs => "power cut, XFS",
        })
    }
}

/// All files under `dir`, at any depth.
fn walk(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() { files.extend(walk(&path)?) } else { files.push(path) }
    }
    Ok(files)
}

fn run(program: &str, package: &str, args: &[&str], paths: &[&Path]) -> Result<()> {
    let output = Command::new(program).args(args).args(paths).output().with_context(|| {
        format!("cannot run {program}; install it with: sudo apt-get install -y {package}")
    })?;
    if !output.status.success() {
        bail!("{program} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
