//! What operators ask: whether it lives, whether it is ready, how much it does.

use std::cell::Cell;
use std::sync::Arc;

use bytes::Bytes;
use edge::{Answer, Problem, ProblemKind, Request, Service};
use http::header::ACCEPT;
use http::{Method, StatusCode};
use serde_json::json;
use store::IndexState;
use telemetry::{Method as MethodLabel, Route};

use crate::answers;
use crate::contract::{html, text};
use crate::shared::Shared;

const STATUS_PAGE: &str = include_str!("pages/status.html");

/// The operators' calls.
pub(crate) struct Admin {
    shared: Arc<Shared>,
    /// Whether the disk was stuck at the last look.
    stuck: Cell<bool>,
}

impl Admin {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, stuck: Cell::new(false) }
    }

    fn answer(&self, route: Route, request: &Request) -> Answer {
        match route {
            Route::Healthz => plain(route, StatusCode::OK, "alive\n".to_owned()),
            Route::Readyz => match self.shared.not_ready() {
                None => {
                    let degraded = self.shared.degraded();
                    let but = degraded.map_or_else(String::new, |why| format!(", degraded: {why}"));
                    plain(route, StatusCode::OK, format!("ready{but}\n"))
                }
                Some(why) => {
                    plain(route, StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n"))
                }
            },
            Route::Metrics => {
                let body = Bytes::from(self.shared.metrics.expose());
                Answer::new(route, text(telemetry::CONTENT_TYPE, body))
            }
            _ => {
                let wants_json = request.head.headers.get(ACCEPT).is_some_and(|value| {
                    value.as_bytes().windows(16).any(|part| part == b"application/json")
                });
                let response = if wants_json {
                    answers::json(StatusCode::OK, &self.status())
                } else {
                    html(STATUS_PAGE.to_owned())
                };
                Answer::new(route, response)
            }
        }
    }

    fn status(&self) -> serde_json::Value {
        let status = self.shared.store.status();
        let posts = self.shared.metrics.durations(Route::Usages, MethodLabel::Post);
        let milliseconds = |share| posts.quantile(share).map(|time| time.as_secs_f64() * 1e3);
        let index = match &status.index_state {
            IndexState::Off => "off".to_owned(),
            IndexState::Ready => "ready".to_owned(),
            IndexState::CatchingUp { cursor, target } => {
                format!("catching up: {cursor} of {target}")
            }
            IndexState::Opening => "opening".to_owned(),
            IndexState::Failed { why } => format!("failed: {why}"),
        };
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "ready": self.shared.not_ready().is_none(),
            "notReady": self.shared.not_ready(),
            "degraded": self.shared.degraded(),
            "accepted": self.shared.metrics.accepted(),
            "connections": self.shared.metrics.connections(),
            "postMsP50": milliseconds(0.5),
            "postMsP99": milliseconds(0.99),
            "cpuSeconds": telemetry::process::cpu_seconds(),
            "residentBytes": telemetry::process::resident_bytes(),
            "bodyBytes": self.shared.bodies.bytes(),
            "journal": {
                "durable": status.durable,
                "bytes": status.journal.bytes,
                "segments": status.journal.segments,
                "segmentsCompressed": status.journal.segments_compressed,
                "oldestUnansweredMs": self.shared.store.journal().backlog().oldest.as_secs_f64() * 1e3,
                "pendingBytes": status.journal.pending_bytes,
                "syncs": status.journal.syncs,
                "freeBytes": status.journal.free_bytes,
                "noSpace": status.journal.no_space,
                "begun": status.journal.begun,
                "unprovenFrames": status.journal.unproven_frames,
                "housekeepingFailure": status.journal.housekeeping_failure,
                "clockSuspect": status.journal.clock_suspect.is_some(),
            },
            "index": {
                "state": index,
                "rebuilds": status.index_rebuilds,
                "rebuilt": status.index_rebuilt,
                "cursor": status.index_cursor,
                "lag": status.index_lag,
                "bytes": status.index_bytes,
                "tailBytes": status.tail_bytes,
                "keysInMemory": status.keys_in_memory,
            },
        })
    }
}

impl Service for Admin {
    async fn call(&self, request: Request) -> Answer {
        let route = match request.head.uri.path() {
            "/healthz" => Route::Healthz,
            "/readyz" => Route::Readyz,
            "/metrics" => Route::Metrics,
            "/status" | "/" => Route::Status,
            _ => return Answer::problem(Route::Other, &ProblemKind::NOT_FOUND.into()),
        };
        if !matches!(request.head.method, Method::GET | Method::HEAD) {
            let problem =
                Problem::from(ProblemKind::METHOD_NOT_ALLOWED).allow(&[Method::GET, Method::HEAD]);
            return Answer::problem(route, &problem);
        }
        self.answer(route, &request)
    }

    fn tick(&self) {
        let stalled = self.shared.store.stalled();
        let was_stuck = self.stuck.replace(stalled.is_some());
        match stalled {
            Some(stalled) if !was_stuck => tracing::error!(
                stalled_seconds = stalled.as_secs_f64(),
                "the disk does not complete its writes; new usages get 503 (--stuck-after)"
            ),
            None if was_stuck => tracing::info!("the disk completes its writes again"),
            _ => {}
        }
    }

    fn admits_always(&self, path: &str) -> bool {
        matches!(path, "/healthz" | "/readyz")
    }
}

fn plain(route: Route, status: StatusCode, body: String) -> Answer {
    let mut response = text("text/plain; charset=utf-8", Bytes::from(body));
    *response.status_mut() = status;
    Answer::new(route, response)
}
