//! Live metrics for Prometheus (`--metrics-listen`): what a run has counted so far, to be scraped while
//! it goes on. Names follow those that k6 writes, with `inhale_load_` for `k6_`.

mod exposition;
mod families;
mod server;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::measure::Totals;
use crate::observe::Observer;
use crate::plan::Plan;

use server::Server;

/// Answers scrapes with the figures of the last second.
pub struct Metrics {
    address: SocketAddr,
    page: Arc<Page>,
    written_at: Option<Duration>,
    /// Ends when this is dropped.
    _server: Server,
}

/// The text that is answered.
#[derive(Debug, Default)]
struct Page(Mutex<Arc<str>>);

const APART_MIN: Duration = Duration::from_secs(1);

impl Metrics {
    /// Answers on `listener`, which the caller has bound.
    ///
    /// # Errors
    /// When the thread for it cannot be started.
    pub fn start(listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let page = Arc::new(Page::default());
        let server = Server::start(listener, Arc::clone(&page))?;
        Ok(Self { address, page, written_at: None, _server: server })
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn write(&mut self, plan: &Plan, totals: &Totals, at: Duration) {
        self.written_at = Some(at);
        self.page.set(families::page(plan, totals, at));
    }
}

impl Observer for Metrics {
    fn begin(&mut self, plan: &Plan, _notes: &[String]) {
        self.write(plan, &Totals::new(&plan.shape()), Duration::ZERO);
    }

    fn tick(&mut self, plan: &Plan, totals: &Totals, at: Duration) {
        if self.written_at.is_none_or(|then| at.saturating_sub(then) >= APART_MIN) {
            self.write(plan, totals, at);
        }
    }

    fn end(&mut self, plan: &Plan, totals: &Totals, _outcome: &crate::outcome::Outcome) {
        // The workers' last word may be older than the last look at the clock.
        let last = self.written_at.unwrap_or_default();
        self.write(plan, totals, Duration::from_nanos(totals.until_ns).max(last));
    }
}

impl Page {
    fn set(&self, text: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text.into();
    }

    fn get(&self) -> Arc<str> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
