//! The coordinator until its agents are together: it listens, greets whoever comes, and waits until
//! there are enough of them.

use std::collections::BTreeMap;
use std::fmt;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::PollFlags;
use rustls::ServerConfig;

use super::error::CoordinatorError;
use super::link::{nanoseconds, wait_for};
use super::member::{Command, Event, Member};
use super::secret::Secret;
use super::tls;
use crate::clock::now_ns;
use crate::limits::{AGENTS_MAX, LOOK_UP, REFUSED_MAX, STRANGERS_MAX, THREADS_MAX};

/// Commands that wait for a member's thread; more than one run has.
const COMMANDS: usize = 8;
/// Events of all members that wait for the coordinator.
const EVENTS: usize = 64;

/// Listens for agents.
#[derive(Debug)]
pub struct Coordinator {
    listener: TcpListener,
    secret: Secret,
    tls: Arc<ServerConfig>,
}

/// The agents of a run, in the order of their numbers, connected and waiting.
#[derive(Debug)]
pub struct Group {
    pub(super) agents: Vec<Agent>,
    /// `None` once nobody listens any more.
    pub(super) events: Option<Receiver<(u64, Event)>>,
}

/// One agent.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) id: u64,
    /// What it calls itself, and where it is.
    pub(super) name: String,
    pub(super) cores: usize,
    commands: Option<SyncSender<Command>>,
    thread: Option<JoinHandle<()>>,
}

/// What happens while a coordinator waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GatherNews {
    /// Somebody has joined.
    Joined {
        /// Who.
        agent: String,
        /// So many have.
        joined: usize,
        /// So many are needed.
        asked: usize,
    },
    /// Somebody who had joined is gone.
    Left {
        /// Who.
        agent: String,
        /// Why.
        why: String,
    },
    /// Somebody was refused.
    Refused {
        /// Whose connection.
        peer: SocketAddr,
        /// Why.
        why: String,
    },
}

/// Connections while the coordinator waits.
struct Gathering<'a> {
    coordinator: &'a Coordinator,
    asked: usize,
    events: SyncSender<(u64, Event)>,
    /// Those that have not greeted yet, and those that have.
    strangers: BTreeMap<u64, (SocketAddr, Agent)>,
    joined: Vec<Agent>,
    next_id: u64,
    refused: u64,
}

impl Coordinator {
    /// Listens on `HOST:PORT`.
    ///
    /// # Errors
    /// When that cannot be done.
    pub fn listen(address: &str, secret: Secret) -> Result<Self, CoordinatorError> {
        let failed = |error| CoordinatorError::Listen { address: address.to_owned(), error };
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let tls = tls::coordinator().map_err(|error| CoordinatorError::Tls(error.to_string()))?;
        Ok(Self { listener, secret, tls })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Waits until so many agents have joined, and listens no longer. `go_on` is asked again and
    /// again, and given what has happened meanwhile, if anything has.
    ///
    /// # Errors
    /// When they do not come in time, too many strangers do, or `go_on` says no. Those who have come
    /// are told.
    pub fn gather(
        self,
        agents: usize,
        patience: Duration,
        go_on: &mut dyn FnMut(Option<&GatherNews>) -> bool,
    ) -> Result<Group, CoordinatorError> {
        if !(1..=AGENTS_MAX).contains(&agents) {
            return Err(CoordinatorError::Number(agents));
        }
        let (events, incoming) = sync_channel(EVENTS);
        let mut gathering = Gathering {
            coordinator: &self,
            asked: agents,
            events,
            strangers: BTreeMap::new(),
            joined: Vec::new(),
            next_id: 0,
            refused: 0,
        };
        let all_came = gathering.wait(&incoming, patience, go_on);
        let mut group = gathering.finish(incoming);
        if let Err(error) = all_came {
            group.dismiss(&error.to_string());
            return Err(error);
        }
        Ok(group)
    }
}

impl Gathering<'_> {
    /// Waits until all have joined.
    fn wait(
        &mut self,
        incoming: &Receiver<(u64, Event)>,
        patience: Duration,
        go_on: &mut dyn FnMut(Option<&GatherNews>) -> bool,
    ) -> Result<(), CoordinatorError> {
        let until_ns = now_ns().saturating_add(nanoseconds(patience));
        while self.joined.len() < self.asked {
            self.accept();
            let mut wanted = true;
            while let Ok((id, event)) = incoming.try_recv() {
                if let Some(news) = self.take(id, event)? {
                    wanted &= go_on(Some(&news));
                }
            }
            if !(wanted && go_on(None)) {
                return Err(CoordinatorError::Interrupted);
            }
            if now_ns() >= until_ns {
                let joined = self.joined.len();
                return Err(CoordinatorError::Late { joined, asked: self.asked, patience });
            }
        }
        Ok(())
    }

