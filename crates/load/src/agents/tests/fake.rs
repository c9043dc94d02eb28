//! A workshop whose engine replays: request `n` takes a time that follows from `n`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::super::*;
use crate::clock::now_ns;
use crate::engine::Next;
use crate::measure::{Ended, Gauges, Interval, Recorder, Sample, Totals};
use crate::outcome::KernelCounters;
use crate::plan::{Lane, Options};

/// Requests of an interval.
const EACH: u64 = 100;
const TICK_NS: u64 = 250_000_000;

/// What the fake does once it has replayed its part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Then {
    /// It ends.
    End,
    /// It goes on until it is stopped.
    Linger,
    /// It panics, which ends its agent without a word.
    Panic,
    /// It never comes to that: it measures nothing until it is stopped.
    Late,
    /// Nor to that: preparing fails.
    Unfit,
    /// Nor to that: it cannot start.
    Unstartable,
}

/// A plan of `total` requests.
#[derive(Debug, Clone)]
pub(super) struct Fake {
    pub(super) total: u64,
    pub(super) threads: u64,
    pub(super) then: Then,
    pub(super) log: Arc<Log>,
}

/// What fakes did.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Each request sent.
    pub(super) numbers: Mutex<Vec<u64>>,
    pub(super) started: AtomicU64,
    /// Intervals that agents have taken and sent.
    pub(super) given_back: AtomicU64,
    pub(super) stopped: AtomicU64,
    pub(super) stopped_now: AtomicU64,
    pub(super) closed: AtomicU64,
    /// Whether preparing is to be held up.
    pub(super) held_up: AtomicBool,
    pub(super) options: Mutex<Vec<Options>>,
}

struct Ready {
    fake: Fake,
    part: Part,
}

struct Replay {
    fake: Fake,
    machine: u64,
    intervals: VecDeque<Box<Interval>>,
    start_ns: u64,
    ended: bool,
    /// Wakes the one waiting when it is stopped.
    wake: SyncSender<()>,
    woken: Receiver<()>,
}

impl Fake {
    pub(super) fn new(total: u64, threads: u64, then: Then) -> Self {
        Self { total, threads, then, log: Arc::default() }
    }

    /// The same plan and the same log, with another end.
    pub(super) fn but(&self, then: Then) -> Self {
        Self { then, ..self.clone() }
    }

    pub(super) fn share(&self, machine: u64, machines: u64) -> Share {
        let lanes = Lane::of_machine(machine, machines, self.threads);
        Share {
            checks: vec![1],
            threads: usize::try_from(self.threads).unwrap(),
            requests: vec![Some(lanes.map(|lane| lane.share(self.total)).sum())],
        }
    }

    pub(super) fn job(&self, machines: u64) -> Job {
        Job {
            plan: super::super::prepare::encode(Options::default()).unwrap(),
            shares: (0..machines).map(|machine| self.share(machine, machines)).collect(),
            length: super::LONG,
            stopping: super::LONG,
            receipts: false,
            stop_when_lost: false,
        }
    }

    /// What all machines together measure, by whatever number of them.
    fn intervals(&self, machine: u64, machines: u64) -> VecDeque<Box<Interval>> {
        let mut intervals = VecDeque::new();
        for (worker, lane) in Lane::of_machine(machine, machines, self.threads).enumerate() {
            let mut recorder = Recorder::new(worker, &[1]);
            let share = lane.share(self.total);
            // An interval holds the numbers that would be due in it, whoever sends them.
            for tick in 0..self.total.div_ceil(EACH) {
                let due = tick * EACH..(tick + 1) * EACH;
                let numbers = (0..share).map(|nth| lane.number(nth)).filter(|n| due.contains(n));
                for number in numbers {
                    self.log.numbers.lock().unwrap().push(number);
                    recorder.due(0, number % 50_000);
                    recorder.started(0, number.is_multiple_of(7));
                    recorder.ended(0, &sample(number));
                }
                let empty = Box::new(Interval::new(worker, &[1]));
                let gauges = Gauges { in_flight: 3, ..Gauges::default() };
                intervals.push_back(recorder.take((tick + 1) * TICK_NS, gauges, empty));
            }
        }
        intervals
    }

