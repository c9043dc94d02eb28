//! The run itself, as its coordinator has it: agents start together, what they measure is passed on as
//! it comes, and at the end it is known of each whether all of it came.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::clocks::ClockCheck;
use super::error::CoordinatorError;
use super::link::nanoseconds;
use super::member::{Command, Event};
use super::message::Closing;
use super::prepare::ReadyGroup;
use crate::clock::now_ns;
use crate::limits::{LOOK_UP, START_DELAY};
use crate::measure::Interval;
use crate::outcome::KernelCounters;
use crate::run::{Finished, Source, Step};

/// A run on several machines: what its agents measure, as it comes.
#[derive(Debug)]
pub struct Underway {
    ready: ReadyGroup,
    states: Vec<State>,
    missing: Vec<String>,
    start_ns: u64,
    /// When every agent must have come to its end.
    until_ns: u64,
    stopping: Stopping,
    /// What is to be told before anything new.
    queued: VecDeque<(usize, Box<Interval>)>,
}

/// How far a run was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stopping {
    Not,
    /// No new requests; those in flight may still end.
    Gracefully,
    Now,
}

/// How far one agent is.
#[derive(Debug, Default)]
struct State {
    /// Requests that it began and that have ended, or that a cap forbade it.
    counted: u64,
    /// Those, and what it began and had not ended yet.
    begun: u64,
    /// Up to where its measurements go, from the start.
    until_ns: u64,
    /// `Some` once nothing more will come, with what it had to say unless it was lost.
    end: Option<Option<Closing>>,
}

impl ReadyGroup {
    /// Starts all agents, and returns when it is time for their first requests. `go_on` is asked
    /// again and again until then.
    ///
    /// # Errors
    /// When an agent fails before the start, or `go_on` says no: nothing was sent to the target. An
    /// agent that is lost later makes the run partial, see [`Finished::missing`].
    pub fn begin(self, go_on: &mut dyn FnMut() -> bool) -> Result<Underway, CoordinatorError> {
        let rtt_max = self.clocks.iter().map(|clock| clock.rtt).max().unwrap_or_default();
        let start_ns = now_ns() + nanoseconds(START_DELAY.max(4 * rtt_max));
        let mut underway = Underway {
            states: self.group.agents.iter().map(|_| State::default()).collect(),
            missing: Vec::new(),
            start_ns,
            until_ns: start_ns + nanoseconds(self.job.length),
            stopping: Stopping::Not,
            queued: VecDeque::new(),
            ready: self,
        };
        underway.command_all(|| Command::Begin { start_ns });
        match underway.wait_for_start(go_on) {
            Ok(()) => Ok(underway),
            Err(error) => {
                underway.ready.group.dismiss(&error.to_string());
                Err(error)
            }
        }
    }
}

impl Source for Underway {
    fn start_ns(&self) -> u64 {
        self.start_ns
    }

    fn next(&mut self, wait: Duration) -> Step {
        if let Some((machine, interval)) = self.queued.pop_front() {
            return Step::Interval(machine, interval);
        }
        if self.states.iter().all(|state| state.end.is_some()) {
            return Step::Ended;
        }
        let now_ns = now_ns();
        if now_ns >= self.until_ns {
            self.lose_all("it did not come to its end in time");
            return Step::Nothing;
        }
        let wait = wait.min(Duration::from_nanos(self.until_ns - now_ns));
        match self.ready.group.next(wait) {
            Ok(Some((machine, event))) => self.take(machine, event),
            Ok(None) => Step::Nothing,
            Err(why) => {
                self.lose_all(&why);
                Step::Nothing
            }
        }
    }

    fn give_back(&mut self, _machine: usize, _interval: Box<Interval>) {
        // Each comes in memory of its own.
    }

    fn missing(&self) -> &[String] {
        &self.missing
    }

    fn is_lost(&self) -> bool {
        let mut lost = self.states.iter().map(|state| matches!(state.end, Some(None)));
        if self.ready.job.stop_when_lost { lost.any(|lost| lost) } else { lost.all(|lost| lost) }
    }

    fn stop(&mut self) {
        self.wish_for(Stopping::Gracefully);
    }

    fn stop_now(&mut self) {
        self.wish_for(Stopping::Now);
    }

    fn finish(self) -> Finished {
        let group = &self.ready.group;
        let machine_line = |machine, clock: &ClockCheck| {
            let end: &State = &self.states[machine];
            let what = end.closing().map_or("lost", |closing| &closing.machine);
            format!("{}: {what}; {}", group.title(machine), clock.in_words())
        };
        let clocks = self.ready.clocks.iter().enumerate();
        Finished {
            machines: clocks.map(|(machine, clock)| machine_line(machine, clock)).collect(),
            kernel: kernels(self.states.iter().filter_map(State::closing)),
            missing: self.missing,
        }
    }
}

/// What the kernels counted, each once, however many agents it had.
fn kernels<'a>(closings: impl Iterator<Item = &'a Closing>) -> Option<KernelCounters> {
    let mut hosts: BTreeMap<&str, KernelCounters> = BTreeMap::new();
    for closing in closings {
        if let Some(kernel) = closing.kernel {
            hosts.insert(&closing.host, kernel);
        }
    }
    hosts.into_values().reduce(KernelCounters::plus)
}

