//! The loop that sends what is due, takes what is answered, and counts.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::connection::{connect, connect_soon};
use super::report::Report;
use crate::answer::{parse_head, parse_status};
use crate::clock::now_ns;
use crate::latency::Latencies;
use crate::requests::Requests;
use crate::schedule::Schedule;

const READ_BYTES: usize = 256 << 10;
const EVENTS_MAX: usize = 512;
/// The mark of the timer among the connections' numbers.
const TIMER: u64 = u64::MAX;
/// How long answers are waited for after the last request.
const PATIENCE: Duration = Duration::from_secs(15);

/// More broken connections than this beyond one each, without an answer between: the server is gone.
const BROKEN_IN_A_ROW_MAX: usize = 1_000;

/// How hard to press, where, and for how long.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) connections: usize,
    pub(crate) pace: Pace,
    pub(crate) duration: Duration,
    pub(crate) warmup: Duration,
    pub(crate) requests_max: Option<u64>,
    pub(crate) connection_per_request: bool,
    /// Rest after a 503 instead of counting it as a failure.
    pub(crate) back_off: Option<Duration>,
}

/// When the next request goes out.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// As soon as a connection is free.
    Closed,
    /// When it is due, and a connection is free.
    PerSecond(f64),
}

/// Runs a load to its end.
///
/// # Errors
/// When the server cannot be reached at all. Whatever goes wrong later is told in the report.
pub(crate) fn run(load: &Load, requests: Requests) -> Result<Report> {
    let mut engine = Engine::new(load, requests)?;
    engine.turn()?;
    Ok(engine.report())
}

struct Engine<'a> {
    load: &'a Load,
    requests: Requests,
    epoll: OwnedFd,
    timer: OwnedFd,
    slots: Vec<Slot>,
    idle: VecDeque<usize>,
    /// Who rests after a 503, and until when; in order, since all rest for as long.
    resting: VecDeque<(u64, usize)>,
    schedule: Option<Schedule>,
    start_ns: u64,
    measured_from_ns: u64,
    end_ns: u64,
    last_answer_ns: u64,
    in_flight: usize,
    connected: u64,
    broken_in_a_row: usize,
    latencies: Latencies,
    usages_measured: u64,
    counts: Counts,
    read: Box<[u8]>,
}

#[derive(Default)]
struct Counts {
    sent: u64,
    good: u64,
    usages: u64,
    other: BTreeMap<u16, u64>,
    backed_off: u64,
    broken: u64,
    unanswered: u64,
    ended_early: Option<String>,
}

/// One place for a connection; empty between connections.
#[derive(Default)]
struct Slot {
    socket: Option<OwnedFd>,
    waiting: Waiting,
    due_ns: u64,
    partial: Vec<u8>,
    unsent: Vec<u8>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    /// For nothing.
    #[default]
    Idle,
    /// For an answer's head.
    Head,
    /// For the rest of a body.
    Body { status: u16, left: usize, close: bool },
    /// For the server to close the connection.
    End,
}

/// What a read of a socket brought about.
enum Came {
    /// Not all that is waited for.
    Part,
    /// The end of an answer.
    Answer { status: u16, close: bool },
    /// What no answer may look like, or the end of the connection too early.
    Broken,
    /// The end of the connection, when it was waited for.
    Closed,
}

impl<'a> Engine<'a> {
    fn new(load: &'a Load, requests: Requests) -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN)?;
        let mut engine = Self {
            load,
            requests,
            epoll,
            timer,
            slots: (0..load.connections).map(|_| Slot::default()).collect(),
            idle: (0..load.connections).collect(),
            resting: VecDeque::new(),
            schedule: None,
            start_ns: 0,
            measured_from_ns: 0,
            end_ns: 0,
            last_answer_ns: 0,
            in_flight: 0,
            connected: 0,
            broken_in_a_row: 0,
            latencies: Latencies::new(),
            usages_measured: 0,
            counts: Counts::default(),
            read: vec![0; READ_BYTES].into_boxed_slice(),
        };
        if !load.connection_per_request {
            for number in 0..load.connections {
                engine.open(number)?;
            }
        }
        engine.start_ns = now_ns();
        engine.measured_from_ns = engine.start_ns + ns(load.warmup);
        engine.end_ns = engine.measured_from_ns + ns(load.duration);
        engine.last_answer_ns = engine.start_ns;
        if let Pace::PerSecond(rate) = load.pace {
            engine.schedule = Some(Schedule::new(engine.start_ns, engine.end_ns, rate));
        }
        Ok(engine)
    }