    /// The totals of one machine that does everything.
    pub(super) fn alone(&self) -> Totals {
        let mut totals = Totals::new(&[1]);
        for interval in self.intervals(0, 1) {
            totals.add(0, &interval);
        }
        totals
    }
}

/// What became of request `number`.
fn sample(number: u64) -> Sample {
    let at = |share: u64| 1_000 + number.wrapping_mul(7_919) % 5_000_011 * share / 4;
    let ended = if number.is_multiple_of(11) { 503 } else { 201 };
    Sample {
        due_ns: 0,
        begun_ns: 500,
        connected_ns: 500,
        secured_ns: 500,
        sent_ns: at(1),
        first_byte_ns: at(3),
        ended_ns: at(4),
        ended: Ended::Answered(ended),
        sent: true,
        checks_passed: u32::from(ended == 201),
        bytes_sent: 200,
        bytes_received: 100,
    }
}

impl Workshop for Fake {
    fn prepare(&self, part: Part, options: Options) -> Result<Box<dyn Prepared>, String> {
        self.log.options.lock().unwrap().push(options);
        while self.log.held_up.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        match self.then {
            Then::Unfit => Err("no ports are left (--connections)".to_owned()),
            _ => Ok(Box::new(Ready { fake: self.clone(), part })),
        }
    }
}

impl Prepared for Ready {
    fn share(&self) -> Share {
        self.fake.share(self.part.machine, self.part.machines)
    }

    fn notes(&self) -> Vec<String> {
        vec!["noted".to_owned()]
    }

    fn start(self: Box<Self>, start_ns: u64) -> Result<Box<dyn Work>, String> {
        if self.fake.then == Then::Unstartable {
            return Err("no thread is to be had".to_owned());
        }
        self.fake.log.started.fetch_add(1, Ordering::AcqRel);
        let intervals = self.fake.intervals(self.part.machine, self.part.machines);
        let (wake, woken) = sync_channel(1);
        let machine = self.part.machine;
        Ok(Box::new(Replay {
            fake: self.fake,
            machine,
            intervals,
            start_ns,
            ended: false,
            wake,
            woken,
        }))
    }
}

impl Work for Replay {
    fn next(&mut self, wait: Duration) -> Next {
        let late = self.fake.then == Then::Late;
        let start_ns = if late { u64::MAX } else { self.start_ns };
        let early_ns = start_ns.saturating_sub(now_ns());
        if early_ns > 0 && !self.ended {
            let _ = self.woken.recv_timeout(wait.min(Duration::from_nanos(early_ns)));
            return Next::Nothing;
        }
        if let Some(interval) = self.intervals.pop_front() {
            return Next::Interval(interval);
        }
        assert!(self.fake.then != Then::Panic, "this agent's death, which is meant");
        if self.ended || self.fake.then == Then::End {
            return Next::Ended;
        }
        let _ = self.woken.recv_timeout(wait);
        Next::Nothing
    }

    fn give_back(&mut self, interval: Box<Interval>) {
        assert!(interval.until_ns > 0, "it was used");
        self.fake.log.given_back.fetch_add(1, Ordering::AcqRel);
    }

    fn go_on_until(&mut self, _until_ns: u64) {}

    fn stop(&mut self) {
        self.fake.log.stopped.fetch_add(1, Ordering::AcqRel);
        self.ended = true;
        let _ = self.wake.try_send(());
    }

    fn stop_now(&mut self) {
        self.fake.log.stopped_now.fetch_add(1, Ordering::AcqRel);
        self.ended = true;
        let _ = self.wake.try_send(());
    }

    fn close(self: Box<Self>) -> Closing {
        self.fake.log.closed.fetch_add(1, Ordering::AcqRel);
        Closing {
            machine: "a fake".to_owned(),
            host: format!("host {}", self.machine / 2),
            kernel: Some(KernelCounters { listen_overflows: 1, listen_drops: 2, retransmits: 3 }),
            missing: Vec::new(),
        }
    }
}