impl State {
    fn closing(&self) -> Option<&Closing> {
        self.end.as_ref()?.as_ref()
    }
}

impl Underway {
    fn wait_for_start(&mut self, go_on: &mut dyn FnMut() -> bool) -> Result<(), CoordinatorError> {
        while self.queued.is_empty() && now_ns() < self.start_ns {
            if !go_on() {
                return Err(CoordinatorError::Interrupted);
            }
            let early = Duration::from_nanos(self.start_ns.saturating_sub(now_ns()));
            let title = |machine| self.ready.group.title(machine);
            match self.ready.group.next(LOOK_UP.min(early)) {
                Ok(Some((machine, Event::Failed { why }))) => {
                    return Err(CoordinatorError::Unfit { agent: title(machine), why });
                }
                Ok(Some((machine, Event::Lost { why }))) => {
                    return Err(CoordinatorError::LostEarly { agent: title(machine), why });
                }
                Ok(Some((machine, event))) => {
                    // By half a round trip a machine may be early.
                    if let Step::Interval(machine, interval) = self.take(machine, event) {
                        self.queued.push_back((machine, interval));
                    }
                }
                Ok(None) => {}
                Err(why) => {
                    return Err(CoordinatorError::LostEarly { agent: title(0), why });
                }
            }
        }
        Ok(())
    }

    /// Passes on what is new of a wish.
    fn wish_for(&mut self, stopping: Stopping) {
        if stopping <= self.stopping {
            return;
        }
        self.stopping = stopping;
        let now = stopping == Stopping::Now;
        self.command_all(|| Command::Stop { now });
        self.until_ns = self.until_ns.min(now_ns() + nanoseconds(self.ready.job.stopping));
    }

    fn take(&mut self, machine: usize, event: Event) -> Step {
        let over = self.states[machine].end.is_some();
        match event {
            // Whatever comes after an end is not listened to.
            _ if over => {}
            Event::Interval(interval) => {
                self.count(machine, &interval);
                return Step::Interval(machine, interval);
            }
            Event::Ended(closing) => {
                let (title, lacking) = (self.ready.group.title(machine), self.lacking(machine));
                let missing = closing.missing.iter();
                self.missing.extend(missing.map(|line| format!("{title}: {line}; {lacking}")));
                self.states[machine].end = Some(Some(closing));
            }
            Event::Lost { why } | Event::Failed { why } => self.lose(machine, &why),
            Event::Joined { .. } | Event::Refused { .. } | Event::Ready(_) | Event::Clock(_) => {}
        }
        Step::Nothing
    }

    fn count(&mut self, machine: usize, interval: &Interval) {
        let state = &mut self.states[machine];
        for counts in interval.scenarios.iter().map(|scenario| &scenario.counts) {
            state.counted += counts.ended + counts.dropped;
            state.begun += counts.started + counts.dropped;
        }
        state.until_ns = state.until_ns.max(interval.until_ns);
    }

    fn lose_all(&mut self, why: &str) {
        for machine in 0..self.states.len() {
            self.lose(machine, why);
        }
    }

    fn lose(&mut self, machine: usize, why: &str) {
        if self.states[machine].end.is_some() {
            return;
        }
        self.states[machine].end = Some(None);
        self.missing.push(self.lost_in_words(machine, why));
        // Its workers have nothing in flight any more that anybody would hear of.
        let share = &self.ready.job.shares[machine];
        for worker in 0..share.threads {
            let until_ns = self.states[machine].until_ns;
            let empty = Interval {
                from_ns: until_ns,
                until_ns,
                last: true,
                ..Interval::new(worker, &share.checks)
            };
            self.queued.push_back((machine, Box::new(empty)));
        }
        let agent = &mut self.ready.group.agents[machine];
        agent.command(Command::Leave { why: why.to_owned() });
    }

    #[expect(clippy::cast_precision_loss, reason = "for people")]
    fn lost_in_words(&self, machine: usize, why: &str) -> String {
        let state = &self.states[machine];
        let after_s = now_ns().saturating_sub(self.start_ns) as f64 / 1e9;
        let until_s = state.until_ns as f64 / 1e9;
        format!(
            "{} was lost {after_s:.1} s after the start ({why}): its figures end at {until_s:.2} s, {}",
            self.ready.group.title(machine),
            self.lacking(machine)
        )
    }

    /// What of a machine's part is not in the figures.
    fn lacking(&self, machine: usize) -> String {
        let State { counted, begun, .. } = self.states[machine];
        let Some(total) = self.ready.job.shares[machine].requests_total() else {
            return format!("its share was 1/{} of the users", self.states.len());
        };
        let under_way = match begun.saturating_sub(counted) {
            0 => String::new(),
            begun => format!(", {begun} of them begun"),
        };
        let missing = total.saturating_sub(counted);
        format!(
            "of its {total} requests {counted} are in the figures and {missing} are missing{under_way}"
        )
    }

    fn command_all(&mut self, command: impl Fn() -> Command) {
        let agents = self.ready.group.agents.iter_mut().zip(&self.states);
        for (agent, _) in agents.filter(|(_, state)| state.end.is_none()) {
            // Who cannot be told is gone, and its thread has said so or will.
            agent.command(command());
        }
    }
}
