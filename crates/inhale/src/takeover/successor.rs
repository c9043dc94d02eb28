//! The successor's side, up to the moment that the store is its own. Until then it changes nothing, and
//! ends by itself when the predecessor says nothing for [`WORD_WITHIN`], whatever this process hangs in.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use edge::handover::{self, Line};
use server::Listeners;

use super::peer::Peer;
use super::{HELLO, NO, READY, WAIT, WORD_WITHIN, YOURS, fault, socket_path};
use crate::clock::monotonic;
use crate::descriptors;

const LOOK: Duration = Duration::from_millis(20);

/// The running server, asked to hand over.
pub(crate) struct Claim {
    stream: UnixStream,
    line: Line,
    predecessor: Peer,
    patience: Patience,
}

/// What a successor was given.
#[derive(Default)]
pub(crate) struct Inheritance {
    /// `None` when the predecessor ended before it could send them: then the addresses are free.
    pub(crate) listeners: Option<Listeners>,
    /// For [`journal::disk::RealDisk::adopt_lock`]; empty in the same case.
    pub(crate) lock: Vec<OwnedFd>,
    /// The predecessor takes its end for the end of this process.
    _stream: Option<UnixStream>,
}

impl Claim {
    /// Finds the server that runs on `data`. From here on this process ends unless that one answers.
    pub(crate) fn on(data: &Path) -> Result<Self> {
        let patience = Patience::start();
        let found = UnixStream::connect(socket_path(data))
            .and_then(|stream| Ok((Peer::of(&stream)?, stream)));
        let (predecessor, stream) = found.with_context(|| {
            let data = data.display();
            format!("--takeover: no server runs on {data} that could hand its sockets over")
        })?;
        fault::at("connected");
        Ok(Self { stream, line: Line::default(), predecessor, patience })
    }

    /// Says that this process could serve on `cores`, and waits for the store. Sockets that reach beyond
    /// this machine are taken only if `allow_anonymous`. After an error the other process still serves.
    pub(crate) fn take(mut self, cores: usize, allow_anonymous: bool) -> Result<Inheritance> {
        let mut inheritance = Inheritance::default();
        fault::at("proved");
        let received = match self.ask(HELLO)? {
            Some(line) => self.receive(&line)?,
            None => None,
        };
        if let Some((api, admin, lock)) = received {
            if !allow_anonymous {
                refuse_strangers(api.iter().chain(&admin))?;
            }
            inheritance.lock = lock;
            let wanted = descriptors::wanted(cores, api.len() + admin.len());
            inheritance.listeners = Some(Listeners { api: spread(api, cores)?, admin });
            descriptors::prove(wanted).context("--takeover")?;
            fault::at("received");
            let mut line = self.ask(READY)?;
            fault::at("said-ready");
            while line.as_deref() == Some(WAIT) {
                line = self.hear()?;
            }
            match line.as_deref() {
                Some(YOURS) => {}
                Some(other) => return Err(refused(other)),
                None => tracing::warn!("the running server has ended before it handed over"),
            }
        }
        self.patience.end();
        inheritance._stream = Some(self.stream);
        fault::at("given");
        Ok(inheritance)
    }

    fn ask(&mut self, line: &str) -> Result<Option<String>> {
        // An error means that it has closed, which is heard.
        let _ = handover::send_line(&self.stream, line);
        self.hear()
    }

    /// The next word of the predecessor, or `None` when it has ended.
    fn hear(&mut self) -> Result<Option<String>> {
        self.patience.renew();
        match self.line.receive(&self.stream) {
            Ok(line) => Ok(Some(line)),
            Err(_) => self.gone(),
        }
    }

    /// The predecessor has closed the connection: it has ended, or is about to, or goes on.
    fn gone<T>(&self) -> Result<Option<T>> {
        if self.predecessor.ends_within(WORD_WITHIN / 2) {
            return Ok(None);
        }
        bail!("--takeover: the running server does not hand over; its log says why")
    }

    #[expect(clippy::type_complexity, reason = "three lists, used once")]
    fn receive(
        &self,
        line: &str,
    ) -> Result<Option<(Vec<TcpListener>, Vec<TcpListener>, Vec<OwnedFd>)>> {
        let counts = line.strip_prefix("sockets ").unwrap_or_default().split(' ');
        let counts: Vec<usize> = counts.filter_map(|word| word.parse().ok()).collect();
        let [api, admin, lock] = counts[..] else { return Err(refused(line)) };
        if api == 0 || admin == 0 {
            return Err(refused(line));
        }
        let count = api.saturating_add(admin).saturating_add(lock);
        let mut received = match handover::receive_descriptors(&self.stream, count) {
            Ok(received) => received.into_iter(),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return self.gone(),
            Err(error) => {
                let doing = format!("--takeover: receiving {count} descriptors; raise `ulimit -n`");
                return Err(error).context(doing);
            }
        };
        let api = received.by_ref().take(api).map(TcpListener::from).collect();
        let admin = received.by_ref().take(admin).map(TcpListener::from).collect();
        Ok(Some((api, admin, received.collect())))
    }
}

/// What is said instead of what was asked for.
fn refused(line: &str) -> anyhow::Error {
    match line.strip_prefix(NO) {
        Some(why) => anyhow::anyhow!("--takeover: the running server goes on: {why}"),
        None => anyhow::anyhow!(
            "--takeover: the running server is of a version that hands over differently"
        ),
    }
}

/// Ends this process unless it is renewed in time.
struct Patience {
    /// When it ends; `None` once the store is this process's.
    deadline: Arc<Mutex<Option<Duration>>>,
}

impl Patience {
    fn start() -> Self {
        let deadline = Arc::new(Mutex::new(Some(monotonic() + WORD_WITHIN)));
        let watched = Arc::clone(&deadline);
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(LOOK);
                // Held until the process has ended, so that nothing is begun meanwhile.
                let deadline = watched.lock().unwrap_or_else(PoisonError::into_inner);
                match *deadline {
                    None => return,
                    Some(deadline) if monotonic() >= deadline => {
                        errln!(
                            "inhale: --takeover: the running server or the disk did not answer within \
                             {} s; nothing was changed",
                            WORD_WITHIN.as_secs()
                        );
                        std::process::exit(2);
                    }
                    Some(_) => {}
                }
            }
        });
        Self { deadline }
    }

    fn set(&self, deadline: Option<Duration>) {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
    }

    fn renew(&self) {
        self.set(Some(monotonic() + WORD_WITHIN));
    }

    fn end(&self) {
        self.set(None);
    }
}

/// What the running server listens on is not what this one's `--listen` says.
fn refuse_strangers<'a>(sockets: impl Iterator<Item = &'a TcpListener>) -> Result<()> {
    for socket in sockets {
        let address = socket.local_addr().context("--takeover: asking a socket for its address")?;
        if !address.ip().to_canonical().is_loopback() {
            bail!(
                "--takeover: the running server listens on {address}, which reaches beyond this machine; \
                 add --allow-anonymous, which it was started with"
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
