//! The process at the other end of a Unix socket, held by a descriptor (pidfd_open(2)): its id may be
//! another process's as soon as it has ended.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

pub(super) struct Peer {
    process: OwnedFd,
}

impl Peer {
    /// The process that has connected, or that listens, at the other end (SO_PEERCRED). Sure to be that
    /// one if it says anything afterwards.
    pub(super) fn of(stream: impl AsFd) -> io::Result<Self> {
        let peer = rustix::net::sockopt::socket_peercred(stream)?;
        Ok(Self { process: pidfd_open(peer.pid, PidfdFlags::empty())? })
    }

    /// Whether it has ended; waits for that up to `patience`.
    pub(super) fn ends_within(&self, patience: Duration) -> bool {
        let mut ended = [PollFd::new(&self.process, PollFlags::IN)];
        let patience = Timespec::try_from(patience).expect("some seconds");
        // A wait that a signal interrupts says nothing.
        poll(&mut ended, Some(&patience)).is_ok_and(|ended| ended > 0)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ends_within(Duration::ZERO)
    }

    /// SIGKILL, which also ends a process that is stopped.
    pub(super) fn kill(&self) {
        // One that has ended cannot be killed.
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
    }
}
