//! Requests in flight: what is known of each until it has ended.

use crate::measure::{Ended, Sample};

/// No flight, no user, no connection.
pub(super) const NONE: u32 = u32::MAX;

/// One request from when it is taken up until it has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flight {
    /// In the plan's order.
    pub(super) scenario: usize,
    /// Its number among all of its scenario.
    pub(super) number: u64,
    /// The user of a closed model whose request it is, or [`NONE`].
    pub(super) user: u32,
    /// What carries it.
    pub(super) connection: u32,
    /// Its stream there, with HTTP/2.
    pub(super) stream: u32,
    /// The instants of [`Sample`]; 0 for what has not happened.
    pub(super) due_ns: u64,
    pub(super) begun_ns: u64,
    pub(super) connected_ns: u64,
    pub(super) secured_ns: u64,
    pub(super) sent_ns: u64,
    pub(super) first_byte_ns: u64,
}

/// Flights by number; numbers of those that ended are used again, the latest first, so that their
/// memory is still warm.
#[derive(Debug, Default)]
pub(super) struct Flights {
    all: Vec<Flight>,
    free: Vec<u32>,
}

impl Flight {
    /// What is recorded of it.
    pub(super) fn sample(&self, ended_ns: u64, ended: Ended) -> Sample {
        // What did not happen took no time after the step before it.
        let connected_ns = self.connected_ns.max(self.begun_ns);
        let secured_ns = self.secured_ns.max(connected_ns);
        let sent_ns = self.sent_ns.max(secured_ns);
        let first_byte_ns = self.first_byte_ns.max(sent_ns);
        Sample {
            due_ns: self.due_ns,
            begun_ns: self.begun_ns,
            connected_ns,
            secured_ns,
            sent_ns,
            first_byte_ns,
            ended_ns: ended_ns.max(first_byte_ns),
            ended,
            sent: self.secured_ns > 0,
            checks_passed: 0,
            bytes_sent: 0,
            bytes_received: 0,
        }
    }
}

impl Flights {
    pub(super) fn add(&mut self, flight: Flight) -> u32 {
        if let Some(number) = self.free.pop() {
            self.all[number as usize] = flight;
            return number;
        }
        let number = u32::try_from(self.all.len()).expect("connections have a bound");
        self.all.push(flight);
        number
    }

    /// The flight, whose number is free from here on.
    pub(super) fn remove(&mut self, number: u32) -> Flight {
        self.free.push(number);
        self.all[number as usize]
    }

    pub(super) fn get(&self, number: u32) -> &Flight {
        &self.all[number as usize]
    }

    pub(super) fn get_mut(&mut self, number: u32) -> &mut Flight {
        &mut self.all[number as usize]
    }

    /// How many are under way.
    pub(super) fn len(&self) -> usize {
        self.all.len() - self.free.len()
    }
}
