//! `POST /api/usages`: the call that everything else exists for.

use std::time::Duration;

use bytes::Bytes;
use edge::{Answer, BodyError, FieldProblem, Permit, Problem, ProblemKind, Request};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use store::{Accepted, AppendRefused, OutcomeUnknown};
use telemetry::{Refusal, Route};
use usage::{BatchFormat, Usage, limits};

use crate::api::Api;
use crate::{answers, batch, refusals};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Whose keys they are while nobody has to show who they are.
pub(crate) const PRINCIPAL: &str = "default";

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MediaType {
    Json,
    Ndjson,
}

/// Takes in one usage or a batch.
pub(crate) async fn post(api: &Api, request: Request) -> Answer {
    match take(api, request).await {
        Ok(answer) => answer,
        Err(problem) => Answer::problem(Route::Usages, &problem),
    }
}

async fn take(api: &Api, mut request: Request) -> Result<Answer, Problem> {
    let media_type = media_type(&request.head.headers)?;
    let header_key = header_key(&request.head.headers)?;
    if let Err(refused) = api.shared.refusing.why(&api.shared.store) {
        let (problem, reason) = refusals::append(refused);
        api.core.metrics.refused(reason);
        return Err(problem.closing());
    }
    let read = read_admitted(api, &mut request, limits::BODY_BYTES_MAX).await;
    let (body, _permit) = read.map_err(|error| {
        if error == BodyError::NoRoom {
            api.core.metrics.refused(Refusal::Overload);
        }
        error.problem()
    })?;
    let read_at = api.tickets.now();
    let format = match media_type {
        MediaType::Ndjson => Some(BatchFormat::Ndjson),
        MediaType::Json => {
            body.trim_ascii_start().starts_with(b"[").then_some(BatchFormat::JsonArray)
        }
    };
    match format {
        Some(format) => {
            Box::pin(batch::take(api, &body, format, header_key.as_deref(), read_at)).await
        }
        None => one(api, &body, header_key.as_deref(), read_at).await,
    }
}

/// Reads a body of at most `bytes_max` within the budget for all bodies. The permit goes with it.
pub(crate) async fn read_admitted<'a>(
    api: &'a Api,
    request: &mut Request,
    bytes_max: usize,
) -> Result<(Bytes, Permit<'a>), BodyError> {
    // A chunked body, whose length nobody knows, takes its share as it arrives.
    let declared = request.declared_length().unwrap_or(0);
    let bytes = usize::try_from(declared).unwrap_or(usize::MAX);
    // Told before any want of room, which would have it sent again for ever.
    if bytes > bytes_max {
        return Err(BodyError::TooLarge { bytes_max });
    }
    let mut permit = api.shared.bodies.admit(bytes).ok_or(BodyError::NoRoom)?;
    let body = request.read_body_within(bytes_max, |bytes| permit.grow_to(bytes)).await?;
    Ok((body, permit))
}

async fn one(
    api: &Api,
    body: &[u8],
    header_key: Option<&str>,
    read_at: Duration,
) -> Result<Answer, Problem> {
    let accepted = append(api, body, header_key).map_err(|(problem, reason)| {
        api.core.metrics.refused(reason);
        api.shared.refusing.note_if(reason);
        problem
    })?;
    if let Err(why) = api.tickets.durable(accepted.seq, read_at).await {
        return Err(unknown(api, why, 1));
    }
    count(api, &accepted);
    Ok(Answer::new(Route::Usages, answers::accepted(accepted.id, accepted.replayed)))
}

fn append(
    api: &Api,
    body: &[u8],
    header_key: Option<&str>,
) -> Result<Accepted, (Problem, Refusal)> {
    let usage = usage::decode(body, api.shared.unknown_fields)
        .map_err(|rejection| (refusals::rejection(rejection), Refusal::Invalid))?;
    let key = key_of(&usage, header_key).map_err(|problem| (problem, Refusal::Invalid))?;
    let received_ms = api.shared.clock.wall_ms();
    let appended: Result<_, AppendRefused> = match key {
        None => api.shared.store.append(&usage, received_ms),
        Some(key) => api.shared.store.append_keyed(&usage, PRINCIPAL, key, received_ms),
    };
    appended.map_err(refusals::append)
}

