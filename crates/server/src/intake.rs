//! `POST /api/usages`: the call that everything else exists for.

use std::time::Duration;

use bytes::Bytes;
use edge::{Answer, BodyError, FieldProblem, Held, Permit, Problem, ProblemKind, Request};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, ORIGIN};
use store::{Accepted, Key, OutcomeUnknown};
use telemetry::{Refusal, Route};
use usage::{BatchFormat, Usage, limits};

use crate::api::Api;
use crate::shared::Shared;
use crate::{answers, batch, reads, refusals};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Whose keys they are while nobody has to show who they are.
const PRINCIPAL: &str = "default";

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
    let (body, permit) = read.map_err(|error| {
        if error == BodyError::NoRoom {
            api.core.metrics.refused(Refusal::Overload);
        }
        error.problem()
    })?;
    let body = body.slice_ref(usage::without_bom(&body));
    let read_at = api.tickets.now();
    let format = match media_type {
        MediaType::Ndjson => Some(BatchFormat::Ndjson),
        MediaType::Json => {
            body.trim_ascii_start().starts_with(b"[").then_some(BatchFormat::JsonArray)
        }
    };
    match format {
        Some(format) => Box::pin(batch::take(api, body, permit, format, header_key, read_at)).await,
        None => one(api, body, permit, header_key, read_at).await,
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
    body: Bytes,
    permit: Permit<'_>,
    header_key: Option<String>,
    read_at: Duration,
) -> Result<Answer, Problem> {
    let append =
        move |shared: &Shared, may_wait| append(shared, &body, header_key.as_deref(), may_wait);
    let appended = match append(&api.shared, false) {
        Some(appended) => appended,
        None => Box::pin(where_it_may_wait(api, permit.detach(), append)).await?,
    };
    let accepted = appended.map_err(|(problem, reason)| {
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

/// Repeats `append` on a reading thread, where it may wait for the disk. The body keeps its share of
/// the budget even if the client has gone.
pub(crate) async fn where_it_may_wait<T: Send + 'static>(
    api: &Api,
    held: Held,
    append: impl FnOnce(&Shared, bool) -> Option<T> + Send + 'static,
) -> Result<T, Problem> {
    let appended = reads::on_reading_thread(api, move |shared| {
        let _held = held;
        append(shared, true).expect("it may wait")
    });
    appended.await.inspect_err(|problem| {
        if problem.kind == ProblemKind::OVERLOADED {
            api.core.metrics.refused(Refusal::Overload);
        }
    })
}

/// Decodes and appends. Returns `None` and appends nothing if it would have to wait for the disk and
/// may not.
fn append(
    shared: &Shared,
    body: &[u8],
    header_key: Option<&str>,
    may_wait: bool,
) -> Option<Result<Accepted, (Problem, Refusal)>> {
    let invalid = |problem| Some(Err((problem, Refusal::Invalid)));
    let usage = match usage::decode(body, shared.unknown_fields) {
        Ok(usage) => usage,
        Err(rejection) => return invalid(refusals::rejection(rejection)),
    };
    let key = match key_of(&usage, header_key) {
        Ok(key) => key,
        Err(problem) => return invalid(problem),
    };
    let (store, received_ms) = (&shared.store, shared.clock.wall_ms());
    let appended = match key {
        None => store.append(&usage, received_ms),
        Some(key) if may_wait => store.append_keyed(&usage, key, received_ms),
        Some(key) => store.try_append_keyed(&usage, key, received_ms)?,
    };
    Some(appended.map_err(refusals::append))
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

/// The key of a usage: its event's, or else the header's. Both, and different, cannot be meant.
pub(crate) fn key_of<'a>(
    usage: &'a Usage<'_>,
    header_key: Option<&'a str>,
) -> Result<Option<Key<'a>>, Problem> {
    match (header_key, usage.event_id.as_deref()) {
        (Some(header), Some(event)) if header != event => Err(Problem::from(ProblemKind::INVALID)
            .errors(vec![FieldProblem {
                pointer: "/eventId".to_owned(),
                code: "key-conflict",
                detail: "differs from the Idempotency-Key header; send one of them, or both alike"
                    .to_owned(),
            }])),
        (_, Some(event_id)) => Ok(Some(Key::Event { principal: PRINCIPAL, event_id })),
        (header, None) => Ok(header.map(|key| Key::Header { principal: PRINCIPAL, key })),
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

/// `application/json` or `application/x-ndjson`, whatever their parameters. Nothing said is JSON, as
/// devices have it; but a web page could leave it out to spare the browser's question whether it may
/// send JSON to another origin.
pub(crate) fn media_type(headers: &HeaderMap) -> Result<MediaType, Problem> {
    let unsupported =
        |detail: &str| Problem::from(ProblemKind::UNSUPPORTED_MEDIA_TYPE).detail(detail).closing();
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(unsupported("compression is not supported yet; send the body uncompressed"));
    }
    let Some(value) = headers.get(CONTENT_TYPE) else {
        if is_from_browser(headers) {
            return Err(unsupported(
                "a web page has to send a Content-Type; send `Content-Type: application/json`",
            ));
        }
        return Ok(MediaType::Json);
    };
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
        Err(unsupported(
            "send the header `Content-Type: application/json`, or application/x-ndjson for lines",
        ))
    }
}

fn is_from_browser(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN)
        || headers.keys().any(|name| name.as_str().starts_with("sec-fetch-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn media_types() {
        let check = |lines: &[(HeaderName, &'static str)], expected: Option<MediaType>| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(name, HeaderValue::from_static(value));
            }
            assert_eq!(media_type(&headers).ok(), expected, "{lines:?}");
        };
        let named = |value| (CONTENT_TYPE, value);
        check(&[], Some(MediaType::Json));
        check(&[named("application/json")], Some(MediaType::Json));
        check(&[named("Application/JSON; charset=utf-8")], Some(MediaType::Json));
        check(&[named("application/x-ndjson")], Some(MediaType::Ndjson));
        check(&[named("text/plain")], None);
        check(&[named("application/jsonx")], None);
        let coded = |value| (CONTENT_ENCODING, value);
        check(&[coded("identity")], Some(MediaType::Json));
        check(&[coded("gzip")], None);
        check(&[coded("identity"), coded("gzip")], None);
        // A browser says what a body is, unless a page has it say nothing.
        let origin = (ORIGIN, "http://localhost:3000");
        let fetched = (HeaderName::from_static("sec-fetch-site"), "same-origin");
        check(std::slice::from_ref(&origin), None);
        check(std::slice::from_ref(&fetched), None);
        check(&[origin, fetched, named("application/json")], Some(MediaType::Json));
    }

    #[test]
    fn one_key_only() {
        let body = br#"{"patientId":"1","timestamp":0,"medication":"m","eventId":"e"}"#;
        let usage = usage::decode(body, usage::UnknownFields::Refuse).expect("it is a usage");
        for header in [None, Some("e")] {
            let key = key_of(&usage, header).expect("one key");
            assert!(matches!(key, Some(Key::Event { event_id: "e", .. })), "{header:?}");
        }
        assert!(key_of(&usage, Some("f")).is_err());
        let usage = Usage { event_id: None, ..usage };
        let key = key_of(&usage, Some("f")).expect("one key");
        assert!(matches!(key, Some(Key::Header { key: "f", .. })));
        assert!(key_of(&usage, None).expect("none").is_none());
    }
}
