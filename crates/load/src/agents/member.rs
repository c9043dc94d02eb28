//! One agent as its coordinator has it: a thread that owns the connection, takes commands and makes
//! events of what it hears. The channel of events is bounded: when the coordinator does not keep up,
//! its agents wait for it.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError};
use std::thread;
use std::time::Duration;

use rustls::ServerConfig;

use super::clocks::{ClockCheck, RoundTrip};
use super::greeting;
use super::link::{Link, LinkError, nanoseconds};
use super::message::{Closing, Part, Readiness, ToAgent, ToCoordinator, words};
use super::secret::Secret;
use super::tls;
use crate::clock::{now_ns, wall_ns};
use crate::limits::{
    GREETING_TIME, LOOK_UP, MESSAGE_BYTES_MAX, PINGS, SCENARIO_WIRE_BYTES_MAX, SILENCE_MAX,
    THREADS_MAX,
};
use crate::measure::Interval;

/// How often a thread that has an event for which there is no room looks for room.
const ROOM_LOOK_UP: Duration = Duration::from_millis(1);

/// What a coordinator wants of an agent.
#[derive(Debug)]
pub(super) enum Command {
    /// Take this part of the plan, which is encoded, and prepare it.
    Prepare { part: Part, plan: Arc<[u8]>, checks: Arc<[usize]> },
    /// Compare clocks.
    CompareClocks,
    /// Start at this instant of the coordinator's clock.
    Begin { start_ns: u64 },
    /// No new requests; `now` cuts off those in flight too.
    Stop { now: bool },
    /// Go, for this reason.
    Leave { why: String },
}

/// What became of an agent.
#[derive(Debug)]
pub(super) enum Event {
    /// It has proved that it knows the secret.
    Joined { name: String, cores: usize },
    /// It has not, or greets otherwise than agents do.
    Refused { why: String },
    /// It can do its part.
    Ready(Readiness),
    /// It cannot, or no longer.
    Failed { why: String },
    /// How its clock stands.
    Clock(ClockCheck),
    /// What one of its workers measured.
    Interval(Box<Interval>),
    /// It has sent everything.
    Ended(Closing),
    /// Nothing more will be heard of it.
    Lost { why: String },
}

/// What a member's thread is given.
#[derive(Debug)]
pub(super) struct Member {
    /// Its number among all that ever connected.
    pub(super) id: u64,
    pub(super) commands: Receiver<Command>,
    pub(super) events: SyncSender<(u64, Event)>,
}

/// Why a member's thread comes to its end.
enum Over {
    /// The agent was told goodbye.
    Parted,
    /// The connection failed.
    Failed(LinkError),
}

impl From<LinkError> for Over {
    fn from(error: LinkError) -> Self {
        Self::Failed(error)
    }
}

/// A connection and the agent at its other end.
struct Conversation<'a> {
    link: Link,
    member: &'a Member,
    /// Checks of each scenario, once there is a plan.
    checks: Arc<[usize]>,
    clock: Option<ClockCheck>,
}

impl Member {
    /// Greets and serves an agent until it is gone.
    pub(super) fn serve(self, socket: TcpStream, tls: &Arc<ServerConfig>, secret: &Secret) {
        let link = match admit(socket, tls, secret) {
            Ok(link) => link,
            Err(why) => {
                // When nobody listens any more, nobody minds.
                let _ = self.events.send((self.id, Event::Refused { why }));
                return;
            }
        };
        let (checks, clock) = (Arc::default(), None);
        let mut conversation = Conversation { link, member: &self, checks, clock };
        let over = conversation.go_on();
        match over {
            Over::Parted => conversation.link.close(),
            Over::Failed(error) => {
                let _ = self.events.send((self.id, Event::Lost { why: error.to_string() }));
            }
        }
    }
}

fn admit(socket: TcpStream, tls: &Arc<ServerConfig>, secret: &Secret) -> Result<Link, String> {
    let end = tls::accept(tls).map_err(|error| error.to_string())?;
    let mut link =
        Link::establish(socket, end, GREETING_TIME).map_err(|error| error.to_string())?;
    let binding = link.binding().map_err(|error| error.to_string())?;
    greeting::admit(&mut link, secret, &binding).map_err(|error| error.to_string())?;
    Ok(link)
}

