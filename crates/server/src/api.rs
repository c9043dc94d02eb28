//! Which call a request is: the one place that knows paths and methods.

use std::sync::Arc;

use edge::{Answer, CoreContext, Problem, ProblemKind, Request, Service};
use http::Method;
use store::Tickets;
use telemetry::Route;
use tokio::sync::Semaphore;
use usage::UsageId;

use crate::shared::Shared;
use crate::{address, contract, intake, reads};

/// Reads that wait for or use a core's reading threads; further ones get 503.
const READS_MAX: usize = 256;

/// One core's API.
pub(crate) struct Api {
    pub(crate) shared: Arc<Shared>,
    pub(crate) core: CoreContext,
    pub(crate) tickets: Tickets,
    /// Bounds the reads in flight.
    pub(crate) reads: Arc<Semaphore>,
}

impl Api {
    pub(crate) fn new(shared: Arc<Shared>, core: CoreContext, tickets: Tickets) -> Self {
        Self { shared, core, tickets, reads: Arc::new(Semaphore::new(READS_MAX)) }
    }
}

/// Methods of a call that reads; the answer to HEAD is that to GET without its body.
const READING: &[Method] = &[Method::GET, Method::HEAD];

impl Service for Api {
    async fn call(&self, request: Request) -> Answer {
        let path = request.head.uri.path();
        let method = match &request.head.method {
            &Method::HEAD => &Method::GET,
            method => method,
        };
        match (path, method) {
            ("/api/usages", &Method::POST) => intake::post(self, request).await,
            // A future is moved with every request and has room for its largest way, so the rarer ones
            // have theirs elsewhere.
            ("/api/usages", &Method::GET) => Box::pin(reads::history(self, request)).await,
            ("/api/usages", _) => {
                wrong_method(Route::Usages, &[Method::GET, Method::HEAD, Method::POST])
            }
            ("/api/usages/search", &Method::POST) => Box::pin(reads::search(self, request)).await,
            ("/api/usages/search", _) => wrong_method(Route::Search, &[Method::POST]),
            ("/api/usages/summary", &Method::GET) => Box::pin(reads::summary(self, request)).await,
            ("/api/usages/summary", _) => wrong_method(Route::Summary, READING),
            _ => Box::pin(self.other(request)).await,
        }
    }

    fn tick(&self) {
        self.tickets.tick();
        if self.shared.store.stalled().is_some() {
            self.shared.refusing.note();
        }
    }
}

impl Api {
    async fn other(&self, request: Request) -> Answer {
        let path = request.head.uri.path();
        let reading = READING.contains(&request.head.method);
        if let Some(text) = path.strip_prefix("/api/usages/") {
            let Some(text) = address::decoded(text) else { return garbled(Route::Receipt, "id") };
            let Ok(id) = text.parse::<UsageId>() else { return not_found(Route::Receipt) };
            if !reading {
                return wrong_method(Route::Receipt, READING);
            }
            return reads::receipt(self, id).await;
        }
        let found = match path.strip_prefix("/problems/").map(address::decoded) {
            Some(None) => return garbled(Route::Problem, "slug"),
            Some(Some(slug)) => contract::problem_page(&slug),
            None => contract::page(path),
        };
        let Some((route, page)) = found else { return not_found(Route::Other) };
        if !reading {
            return wrong_method(route, READING);
        }
        Answer::new(route, page)
    }
}

/// A part of the path that is not encoded correctly.
fn garbled(route: Route, name: &str) -> Answer {
    Answer::problem(route, &address::badly_encoded(vec![address::pointer(name)]))
}

fn not_found(route: Route) -> Answer {
    Answer::problem(route, &ProblemKind::NOT_FOUND.into())
}

fn wrong_method(route: Route, allowed: &'static [Method]) -> Answer {
    Answer::problem(route, &Problem::from(ProblemKind::METHOD_NOT_ALLOWED).allow(allowed))
}
