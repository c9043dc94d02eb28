//! Agents and their coordinator over real sockets, with an engine that replays.

mod fake;
mod hostile;
mod losses;
mod proxy;
mod runs;

use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use super::link::{Link, LinkError};
use super::*;
use crate::clock::now_ns;
use crate::measure::Totals;
use crate::run::{Finished, Source as _, Step};

/// Nothing that a test waits for takes as long.
const LONG: Duration = Duration::from_secs(60);

fn secret() -> Secret {
    Secret::new(b"correct horse battery staple").unwrap()
}

fn other_secret() -> Secret {
    Secret::new(b"incorrect horse battery staple").unwrap()
}

fn after(time: Duration) -> u64 {
    now_ns() + super::link::nanoseconds(time)
}

/// Two ends of one connection, the coordinator's first.
fn links() -> (Link, Link) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let agent = thread::spawn(move || {
        let end = tls::connect(&tls::agent().unwrap()).unwrap();
        Link::establish(TcpStream::connect(address).unwrap(), end, LONG).unwrap()
    });
    let (socket, _) = listener.accept().unwrap();
    let end = tls::accept(&tls::coordinator().unwrap()).unwrap();
    let coordinator = Link::establish(socket, end, LONG).unwrap();
    (coordinator, agent.join().unwrap())
}

/// The next message.
fn next<T: serde::de::DeserializeOwned>(link: &mut Link) -> Result<T, LinkError> {
    Ok(link.receive(1 << 20, after(LONG))?.expect("it comes in time"))
}

/// A coordinator that listens, and where.
fn listening() -> (Coordinator, String) {
    let coordinator = Coordinator::listen("127.0.0.1:0", secret()).unwrap();
    let address = coordinator.address().unwrap().to_string();
    (coordinator, address)
}

/// A connection to a coordinator, before the greeting.
fn connect(address: &str) -> Link {
    let end = tls::connect(&tls::agent().unwrap()).unwrap();
    Link::establish(TcpStream::connect(address).unwrap(), end, LONG).unwrap()
}

/// What a run's watcher wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    GoOn,
    Stop,
    StopNow,
}

/// What came of a run.
struct Ran {
    totals: Totals,
    finished: Finished,
    stopped: bool,
}

/// Conducts a run as its watcher wishes, who is asked whenever anything has come or a moment is over.
fn conduct(
    ready: ReadyGroup,
    mut watch: impl FnMut(&Totals) -> Wish,
) -> Result<Ran, CoordinatorError> {
    let mut totals = Totals::new(&[1]);
    let mut underway = ready.begin(&mut || true)?;
    let (until_ns, mut stopped) = (after(LONG), false);
    loop {
        match underway.next(Duration::from_millis(20)) {
            Step::Interval(machine, interval) => totals.add(machine, &interval),
            Step::Nothing => {}
            Step::Ended => return Ok(Ran { totals, finished: underway.finish(), stopped }),
        }
        assert!(now_ns() < until_ns, "the run hangs");
        let wish = if underway.is_lost() { Wish::Stop } else { watch(&totals) };
        stopped |= wish != Wish::GoOn;
        match wish {
            Wish::GoOn => {}
            Wish::Stop => underway.stop(),
            Wish::StopNow => underway.stop_now(),
        }
    }
}
