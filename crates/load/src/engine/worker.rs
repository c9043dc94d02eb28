//! One worker: a thread with an epoll and its lane of every scenario. It looks at the clock, takes up
//! what is due, waits, and deals with what happened; between any two events it looks whether
//! something has become due meanwhile.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use rustix::event::epoll::Event;
use rustix::io::Errno;

use crate::clock;
use crate::limits::{READ_BYTES, TICK};
use crate::measure::{Gauges, Recorder};
use crate::plan::{Executor, Plan};
use crate::receipts::{Ids, Receipts};
use crate::request::Parts;

use super::connection::Connection;
use super::course::{Course, Model, ns};
use super::deadlines::Deadlines;
use super::flight::Flights;
use super::handover::Handover;
use super::http2::Happening;
use super::poller::{Poller, happened};

/// Why a worker could not go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum WorkerError {
    #[error("waiting for events: {0}")]
    Poll(#[from] Errno),
    #[error("writing down acknowledged ids: {0}")]
    Receipts(#[source] io::Error),
    #[error("it was given no more time, as when its machine stood still")]
    Forgotten,
}

/// What the workers of a machine are told.
#[derive(Debug)]
pub(super) struct Control {
    stop: AtomicU8,
    /// Until when they may go on, see [`super::Running::go_on_until`].
    until_ns: AtomicU64,
}

impl Default for Control {
    fn default() -> Self {
        Self { stop: AtomicU8::new(0), until_ns: AtomicU64::new(u64::MAX) }
    }
}

const STOP: u8 = 1;
const STOP_NOW: u8 = 2;

/// One worker and all that is its own.
pub(super) struct Worker<'a> {
    pub(super) plan: &'a Plan,
    /// In the plan's order.
    pub(super) courses: Vec<Course>,
    pub(super) connections: Vec<Connection>,
    /// Places without a connection.
    pub(super) vacant: Vec<u32>,
    pub(super) flights: Flights,
    /// Of flights: two lines for each scenario, see [`connecting_line`] and [`answering_line`].
    pub(super) deadlines: Deadlines,
    /// Of connections that the server is to close: two lines for each scenario.
    pub(super) closing: Deadlines,
    pub(super) poller: Poller,
    pub(super) recorder: Recorder,
    pub(super) read: Box<[u8]>,
    /// The request that is being written.
    pub(super) request: Vec<u8>,
    /// The same for HTTP/2.
    pub(super) parts: Parts,
    /// What has happened to flights of one connection of HTTP/2; empty in between.
    pub(super) happenings: Vec<Happening>,
    /// Acknowledged ids of this turn.
    pub(super) ids: Ids,
    /// The wall clock less the monotonic one, by the last tick.
    pub(super) wall_offset_ns: u64,
    receipts: Option<Arc<Receipts>>,
    handover: Handover,
    control: Arc<Control>,
    /// What has been heard of it.
    heard: u8,
    start_ns: u64,
    tick_ns: u64,
    /// When something is due next in any scenario.
    next_ns: u64,
    /// Whether more can be done at once than was done.
    unfinished: bool,
}

/// The line of flights whose connection is being made.
pub(super) fn connecting_line(scenario: usize) -> usize {
    2 * scenario
}

/// The line of flights whose answer is waited for.
pub(super) fn answering_line(scenario: usize) -> usize {
    2 * scenario + 1
}

/// The line of connections that the server is to close: of those whose answer said so, or of others.
pub(super) fn closing_line(scenario: usize, announced: bool) -> usize {
    2 * scenario + usize::from(announced)
}

impl Control {
    pub(super) fn stop(&self) {
        self.stop.fetch_max(STOP, Ordering::Relaxed);
    }

    pub(super) fn stop_now(&self) {
        self.stop.fetch_max(STOP_NOW, Ordering::Relaxed);
    }

    pub(super) fn go_on_until(&self, until_ns: u64) {
        self.until_ns.store(until_ns, Ordering::Relaxed);
    }

