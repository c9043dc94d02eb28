//! The metrics that are distributions of times, under k6's names where k6 has them.

/// A metric whose values are times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub enum Trend {
    /// From when a request was due to the last byte of its answer; with a closed model, from when
    /// its user was ready to send it. Of every request, answered or not.
    Duration,
    /// The same from the first byte sent, which is what k6 calls `http_req_duration`: sending,
    /// waiting, receiving. Of every request that was sent, answered or not. It leaves out what a slow
    /// server makes those behind it wait.
    DurationFromSent,
    /// `Duration` of those without an answer of 200 to 399.
    DurationOfFailed,
    /// Waiting for a connection to be free, since the request was due.
    Blocked,
    /// Connecting; 0 on a connection that is kept alive.
    Connecting,
    /// The handshake of TLS; 0 without TLS and on a connection that is kept alive.
    TlsHandshaking,
    /// Writing the request.
    Sending,
    /// From the last byte of the request to the first of the answer.
    Waiting,
    /// From the first byte of the answer to its last.
    Receiving,
    /// A whole iteration: the request and the think time after it.
    Iteration,
    /// How late the generator itself noticed that a request was due, in open models: users of a closed
    /// one are never late. Large values mean that the generator, not the server, was slow.
    ScheduleLag,
}

impl Trend {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// All of them; `ALL[trend as usize] == trend`.
    pub const ALL: [Self; 11] = [
        Self::Duration,
        Self::DurationFromSent,
        Self::DurationOfFailed,
        Self::Blocked,
        Self::Connecting,
        Self::TlsHandshaking,
        Self::Sending,
        Self::Waiting,
        Self::Receiving,
        Self::Iteration,
        Self::ScheduleLag,
    ];

    /// The name in reports and thresholds. Those with braces are parts of a metric, as k6 writes them.
    pub fn name(self) -> &'static str {
        match self {
            Self::Duration => "http_req_duration",
            Self::DurationFromSent => "http_req_duration{from:sent}",
            Self::DurationOfFailed => "http_req_duration{expected_response:false}",
            Self::Blocked => "http_req_blocked",
            Self::Connecting => "http_req_connecting",
            Self::TlsHandshaking => "http_req_tls_handshaking",
            Self::Sending => "http_req_sending",
            Self::Waiting => "http_req_waiting",
            Self::Receiving => "http_req_receiving",
            Self::Iteration => "iteration_duration",
            Self::ScheduleLag => "schedule_lag",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_in_the_order_of_their_numbers() {
        for (number, trend) in Trend::ALL.into_iter().enumerate() {
            assert_eq!(trend as usize, number, "{}", trend.name());
        }
    }
}