    fn open(&mut self, number: usize) -> Result<()> {
        let socket = if self.load.connection_per_request {
            connect_soon(self.load.address, self.connected)?
        } else {
            connect(self.load.address)?
        };
        epoll::add(&self.epoll, &socket, EventData::new_u64(number as u64), EventFlags::IN)?;
        self.connected += 1;
        self.slots[number].socket = Some(socket);
        Ok(())
    }

    /// Sends and receives until there is nothing left to do.
    fn turn(&mut self) -> Result<()> {
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS_MAX);
        loop {
            let now = now_ns();
            self.wake(now);
            self.dispatch(now);
            if self.in_flight == 0 && self.is_over(now) {
                return Ok(());
            }
            if now > self.end_ns + ns(PATIENCE) {
                self.counts.unanswered = self.in_flight as u64;
                return Ok(());
            }
            self.arm(now)?;
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error).context("waiting for events"),
            }
            for event in &events {
                if event.data.u64() != TIMER {
                    let number = usize::try_from(event.data.u64()).expect("it came from a usize");
                    self.on_event(number, event.flags);
                }
            }
        }
    }

    /// No further request will be sent.
    fn is_over(&self, now: u64) -> bool {
        let enough = self.load.requests_max.is_some_and(|max| self.counts.sent >= max);
        now >= self.end_ns || enough || self.counts.ended_early.is_some()
    }

    fn wake(&mut self, now: u64) {
        while let Some((until, number)) = self.resting.front().copied()
            && until <= now
        {
            self.resting.pop_front();
            self.idle.push_back(number);
        }
    }

    /// Sends whatever is due, as long as a connection is free.
    fn dispatch(&mut self, now: u64) {
        while !self.idle.is_empty() && self.may_send(now) {
            let due = match &mut self.schedule {
                None => now_ns(),
                Some(schedule) => match schedule.take_due(now) {
                    Some(due) => due,
                    None => return,
                },
            };
            let number = self.idle.pop_front().expect("someone is idle, as was just asked");
            self.send_next(number, due);
        }
    }

    fn may_send(&self, now: u64) -> bool {
        let enough = self.load.requests_max.is_some_and(|max| self.counts.sent >= max);
        // In an open loop who was due before the end is still owed an answer after it.
        let over = self.schedule.is_none() && now >= self.end_ns;
        !enough && !over && self.counts.ended_early.is_none()
    }

    fn send_next(&mut self, number: usize, due_ns: u64) {
        if self.slots[number].socket.is_none()
            && let Err(error) = self.open(number)
        {
            // The server is gone; this place stays empty, and the run ends.
            self.counts.ended_early.get_or_insert(format!("{error:#}"));
            return;
        }
        let slot = &mut self.slots[number];
        let socket = slot.socket.as_ref().expect("opened above where there was none");
        let bytes = self.requests.next();
        self.counts.sent += 1;
        self.in_flight += 1;
        slot.due_ns = due_ns;
        slot.waiting = Waiting::Head;
        let count = match send(socket, bytes, SendFlags::NOSIGNAL) {
            Ok(count) => count,
            Err(Errno::AGAIN) => 0,
            Err(_) => return self.lose(number),
        };
        if count < bytes.len() {
            slot.unsent.extend_from_slice(&bytes[count..]);
            self.watch(number, EventFlags::IN | EventFlags::OUT);
        }
    }

    fn watch(&mut self, number: usize, wanted: EventFlags) {
        let socket =
            self.slots[number].socket.as_ref().expect("only an open connection is watched");
        if epoll::modify(&self.epoll, socket, EventData::new_u64(number as u64), wanted).is_err() {
            self.lose(number);
        }
    }

    fn on_event(&mut self, number: usize, flags: EventFlags) {
        if flags.contains(EventFlags::OUT) && !flags.intersects(EventFlags::ERR | EventFlags::HUP) {
            self.send_rest(number);
        }
        if !flags.intersects(EventFlags::IN | EventFlags::ERR | EventFlags::HUP) {
            return;
        }
        let slot = &mut self.slots[number];
        let Some(socket) = &slot.socket else { return };
        let came = match recv(socket, &mut *self.read, RecvFlags::empty()) {
            Ok((_, 0)) if slot.waiting == Waiting::End => Came::Closed,
            Ok((_, 0)) => Came::Broken,
            Ok((_, count)) => slot.take(&self.read[..count]),
            Err(Errno::AGAIN | Errno::INTR) => Came::Part,
            Err(_) if slot.waiting == Waiting::End => Came::Closed,
            Err(_) => Came::Broken,
        };
        match came {
            Came::Part => {}
            Came::Broken => self.lose(number),
            Came::Closed => {
                self.slots[number].close();
                self.free(number);
            }
            Came::Answer { status, close } => self.on_answer(number, status, close),
        }
    }

    fn send_rest(&mut self, number: usize) {
        let slot = &mut self.slots[number];
        let Some(socket) = &slot.socket else { return };
        match send(socket, &slot.unsent, SendFlags::NOSIGNAL) {
            Ok(count) => _ = slot.unsent.drain(..count),
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Reading tells what became of the connection.
            Err(_) => slot.unsent.clear(),
        }
        if slot.unsent.is_empty() {
            self.watch(number, EventFlags::IN);
        }
    }

    fn on_answer(&mut self, number: usize, status: u16, close: bool) {
        let now = now_ns();
        self.in_flight -= 1;
        self.broken_in_a_row = 0;
        self.last_answer_ns = now;
        let slot = &mut self.slots[number];
        let rest = match self.load.back_off {
            Some(time) if status == 503 => Some(time),
            _ => None,
        };
        if status == self.requests.expected_status() {
            let usages = self.requests.usages_each();
            self.counts.good += 1;
            self.counts.usages += usages;
            if slot.due_ns >= self.measured_from_ns {
                self.latencies.record_ns(now.saturating_sub(slot.due_ns));
            }
            if (self.measured_from_ns..self.end_ns).contains(&now) {
                self.usages_measured += usages;
            }
        } else if rest.is_some() {
            self.counts.backed_off += 1;
        } else {
            *self.counts.other.entry(status).or_default() += 1;
        }
        if self.load.connection_per_request {
            // The place is free when the server has closed, so that it is always the server who does.
            slot.waiting = Waiting::End;
            return;
        }
        slot.waiting = Waiting::Idle;
        if close {
            slot.close();
        }
        if let Some(time) = rest {
            self.resting.push_back((now + ns(time), number));
        } else {
            self.free(number);
        }
    }

    /// In a closed loop the next request goes out at once, not after everybody else's answer.
    fn free(&mut self, number: usize) {
        let now = now_ns();
        if self.schedule.is_none() && self.idle.is_empty() && self.may_send(now) {
            self.send_next(number, now);
        } else {
            self.idle.push_back(number);
        }
    }

    /// A connection ended that should not have; another takes its place with the next request.
    fn lose(&mut self, number: usize) {
        let slot = &mut self.slots[number];
        let in_flight = !matches!(slot.waiting, Waiting::Idle | Waiting::End);
        slot.close();
        if in_flight {
            self.counts.broken += 1;
            self.broken_in_a_row += 1;
            self.in_flight -= 1;
            self.idle.push_back(number);
            if self.broken_in_a_row > BROKEN_IN_A_ROW_MAX + self.slots.len() {
                self.counts.ended_early.get_or_insert("no connection lives to its answer".into());
            }
        }
        // A server may close a connection that lies idle; its number is in the queue already.
    }

    /// Sets the timer to when something is to be done although nothing was answered.
    fn arm(&mut self, now: u64) -> Result<()> {
        let due = match &self.schedule {
            Some(schedule) if !self.idle.is_empty() => schedule.next_due_ns(),
            _ => None,
        };
        let rested = self.resting.front().map(|(until, _)| *until);
        let end = if now < self.end_ns { self.end_ns } else { self.end_ns + ns(PATIENCE) + 1 };
        let next = [due, rested].into_iter().flatten().fold(end, u64::min).max(1);
        let value = Timespec {
            tv_sec: i64::try_from(next / 1_000_000_000).context("the end of time")?,
            tv_nsec: i64::try_from(next % 1_000_000_000).context("below 10^9")?,
        };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &once)?;
        Ok(())
    }

    fn report(self) -> Report {
        let until = self.last_answer_ns.min(self.end_ns);
        let seconds = seconds(until.saturating_sub(self.measured_from_ns));
        let not_taken = |schedule: &Schedule| schedule.due_count(self.end_ns) - schedule.taken();
        let capped = self.load.requests_max.is_some();
        let unsent = self.schedule.as_ref().filter(|_| !capped).map_or(0, not_taken);
        #[expect(clippy::cast_precision_loss, reason = "a count of a run is far below 2^53")]
        let rate = if seconds > 0.0 { self.usages_measured as f64 / seconds } else { 0.0 };
        Report {
            sent: self.counts.sent,
            good: self.counts.good,
            usages: self.counts.usages,
            other: self.counts.other,
            backed_off: self.counts.backed_off,
            broken: self.counts.broken,
            unanswered: self.counts.unanswered,
            unsent,
            ended_early: self.counts.ended_early,
            seconds,
            usages_per_second: rate,
            latency: self.latencies.quantiles(),
            client_cpu_seconds: own_cpu_seconds(),
            whole_seconds: self::seconds(self.last_answer_ns.saturating_sub(self.start_ns)),
        }
    }
}