impl Conversation<'_> {
    /// Until it is over.
    fn go_on(&mut self) -> Over {
        loop {
            if let Err(over) = self.step() {
                return over;
            }
        }
    }

    fn step(&mut self) -> Result<(), Over> {
        loop {
            match self.member.commands.try_recv() {
                Ok(command) => self.carry_out(command)?,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    let why = "the coordinator has ended".to_owned();
                    self.link.send(&ToAgent::Leave { why })?;
                    return Err(Over::Parted);
                }
            }
        }
        self.say_alive()?;
        match self.link.receive(self.bytes_max(), now_ns() + nanoseconds(LOOK_UP))? {
            Some(message) => self.hear(message),
            None => Ok(self.link.hear_from(now_ns())?),
        }
    }

    fn bytes_max(&self) -> usize {
        MESSAGE_BYTES_MAX + self.checks.len() * SCENARIO_WIRE_BYTES_MAX
    }

    fn carry_out(&mut self, command: Command) -> Result<(), Over> {
        match command {
            Command::Prepare { part, plan, checks } => {
                self.checks = checks;
                self.link.send(&ToAgent::Part(part))?;
                self.link.send_encoded(&plan)?;
            }
            Command::CompareClocks => {
                let check = self.compare_clocks()?;
                self.clock = Some(check);
                self.tell(Event::Clock(check))?;
            }
            Command::Begin { start_ns } => {
                let now_ns = now_ns();
                let in_ns = match &self.clock {
                    Some(clock) => clock.delay_ns(start_ns, now_ns),
                    None => start_ns.saturating_sub(now_ns),
                };
                self.link.send(&ToAgent::Begin { in_ns })?;
            }
            Command::Stop { now } => self.link.send(&ToAgent::Stop { now })?,
            Command::Leave { why } => {
                self.link.send(&ToAgent::Leave { why })?;
                return Err(Over::Parted);
            }
        }
        Ok(())
    }

    fn hear(&mut self, message: ToCoordinator) -> Result<(), Over> {
        match message {
            ToCoordinator::Alive | ToCoordinator::Pong { .. } => Ok(()),
            ToCoordinator::Here { name, cores } => {
                Ok(self.tell(Event::Joined { name: words(&name), cores })?)
            }
            ToCoordinator::Ready(readiness) => Ok(self.tell(Event::Ready(readiness.in_words()))?),
            ToCoordinator::Failed { why } => Ok(self.tell(Event::Failed { why: words(&why) })?),
            ToCoordinator::Interval(wire) => {
                let interval =
                    wire.open(&self.checks).map_err(|e| LinkError::Garbage(e.to_string()))?;
                if interval.worker >= THREADS_MAX {
                    let why = format!("no machine has a worker {}", interval.worker);
                    return Err(LinkError::Garbage(why).into());
                }
                Ok(self.tell(Event::Interval(Box::new(interval)))?)
            }
            ToCoordinator::Ended(closing) => {
                self.tell(Event::Ended(closing.in_words()))?;
                self.link.send(&ToAgent::Done)?;
                Err(Over::Parted)
            }
        }
    }

    fn compare_clocks(&mut self) -> Result<ClockCheck, LinkError> {
        let mut trips = Vec::new();
        for number in 0..PINGS {
            let (asked_ns, wall_ns) = (now_ns(), wall_ns());
            self.link.send(&ToAgent::Ping { number })?;
            let until_ns = asked_ns + nanoseconds(SILENCE_MAX);
            let wall_there_ns = loop {
                match self.link.receive(MESSAGE_BYTES_MAX, until_ns)? {
                    Some(ToCoordinator::Pong { number: n, wall_ns }) if n == number => {
                        break wall_ns;
                    }
                    Some(ToCoordinator::Alive) => {}
                    Some(_) => return Err(LinkError::Garbage("no answer to a ping".to_owned())),
                    None => return Err(LinkError::Silent),
                }
                self.link.hear_from(now_ns())?;
            };
            let answered_ns = self.link.heard_ns();
            trips.push(RoundTrip { asked_ns, answered_ns, wall_ns, wall_there_ns });
        }
        ClockCheck::of(&trips).ok_or(LinkError::Silent)
    }

    /// Tells the coordinator. When it does not keep up, nothing more is read of the agent, which is
    /// still told that it is not forgotten.
    fn tell(&mut self, mut event: Event) -> Result<(), LinkError> {
        loop {
            match self.member.events.try_send((self.member.id, event)) {
                // Without anybody to hear it, a command or the end of them is on its way.
                Ok(()) | Err(TrySendError::Disconnected(_)) => return Ok(()),
                Err(TrySendError::Full((_, back))) => event = back,
            }
            self.say_alive()?;
            let since_ns = now_ns();
            thread::sleep(ROOM_LOOK_UP);
            self.link.was_busy_since(since_ns);
        }
    }

    fn say_alive(&mut self) -> Result<(), LinkError> {
        if self.link.owes_a_word(now_ns()) { self.link.send(&ToAgent::Alive) } else { Ok(()) }
    }
}
