//! A batch: up to 1,000 usages in one body, stored by one group commit, each with a result of its own.

use std::time::Duration;

use bytes::Bytes;
use edge::{Answer, FieldProblem, Permit, Problem, ProblemKind};
use http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;
use store::{Accepted, BatchItem, Key};
use telemetry::{Refusal, Route};
use usage::{BatchFormat, Rejection, Usage};

use crate::api::Api;
use crate::intake::{count, key_of, unknown, where_it_may_wait};
use crate::shared::Shared;
use crate::{answers, refusals};

/// Bytes of what is wrong with items that the answer to a batch lists, about. An item of a few bytes
/// can have faults that take thousands to tell, and the answer waits for its receiver.
const ERRORS_BYTES_MAX: usize = 64 << 10;

const NOT_LISTED: &str =
    "not listed, since the items before it have so many errors; in a smaller batch they are";

/// What became of an item.
enum Outcome {
    Stored(Accepted),
    Refused(Problem, Refusal),
}

#[derive(Serialize)]
struct BatchJson {
    accepted: usize,
    refused: usize,
    results: Vec<ItemJson>,
}

#[derive(Serialize)]
struct ItemJson {
    index: usize,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replayed: Option<bool>,
    /// Whether sending this item again as it is can help.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Box<RawValue>>,
}

/// Takes a batch in. A key in the header covers item i as key + i.
pub(crate) async fn take(
    api: &Api,
    body: Bytes,
    permit: Permit<'_>,
    format: BatchFormat,
    header_key: Option<String>,
    read_at: Duration,
) -> Result<Answer, Problem> {
    let append = move |shared: &Shared, may_wait| {
        append(shared, &body, format, header_key.as_deref(), may_wait)
    };
    let outcomes = match append(&api.shared, false) {
        Some(outcomes) => outcomes?,
        None => where_it_may_wait(api, permit.detach(), append).await??,
    };
    for outcome in &outcomes {
        if let Outcome::Refused(_, reason) = outcome {
            api.core.metrics.refused(*reason);
            api.shared.refusing.note_if(*reason);
        }
    }
    let last = outcomes.iter().filter_map(|outcome| match outcome {
        Outcome::Stored(accepted) => Some(accepted.seq),
        Outcome::Refused(..) => None,
    });
    if let Some(last) = last.max()
        && let Err(why) = api.tickets.durable(last, read_at).await
    {
        let stored = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Stored(_)));
        return Err(unknown(api, why, stored.count()));
    }
    for outcome in &outcomes {
        if let Outcome::Stored(accepted) = outcome {
            count(api, accepted);
        }
    }
    Ok(answer(outcomes))
}

/// Decodes and appends. Returns `None` and appends nothing if it would have to wait for the disk and
/// may not.
fn append(
    shared: &Shared,
    body: &[u8],
    format: BatchFormat,
    header_key: Option<&str>,
    may_wait: bool,
) -> Option<Result<Vec<Outcome>, Problem>> {
    let decoded = match usage::decode_batch(body, format, shared.unknown_fields) {
        Ok(decoded) => decoded,
        Err(error) => return Some(Err(refusals::batch(&error))),
    };
    let keys: Vec<Option<String>> =
        (0..decoded.len()).map(|index| header_key.map(|key| usage::item_key(key, index))).collect();
    let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(decoded.len());
    let mut items = Vec::with_capacity(decoded.len());
    let mut errors_room = ERRORS_BYTES_MAX;
    for (item, key) in decoded.iter().zip(&keys) {
        match valid(item, key.as_deref()) {
            Ok((usage, key)) => {
                items.push(BatchItem { usage, key });
                outcomes.push(None);
            }
            Err(problem) => {
                let problem = within(problem, &mut errors_room);
                outcomes.push(Some(Outcome::Refused(problem, Refusal::Invalid)));
            }
        }
    }
    let received_ms = shared.clock.wall_ms();
    let mut appended = match may_wait {
        true => shared.store.append_batch(&items, received_ms),
        false => shared.store.try_append_batch(&items, received_ms)?,
    }
    .into_iter();
    let mut next = || match appended.next().expect("each valid item has a result") {
        Ok(accepted) => Outcome::Stored(accepted),
        Err(refused) => {
            let (problem, reason) = refusals::append(refused);
            Outcome::Refused(problem, reason)
        }
    };
    Some(Ok(outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(&mut next)).collect()))
}

/// An item and its key, or what is wrong with it.
fn valid<'a>(
    item: &'a Result<Usage<'a>, Rejection>,
    item_key: Option<&'a str>,
) -> Result<(&'a Usage<'a>, Option<Key<'a>>), Problem> {
    let usage = item.as_ref().map_err(|rejected| refusals::rejection(rejected.clone()))?;
    // The header stands for all items that have no key of their own: an item's key is derived from it
    // and its place, so that an eventId beside it names the event without contradicting it.
    let key = match (&usage.event_id, item_key) {
        (Some(_), Some(_)) => key_of(usage, None)?,
        _ => key_of(usage, item_key)?,
    };
    Ok((usage, key))
}

