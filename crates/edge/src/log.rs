//! One wide event a request, sampled for those that went well and quickly. It holds the route's
//! template, never a path, a query, a header, a body or an address.

use std::time::Duration;

use telemetry::Method;

use crate::connection::X_REQUEST_ID;
use crate::request::Answer;

/// Which requests are logged.
#[derive(Debug, Clone, Copy)]
pub struct LogPolicy {
    /// One of this many that went well; 0 for none.
    pub sample: u32,
    /// What takes longer is always logged.
    pub slow: Duration,
}

impl LogPolicy {
    /// Whether a request is to be logged. `count` is the core's count of requests.
    pub(crate) fn wants(&self, status: u16, took: Duration, count: u64) -> bool {
        status >= 400
            || took >= self.slow
            || (self.sample > 0 && count.is_multiple_of(u64::from(self.sample)))
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
    let duration_ms = took.as_secs_f64() * 1e3;
    match answer.problem {
        // A 503 is no fault: the sender hears when to come again.
        Some(problem) if status >= 500 && status != 503 => {
            tracing::error!(
                request_id,
                method,
                route,
                status,
                problem,
                duration_ms,
                received,
                sent,
                core,
                "request"
            );
        }
        Some(problem) => {
            tracing::warn!(
                request_id,
                method,
                route,
                status,
                problem,
                duration_ms,
                received,
                sent,
                core,
                "request"
            );
        }
        None => {
            tracing::info!(
                request_id,
                method,
                route,
                status,
                duration_ms,
                received,
                sent,
                core,
                "request"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_slow_ones_are_always_logged() {
        let policy = LogPolicy { sample: 100, slow: Duration::from_millis(250) };
        let check = |status, millis, count, expected| {
            assert_eq!(policy.wants(status, Duration::from_millis(millis), count), expected);
        };
        check(201, 1, 1, false);
        check(201, 1, 100, true);
        check(201, 250, 1, true);
        check(422, 1, 1, true);
        check(500, 1, 1, true);
        let none = LogPolicy { sample: 0, ..policy };
        assert!(!none.wants(201, Duration::ZERO, 0));
    }
}
