//! Receipts, histories and summaries. They read the disk, so they run on a core's few reading
//! threads and never hold up the usages that come in. Usages whose keys need the disk run there too.
//! A summary that turns out to read much is begun again on a thread of its own, where it holds up no
//! other read either.

use std::fmt::Write as _;
use std::sync::Arc;

use edge::{Answer, FieldProblem, Held, Problem, ProblemKind, Request, Response};
use http_body::Body as _;
use store::{Effort, HistoryQuery, ReadError, Store};
use telemetry::Route;
use usage::UsageId;

use crate::api::Api;
use crate::intake::{self, MediaType};
use crate::shared::Shared;
use crate::{answers, filters, refusals};

/// Bytes of a search's body.
const SEARCH_BYTES_MAX: usize = 16 * 1024;
/// Rows of the index that a summary may read beside other reads, some tens of milliseconds; counts of
/// years are fewer.
const QUICK_ROWS_MAX: u64 = 200_000;
/// Bytes of an answer that need no room of ours: the kernel takes them at once.
const SMALL_ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// `GET /api/usages/{id}`.
pub(crate) async fn receipt(api: &Api, id: UsageId) -> Answer {
    let read = on_reading_thread(api, move |shared| match shared.store.receipt(&id) {
        Ok(Some(stored)) => Ok(answers::receipt(&stored)),
        Ok(None) => Err(ProblemKind::NOT_FOUND.into()),
        Err(ReadError::Damaged(_)) => Err(refusals::damaged(id)),
        Err(error) => Err(refusals::read(error)),
    });
    finish(api, Route::Receipt, read.await.flatten())
}

/// `GET /api/usages?…`.
pub(crate) async fn history(api: &Api, request: Request) -> Answer {
    let query = request.head.uri.query().unwrap_or_default();
    let read = async {
        let filter = filters::history_from_query(query)?;
        let query = query.to_owned();
        read_history(api, filter, Some(move |cursor: &str| next_uri(&query, cursor))).await
    };
    finish(api, Route::Usages, read.await)
}

/// `POST /api/usages/search`.
pub(crate) async fn search(api: &Api, mut request: Request) -> Answer {
    let read = async {
        if intake::media_type(&request.head.headers)? != MediaType::Json {
            return Err(Problem::from(ProblemKind::UNSUPPORTED_MEDIA_TYPE).closing());
        }
        let (body, permit) = intake::read_admitted(api, &mut request, SEARCH_BYTES_MAX)
            .await
            .map_err(|error| error.problem())?;
        let body = serde_json::from_slice(usage::without_bom(&body)).map_err(not_a_filter)?;
        let filter = filters::history_from_body(body)?;
        drop(permit);
        read_history(api, filter, None::<fn(&str) -> String>).await
    };
    finish(api, Route::Search, read.await)
}

/// A search's body that is no JSON object.
fn not_a_filter(error: serde_json::Error) -> Problem {
    let place = format!("line {}, column {}", error.line(), error.column());
    // The library's message can quote the body; the place cannot.
    if error.is_data() {
        let detail = format!("must be a JSON object; reading stopped at {place}");
        let errors = vec![FieldProblem { pointer: String::new(), code: "wrong-type", detail }];
        return Problem::from(ProblemKind::INVALID).errors(errors);
    }
    Problem::from(ProblemKind::NOT_JSON).detail(format!("reading stopped at {place}"))
}

/// `GET /api/usages/summary?…`.
pub(crate) async fn summary(api: &Api, request: Request) -> Answer {
    let read = async {
        let (query, tz) =
            filters::summary_from_query(request.head.uri.query().unwrap_or_default())?;
        let answer = move |store: &Store, effort: &mut Effort<'_>| {
            let summary = store.summary_within(&query, effort)?;
            Ok(answers::summary(query.by, &tz, &summary))
        };
        let quick = answer.clone();
        let quick = on_reading_thread(api, move |shared| {
            quick(&shared.store, &mut Effort::rows(QUICK_ROWS_MAX))
        });
        match quick.await? {
            Err(ReadError::TooSlow) => api.shared.counting.run(answer).await,
            other => other.map_err(refusals::read),
        }
    };
    finish(api, Route::Summary, read.await)
}

async fn read_history(
    api: &Api,
    filter: HistoryQuery,
    next_uri: Option<impl FnOnce(&str) -> String + Send + 'static>,
) -> Result<Response, Problem> {
    on_reading_thread(api, move |shared| {
        let page = shared.store.history(&filter).map_err(refusals::read)?;
        Ok(answers::history(&page, next_uri))
    })
    .await
    .flatten()
}

/// The address of the next page: the same query, with the new cursor.
fn next_uri(query: &str, cursor: &str) -> String {
    let mut uri = "/api/usages?".to_owned();
    for pair in query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("cursor=")) {
        let _ = write!(uri, "{pair}&");
    }
    let _ = write!(uri, "cursor={cursor}");
    uri
}

/// The answer to a read. A large one has its share of the room for answers until its receiver has
/// taken it.
fn finish(api: &Api, route: Route, read: Result<Response, Problem>) -> Answer {
    match read.and_then(|response| Ok((room_for(api, &response)?, response))) {
        Ok((None, response)) => Answer::new(route, response),
        Ok((Some(held), response)) => {
            Answer { held: Some(Box::new(held)), ..Answer::new(route, response) }
        }
        Err(problem) => Answer::problem(route, &problem),
    }
}

/// A share of the room for large answers, if this is one.
fn room_for(api: &Api, response: &Response) -> Result<Option<Held>, Problem> {
    let bytes = response.body().size_hint().exact().unwrap_or(0);
    if bytes <= SMALL_ANSWER_BYTES_MAX {
        return Ok(None);
    }
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    api.shared.answers.hold(bytes).map(Some).ok_or(ProblemKind::OVERLOADED.into())
}

/// Runs `read` on one of the core's reading threads, or refuses when too many reads wait for them.
pub(crate) async fn on_reading_thread<T: Send + 'static>(
    api: &Api,
    read: impl FnOnce(&Shared) -> T + Send + 'static,
) -> Result<T, Problem> {
    let Ok(permit) = Arc::clone(&api.reads).try_acquire_owned() else {
        return Err(ProblemKind::OVERLOADED.into());
    };
    let shared = Arc::clone(&api.shared);
    // The permit goes along: a client that leaves does not end the read that it asked for.
    let reading = move || {
        let _permit = permit;
        read(&shared)
    };
    match tokio::task::spawn_blocking(reading).await {
        Ok(outcome) => Ok(outcome),
        // The reading thread panicked, which is logged by its place.
        Err(_) => Err(ProblemKind::INTERNAL.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_has_the_same_query_and_the_new_cursor() {
        let check = |query, expected| assert_eq!(next_uri(query, "c2"), expected);
        check("patientId=1", "/api/usages?patientId=1&cursor=c2");
        check("patientId=1&cursor=c1&limit=5", "/api/usages?patientId=1&limit=5&cursor=c2");
    }
}
