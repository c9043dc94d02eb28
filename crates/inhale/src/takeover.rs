//! An upgrade without a lost request: the new process receives the listening sockets from the
//! running one over a Unix socket in the store's directory, the old one answers what it has and
//! unlocks the store, the new one opens it and accepts. Meanwhile new connections wait in the
//! sockets' queues.

use std::io::{self, Write as _};
use std::net::TcpListener;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use edge::handover;
use server::Listeners;
use store::{OpenError, Store};
use tokio::net::UnixListener;

use crate::clock::monotonic;

/// Time for the old process to answer what it has and let the store go.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time for a successor to say that it can use the sockets it was sent.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(5);

/// Time that successors are left alone when one could not be let in, as when no descriptor is free.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What a successor says when it takes over. Until then the old process goes on.
const CONFIRMED: &[u8] = b"taken";

/// The longest that a process which has handed over waits for requests in flight, so that it is
/// gone before its successor loses patience.
pub(crate) const DRAIN_MAX: Duration = Duration::from_secs(45);

const _: () = assert!(DRAIN_MAX.as_secs() + 10 <= PATIENCE.as_secs(), "closing takes time too");

fn socket_path(data: &Path) -> PathBuf {
    data.join("takeover.sock")
}

/// The running process's sockets, kept so that a successor can have them.
pub(crate) struct Held {
    api: Vec<TcpListener>,
    admin: Vec<TcpListener>,
}

impl Held {
    pub(crate) fn of(listeners: &Listeners) -> Result<Self> {
        let cloned = |all: &mut dyn Iterator<Item = &TcpListener>| {
            all.map(TcpListener::try_clone)
                .collect::<Result<Vec<_>, _>>()
                .context("duplicating a listening socket")
        };
        Ok(Self {
            api: cloned(&mut listeners.api.iter().flatten())?,
            admin: cloned(&mut listeners.admin.iter())?,
        })
    }
}

/// Where a successor asks for the sockets. Only this user can: the socket's file says so.
pub(crate) struct Successor {
    listener: UnixListener,
    path: PathBuf,
}

