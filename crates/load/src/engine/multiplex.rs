//! A request's way over HTTP/2, where it is one of several on its connection. What differs from
//! [`super::carry`] is here.

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Method, Request, Uri};

use crate::clock;
use crate::measure::{Ended, Failure};
use crate::plan::Target;
use crate::request::Parts;

use super::connection::State;
use super::flight::NONE;
use super::http2::{Happening, Http2};
use super::worker::{Worker, answering_line};

/// What all requests of a scenario have in common in HTTP/2.
#[derive(Debug)]
pub(super) struct Origin {
    scheme: Scheme,
    authority: Authority,
    pub(super) streams_max: usize,
}

impl Origin {
    pub(super) fn new(target: &Target, streams_max: usize) -> Self {
        Self {
            scheme: if target.https { Scheme::HTTPS } else { Scheme::HTTP },
            authority: target.authority.parse().expect("it is that of a URL"),
            streams_max,
        }
    }

    fn request(&self, parts: &Parts) -> Request<()> {
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(self.scheme.clone());
        uri.authority = Some(self.authority.clone());
        let path = PathAndQuery::try_from(parts.path.as_str());
        uri.path_and_query = Some(path.expect("what a plan puts into paths is escaped"));
        let mut request = Request::new(());
        *request.uri_mut() = Uri::from_parts(uri).expect("it has all three parts");
        *request.method_mut() =
            Method::from_bytes(parts.method.as_bytes()).expect("a plan's methods are tokens");
        for (name, value) in &parts.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a plan's names are tokens");
            let value = HeaderValue::from_bytes(value.as_bytes());
            let value = value.expect("what a plan puts into headers is text without controls");
            request.headers_mut().append(name, value);
        }
        request
    }
}

impl Worker<'_> {
    /// The connection stands: HTTP/2 begins on it.
    pub(super) fn begin_http2(&mut self, number: u32, streams_max: usize) {
        let connection = &mut self.connections[number as usize];
        let Some(wire) = connection.wire.take() else { return };
        if wire.tls.as_ref().is_some_and(|tls| tls.protocol() != Some(b"h2")) {
            // The server speaks something else, which it has just said.
            connection.wire = Some(wire);
            return self.lose(number, Failure::Tls, clock::now_ns());
        }
        connection.http2 = Some(Box::new(Http2::new(wire, streams_max)));
        connection.state = State::Greeting;
        self.greet(number);
    }

    /// Takes the preface as far as it goes; then the flight that the connection was made for goes out.
    pub(super) fn greet(&mut self, number: u32) {
        let connection = &mut self.connections[number as usize];
        let Some(http2) = &mut connection.http2 else { return };
        match http2.greet() {
            Ok(false) => connection.watch_room(true, &self.poller),
            Err(failure) => self.lose(number, failure, clock::now_ns()),
            Ok(true) => {
                connection.state = State::Open;
                let flight = std::mem::replace(&mut connection.flight, NONE);
                self.send_stream(number, flight, clock::now_ns());
            }
        }
    }

    /// Sends a flight's request; the time it is then.
    pub(super) fn send_stream(&mut self, number: u32, flight: u32, now_ns: u64) -> u64 {
        let scenario = self.flights.get(flight).scenario;
        let course = &self.courses[scenario];
        let requests = &self.plan.scenarios[scenario].requests;
        let wall_ns = now_ns.wrapping_add(self.wall_offset_ns);
        self.deadlines.join(answering_line(scenario), flight, now_ns + course.timeout_ns);
        let of_flight = self.flights.get_mut(flight);
        requests.fill_parts(of_flight.number, wall_ns, &mut self.parts);
        let origin = course.http2.as_ref().expect("it has a connection of HTTP/2");
        let request = origin.request(&self.parts);
        let connection = &mut self.connections[number as usize];
        let http2 = connection.http2.as_mut().expect("it is one of HTTP/2");
        match http2.begin(request, &self.parts.body, flight) {
            Ok(stream) => {
                of_flight.stream = stream;
                of_flight.secured_ns = now_ns;
                // Without TLS the preface is a part of connecting.
                if course.tls.is_none() && of_flight.connected_ns > 0 {
                    of_flight.connected_ns = now_ns;
                }
            }
            Err(failure) => self.finish(flight, Ended::Failed(failure), 0, now_ns),
        }
        let now_ns = self.turn_http2(number);
        // The flight may be over already, and its place another's, but only with a later instant.
        let connection = &self.connections[number as usize];
        if connection.http2.as_ref().is_some_and(|http2| !http2.line().is_blocked()) {
            let of_flight = self.flights.get_mut(flight);
            if of_flight.connection == number && of_flight.sent_ns == 0 {
                of_flight.sent_ns = now_ns;
            }
        }
        now_ns
    }

    /// Something may have happened to a connection; the time it is then.
    pub(super) fn turn_http2(&mut self, number: u32) -> u64 {
        let connection = &mut self.connections[number as usize];
        let Some(http2) = &mut connection.http2 else { return clock::now_ns() };
        let scenario = connection.scenario;
        let mut happenings = std::mem::take(&mut self.happenings);
        http2.turn(&self.courses[scenario].scrutiny, &mut self.ids, &mut happenings);
        let now_ns = clock::now_ns();
        for happening in happenings.drain(..) {
            match happening {
                Happening::Head { flight } => self.flights.get_mut(flight).first_byte_ns = now_ns,
                Happening::Ended { flight, ended, passed } => {
                    self.finish(flight, ended, passed, now_ns);
                }
            }
        }
        self.happenings = happenings;
        self.settle_http2(number, now_ns);
        now_ns
    }

    /// Gives up a flight that has taken too long, and leaves the others on its connection alone.
    pub(super) fn give_up_stream(
        &mut self,
        number: u32,
        flight: u32,
        failure: Failure,
        now_ns: u64,
    ) {
        let stream = self.flights.get(flight).stream;
        if let Some(http2) = &mut self.connections[number as usize].http2 {
            http2.give_up(stream);
        }
        self.finish(flight, Ended::Failed(failure), 0, now_ns);
        self.turn_http2(number);
    }

    /// What becomes of a connection after something has happened.
    fn settle_http2(&mut self, number: u32, now_ns: u64) {
        let connection = &mut self.connections[number as usize];
        let Some(http2) = &mut connection.http2 else { return };
        let blocked = http2.line().is_blocked();
        let idle = http2.in_flight() == 0;
        let (over, room) = (http2.is_over(), http2.has_room());
        let pool = &mut self.courses[connection.scenario].pool;
        if over || (idle && !pool.keeps_alive()) {
            return self.close(number);
        }
        if room && connection.user == NONE && !connection.listed && pool.keeps_alive() {
            connection.listed = true;
            connection.idle_ns = now_ns;
            pool.put_free(connection.token);
        }
        connection.watch_room(blocked, &self.poller);
    }
}
