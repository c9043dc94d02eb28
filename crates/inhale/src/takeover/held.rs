//! What a running process keeps so that a successor can have it, or so that it can serve again: its
//! listening sockets and the store's lock.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use anyhow::{Context as _, Result};
use server::Listeners;
use store::Store;

pub(crate) struct Held {
    listeners: Listeners,
    lock: Vec<OwnedFd>,
}

impl Held {
    /// Duplicates of both.
    pub(crate) fn of(listeners: &Listeners, store: &Store) -> Result<Self> {
        let api: io::Result<_> = listeners.api.iter().map(|core| cloned(core)).collect();
        let admin = cloned(&listeners.admin);
        let listeners = api.and_then(|api| Ok(Listeners { api, admin: admin? }));
        Ok(Self {
            listeners: listeners.context("duplicating a listening socket")?,
            lock: store.journal().lock_descriptors().context("duplicating the store's lock")?,
        })
    }

    /// The sockets.
    pub(crate) fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// What [`Held::of`] was made of.
    pub(crate) fn into_parts(self) -> (Listeners, Vec<OwnedFd>) {
        (self.listeners, self.lock)
    }

    /// How many sockets take usages, how many are for operators, and how many descriptors the lock has.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let api = self.listeners.api.iter().map(Vec::len).sum();
        (api, self.listeners.admin.len(), self.lock.len())
    }

    /// All in this order.
    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let lock = self.lock.iter().map(|lock| lock.as_fd());
        self.sockets().map(|socket| socket.as_fd()).chain(lock).collect()
    }

    /// Each address listened on, once, with a path that is served there.
    pub(super) fn served(&self) -> Vec<(SocketAddr, &'static str)> {
        let address = |socket: &TcpListener| socket.local_addr().ok();
        let api = self.listeners.api.iter().flatten().filter_map(address);
        let admin = self.listeners.admin.iter().filter_map(address);
        let mut all: Vec<_> =
            api.map(|at| (at, "/docs")).chain(admin.map(|at| (at, "/healthz"))).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn sockets(&self) -> impl Iterator<Item = &TcpListener> {
        self.listeners.api.iter().flatten().chain(&self.listeners.admin)
    }
}

fn cloned(sockets: &[TcpListener]) -> io::Result<Vec<TcpListener>> {
    sockets.iter().map(TcpListener::try_clone).collect()
}