impl Successor {
    /// Wants to be called inside a runtime, by whoever holds the store's lock.
    pub(crate) fn await_on(data: &Path) -> Result<Self> {
        let path = socket_path(data);
        // The store's lock is ours, so whoever made this file is gone.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("removing {}", path.display()));
            }
            _ => {}
        }
        let listener = UnixListener::bind(&path).with_context(|| {
            format!("making {}; a shorter --data path may be needed", path.display())
        })?;
        let successor = Self { listener, path };
        std::fs::set_permissions(&successor.path, std::fs::Permissions::from_mode(0o600))?;
        Ok(successor)
    }

    /// Waits for a successor that takes the sockets. One that does not say so, because it is not
    /// content with them or with its own settings, changes nothing here.
    pub(crate) async fn hand_over(&self, held: &Held) {
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                // Nor does one that cannot be let in: who is served already is not to suffer for it.
                Err(error) => {
                    tracing::warn!(error = error.to_string(), "a successor could not be let in");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let note = format!("{} {}", held.api.len(), held.admin.len());
            let sockets: Vec<BorrowedFd<'_>> =
                held.api.iter().chain(&held.admin).map(|socket| socket.as_fd()).collect();
            let sent = handover::send(&stream, note.as_bytes(), &sockets);
            let taken = match sent {
                Ok(()) => confirmed(&stream).await,
                Err(error) => Err(error),
            };
            match taken {
                Ok(()) => {
                    tracing::info!(
                        sockets = sockets.len(),
                        "handed the listening sockets to a successor"
                    );
                    return;
                }
                // It went away; there may be another.
                Err(error) => tracing::warn!(
                    error = error.to_string(),
                    "a successor did not take the sockets"
                ),
            }
        }
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        // Dropped while the store's lock is held, so the file is still ours. Left behind by a crash,
        // it is removed by the next owner.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Waits until the successor says that it takes over.
async fn confirmed(stream: &tokio::net::UnixStream) -> io::Result<()> {
    let said = async {
        let mut said = [0; CONFIRMED.len()];
        let mut bytes = 0;
        while bytes < said.len() {
            stream.readable().await?;
            match stream.try_read(&mut said[bytes..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(more) => bytes += more,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        if said == CONFIRMED { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    };
    tokio::time::timeout(CONFIRMED_WITHIN, said).await?
}

/// Receives the sockets of the process that serves `data`, spread over `cores`. Sockets that reach
/// beyond this machine are taken only if `allow_anonymous`. After an error the other process still
/// serves.
pub(crate) fn inherit(data: &Path, cores: usize, allow_anonymous: bool) -> Result<Listeners> {
    let path = socket_path(data);
    let stream = UnixStream::connect(&path).with_context(|| {
        format!("--takeover: no server runs on {} that could hand its sockets over", data.display())
    })?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let (note, sockets) =
        handover::receive(&stream).context("--takeover: receiving the sockets")?;
    let note = String::from_utf8_lossy(&note).into_owned();
    let counts: Vec<usize> = note.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [api, admin] = counts[..] else {
        bail!("--takeover: the running server is of a version that hands over differently");
    };
    if api == 0 || admin == 0 || api + admin != sockets.len() {
        bail!("--takeover: {} sockets arrived where {} were announced", sockets.len(), api + admin);
    }
    let mut sockets = sockets.into_iter().map(TcpListener::from);
    let api: Vec<_> = sockets.by_ref().take(api).collect();
    let admin: Vec<_> = sockets.collect();
    if !allow_anonymous {
        refuse_strangers(api.iter().chain(&admin))?;
    }
    let listeners = Listeners { api: spread(api, cores)?, admin };
    (&stream).write_all(CONFIRMED).context("--takeover: the running server did not wait")?;
    Ok(listeners)
}

/// What the running server listens on is not what this one's `--listen` says.
fn refuse_strangers<'a>(sockets: impl Iterator<Item = &'a TcpListener>) -> Result<()> {
    for socket in sockets {
        let address = socket.local_addr().context("--takeover: asking a socket for its address")?;
        if !address.ip().to_canonical().is_loopback() {
            bail!(
                "--takeover: the running server listens on {address}, which reaches beyond this machine; \
                 say --allow-anonymous, as it was told"
            );
        }
    }
    Ok(())
}

/// Gives every core at least one socket and every socket to a core.
fn spread(sockets: Vec<TcpListener>, cores: usize) -> Result<Vec<Vec<TcpListener>>> {
    let mut by_core: Vec<Vec<TcpListener>> = (0..cores).map(|_| Vec::new()).collect();
    for core in sockets.len()..cores {
        let shared: OwnedFd = sockets[core % sockets.len()].as_fd().try_clone_to_owned()?;
        by_core[core].push(shared.into());
    }
    for (place, socket) in sockets.into_iter().enumerate() {
        by_core[place % cores].push(socket);
    }
    Ok(by_core)
}

/// Opens the store as soon as the old process has let it go.
pub(crate) fn retry_while_locked(
    open: impl Fn() -> Result<Store, OpenError>,
) -> Result<Store, OpenError> {
    let deadline = monotonic() + PATIENCE;
    loop {
        match open() {
            Err(OpenError::Journal(journal::OpenError::Locked)) if monotonic() < deadline => {
                std::thread::sleep(Duration::from_millis(2));
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_for_strangers_are_told_from_private_ones() {
        let check = |address: &str, expected: bool| {
            let socket = TcpListener::bind(address).expect("a free port");
            assert_eq!(refuse_strangers([&socket].into_iter()).is_ok(), expected, "{address}");
        };
        check("127.0.0.1:0", true);
        check("0.0.0.0:0", false);
    }

    #[test]
    fn sockets_are_spread_over_any_number_of_cores() {
        let check = |sockets: usize, cores: usize| {
            let sockets: Vec<_> = (0..sockets)
                .map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port"))
                .collect();
            let count = sockets.len().max(cores);
            let by_core = spread(sockets, cores).expect("they are spread");
            assert!(by_core.iter().all(|core| !core.is_empty()));
            assert_eq!(by_core.iter().flatten().count(), count);
        };
        check(2, 2);
        check(4, 2);
        check(3, 2);
        check(1, 4);
    }
}
