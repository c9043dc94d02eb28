//! The maps from what the layers below report to what a client is told, each exhaustive.

use edge::{FieldProblem, Problem, ProblemKind};
use store::{AppendRefused, OutcomeUnknown, ReadError};
use telemetry::Refusal;
use usage::{BatchError, Rejection, UsageId};

use crate::address;

/// A usage that is not one.
pub(crate) fn rejection(rejection: Rejection) -> Problem {
    match rejection {
        Rejection::NotJson { detail } => Problem::from(ProblemKind::NOT_JSON).detail(detail),
        Rejection::Invalid(errors) => Problem::from(ProblemKind::INVALID).errors(
            errors
                .into_iter()
                .map(|error| FieldProblem {
                    pointer: error.pointer,
                    code: error.code,
                    detail: error.detail,
                })
                .collect(),
        ),
    }
}

/// A batch that is not one.
pub(crate) fn batch(error: &BatchError) -> Problem {
    match error {
        BatchError::NotJson { detail } => {
            Problem::from(ProblemKind::NOT_JSON).detail(detail.clone())
        }
        BatchError::TooManyItems { .. } | BatchError::Empty => {
            Problem::from(ProblemKind::INVALID).errors(vec![FieldProblem {
                // The empty pointer is the whole body (RFC 6901, section 5).
                pointer: String::new(),
                code: "items",
                detail: error.to_string(),
            }])
        }
    }
}

/// A usage that the store did not take, and how it is counted.
pub(crate) fn append(refused: AppendRefused) -> (Problem, Refusal) {
    let (kind, reason) = match refused {
        AppendRefused::Full => (ProblemKind::OVERLOADED, Refusal::Overload),
        AppendRefused::TailFull => (ProblemKind::OVERLOADED, Refusal::TailFull),
        AppendRefused::Stuck => (ProblemKind::DISK_STUCK, Refusal::Stuck),
        AppendRefused::NoSpace => (ProblemKind::DISK_FULL, Refusal::NoSpace),
        AppendRefused::KeyReused => (ProblemKind::KEY_REUSED, Refusal::KeyReused),
        AppendRefused::Unproven => (ProblemKind::NOT_SECURED, Refusal::NoSpace),
        AppendRefused::IndexUnavailable => (ProblemKind::CATCHING_UP, Refusal::IndexUnavailable),
        AppendRefused::Damaged(id) => return (damaged(id), Refusal::DataDamaged),
        AppendRefused::Poisoned => return (disk_failed(), Refusal::Poisoned),
        AppendRefused::Closed => (ProblemKind::STOPPING, Refusal::Stopping),
    };
    (kind.into(), reason)
}

/// The disk failed before the usage was written. No Retry-After, for the same reason as below.
fn disk_failed() -> Problem {
    Problem::from(ProblemKind::DISK_FAILED).closing()
}

/// The disk failed while the usage was written, or took too long, and how that is counted. No
/// Retry-After: when anybody can tell is unknown too.
pub(crate) fn outcome_unknown(why: OutcomeUnknown) -> (Problem, Refusal) {
    let reason = match why {
        OutcomeUnknown::Failed => Refusal::Poisoned,
        OutcomeUnknown::TimedOut => Refusal::CommitTimeout,
    };
    (Problem::from(ProblemKind::OUTCOME_UNKNOWN).closing(), reason)
}

/// The usage with this id cannot be read. No Retry-After: only a repair can help.
pub(crate) fn damaged(id: UsageId) -> Problem {
    Problem::from(ProblemKind::DATA_DAMAGED).detail(format!("usage {id} cannot be read"))
}

/// Seconds after which a summary that took too long may be asked for again: it had a while already.
const TOO_SLOW_RETRY_SECONDS: u32 = 10;

/// A read without an answer.
pub(crate) fn read(error: ReadError) -> Problem {
    let about = |name: &str, code: &'static str| {
        let (pointer, detail) = (address::pointer(name), error.to_string());
        let errors = vec![FieldProblem { pointer, code, detail }];
        Problem::from(ProblemKind::INVALID).errors(errors)
    };
    let kind = match error {
        ReadError::Expired => ProblemKind::EXPIRED,
        ReadError::Unproven => ProblemKind::NOT_SECURED,
        ReadError::IndexUnavailable => ProblemKind::CATCHING_UP,
        ReadError::Cursor => return about("cursor", "cursor"),
        ReadError::TooManyRows { .. } => return about("by", "rows"),
        ReadError::TooSlow => return too_slow(),
        // The store has logged the place, once.
        ReadError::Damaged(_) => ProblemKind::DATA_DAMAGED,
        ReadError::Io(error) => {
            tracing::error!(error = error.to_string(), "reading failed");
            ProblemKind::INTERNAL
        }
    };
    kind.into()
}

/// A summary that had to read more than it had time for.
pub(crate) fn too_slow() -> Problem {
    let mut problem = Problem::from(ProblemKind::TOO_SLOW);
    problem.retry_after = Some(TOO_SLOW_RETRY_SECONDS);
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_certainly_not_stored_is_not_called_unknown() {
        let check = |refused, slug: &str, status: u16| {
            let (problem, _) = append(refused);
            assert_eq!((problem.kind.slug, problem.kind.status), (slug, status));
        };
        check(AppendRefused::Poisoned, "disk-failed", 500);
        check(AppendRefused::Closed, "stopping", 503);
        check(AppendRefused::NoSpace, "disk-full", 507);
        check(AppendRefused::Unproven, "not-secured", 503);
        check(AppendRefused::Damaged(UsageId::keyed("default", "k")), "data-damaged", 500);
        check(AppendRefused::Stuck, "disk-stuck", 503);
        for why in [OutcomeUnknown::Failed, OutcomeUnknown::TimedOut] {
            let (problem, _) = outcome_unknown(why);
            assert_eq!(problem.kind.slug, "outcome-unknown");
            assert_eq!((problem.retry_after, problem.close), (None, true));
        }
    }
}
