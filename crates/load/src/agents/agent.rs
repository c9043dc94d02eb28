//! An agent: it finds its coordinator, does its part of a plan, and hands over what it measured while
//! it measures it. Without its coordinator it stops, since nobody would read the figures.

use std::io::ErrorKind;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::ClientConfig;

use super::attend::attend;
use super::error::AgentError;
use super::greeting::{self, GreetingError};
use super::link::{Link, nanoseconds};
use super::message::Part;
use super::secret::Secret;
use super::tls;
use super::work::Workshop;
use crate::clock::now_ns;
use crate::limits::{GREETING_TIME, JOIN_TIME, LOOK_UP, RETRY};

/// How an agent is to find its coordinator.
#[derive(Debug)]
pub struct Joining<'a> {
    /// `HOST:PORT`.
    pub address: &'a str,
    /// The secret that the coordinator has too.
    pub secret: &'a Secret,
    /// What the agent calls itself, for people: its host's name, for instance.
    pub name: &'a str,
    /// Whether to wait for the next run after each, and for a coordinator however long it takes;
    /// without, a coordinator has to be there within [`JOIN_TIME`].
    pub keep: bool,
}

/// What happens to an agent.
#[derive(Debug)]
pub enum AgentNews<'a> {
    /// It cannot reach the coordinator yet.
    Trying {
        /// Why.
        why: &'a str,
    },
    /// It has joined, and waits for the others.
    Joined,
    /// It has a part, and prepares it.
    Preparing(Part),
    /// It starts so soon.
    Starting {
        /// In this time.
        within: Duration,
    },
    /// It has sent everything.
    Ended,
    /// A run has ended badly, and the agent waits for the next.
    Failed(&'a AgentError),
}

/// Joins a coordinator and serves its run, or its runs. `stop` is asked again and again.
///
/// # Errors
/// When a run cannot be served; with [`Joining::keep`] only when no later one could be either.
pub fn agent(
    joining: &Joining<'_>,
    workshop: &dyn Workshop,
    stop: &dyn Fn() -> bool,
    news: &mut dyn FnMut(&AgentNews<'_>),
) -> Result<(), AgentError> {
    let tls = tls::agent().map_err(|error| AgentError::Tls(error.to_string()))?;
    let mut pause = RETRY.0;
    loop {
        let link = reach(joining, &tls, stop, news)?;
        news(&AgentNews::Joined);
        let served = attend(link, joining.name, workshop, stop, news);
        match served {
            Ok(()) => {
                news(&AgentNews::Ended);
                pause = RETRY.0;
            }
            Err(AgentError::Interrupted) => return Err(AgentError::Interrupted),
            Err(error) if joining.keep => {
                news(&AgentNews::Failed(&error));
                wait(&mut pause, stop)?;
            }
            Err(error) => return Err(error),
        }
        if !joining.keep {
            return Ok(());
        }
    }
}

/// Connects and greets, again and again until it succeeds, is of no use, or takes too long.
fn reach(
    joining: &Joining<'_>,
    tls: &Arc<ClientConfig>,
    stop: &dyn Fn() -> bool,
    news: &mut dyn FnMut(&AgentNews<'_>),
) -> Result<Link, AgentError> {
    let until_ns = now_ns().saturating_add(nanoseconds(JOIN_TIME));
    let mut pause = RETRY.0;
    let mut said = String::new();
    // An unknown host may be known later; what is no address will never be one.
    if joining.address.to_socket_addrs().is_err_and(|error| error.kind() == ErrorKind::InvalidInput)
    {
        return Err(AgentError::Address(joining.address.to_owned()));
    }
    loop {
        let why = match connect(joining, tls) {
            Ok(link) => return Ok(link),
            Err(GreetingError::Link(error)) => error.to_string(),
            Err(GreetingError::Secret) => {
                return Err(AgentError::Secret(joining.address.to_owned()));
            }
            Err(error @ GreetingError::Protocol(_)) => {
                let address = joining.address.to_owned();
                return Err(AgentError::Version(address, error.to_string()));
            }
        };
        if !joining.keep && now_ns() >= until_ns {
            return Err(AgentError::Unreachable { address: joining.address.to_owned(), why });
        }
        // The same reason is told once.
        if why != said {
            news(&AgentNews::Trying { why: &why });
            said = why;
        }
        wait(&mut pause, stop)?;
    }
}

fn connect(joining: &Joining<'_>, tls: &Arc<ClientConfig>) -> Result<Link, GreetingError> {
    let mut failure = None;
    for address in joining.address.to_socket_addrs().map_err(super::link::LinkError::Broken)? {
        match TcpStream::connect_timeout(&address, GREETING_TIME) {
            Ok(socket) => {
                let end = tls::connect(tls).map_err(super::link::LinkError::Tls)?;
                let mut link = Link::establish(socket, end, GREETING_TIME)?;
                let binding = link.binding()?;
                greeting::introduce(&mut link, joining.secret, &binding)?;
                return Ok(link);
            }
            Err(error) => failure = Some(error),
        }
    }
    let failure = failure.unwrap_or_else(|| std::io::Error::other("the name has no address"));
    Err(super::link::LinkError::Broken(failure).into())
}

/// Waits before the next attempt, and longer before the one after.
fn wait(pause: &mut Duration, stop: &dyn Fn() -> bool) -> Result<(), AgentError> {
    let until_ns = now_ns() + nanoseconds(*pause);
    while now_ns() < until_ns {
        if stop() {
            return Err(AgentError::Interrupted);
        }
        thread::sleep(LOOK_UP);
    }
    *pause = (*pause * 2).min(RETRY.1);
    if stop() { Err(AgentError::Interrupted) } else { Ok(()) }
}
