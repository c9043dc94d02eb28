//! One run, as an agent attends it: it waits for its part, prepares it, starts when it is told to,
//! and sends what it measures until all of it is sent.

use std::thread;
use std::time::Duration;

use super::agent::AgentNews;
use super::error::AgentError;
use super::link::{Link, LinkError, nanoseconds};
use super::message::{Part, Readiness, ToAgent, ToCoordinator, words};
use super::work::{Prepared, Work, Workshop};
use crate::clock::{now_ns, wall_ns};
use crate::engine::Next;
use crate::limits::{
    ALIVE_EVERY, ENDING_TIME, LOOK_UP, MESSAGE_BYTES_MAX, PLAN_BYTES_MAX, SILENCE_MAX,
};
use crate::plan::Options;

/// How sending came to its end.
enum Sent {
    /// All of it was measured as planned, or as the coordinator wished.
    All,
    /// A signal came here.
    Interrupted,
    /// The coordinator sends the agent away.
    Dismissed(String),
}

/// A connection to the coordinator, and whoever may stop the agent.
struct Attendance<'a> {
    link: Link,
    stop: &'a dyn Fn() -> bool,
}

/// Serves one run.
pub(super) fn attend(
    link: Link,
    name: &str,
    workshop: &dyn Workshop,
    stop: &dyn Fn() -> bool,
    news: &mut dyn FnMut(&AgentNews<'_>),
) -> Result<(), AgentError> {
    let mut attendance = Attendance { link, stop };
    let served = attendance.serve(name, workshop, news);
    // Whatever was said last, a failure above all, is to be heard.
    if !matches!(served, Err(AgentError::CoordinatorLost(_))) {
        attendance.link.close();
    }
    served
}

impl Attendance<'_> {
    fn serve(
        &mut self,
        name: &str,
        workshop: &dyn Workshop,
        news: &mut dyn FnMut(&AgentNews<'_>),
    ) -> Result<(), AgentError> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        self.link.send(&ToCoordinator::Here { name: words(name), cores })?;
        let (part, options) = self.wait_for_plan()?;
        news(&AgentNews::Preparing(part));
        let prepared = match self.prepare(workshop, part, options)? {
            Ok(prepared) => prepared,
            Err(why) => return Err(self.fail(why)),
        };
        let readiness = Readiness { share: prepared.share(), notes: prepared.notes() };
        self.link.send(&ToCoordinator::Ready(readiness.in_words()))?;
        let start_ns = self.wait_for_start()?;
        let within = Duration::from_nanos(start_ns.saturating_sub(now_ns()));
        let work = match prepared.start(start_ns) {
            Ok(work) => work,
            Err(why) => return Err(self.fail(why)),
        };
        news(&AgentNews::Starting { within });
        self.work(work)
    }

    fn wait_for_plan(&mut self) -> Result<(Part, Options), AgentError> {
        let mut part = None;
        loop {
            match (self.next(PLAN_BYTES_MAX)?, part) {
                (Some(ToAgent::Part(given)), _) => part = Some(given),
                (Some(ToAgent::Plan(options)), Some(part)) => return Ok((part, *options)),
                (None, _) => {}
                (Some(_), _) => return Err(out_of_turn().into()),
            }
        }
    }

    /// Prepares beside the connection, which must not fall silent meanwhile.
    fn prepare(
        &mut self,
        workshop: &dyn Workshop,
        part: Part,
        options: Options,
    ) -> Result<Result<Box<dyn Prepared>, String>, AgentError> {
        thread::scope(|scope| {
            let preparing = scope.spawn(move || workshop.prepare(part, options));
            while !preparing.is_finished() {
                if self.next(MESSAGE_BYTES_MAX)?.is_some() {
                    return Err(out_of_turn().into());
                }
            }
            let prepared = preparing.join();
            Ok(prepared.unwrap_or_else(|_| Err("preparing has panicked".to_owned())))
        })
    }

    /// When to start, by the clock of this machine.
    fn wait_for_start(&mut self) -> Result<u64, AgentError> {
        loop {
            match self.next(MESSAGE_BYTES_MAX)? {
                Some(ToAgent::Begin { in_ns }) => {
                    return Ok(self.link.heard_ns().saturating_add(in_ns));
                }
                None => {}
                Some(_) => return Err(out_of_turn().into()),
            }
        }
    }

    /// Sends what is measured, and stops the work whatever happens.
    fn work(&mut self, mut work: Box<dyn Work>) -> Result<(), AgentError> {
        let sent = self.send_all(work.as_mut());
        if !matches!(sent, Ok(Sent::All)) {
            work.stop_now();
        }
        let closing = work.close();
        match sent {
            Ok(Sent::All) => {
                let missing = closing.missing.join("; ");
                self.link.send(&ToCoordinator::Ended(closing.in_words()))?;
                self.wait_until_done()?;
                if missing.is_empty() { Ok(()) } else { Err(AgentError::BrokenOff(missing)) }
            }
            Ok(Sent::Interrupted) => {
                self.fail("it was interrupted there".to_owned());
                Err(AgentError::Interrupted)
            }
            Ok(Sent::Dismissed(why)) => Err(AgentError::Dismissed(words(&why))),
            Err(error) => Err(error.into()),
        }
    }

    fn send_all(&mut self, work: &mut dyn Work) -> Result<Sent, LinkError> {
        let mut interrupted = false;
        loop {
            // A coordinator that hears nothing for so long gives this agent up; what was heard of it
            // may be as old as it says anything.
            let patience = nanoseconds(SILENCE_MAX + 2 * ALIVE_EVERY);
            work.go_on_until(self.link.heard_ns() + patience);
            match work.next(LOOK_UP) {
                Next::Interval(interval) => {
                    let wire = Box::new(interval.to_wire());
                    self.link.send(&ToCoordinator::Interval(wire))?;
                    work.give_back(interval);
                }
                Next::Nothing => {}
                Next::Ended if interrupted => return Ok(Sent::Interrupted),
                Next::Ended => return Ok(Sent::All),
            }
            // What is there is heard, but nothing is waited for.
            while let Some(message) = self.hear(MESSAGE_BYTES_MAX, now_ns())? {
                match message {
                    ToAgent::Stop { now: true } => work.stop_now(),
                    ToAgent::Stop { now: false } => work.stop(),
                    ToAgent::Leave { why } => return Ok(Sent::Dismissed(why)),
                    _ => return Err(out_of_turn()),
                }
            }
            if !interrupted && (self.stop)() {
                interrupted = true;
                work.stop_now();
            }
        }
    }

    /// Until the coordinator has taken everything.
    fn wait_until_done(&mut self) -> Result<(), AgentError> {
        let until_ns = now_ns() + nanoseconds(ENDING_TIME);
        while now_ns() < until_ns {
            match self.hear(MESSAGE_BYTES_MAX, now_ns() + nanoseconds(LOOK_UP))? {
                Some(ToAgent::Done) => return Ok(()),
                Some(ToAgent::Leave { why }) => return Err(AgentError::Dismissed(words(&why))),
                // A stop that crossed the end.
                Some(_) | None => {}
            }
        }
        Err(LinkError::Slow.into())
    }

    /// Tells the coordinator that nothing more will come, and why.
    fn fail(&mut self, why: String) -> AgentError {
        match self.link.send(&ToCoordinator::Failed { why: words(&why) }) {
            Ok(()) => AgentError::Unfit(why),
            Err(error) => error.into(),
        }
    }

    /// The next message that the agent's way through a run depends on, if it comes within a moment.
    fn next(&mut self, bytes_max: usize) -> Result<Option<ToAgent>, AgentError> {
        if (self.stop)() {
            self.fail("it was interrupted there".to_owned());
            return Err(AgentError::Interrupted);
        }
        match self.hear(bytes_max, now_ns() + nanoseconds(LOOK_UP))? {
            Some(ToAgent::Leave { why }) => Err(AgentError::Dismissed(words(&why))),
            // Stopped before it was started: the coordinator will say more.
            Some(ToAgent::Stop { .. }) | None => Ok(None),
            message => Ok(message),
        }
    }

    /// The next message that is not answered here. Says that this end is alive, and sees that the
    /// other one is.
    fn hear(&mut self, bytes_max: usize, until_ns: u64) -> Result<Option<ToAgent>, LinkError> {
        if self.link.owes_a_word(now_ns()) {
            self.link.send(&ToCoordinator::Alive)?;
        }
        match self.link.receive(bytes_max, until_ns)? {
            Some(ToAgent::Ping { number }) => {
                self.link.send(&ToCoordinator::Pong { number, wall_ns: wall_ns() })?;
                Ok(None)
            }
            Some(ToAgent::Alive) | None => {
                self.link.hear_from(now_ns())?;
                Ok(None)
            }
            message => Ok(message),
        }
    }
}

fn out_of_turn() -> LinkError {
    LinkError::Garbage("it came out of turn".to_owned())
}
