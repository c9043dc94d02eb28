//! From a group of agents and a plan to agents that are ready to start it: each has understood its
//! part, can do it, and takes it to be what the coordinator takes it to be.

use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use super::clocks::ClockCheck;
use super::coordinator::Group;
use super::error::CoordinatorError;
use super::link::nanoseconds;
use super::member::{Command, Event};
use super::message::{Part, Share, ToAgent};
use crate::clock::now_ns;
use crate::limits::{ENDING_TIME, LOOK_UP, PLAN_BYTES_MAX, PREPARE_TIME};
use crate::plan::{Options, Plan};

/// What agents are to do together.
#[derive(Debug, Clone)]
pub struct Job {
    /// The options, with their files in them, as they travel.
    pub(super) plan: Arc<[u8]>,
    /// Each machine's share.
    pub(super) shares: Vec<Share>,
    /// How long the run may take altogether.
    pub(super) length: Duration,
    /// How long it may still take once it is stopped.
    pub(super) stopping: Duration,
    /// Whether agents keep files of receipts.
    pub(super) receipts: bool,
    /// Whether the run is stopped when an agent is lost.
    pub(super) stop_when_lost: bool,
}

/// Agents that have prepared their parts.
#[derive(Debug)]
pub struct ReadyGroup {
    pub(super) group: Group,
    pub(super) job: Job,
    pub(super) clocks: Vec<ClockCheck>,
    notes: Vec<Vec<String>>,
}

impl Job {
    /// The plan and the options that it was built from, with their files in them, divided among so
    /// many machines.
    ///
    /// # Errors
    /// When it is too large to travel.
    pub fn new(
        plan: &Plan,
        options: &Options,
        machines: usize,
        receipts: bool,
        stop_when_lost: bool,
    ) -> Result<Self, CoordinatorError> {
        // Numbers of requests follow from numbers of workers, so no machine may choose its own.
        let options = Options { threads: Some(plan.threads), ..options.clone() };
        let machines = machines as u64;
        Ok(Self {
            plan: encode(options)?,
            shares: (0..machines).map(|machine| Share::of(plan, machine, machines)).collect(),
            length: plan.duration() + plan.graceful_stop + ENDING_TIME,
            stopping: plan.graceful_stop + ENDING_TIME,
            receipts,
            stop_when_lost,
        })
    }

    pub(super) fn checks(&self) -> &[usize] {
        self.shares.first().map_or(&[], |share| &share.checks)
    }
}

pub(super) fn encode(options: Options) -> Result<Arc<[u8]>, CoordinatorError> {
    let message = ToAgent::Plan(Box::new(options));
    let encoded = serde_json::to_vec(&message).expect("options are text and numbers");
    if encoded.len() > PLAN_BYTES_MAX {
        return Err(CoordinatorError::Large(encoded.len()));
    }
    Ok(encoded.into())
}

impl Group {
    /// Has every agent prepare its part, and compares clocks. `go_on` is asked again and again.
    ///
    /// # Errors
    /// When an agent cannot, or is lost, or takes its part to be another one, or `go_on` says no.
    /// Nothing was sent to the target, and nothing will be.
    pub fn prepare(
        mut self,
        job: Job,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<ReadyGroup, CoordinatorError> {
        match self.prepare_each(&job, go_on) {
            Ok((notes, clocks)) => Ok(ReadyGroup { group: self, job, clocks, notes }),
            Err(error) => {
                self.dismiss(&error.to_string());
                Err(error)
            }
        }
    }

    fn prepare_each(
        &mut self,
        job: &Job,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<(Vec<Vec<String>>, Vec<ClockCheck>), CoordinatorError> {
        let machines = self.agents.len() as u64;
        let checks: Arc<[usize]> = job.checks().into();
        for (machine, agent) in (0..machines).zip(&mut self.agents) {
            let part = Part { machine, machines, receipts: job.receipts };
            let (plan, checks) = (Arc::clone(&job.plan), Arc::clone(&checks));
            agent.command(Command::Prepare { part, plan, checks });
        }
        let notes = self.each(go_on, |machine, event| match event {
            Event::Ready(ready) if job.shares.get(machine) == Some(&ready.share) => {
                Ok(Some(ready.notes))
            }
            Event::Ready(_) => {
                Err("it divides the plan otherwise: is it another build?".to_owned())
            }
            Event::Failed { why } => Err(why),
            _ => Ok(None),
        })?;
        for agent in &mut self.agents {
            agent.command(Command::CompareClocks);
        }
        let clocks = self.each(go_on, |_, event| match event {
            Event::Clock(check) => Ok(Some(check)),
            Event::Failed { why } => Err(why),
            _ => Ok(None),
        })?;
        Ok((notes, clocks))
    }

    /// What agent number `machine` is called in reports.
    pub(super) fn title(&self, machine: usize) -> String {
        format!("agent {} of {}, {}", machine + 1, self.agents.len(), self.agents[machine].name)
    }

    /// Waits until `answer` has found one in the events of each agent.
    fn each<T>(
        &mut self,
        go_on: &mut dyn FnMut() -> bool,
        mut answer: impl FnMut(usize, Event) -> Result<Option<T>, String>,
    ) -> Result<Vec<T>, CoordinatorError> {
        let until_ns = now_ns() + nanoseconds(PREPARE_TIME);
        let mut answers: Vec<Option<T>> = self.agents.iter().map(|_| None).collect();
        while let Some(waiting) = answers.iter().position(Option::is_none) {
            if !go_on() {
                return Err(CoordinatorError::Interrupted);
            }
            let (machine, event) = match self.next(LOOK_UP) {
                Ok(Some(next)) => next,
                Ok(None) if now_ns() < until_ns => continue,
                Ok(None) => {
                    let why = format!("it was not ready within {} s", PREPARE_TIME.as_secs());
                    return Err(CoordinatorError::Unfit { agent: self.title(waiting), why });
                }
                Err(why) => {
                    return Err(CoordinatorError::LostEarly { agent: self.title(waiting), why });
                }
            };
            if let Event::Lost { why } = event {
                return Err(CoordinatorError::LostEarly { agent: self.title(machine), why });
            }
            match answer(machine, event) {
                Ok(Some(found)) => answers[machine] = Some(found),
                Ok(None) => {}
                Err(why) => {
                    return Err(CoordinatorError::Unfit { agent: self.title(machine), why });
                }
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// The next event, and whose: of strangers who came too late there is none.
    pub(super) fn next(&self, wait: Duration) -> Result<Option<(usize, Event)>, String> {
        let gone = || "its connection's thread is gone".to_owned();
        match self.events.as_ref().ok_or_else(gone)?.recv_timeout(wait) {
            Ok((id, event)) => {
                let machine = self.agents.iter().position(|agent| agent.id == id);
                Ok(machine.map(|machine| (machine, event)))
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(gone()),
        }
    }
}

impl ReadyGroup {
    /// For each agent how its clock stands, and what there is to know about it.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for (machine, (clock, found)) in self.clocks.iter().zip(&self.notes).enumerate() {
            let title = self.group.title(machine);
            let lines = [clock.in_words()].into_iter().chain(clock.warnings());
            notes.extend(lines.chain(found.iter().cloned()).map(|line| format!("{title}: {line}")));
        }
        notes
    }
}