/// Counts `usages` of which nobody knows whether they are stored, and gives the answer.
pub(crate) fn unknown(api: &Api, why: OutcomeUnknown, usages: usize) -> Problem {
    let (problem, reason) = refusals::outcome_unknown(why);
    for _ in 0..usages {
        api.core.metrics.refused(reason);
    }
    api.shared.refusing.note();
    problem
}

/// Counts a durable usage.
pub(crate) fn count(api: &Api, accepted: &Accepted) {
    if accepted.replayed {
        api.core.metrics.replayed(1);
    } else {
        api.core.metrics.accepted(1);
    }
}

/// The key of a usage: the header's or its event's. Both, and different, cannot be meant.
pub(crate) fn key_of<'a>(
    usage: &'a Usage<'_>,
    header_key: Option<&'a str>,
) -> Result<Option<&'a str>, Problem> {
    match (header_key, usage.event_id.as_deref()) {
        (Some(header), Some(event)) if header != event => Err(Problem::from(ProblemKind::INVALID)
            .errors(vec![FieldProblem {
                pointer: "/eventId".to_owned(),
                code: "key-conflict",
                detail: "differs from the Idempotency-Key header; send one of them, or both alike"
                    .to_owned(),
            }])),
        (header, event) => Ok(header.or(event)),
    }
}

fn header_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let wrong = |detail: String| {
        Problem::from(ProblemKind::INVALID).errors(vec![FieldProblem {
            pointer: "Idempotency-Key".to_owned(),
            code: "key",
            detail,
        }])
    };
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(wrong("may be given once".to_owned()));
    }
    usage::parse_idempotency_key(value.as_bytes())
        .map(Some)
        .map_err(|error| wrong(error.to_string()))
}

/// `application/json` or `application/x-ndjson`, whatever their parameters; nothing said is JSON.
pub(crate) fn media_type(headers: &HeaderMap) -> Result<MediaType, Problem> {
    if let Some(coding) = headers.get(CONTENT_ENCODING)
        && !coding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return Err(Problem::from(ProblemKind::UNSUPPORTED_MEDIA_TYPE)
            .detail("bodies are taken without a Content-Encoding")
            .closing());
    }
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(MediaType::Json) };
    let value = value.as_bytes();
    if value == b"application/json" {
        return Ok(MediaType::Json);
    }
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let is = |name: &str| essence.eq_ignore_ascii_case(name.as_bytes());
    if is("application/json") {
        Ok(MediaType::Json)
    } else if is("application/x-ndjson") || is("application/ndjson") {
        Ok(MediaType::Ndjson)
    } else {
        Err(Problem::from(ProblemKind::UNSUPPORTED_MEDIA_TYPE)
            .detail("send the header `Content-Type: application/json`, or application/x-ndjson for lines")
            .closing())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn media_types() {
        let check = |value: Option<&'static str>, expected: Option<MediaType>| {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
            }
            assert_eq!(media_type(&headers).ok(), expected, "{value:?}");
        };
        check(None, Some(MediaType::Json));
        check(Some("application/json"), Some(MediaType::Json));
        check(Some("Application/JSON; charset=utf-8"), Some(MediaType::Json));
        check(Some("application/x-ndjson"), Some(MediaType::Ndjson));
        check(Some("text/plain"), None);
        check(Some("application/jsonx"), None);
    }

    #[test]
    fn one_key_only() {
        let body = br#"{"patientId":"1","timestamp":0,"medication":"m","eventId":"e"}"#;
        let usage = usage::decode(body, usage::UnknownFields::Refuse).expect("it is a usage");
        assert_eq!(key_of(&usage, None).expect("one key"), Some("e"));
        assert_eq!(key_of(&usage, Some("e")).expect("the same key"), Some("e"));
        assert!(key_of(&usage, Some("f")).is_err());
    }
}