    /// Whether the time that was given is over. The clock is read only where there is an end to it.
    fn is_forgotten(&self) -> bool {
        let until_ns = self.until_ns.load(Ordering::Relaxed);
        until_ns != u64::MAX && clock::now_ns() >= until_ns
    }
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        worker: usize,
        plan: &'a Plan,
        courses: Vec<Course>,
        handover: Handover,
        receipts: Option<Arc<Receipts>>,
        control: Arc<Control>,
        start_ns: u64,
    ) -> Result<Self, WorkerError> {
        Ok(Self {
            plan,
            deadlines: Deadlines::new(2 * courses.len()),
            closing: Deadlines::new(2 * courses.len()),
            courses,
            connections: Vec::new(),
            vacant: Vec::new(),
            flights: Flights::default(),
            poller: Poller::new()?,
            recorder: Recorder::new(worker, &plan.shape()),
            read: vec![0; READ_BYTES].into_boxed_slice(),
            request: Vec::new(),
            parts: Parts::default(),
            happenings: Vec::new(),
            ids: Ids::default(),
            wall_offset_ns: 0,
            receipts,
            handover,
            control,
            heard: 0,
            start_ns,
            tick_ns: start_ns,
            next_ns: 0,
            unfinished: false,
        })
    }

    /// Does its part of the plan.
    pub(super) fn run(mut self) -> Result<(), WorkerError> {
        let mut events = Poller::events();
        self.handover.begin();
        self.set_wall_offset();
        let mut forgotten = false;
        loop {
            let now_ns = clock::now_ns();
            self.heed(now_ns);
            // Before what is due is taken up, which may have waited for what ends here.
            self.expire(now_ns);
            let now_ns = self.advance_all(now_ns);
            self.write_ids()?;
            if self.courses.iter().all(|course| course.over) {
                break;
            }
            if now_ns >= self.tick_ns {
                self.tick(now_ns);
            }
            self.wait(now_ns, &mut events)?;
            if !forgotten && self.control.is_forgotten() {
                // Above all nothing may be sent of what became due meanwhile.
                forgotten = true;
                self.control.stop_now();
                continue;
            }
            for event in &events {
                self.take(event);
            }
        }
        let (gauges, ended_ns) = (self.gauges(), self.ended_ns());
        self.handover.end(&mut self.recorder, ended_ns, gauges);
        if forgotten { Err(WorkerError::Forgotten) } else { Ok(()) }
    }

    /// When its part was over. Where iterations are counted, a worker that only waited to hear that none
    /// is left for it was over before.
    fn ended_ns(&self) -> u64 {
        let mut scenarios = self.plan.scenarios.iter();
        let counts_down = scenarios.all(|it| it.executor.iterations_total().is_some());
        let idle_since_ns = self.recorder.idle_since_ns().filter(|_| counts_down);
        idle_since_ns.map_or_else(clock::now_ns, |ns| self.start_ns + ns)
    }

    /// Deals with one event, and with what has become due meanwhile.
    fn take(&mut self, event: &Event) {
        let Some((token, flags)) = happened(event) else { return };
        let now_ns = self.on_event(token, flags);
        let scenario = self.connections[token.number as usize].scenario;
        if now_ns >= self.next_ns {
            self.advance_all(now_ns);
        } else if self.courses[scenario].has_waiting() {
            self.advance(scenario, now_ns);
        }
    }

    fn wait(&mut self, now_ns: u64, events: &mut Vec<Event>) -> Result<(), Errno> {
        // At the latest by a tick's length, to hear whether to stop.
        let mut until_ns = self.next_ns.min(self.tick_ns).min(now_ns + ns(TICK));
        for scenario in 0..self.courses.len() {
            let lines = [connecting_line(scenario), answering_line(scenario)];
            let flights = lines.map(|line| self.deadlines.first(line));
            let closing =
                [true, false].map(|said| self.closing.first(closing_line(scenario, said)));
            for (_, deadline_ns) in flights.into_iter().chain(closing).flatten() {
                until_ns = until_ns.min(deadline_ns);
            }
        }
        if std::mem::take(&mut self.unfinished) {
            until_ns = now_ns;
        }
        self.poller.wait(now_ns, until_ns, events)
    }

    /// Takes up what is due in every scenario.
    fn advance_all(&mut self, mut now_ns: u64) -> u64 {
        for scenario in 0..self.courses.len() {
            now_ns = self.advance(scenario, now_ns);
        }
        self.next_ns = self.courses.iter().map(Course::next_ns).min().unwrap_or(u64::MAX);
        now_ns
    }

    /// Takes up what is due in one scenario, and ends it when its time has come.
    fn advance(&mut self, scenario: usize, mut now_ns: u64) -> u64 {
        let course = &mut self.courses[scenario];
        if course.over {
            return now_ns;
        }
        if !course.stopped && now_ns >= course.until_ns {
            course.stopped = true;
            course.note_users();
            if let Model::Closed(closed) = &mut course.model {
                closed.stop();
                self.recorder.left_over(scenario, closed.give_up());
            }
        }
        if now_ns >= course.grace_until_ns {
            self.interrupt(scenario, now_ns);
        } else {
            let unfinished;
            (now_ns, unfinished) = self.press(scenario, now_ns);
            self.unfinished |= unfinished;
        }
        if self.courses[scenario].has_ended() {
            self.courses[scenario].over = true;
            self.courses[scenario].note_users();
            self.close_all(scenario);
        }
        now_ns
    }

    /// Does what the run's owner has asked for meanwhile.
    fn heed(&mut self, now_ns: u64) {
        let asked = self.control.stop.load(Ordering::Relaxed);
        if asked == self.heard {
            return;
        }
        self.heard = asked;
        for scenario in 0..self.courses.len() {
            let course = &mut self.courses[scenario];
            if course.over {
                continue;
            }
            course.stopped = true;
            course.note_users();
            let grace_ns = if asked == STOP_NOW { 0 } else { ns(self.plan.graceful_stop) };
            course.grace_until_ns = course.grace_until_ns.min(now_ns + grace_ns);
            if let Executor::Arrivals(arrivals) = &self.plan.scenarios[scenario].executor {
                // Also what a worker at its limit has not come to yet was due.
                self.notice_all(scenario, arrivals, now_ns);
                self.open(scenario).stop();
                self.give_up_backlog(scenario);
            }
            if let Model::Closed(closed) = &mut self.courses[scenario].model {
                closed.stop();
            }
        }
    }

    fn tick(&mut self, now_ns: u64) {
        // The first is at the start, when nothing has been measured.
        if self.tick_ns > self.start_ns {
            let gauges = self.gauges();
            self.handover.tick(&mut self.recorder, now_ns, gauges);
        }
        self.set_wall_offset();
        let ticks = (now_ns - self.start_ns) / ns(TICK) + 1;
        self.tick_ns = self.start_ns + ticks * ns(TICK);
    }

    fn set_wall_offset(&mut self) {
        self.wall_offset_ns = clock::wall_ns().wrapping_sub(clock::now_ns());
    }

    fn gauges(&mut self) -> Gauges {
        Gauges {
            in_flight: self.flights.len() as u64,
            waiting: self.courses.iter().map(Course::waiting).sum(),
            users: self.courses.iter_mut().map(Course::take_users).sum(),
            cpu_ns: 0,
        }
    }

    fn write_ids(&mut self) -> Result<(), WorkerError> {
        match &self.receipts {
            Some(receipts) => receipts.append(&mut self.ids).map_err(WorkerError::Receipts),
            None => Ok(()),
        }
    }
}
