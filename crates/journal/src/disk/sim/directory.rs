//! The simulated directory: names as the running system sees them, names as a power cut leaves
//! them, and the operations in between.

use std::collections::{BTreeMap, BTreeSet};

use super::Rng;

/// Names a file for ever, whatever it is called.
pub(super) type Inode = u64;

/// One change of names that is not durable yet.
#[derive(Clone, Debug)]
enum Change {
    Create(String, Inode),
    Rename(String, String),
    Remove(String),
}

/// The names.
#[derive(Clone, Debug, Default)]
pub(super) struct Directory {
    cached: BTreeMap<String, Inode>,
    durable: BTreeMap<String, Inode>,
    changes: Vec<Change>,
}

impl Directory {
    pub(super) fn get(&self, name: &str) -> Option<Inode> {
        self.cached.get(name).copied()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.cached.keys()
    }

    pub(super) fn inodes(&self) -> impl Iterator<Item = Inode> {
        self.cached.values().copied()
    }

    /// Inodes that some history still leads to.
    pub(super) fn reachable(&self) -> BTreeSet<Inode> {
        let created = self.changes.iter().filter_map(|change| match change {
            Change::Create(_, inode) => Some(*inode),
            Change::Rename(..) | Change::Remove(_) => None,
        });
        self.inodes().chain(self.durable.values().copied()).chain(created).collect()
    }

    pub(super) fn create(&mut self, name: &str, inode: Inode) {
        self.apply(Change::Create(name.to_owned(), inode));
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) {
        self.apply(Change::Rename(from.to_owned(), to.to_owned()));
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.apply(Change::Remove(name.to_owned()));
    }

    fn apply(&mut self, change: Change) {
        change.play(&mut self.cached);
        self.changes.push(change);
    }

    pub(super) fn sync(&mut self) {
        self.durable.clone_from(&self.cached);
        self.changes.clear();
    }

    /// The power goes. Half of the time what survives is a beginning of the changes, as with a
    /// file system that logs its metadata in order; otherwise any of them whose names no dropped
    /// change has touched before.
    pub(super) fn power_cut(&mut self, rng: &mut Rng) {
        let ordered = rng.chance(1, 2);
        let kept = rng.index(self.changes.len() + 1);
        let mut dropped: BTreeSet<String> = BTreeSet::new();
        for (index, change) in std::mem::take(&mut self.changes).into_iter().enumerate() {
            let free = change.names().all(|name| !dropped.contains(name));
            let keep = if ordered { index < kept } else { free && rng.chance(1, 2) };
            if keep {
                change.play(&mut self.durable);
            } else {
                dropped.extend(change.names().cloned());
            }
        }
        self.cached.clone_from(&self.durable);
    }
}

impl Change {
    fn play(&self, names: &mut BTreeMap<String, Inode>) {
        match self {
            Self::Create(name, inode) => drop(names.insert(name.clone(), *inode)),
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Self::Remove(name) => drop(names.remove(name)),
        }
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        let (one, two) = match self {
            Self::Create(name, _) | Self::Remove(name) => (name, None),
            Self::Rename(from, to) => (from, Some(to)),
        };
        std::iter::once(one).chain(two)
    }
}
