//! Taking up what is due: which request, on which connection.

use crate::clock;
use crate::plan::{Arrivals, Executor};

use super::connection::State;
use super::course::Model;
use super::flight::{Flight, NONE};
use super::open::{Due, GivenUp, Open};
use super::wire::Wire;
use super::worker::Worker;

/// Requests of a scenario that are sent before looking at what has come in meanwhile.
const REQUESTS_AT_ONCE: usize = 64;
/// A connection that has lain idle for longer is looked at before it is used: the server may have
/// closed it, and whether the request would be lost cannot be told afterwards.
const IDLE_UNSEEN_NS: u64 = 100_000_000;

/// What a request goes out on.
#[derive(Debug, Clone, Copy)]
enum Carrier {
    /// This one, which is free.
    Free(u32),
    /// One that is still to be made.
    New,
}

impl Worker<'_> {
    /// Sends what is due in a scenario, as far as there are connections; the time it is then, and
    /// whether more could be sent at once.
    pub(super) fn press(&mut self, scenario: usize, now_ns: u64) -> (u64, bool) {
        match &self.plan.scenarios[scenario].executor {
            Executor::Arrivals(arrivals) => self.press_open(scenario, arrivals, now_ns),
            _ => self.press_closed(scenario, now_ns),
        }
    }

    fn press_open(&mut self, scenario: usize, arrivals: &Arrivals, mut now_ns: u64) -> (u64, bool) {
        for _ in 0..REQUESTS_AT_ONCE {
            let course = &mut self.courses[scenario];
            let Model::Open(open) = &mut course.model else { unreachable!("it has arrivals") };
            if open.next_ns() <= now_ns {
                self.recorder.due(scenario, open.notice(arrivals, now_ns));
            }
            let Some(due) = open.oldest(arrivals) else { return (now_ns, false) };
            if now_ns - due.due_ns > course.late_max_ns {
                open.take_oldest();
                self.recorder.dropped(scenario, 1, u64::from(due.waited));
                continue;
            }
            let Some(carrier) = self.carrier(scenario, now_ns) else {
                self.notice_all(scenario, arrivals, now_ns);
                self.open(scenario).wait();
                return (now_ns, false);
            };
            self.open(scenario).take_oldest();
            now_ns = self.launch(scenario, due, NONE, carrier, now_ns);
        }
        (now_ns, true)
    }

    /// Notes all that are due by now.
    pub(super) fn notice_all(&mut self, scenario: usize, arrivals: &Arrivals, now_ns: u64) {
        while self.open(scenario).next_ns() <= now_ns {
            let lag_ns = self.open(scenario).notice(arrivals, now_ns);
            self.recorder.due(scenario, lag_ns);
        }
    }

    /// What is due and not sent will not be.
    pub(super) fn give_up_backlog(&mut self, scenario: usize) {
        let GivenUp { requests, waited } = self.open(scenario).give_up();
        self.recorder.dropped(scenario, requests, waited);
    }

    fn press_closed(&mut self, scenario: usize, mut now_ns: u64) -> (u64, bool) {
        let Model::Closed(closed) = &mut self.courses[scenario].model else {
            unreachable!("it has no arrivals")
        };
        closed.advance(now_ns, |took_ns| self.recorder.iterated(scenario, took_ns));
        for _ in 0..REQUESTS_AT_ONCE {
            let Model::Closed(closed) = &mut self.courses[scenario].model else {
                unreachable!("it has no arrivals")
            };
            let Some(turn) = closed.take(now_ns) else { return (now_ns, false) };
            self.recorder.ready(scenario);
            let carrier = if self.is_usable(turn.connection, turn.user, now_ns) {
                Carrier::Free(turn.connection)
            } else {
                Carrier::New
            };
            let due = Due { number: turn.number, due_ns: turn.due_ns, waited: false };
            now_ns = self.launch(scenario, due, turn.user, carrier, now_ns);
        }
        (now_ns, true)
    }

    /// What the next request of an open model goes out on; nothing when it has to wait.
    fn carrier(&mut self, scenario: usize, now_ns: u64) -> Option<Carrier> {
        while let Some(token) = self.courses[scenario].pool.take_free() {
            let connection = &mut self.connections[token.number as usize];
            if connection.token != token {
                continue;
            }
            connection.listed = false;
            if self.is_usable(token.number, NONE, now_ns) {
                return Some(Carrier::Free(token.number));
            }
        }
        self.courses[scenario].pool.has_room().then_some(Carrier::New)
    }

    /// Whether a connection can carry a request of this user now. One that turns out to be closed is
    /// put away.
    fn is_usable(&mut self, number: u32, user: u32, now_ns: u64) -> bool {
        let Some(connection) = self.connections.get_mut(number as usize) else { return false };
        if connection.user != user || connection.state != State::Open || connection.flight != NONE {
            return false;
        }
        if let Some(http2) = &mut connection.http2 {
            return http2.has_room();
        }
        let unseen = now_ns.saturating_sub(connection.idle_ns) > IDLE_UNSEEN_NS;
        if unseen && !connection.wire.as_ref().is_some_and(Wire::is_quiet) {
            self.close(number);
            return false;
        }
        true
    }

    /// Takes up a request; the time it is then.
    fn launch(
        &mut self,
        scenario: usize,
        due: Due,
        user: u32,
        carrier: Carrier,
        now_ns: u64,
    ) -> u64 {
        self.recorder.started(scenario, due.waited);
        self.courses[scenario].in_flight += 1;
        let flight = self.flights.add(Flight {
            scenario,
            number: due.number,
            user,
            connection: NONE,
            stream: NONE,
            due_ns: due.due_ns,
            begun_ns: now_ns,
            connected_ns: 0,
            secured_ns: 0,
            sent_ns: 0,
            first_byte_ns: 0,
        });
        match carrier {
            Carrier::Free(connection) => {
                self.flights.get_mut(flight).connection = connection;
                if self.connections[connection as usize].http2.is_some() {
                    return self.send_stream(connection, flight, now_ns);
                }
                self.connections[connection as usize].flight = flight;
                self.send(connection, now_ns)
            }
            Carrier::New => {
                self.connect(flight, now_ns);
                clock::now_ns()
            }
        }
    }

    pub(super) fn open(&mut self, scenario: usize) -> &mut Open {
        match &mut self.courses[scenario].model {
            Model::Open(open) => open,
            Model::Closed(_) => unreachable!("it has arrivals"),
        }
    }
}
