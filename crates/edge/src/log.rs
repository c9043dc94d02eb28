//! One wide event a request, sampled for those that went well and quickly. It holds the route's
//! template, never a path, a query, a header, a body or an address.

use std::time::Duration;

use telemetry::Method;

use crate::connection::X_REQUEST_ID;
use crate::request::Answer;

/// How many times as often refused requests are logged as others.
const REFUSED_SHARE: u32 = 100;

/// Which requests are logged.
#[derive(Debug, Clone, Copy)]
pub struct LogPolicy {
    /// One in this many that succeeded, and one in a hundredth as many that were refused (4xx); 0 for none.
    pub sample: u32,
    /// What takes longer is always logged.
    pub slow: Duration,
}

impl LogPolicy {
    /// Whether a request is to be logged. `count` is the core's count of requests, or of refused ones when
    /// this is one of them; the first of each is logged.
    pub(crate) fn wants(&self, status: u16, took: Duration, count: u64) -> bool {
        let every = match status {
            500.. => return true,
            400.. => self.sample.div_ceil(REFUSED_SHARE),
            _ => self.sample,
        };
        took >= self.slow || (every > 0 && count.is_multiple_of(u64::from(every)))
    }
}

/// Writes the event.
pub(crate) fn request(
    core: usize,
    method: Method,
    answer: &Answer,
    took: Duration,
    (received, sent): (u64, u64),
) {
    let status = answer.response.status().as_u16();
    let id = answer.response.headers().get(X_REQUEST_ID);
    let request_id = id.and_then(|id| id.to_str().ok()).unwrap_or_default();
    let (route, method) = (answer.route.text(), method.text());
    // To the microsecond: three decimals.
    let duration_ms = took.as_micros() as f64 / 1e3;
    macro_rules! event {
        ($level:ident) => {
            tracing::$level!(
                request_id,
                method,
                route,
                status,
                problem = answer.problem,
                duration_ms,
                received,
                sent,
                core,
                "request"
            )
        };
    }
    match answer.problem {
        // No fault: the client learns when to retry.
        Some(_) if status == 503 => event!(warn),
        Some(_) if status >= 500 => event!(error),
        // What the client did wrong, the operator need not act on.
        _ => event!(info),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_errors_and_slow_ones_are_always_logged_and_refused_ones_more_often() {
        let policy = LogPolicy { sample: 100, slow: Duration::from_millis(250) };
        let check = |status, millis, count, expected| {
            assert_eq!(policy.wants(status, Duration::from_millis(millis), count), expected);
        };
        check(201, 1, 1, false);
        check(201, 1, 100, true);
        check(201, 250, 1, true);
        check(500, 1, 1, true);
        check(503, 1, 1, true);
        check(422, 250, 1, true);
        let policy = LogPolicy { sample: 10_000, ..policy };
        let check = |status, count, expected| {
            assert_eq!(policy.wants(status, Duration::ZERO, count), expected, "{status} {count}");
        };
        check(422, 0, true);
        check(422, 1, false);
        check(422, 100, true);
        check(201, 100, false);
        let none = LogPolicy { sample: 0, ..policy };
        assert!(!none.wants(201, Duration::ZERO, 0));
        assert!(!none.wants(422, Duration::ZERO, 0));
    }
}