impl Slot {
    fn close(&mut self) {
        // Closing the socket takes it out of the epoll as well.
        self.socket = None;
        self.waiting = Waiting::Idle;
        self.partial.clear();
        self.unsent.clear();
    }

    /// Takes what came in; there is one request in flight, so an answer must be all there is.
    fn take(&mut self, came: &[u8]) -> Came {
        match self.waiting {
            Waiting::Idle | Waiting::End => Came::Broken,
            Waiting::Body { status, left, close } => {
                self.take_body(came.len(), status, left, close)
            }
            Waiting::Head if self.partial.is_empty() => self.take_head(came),
            Waiting::Head => {
                let mut all = std::mem::take(&mut self.partial);
                all.extend_from_slice(came);
                self.take_head(&all)
            }
        }
    }

    fn take_head(&mut self, bytes: &[u8]) -> Came {
        let head = match parse_head(bytes) {
            Ok(Some(head)) => head,
            Ok(None) => {
                self.partial.extend_from_slice(bytes);
                return Came::Part;
            }
            Err(_) => return Came::Broken,
        };
        let Some(status) = parse_status(head.first_line) else { return Came::Broken };
        self.take_body(bytes.len() - head.head_bytes, status, head.body_bytes, head.close)
    }

    fn take_body(&mut self, came: usize, status: u16, left: usize, close: bool) -> Came {
        match left.checked_sub(came) {
            None => Came::Broken,
            Some(0) => Came::Answer { status, close },
            Some(left) => {
                self.waiting = Waiting::Body { status, left, close };
                Came::Part
            }
        }
    }
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4)
}

#[expect(clippy::cast_precision_loss, reason = "exact for 104 days")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn own_cpu_seconds() -> f64 {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec.cast_unsigned(), u32::try_from(used.tv_nsec).unwrap_or(0))
        .as_secs_f64()
}

#[cfg(test)]
mod tests;
