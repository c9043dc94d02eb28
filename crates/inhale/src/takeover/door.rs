//! Where successors come: a Unix socket in the store's directory. It is looked at now and then by the
//! main thread, so nothing here waits.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use edge::handover::{self, Line};

use super::peer::Peer;
use super::{HELLO, Held, NO, READY, WORD_WITHIN, fault, socket_path};
use crate::clock::monotonic;

/// Time that successors are left alone when one could not be let in, as when no descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Only this user can connect: the socket's file says so. One successor is attended to at a time;
/// others wait in the socket's queue.
pub(crate) struct Door {
    listener: UnixListener,
    path: PathBuf,
    asking: Option<Asking>,
    closed_until: Duration,
}

/// A successor that has not said yet that it can serve.
struct Asking {
    stream: UnixStream,
    peer: Peer,
    line: Line,
    greeted: bool,
    /// When it gives up, or is given up.
    deadline: Duration,
}

/// A successor that can serve.
pub(crate) struct Ready {
    pub(super) stream: UnixStream,
    pub(super) peer: Peer,
}

impl Door {
    /// To be called while holding the store's lock.
    pub(crate) fn open(data: &Path) -> Result<Self> {
        let path = socket_path(data);
        // The store's lock is ours, so the process that made this file is gone.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("removing {}", path.display()));
            }
            _ => {}
        }
        let listener = UnixListener::bind(&path).with_context(|| {
            format!("making {}; a shorter --data path may be needed", path.display())
        })?;
        let door = Self { listener, path, asking: None, closed_until: Duration::ZERO };
        std::fs::set_permissions(&door.path, std::fs::Permissions::from_mode(0o600))?;
        door.listener.set_nonblocking(true)?;
        Ok(door)
    }

    /// Sees to the successor that is there, if any. Returns it once it can serve. One that goes away
    /// or says nothing changes nothing here.
    pub(crate) fn look(&mut self, held: &Held) -> Option<Ready> {
        if self.asking.is_none() && monotonic() >= self.closed_until {
            self.asking = self.let_in().unwrap_or_else(|error| {
                self.closed_until = monotonic() + ACCEPT_PAUSE;
                tracing::warn!(error = error.to_string(), "a successor could not be let in");
                None
            });
        }
        let mut asking = self.asking.take()?;
        match asking.attend(held) {
            Ok(true) => Some(Ready { stream: asking.stream, peer: asking.peer }),
            Ok(false) => {
                self.asking = Some(asking);
                None
            }
            Err(error) => {
                let error = error.to_string();
                tracing::warn!(error, "a successor did not take over; this server goes on");
                None
            }
        }
    }

    /// Whether a successor is there that may be about to take over.
    pub(crate) fn is_attending(&self) -> bool {
        self.asking.is_some()
    }

    fn let_in(&self) -> io::Result<Option<Asking>> {
        let stream = match self.listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        stream.set_nonblocking(true)?;
        let peer = Peer::of(&stream)?;
        fault::at("let-in");
        let deadline = monotonic() + WORD_WITHIN;
        Ok(Some(Asking { stream, peer, line: Line::default(), greeted: false, deadline }))
    }
}

impl Asking {
    /// Whether it is ready.
    fn attend(&mut self, held: &Held) -> io::Result<bool> {
        if monotonic() >= self.deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let line = match self.line.receive(&self.stream) {
            Ok(line) => line,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        match (self.greeted, line.as_str()) {
            (false, HELLO) => {
                let (api, admin, lock) = held.counts();
                handover::send_line(&self.stream, &format!("sockets {api} {admin} {lock}"))?;
                handover::send_descriptors(&self.stream, &held.descriptors())?;
                fault::at("sent");
                self.greeted = true;
                Ok(false)
            }
            (true, READY) => Ok(true),
            _ => {
                let why = format!("{NO}the running server hands over in another way ({HELLO})");
                handover::send_line(&self.stream, &why)?;
                Err(io::ErrorKind::InvalidData.into())
            }
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // Dropped while the store is ours, so the file is still ours. Left behind by a crash, it is
        // removed by the next owner.
        let _ = std::fs::remove_file(&self.path);
    }
}