/// The problem with its errors if there is `room` for them. Once there is none, no further item's are
/// listed: what is left out then is plain to see.
fn within(problem: Problem, room: &mut usize) -> Problem {
    let bytes = |error: &FieldProblem| {
        r#"{"pointer":"","code":"","detail":""},"#.len()
            + error.pointer.len()
            + error.code.len()
            + error.detail.len()
    };
    let left = room.checked_sub(problem.errors.iter().map(bytes).sum());
    *room = left.unwrap_or(0);
    if problem.errors.is_empty() || left.is_some() {
        return problem;
    }
    Problem { errors: Vec::new(), ..problem }.detail(NOT_LISTED)
}

/// 201 when all are stored, 207 when some are; when none is, the problem of what stood in the way of
/// most help, with the results as members of its own.
fn answer(outcomes: Vec<Outcome>) -> Answer {
    let problems = || {
        outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Refused(problem, _) => Some(problem),
            Outcome::Stored(_) => None,
        })
    };
    let refused = problems().count();
    let accepted = outcomes.len() - refused;
    // A 5xx says that sending again can help, which is so if it can for any item.
    let worst = problems().map(|problem| problem.kind).max_by_key(|kind| kind.status);
    let close = problems().any(|problem| problem.close);
    let results =
        outcomes.into_iter().enumerate().map(|(index, outcome)| item(index, outcome)).collect();
    let body = BatchJson { accepted, refused, results };
    let response = match worst {
        Some(kind) if accepted == 0 => {
            let kind = if kind.status < 422 { ProblemKind::INVALID } else { kind };
            let text = serde_json::to_string(&body).expect("answers are plain data and serialise");
            let members = text.strip_prefix('{').and_then(|text| text.strip_suffix('}'));
            let members = members.expect("it is an object");
            Problem::from(kind)
                .detail("no item of the batch is stored; `results` says why")
                .response_with(members)
        }
        worst => {
            let status =
                if worst.is_some() { StatusCode::MULTI_STATUS } else { StatusCode::CREATED };
            let mut response = answers::json(status, &body);
            answers::mark_durable(&mut response);
            response
        }
    };
    let mut answer = Answer::new(Route::Usages, response);
    answer.problem = worst.map(|kind| kind.slug);
    answer.close = close;
    answer
}

fn item(index: usize, outcome: Outcome) -> ItemJson {
    match outcome {
        Outcome::Stored(accepted) => ItemJson {
            index,
            status: 201,
            id: Some(accepted.id.to_string()),
            replayed: accepted.replayed.then_some(true),
            retry: None,
            error: None,
        },
        Outcome::Refused(problem, _) => ItemJson {
            index,
            status: problem.kind.status,
            id: None,
            replayed: None,
            retry: Some(problem.kind.retry_helps),
            error: Some(RawValue::from_string(problem.json()).expect("a problem is JSON")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use usage::UsageId;

    #[test]
    fn errors_are_listed_while_there_is_room() {
        let mut room = 400;
        let check = |details: &[usize], room: &mut usize, listed: bool| {
            let errors = details.iter().map(|bytes| FieldProblem {
                pointer: String::new(),
                code: "",
                detail: "x".repeat(*bytes),
            });
            let problem = Problem::from(ProblemKind::INVALID).errors(errors.collect());
            let problem = within(problem, room);
            assert_eq!(problem.errors.len(), if listed { details.len() } else { 0 });
            assert_eq!(problem.detail.as_deref(), (!listed).then_some(NOT_LISTED));
        };
        check(&[100], &mut room, true);
        check(&[], &mut room, true);
        check(&[100, 200], &mut room, false);
        check(&[1], &mut room, false);
        check(&[], &mut room, true);
    }

    #[test]
    fn the_status_says_whether_sending_again_can_help() {
        let stored = || {
            Outcome::Stored(Accepted {
                id: UsageId::keyed("default", "k"),
                seq: 1,
                replayed: false,
            })
        };
        let refused = |kind: &'static ProblemKind| Outcome::Refused(kind.into(), Refusal::Invalid);
        let check = |outcomes: Vec<Outcome>, expected: u16| {
            let response = answer(outcomes).response;
            assert_eq!(response.status(), expected);
            let media_type =
                if expected < 300 { "application/json" } else { "application/problem+json" };
            assert_eq!(response.headers()["content-type"], media_type);
            assert_eq!(response.headers().contains_key("retry-after"), expected == 503);
        };
        check(vec![stored(), stored()], 201);
        check(vec![stored(), refused(ProblemKind::INVALID)], 207);
        check(vec![refused(ProblemKind::INVALID), refused(ProblemKind::NOT_JSON)], 422);
        check(vec![refused(ProblemKind::INVALID), refused(ProblemKind::OVERLOADED)], 503);
        check(vec![refused(ProblemKind::DISK_FULL)], 507);
        check(vec![refused(ProblemKind::DISK_FAILED)], 500);
    }
}
