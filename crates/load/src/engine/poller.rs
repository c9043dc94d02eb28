//! What a worker waits with: an epoll, and a timer that wakes it at an instant to the microsecond.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// Events taken at once. Due requests are looked for between any two of them, so that a batch does
/// not make the schedule late.
const EVENTS_MAX: usize = 256;
/// The mark of the timer among the connections' tokens.
const TIMER: u64 = u64::MAX;
const NO_TIME: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// An epoll and its timer.
#[derive(Debug)]
pub(super) struct Poller {
    epoll: OwnedFd,
    timer: OwnedFd,
    armed_ns: u64,
}

/// A connection that something happened to: its number, and which of those that had it one after
/// the other is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) number: u32,
    pub(super) generation: u32,
}

/// What happened to it.
pub(super) type Happened = (Token, EventFlags);

impl Poller {
    pub(super) fn new() -> Result<Self, Errno> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // Edge-triggered, so that an expiry need not be read away: setting it anew is enough.
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN | EventFlags::ET)?;
        Ok(Self { epoll, timer, armed_ns: 0 })
    }

    /// Room for what [`Self::wait`] finds.
    pub(super) fn events() -> Vec<Event> {
        Vec::with_capacity(EVENTS_MAX)
    }

    /// Watches a socket for what can be read, and for room to write when `write`.
    pub(super) fn add(&self, socket: impl AsFd, token: Token, write: bool) -> Result<(), Errno> {
        epoll::add(&self.epoll, socket, token.data(), interest(write))
    }

    /// Changes whether room to write is watched for.
    pub(super) fn change(&self, socket: impl AsFd, token: Token, write: bool) -> Result<(), Errno> {
        epoll::modify(&self.epoll, socket, token.data(), interest(write))
    }

    /// Waits until something happens or it is `until_ns`, which may lie behind `now_ns`: then it only
    /// looks.
    pub(super) fn wait(
        &mut self,
        now_ns: u64,
        until_ns: u64,
        events: &mut Vec<Event>,
    ) -> Result<(), Errno> {
        events.clear();
        let timeout = if until_ns <= now_ns {
            Some(&NO_TIME)
        } else {
            self.arm(until_ns)?;
            None
        };
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), timeout) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn arm(&mut self, until_ns: u64) -> Result<(), Errno> {
        if self.armed_ns == until_ns {
            return Ok(());
        }
        let second = 1_000_000_000;
        let it_value = Timespec {
            tv_sec: i64::try_from(until_ns / second).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(until_ns % second).expect("below a second"),
        };
        let once = Itimerspec { it_interval: NO_TIME, it_value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &once)?;
        self.armed_ns = until_ns;
        Ok(())
    }
}

/// What an event tells; `None` for the timer, which has nothing to tell but the time.
pub(super) fn happened(event: &Event) -> Option<Happened> {
    let data = event.data.u64();
    (data != TIMER).then(|| (Token::of(data), event.flags))
}

impl Token {
    fn data(self) -> EventData {
        EventData::new_u64(u64::from(self.generation) << 32 | u64::from(self.number))
    }

    fn of(data: u64) -> Self {
        let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).expect("it was masked");
        Self { number: half(data), generation: half(data >> 32) }
    }
}

fn interest(write: bool) -> EventFlags {
    let read = EventFlags::IN | EventFlags::RDHUP;
    if write { read | EventFlags::OUT } else { read }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_went() {
        for token in [
            Token { number: 0, generation: 0 },
            Token { number: u32::MAX - 1, generation: u32::MAX },
            Token { number: 7, generation: 9 },
        ] {
            assert_eq!(Token::of(token.data().u64()), token);
        }
    }

    #[test]
    fn an_instant_wakes_it_once_and_not_before() {
        let mut poller = Poller::new().unwrap();
        let mut events = Poller::events();
        let until_ns = crate::clock::now_ns() + 2_000_000;
        while crate::clock::now_ns() < until_ns {
            poller.wait(crate::clock::now_ns(), until_ns, &mut events).unwrap();
            let late = crate::clock::now_ns() >= until_ns;
            assert_eq!(!events.is_empty(), late, "woken by nothing but the instant");
        }
        assert!(events.iter().all(|event| happened(event).is_none()));
    }
}
