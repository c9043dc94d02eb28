//! A request's way: connecting, sending, its answer or its failure, and what becomes of the connection.

use rustix::event::epoll::EventFlags;

use crate::clock;
use crate::limits::{CLOSE_ANNOUNCED, CLOSE_UNANNOUNCED};
use crate::measure::{Ended, Failure};
use crate::plan::Executor;

use super::connection::{Connection, State, may_have_ended};
use super::course::{Model, ns};
use super::flight::NONE;
use super::http1::{Garbage, Whole};
use super::poller::Token;
use super::socket;
use super::tls::{Handshake, Session};
use super::wire::Read;
use super::worker::{Worker, answering_line, closing_line, connecting_line};

impl Worker<'_> {
    /// Makes a connection for a flight, which goes out on it once it stands.
    pub(super) fn connect(&mut self, flight: u32, now_ns: u64) {
        let (scenario, user) = (self.flights.get(flight).scenario, self.flights.get(flight).user);
        let course = &mut self.courses[scenario];
        let (to, from) = course.pool.next();
        let begun = match socket::begin(to, from) {
            Ok(begun) => begun,
            Err(failure) => return self.finish(flight, Ended::Failed(failure), 0, clock::now_ns()),
        };
        let number = self.vacant.pop().unwrap_or_else(|| {
            let number = u32::try_from(self.connections.len()).expect("connections have a bound");
            self.connections.push(Connection::vacant(number));
            number
        });
        let connection = &mut self.connections[number as usize];
        if connection.put(scenario, user, begun.socket, begun.connected, &self.poller).is_err() {
            connection.clear();
            self.vacant.push(number);
            return self.finish(flight, Ended::Failed(Failure::NoSocket), 0, clock::now_ns());
        }
        connection.flight = flight;
        course.pool.opened();
        if let Model::Closed(closed) = &mut course.model {
            closed.set_connection(user, number);
        }
        self.flights.get_mut(flight).connection = number;
        let deadline_ns = now_ns + course.connect_timeout_ns;
        self.deadlines.join(connecting_line(scenario), flight, deadline_ns);
        if begun.connected {
            self.connected(number);
        }
    }

    /// The connection stands, so its flight goes out, after a handshake of TLS if there is to be one.
    fn connected(&mut self, number: u32) {
        let now_ns = clock::now_ns();
        let connection = &mut self.connections[number as usize];
        self.recorder.connected(connection.scenario);
        self.flights.get_mut(connection.flight).connected_ns = now_ns;
        let Some(opening) = &self.courses[connection.scenario].tls else {
            self.secured(number, now_ns);
            return;
        };
        match (Session::open(opening), &mut connection.wire) {
            (Ok(session), Some(wire)) => {
                wire.tls = Some(Box::new(session));
                connection.state = State::Securing;
                self.secure(number);
            }
            (Err(failure), _) => self.lose(number, failure, now_ns),
            (Ok(_), None) => unreachable!("it was just connected"),
        }
    }

    /// Takes the handshake of TLS as far as it goes.
    fn secure(&mut self, number: u32) {
        let connection = &mut self.connections[number as usize];
        let Some(wire) = &mut connection.wire else { return };
        let Some(session) = &mut wire.tls else { return };
        match session.shake_hands(&wire.socket) {
            Handshake::Waits => {
                let room = session.has_unsent();
                connection.watch_room(room, &self.poller);
            }
            Handshake::Failed => self.lose(number, Failure::Tls, clock::now_ns()),
            Handshake::Done => {
                connection.watch_room(false, &self.poller);
                self.secured(number, clock::now_ns());
            }
        }
    }

    /// Nothing is between the connection and its flight but, perhaps, the preface of HTTP/2.
    fn secured(&mut self, number: u32, now_ns: u64) {
        let connection = &mut self.connections[number as usize];
        if let Some(origin) = &self.courses[connection.scenario].http2 {
            let streams_max = origin.streams_max;
            self.begin_http2(number, streams_max);
        } else {
            connection.state = State::Open;
            self.send(number, now_ns);
        }
    }

    /// Sends the request of the flight that a connection is to carry; the time it is then.
    pub(super) fn send(&mut self, number: u32, now_ns: u64) -> u64 {
        let connection = &mut self.connections[number as usize];
        let flight = self.flights.get_mut(connection.flight);
        let course = &self.courses[flight.scenario];
        flight.secured_ns = now_ns;
        let line = answering_line(flight.scenario);
        self.deadlines.join(line, connection.flight, now_ns + course.timeout_ns);
        let requests = &self.plan.scenarios[flight.scenario].requests;
        self.request.clear();
        let wall_ns = now_ns.wrapping_add(self.wall_offset_ns);
        let close = course.pool.server_closes();
        requests.write_http1(flight.number, wall_ns, close, &mut self.request);
        connection.reader.expect(self.request.starts_with(b"HEAD "));
        connection.write(&self.request, &self.poller);
        let now_ns = clock::now_ns();
        if !connection.has_unsent() {
            flight.sent_ns = now_ns;
        }
        now_ns
    }

    /// Something happened to a connection; the time it is then.
    pub(super) fn on_event(&mut self, token: Token, flags: EventFlags) -> u64 {
        let number = token.number;
        let connection = &mut self.connections[number as usize];
        if connection.token != token {
            return clock::now_ns();
        }
        match connection.state {
            State::Vacant => clock::now_ns(),
            State::Connecting => {
                let wire = connection.wire.as_ref().expect("one that is being connected");
                match socket::connected(&wire.socket) {
                    Ok(()) => {
                        connection.watch_room(false, &self.poller);
                        self.connected(number);
                    }
                    Err(failure) => self.lose(number, failure, clock::now_ns()),
                }
                clock::now_ns()
            }
            State::Securing => {
                self.secure(number);
                clock::now_ns()
            }
            State::Greeting => {
                self.greet(number);
                clock::now_ns()
            }
            State::Open if connection.http2.is_some() => self.turn_http2(number),
            State::Open | State::Closing => {
                if flags.contains(EventFlags::OUT) && connection.has_unsent() {
                    let all = connection.write_rest(&self.poller);
                    if all && connection.flight != NONE {
                        self.flights.get_mut(connection.flight).sent_ns = clock::now_ns();
                    }
                }
                if flags.contains(EventFlags::IN) || may_have_ended(flags) {
                    return self.receive(number, may_have_ended(flags));
                }
                clock::now_ns()
            }
        }
    }

    /// Reads what has come: once, since a full socket says so again, but to the end when that is
    /// near. Returns the time it is then.
    fn receive(&mut self, number: u32, to_the_end: bool) -> u64 {
        loop {
            let connection = &mut self.connections[number as usize];
            let Some(wire) = &mut connection.wire else { return clock::now_ns() };
            let read = wire.read(&mut self.read);
            // TLS may hold more than fits.
            let more = to_the_end || wire.tls.is_some();
            let now_ns = clock::now_ns();
            match read {
                Read::Bytes(bytes) => self.receive_bytes(number, bytes, now_ns),
                Read::Nothing => return now_ns,
                Read::End => self.receive_end(number, now_ns),
                // An answer that only its connection's end makes whole is not (RFC 9112, section 9.8).
                Read::Cut => self.lose(number, Failure::ClosedEarly, now_ns),
                Read::Failed(failure) => self.lose(number, failure, now_ns),
            }
            let vacant = self.connections[number as usize].state == State::Vacant;
            if vacant || !more {
                return now_ns;
            }
        }
    }

    fn receive_bytes(&mut self, number: u32, bytes: usize, now_ns: u64) {
        let connection = &mut self.connections[number as usize];
        if connection.flight == NONE {
            // Nothing was asked. What is being closed is let speak; else it is of no more use.
            if connection.state != State::Closing {
                self.close(number);
            }
            return;
        }
        let flight = self.flights.get_mut(connection.flight);
        if flight.first_byte_ns == 0 {
            flight.first_byte_ns = now_ns;
        }
        let scrutiny = &self.courses[flight.scenario].scrutiny;
        match connection.reader.take(&self.read[..bytes], scrutiny) {
            Ok(None) => {}
            Ok(Some(whole)) => self.answered(number, whole, now_ns),
            Err(Garbage) => self.lose(number, Failure::Garbage, now_ns),
        }
    }

    fn receive_end(&mut self, number: u32, now_ns: u64) {
        let connection = &mut self.connections[number as usize];
        if connection.flight != NONE
            && let Some(whole) = connection.reader.take_end()
        {
            self.answered(number, whole, now_ns);
        }
        self.lose(number, Failure::ClosedEarly, now_ns);
    }

    /// An answer is whole.
    fn answered(&mut self, number: u32, whole: Whole, now_ns: u64) {
        let connection = &mut self.connections[number as usize];
        let (flight, scenario) = (connection.flight, connection.scenario);
        let scrutiny = &self.courses[scenario].scrutiny;
        let body = connection.reader.body();
        let passed = whole.passed | scrutiny.of_body(whole.status, body);
        if scrutiny.keeps_ids(whole.status) {
            self.ids.take(body);
        }
        // An answer may come before the request is all sent; then the rest has no reader.
        let close = whole.close || connection.has_unsent();
        self.finish(flight, Ended::Answered(whole.status), passed, now_ns);
        let course = &mut self.courses[scenario];
        let connection = &mut self.connections[number as usize];
        connection.flight = NONE;
        if course.pool.server_closes() && !connection.has_unsent() {
            connection.state = State::Closing;
            let patience = if whole.close { CLOSE_ANNOUNCED } else { CLOSE_UNANNOUNCED };
            let line = closing_line(scenario, whole.close);
            self.closing.join(line, number, now_ns + ns(patience));
        } else if course.pool.keeps_alive() && !close {
            connection.idle_ns = now_ns;
            if connection.user == NONE {
                course.pool.put_free(connection.token);
            }
        } else {
            self.close(number);
        }
    }

    /// A connection is of no more use; what it carries failed.
    pub(super) fn lose(&mut self, number: u32, failure: Failure, now_ns: u64) {
        let connection = &self.connections[number as usize];
        if connection.state == State::Vacant {
            return;
        }
        if connection.flight != NONE {
            self.finish(connection.flight, Ended::Failed(failure), 0, now_ns);
        }
        self.close(number);
    }

    /// Ends a flight and writes down what is known of it.
    pub(super) fn finish(&mut self, number: u32, ended: Ended, checks_passed: u32, now_ns: u64) {
        self.deadlines.leave(number);
        let flight = self.flights.remove(number);
        let mut sample = flight.sample(now_ns, ended);
        sample.checks_passed = checks_passed;
        if let Some(connection) = self.connections.get_mut(flight.connection as usize) {
            (sample.bytes_sent, sample.bytes_received) = connection.take_bytes();
        }
        self.recorder.ended(flight.scenario, &sample);
        let course = &mut self.courses[flight.scenario];
        course.in_flight -= 1;
        let took_ns = match &mut course.model {
            Model::Open(_) => Some(now_ns.saturating_sub(flight.due_ns)),
            Model::Closed(closed) => closed.ended(flight.user, now_ns, flight.secured_ns == 0),
        };
        if let Some(took_ns) = took_ns {
            self.recorder.iterated(flight.scenario, took_ns);
        }
    }

    /// Closes a connection that carries nothing.
    pub(super) fn close(&mut self, number: u32) {
        let connection = &mut self.connections[number as usize];
        self.courses[connection.scenario].pool.closed();
        if connection.state == State::Open {
            connection.say_goodbye();
        }
        connection.clear();
        self.closing.leave(number);
        self.vacant.push(number);
    }

    /// Ends whatever has taken longer than it may.
    pub(super) fn expire(&mut self, now_ns: u64) {
        for scenario in 0..self.courses.len() {
            for (line, failure) in [
                (connecting_line(scenario), Failure::ConnectTimeout),
                (answering_line(scenario), Failure::Timeout),
            ] {
                while let Some((flight, deadline_ns)) = self.deadlines.first(line)
                    && deadline_ns <= now_ns
                {
                    self.give_up(flight, failure, now_ns);
                }
            }
            for announced in [true, false] {
                let line = closing_line(scenario, announced);
                while let Some((connection, deadline_ns)) = self.closing.first(line)
                    && deadline_ns <= now_ns
                {
                    self.recorder.left_open(scenario);
                    self.close(connection);
                }
            }
        }
    }

    /// Gives up a flight.
    fn give_up(&mut self, flight: u32, failure: Failure, now_ns: u64) {
        let number = self.flights.get(flight).connection;
        let connection = &self.connections[number as usize];
        if connection.http2.is_some() && connection.flight != flight {
            self.give_up_stream(number, flight, failure, now_ns);
        } else {
            self.lose(number, failure, now_ns);
        }
    }

    /// The time of a scenario is over: what is under way or still waits is given up.
    pub(super) fn interrupt(&mut self, scenario: usize, now_ns: u64) {
        if let Executor::Arrivals(arrivals) = &self.plan.scenarios[scenario].executor {
            self.notice_all(scenario, arrivals, now_ns);
            self.give_up_backlog(scenario);
        }
        for line in [connecting_line(scenario), answering_line(scenario)] {
            while let Some((flight, _)) = self.deadlines.first(line) {
                self.give_up(flight, Failure::Interrupted, now_ns);
            }
        }
    }

    /// Closes the connections of a scenario that is over.
    pub(super) fn close_all(&mut self, scenario: usize) {
        for number in 0..self.connections.len() {
            let connection = &self.connections[number];
            if connection.scenario == scenario && connection.state != State::Vacant {
                self.close(connection.token.number);
            }
        }
    }
}