    /// Takes connections, or waits a moment for one.
    fn accept(&mut self) {
        let until_ns = now_ns() + nanoseconds(LOOK_UP);
        // A listener that fails to be waited for is asked all the same, and then fails there.
        let _ = wait_for(&self.coordinator.listener, PollFlags::IN, until_ns);
        loop {
            match self.coordinator.listener.accept() {
                Ok((socket, peer)) => {
                    // Beyond its bound a connection is closed at once: agents try again.
                    if self.strangers.len() < self.asked + STRANGERS_MAX {
                        self.greet(socket, peer);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // One that is gone already, or no descriptor for it, which would be said again at
                // once: the next look is a moment away.
                Err(_) => return thread::sleep(LOOK_UP),
            }
        }
    }

    fn greet(&mut self, socket: TcpStream, peer: SocketAddr) {
        let id = self.next_id;
        self.next_id += 1;
        let (commands, taken) = sync_channel(COMMANDS);
        let member = Member { id, commands: taken, events: self.events.clone() };
        let (tls, secret) = (Arc::clone(&self.coordinator.tls), self.coordinator.secret.clone());
        let spawned = thread::Builder::new()
            .name(format!("agent-{id}"))
            .spawn(move || member.serve(socket, &tls, &secret));
        // Without a thread the socket is closed, and the agent tries again.
        if let Ok(thread) = spawned {
            let (commands, thread) = (Some(commands), Some(thread));
            let agent = Agent { id, name: String::new(), cores: 0, commands, thread };
            self.strangers.insert(id, (peer, agent));
        }
    }

    fn take(&mut self, id: u64, event: Event) -> Result<Option<GatherNews>, CoordinatorError> {
        match event {
            Event::Joined { name, cores } => Ok(self.join(id, &name, cores)),
            Event::Refused { why } => {
                let Some((peer, _)) = self.strangers.remove(&id) else { return Ok(None) };
                self.refused += 1;
                if self.refused >= REFUSED_MAX {
                    return Err(CoordinatorError::Refused { peer: peer.to_string(), why });
                }
                Ok(Some(GatherNews::Refused { peer, why }))
            }
            Event::Lost { why } | Event::Failed { why } => {
                if let Some((peer, _)) = self.strangers.remove(&id) {
                    return Ok(Some(GatherNews::Refused { peer, why }));
                }
                Ok(self.dismiss(id, why))
            }
            Event::Ready(_) | Event::Clock(_) | Event::Interval(_) | Event::Ended(_) => {
                // No agent of ours says so before there is a plan.
                let why = "it speaks out of turn".to_owned();
                Ok(self.dismiss(id, why))
            }
        }
    }

    fn join(&mut self, id: u64, name: &str, cores: usize) -> Option<GatherNews> {
        let (peer, mut agent) = self.strangers.remove(&id)?;
        if self.joined.len() == self.asked {
            agent.command(Command::Leave { why: format!("{} agents are enough", self.asked) });
            return None;
        }
        agent.name = if name.is_empty() { peer.to_string() } else { format!("{name} ({peer})") };
        agent.cores = cores.max(1);
        let news = GatherNews::Joined {
            agent: agent.name.clone(),
            joined: self.joined.len() + 1,
            asked: self.asked,
        };
        self.joined.push(agent);
        Some(news)
    }

    fn dismiss(&mut self, id: u64, why: String) -> Option<GatherNews> {
        let index = self.joined.iter().position(|agent| agent.id == id)?;
        let mut agent = self.joined.remove(index);
        agent.command(Command::Leave { why: why.clone() });
        Some(GatherNews::Left { agent: agent.name, why })
    }

    /// Those who have joined; strangers are told to leave by their channels' end.
    fn finish(self, events: Receiver<(u64, Event)>) -> Group {
        Group { agents: self.joined, events: Some(events) }
    }
}

impl Agent {
    /// Tells the agent's thread. `false` when it is gone, or so far behind that it is as good as gone.
    pub(super) fn command(&mut self, command: Command) -> bool {
        match self.commands.as_ref().map(|commands| commands.try_send(command)) {
            Some(Ok(())) => true,
            None | Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) => false,
        }
    }
}

impl Group {
    /// Workers for a plan that does not say how many: the same number must run on each machine, so
    /// it is what a run on the machine with the fewest cores would have, all but one of them.
    pub fn threads(&self) -> usize {
        let cores_min = self.agents.iter().map(|agent| agent.cores).min().unwrap_or(1);
        cores_min.saturating_sub(1).clamp(1, THREADS_MAX)
    }

    /// Sends all of them away.
    pub(super) fn dismiss(&mut self, why: &str) {
        for agent in &mut self.agents {
            agent.command(Command::Leave { why: why.to_owned() });
        }
    }

    /// The agents' names, in the order of their numbers.
    pub fn names(&self) -> Vec<String> {
        self.agents.iter().map(|agent| agent.name.clone()).collect()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Whoever waits for room in the channel must not wait for ever.
        self.events = None;
        for agent in &mut self.agents {
            agent.commands = None;
        }
        for agent in &mut self.agents {
            if let Some(thread) = agent.thread.take() {
                // It says goodbye within the time of a message; its panic was told already.
                let _ = thread.join();
            }
        }
    }
}

impl fmt::Display for GatherNews {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Joined { agent, joined, asked } => {
                write!(f, "agent {joined} of {asked} has joined: {agent}")
            }
            Self::Left { agent, why } => write!(f, "an agent has left: {agent}: {why}"),
            Self::Refused { peer, why } => write!(f, "refused {peer}: {why}"),
        }
    }
}
