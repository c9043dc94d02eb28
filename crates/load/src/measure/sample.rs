//! What is known of one request once it has ended.

use serde::{Deserialize, Serialize};

/// The instants of one request, in nanoseconds of [`crate::clock::now_ns`] and in this order. A step
/// that did not happen (connecting on a connection that is kept alive, receiving when nothing came)
/// has the instant of the step before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When it should have been sent.
    pub due_ns: u64,
    /// When a connection was its own, or began to be made for it.
    pub begun_ns: u64,
    /// When the connection stood.
    pub connected_ns: u64,
    /// When TLS stood: from here on the request is sent.
    pub secured_ns: u64,
    /// When its last byte was handed to the kernel.
    pub sent_ns: u64,
    /// When the first byte of the answer was there.
    pub first_byte_ns: u64,
    /// When the last was, or when it failed.
    pub ended_ns: u64,
    /// How it ended.
    pub ended: Ended,
    /// Whether it was sent, if only in part.
    pub sent: bool,
    /// The checks that it passed, a bit each in the plan's order.
    pub checks_passed: u32,
    /// Bytes written and read for it, those of TLS included.
    pub bytes_sent: u64,
    /// See `bytes_sent`.
    pub bytes_received: u64,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With a whole answer of this status.
    Answered(u16),
    /// Without.
    Failed(Failure),
}

impl Ended {
    /// Whether the answer is one that nobody calls a failure: a status of 200 to 399, as in k6.
    pub fn is_expected(self) -> bool {
        matches!(self, Self::Answered(status) if (200..400).contains(&status))
    }
}

/// Why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(usize)]
pub enum Failure {
    /// Nobody listens there.
    Refused,
    /// The connection was not made in time.
    ConnectTimeout,
    /// The kernel had no port, descriptor or memory for a connection: the generator's own want.
    NoSocket,
    /// No route, no network, or another fault of the network while connecting.
    Unreachable,
    /// The handshake of TLS failed.
    Tls,
    /// The server reset the connection.
    Reset,
    /// The server closed the connection before its answer was whole.
    ClosedEarly,
    /// The answer was not whole within the time a request may take.
    Timeout,
    /// What came is no answer of HTTP.
    Garbage,
    /// The run ended before the answer came.
    Interrupted,
}

impl Failure {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// All of them; `ALL[failure as usize] == failure`.
    pub const ALL: [Self; 10] = [
        Self::Refused,
        Self::ConnectTimeout,
        Self::NoSocket,
        Self::Unreachable,
        Self::Tls,
        Self::Reset,
        Self::ClosedEarly,
        Self::Timeout,
        Self::Garbage,
        Self::Interrupted,
    ];

    /// For people, and the key in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "connection refused",
            Self::ConnectTimeout => "connecting timed out",
            Self::NoSocket => "no socket to be had",
            Self::Unreachable => "unreachable",
            Self::Tls => "TLS handshake failed",
            Self::Reset => "connection reset",
            Self::ClosedEarly => "closed before the answer",
            Self::Timeout => "timed out",
            Self::Garbage => "not an HTTP answer",
            Self::Interrupted => "run ended first",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_in_the_order_of_their_numbers() {
        for (number, failure) in Failure::ALL.into_iter().enumerate() {
            assert_eq!(failure as usize, number, "{}", failure.name());
        }
    }

    #[test]
    fn what_is_expected() {
        for (status, expected) in [(199, false), (200, true), (399, true), (400, false)] {
            assert_eq!(Ended::Answered(status).is_expected(), expected, "{status}");
        }
        assert!(!Ended::Failed(Failure::Timeout).is_expected());
    }
}
