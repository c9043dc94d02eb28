//! The cells in which each core counts, and their sum. A core writes its own cells only, with plain
//! relaxed loads and stores; whoever scrapes adds them up.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::exposition::Figures;
use crate::histogram::{Histogram, Snapshot, add};
use crate::labels::{Method, Refusal, Route, STATUSES, status_index};

const ROUTES: usize = Route::ALL.len();
const METHODS: usize = Method::ALL.len();
const REFUSALS: usize = Refusal::ALL.len();

/// One core's cells. Apart by two cache lines, so that cores never share one.
#[derive(Default)]
#[repr(align(128))]
pub struct CoreMetrics {
    /// By route, method and status. A histogram's counts are the requests' too.
    durations: [[[Histogram; STATUSES.len()]; METHODS]; ROUTES],
    accepted: AtomicU64,
    replayed: AtomicU64,
    refused: [AtomicU64; REFUSALS],
    connections_opened: AtomicU64,
    connections_closed: AtomicU64,
    connections_refused: AtomicU64,
    accept_errors: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl CoreMetrics {
    /// Counts an answered request.
    pub fn request(&self, route: Route, method: Method, status: u16, took: Duration) {
        self.durations[route as usize][method as usize][status_index(status)].record(took);
    }

    /// Counts bytes of bodies.
    pub fn bytes(&self, read: u64, written: u64) {
        add(&self.bytes_in, read);
        add(&self.bytes_out, written);
    }

    /// Counts usages that are durable and acknowledged for the first time.
    pub fn accepted(&self, usages: u64) {
        add(&self.accepted, usages);
    }

    /// Counts usages that were stored before under their key.
    pub fn replayed(&self, usages: u64) {
        add(&self.replayed, usages);
    }

    /// Counts a usage that was not taken in.
    pub fn refused(&self, reason: Refusal) {
        add(&self.refused[reason as usize], 1);
    }

    /// Counts a connection that was accepted.
    pub fn connection_opened(&self) {
        add(&self.connections_opened, 1);
    }

    /// Counts a connection that ended.
    pub fn connection_closed(&self) {
        add(&self.connections_closed, 1);
    }

    /// Counts a connection that was answered with 503 because as many as allowed were open.
    pub fn connection_refused(&self) {
        add(&self.connections_refused, 1);
    }

    /// Counts a failed accept, such as for want of file descriptors.
    pub fn accept_error(&self) {
        add(&self.accept_errors, 1);
    }
}

/// Adds figures of its own when somebody scrapes.
type Source = Box<dyn Fn(&mut Figures) + Send + Sync>;

/// All cores' cells, and what other parts add at each scrape.
pub struct Metrics {
    cores: Vec<Arc<CoreMetrics>>,
    sources: Mutex<Vec<Source>>,
}

impl Metrics {
    /// Cells for `cores` cores.
    pub fn new(cores: usize) -> Arc<Self> {
        let cores = (0..cores).map(|_| Arc::default()).collect();
        Arc::new(Self { cores, sources: Mutex::new(vec![Box::new(crate::process::figures)]) })
    }

    /// The cells of one core, for that core's thread alone to write.
    pub fn core(&self, core: usize) -> Arc<CoreMetrics> {
        Arc::clone(&self.cores[core])
    }

    /// Has `source` add its figures to every scrape.
    pub fn add_source(&self, source: impl Fn(&mut Figures) + Send + Sync + 'static) {
        self.sources().push(Box::new(source));
    }

    /// The sources, even if one has panicked: a scrape changes nothing about them.
    fn sources(&self) -> MutexGuard<'_, Vec<Source>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sum(&self, cell: impl Fn(&CoreMetrics) -> &AtomicU64) -> u64 {
        self.cores.iter().map(|core| cell(core).load(Relaxed)).sum()
    }

    /// Usages acknowledged for the first time, over all cores.
    pub fn accepted(&self) -> u64 {
        self.sum(|core| &core.accepted)
    }

    /// Connections open now.
    pub fn connections(&self) -> u64 {
        // Closed first: one that opens in between is counted, and the difference is never negative.
        let closed = self.sum(|core| &core.connections_closed);
        self.sum(|core| &core.connections_opened).saturating_sub(closed)
    }

    /// Durations of one route and method over all cores and statuses.
    pub fn durations(&self, route: Route, method: Method) -> Snapshot {
        let mut all = Snapshot::default();
        for index in 0..STATUSES.len() {
            all.merge(&self.durations_of_status(route, method, index));
        }
        all
    }

    fn durations_of_status(&self, route: Route, method: Method, index: usize) -> Snapshot {
        let mut all = Snapshot::default();
        for core in &self.cores {
            all.merge(&core.durations[route as usize][method as usize][index].snapshot());
        }
        all
    }

    /// Everything as OpenMetrics text.
    pub fn expose(&self) -> String {
        let mut figures = Figures::new();
        self.requests(&mut figures);
        self.usages(&mut figures);
        self.traffic(&mut figures);
        for source in self.sources().iter() {
            source(&mut figures);
        }
        figures.text()
    }

    fn requests(&self, figures: &mut Figures) {
        let mut answered = Vec::new();
        for (route, method) in pairs() {
            for (index, status) in STATUSES.iter().enumerate() {
                let durations = self.durations_of_status(route, method, index);
                if durations.count() > 0 {
                    answered.push((route, method, status.to_string(), durations));
                }
            }
        }
        let requests = figures.counter("http_server_requests", "Requests answered.");
        for (route, method, status, durations) in &answered {
            requests.labelled(&labels(*route, *method, status), durations.count());
        }
        let family = figures.histogram(
            "http_server_request_duration_seconds",
            "Time from a request's head to its answer's hand-over to the socket.",
        );
        for (route, method, status, durations) in answered {
            family.labelled(&labels(route, method, &status), durations);
        }
    }

    fn usages(&self, figures: &mut Figures) {
        figures
            .counter(
                "inhale_usages_accepted",
                "Usages acknowledged for the first time, each safe on disk.",
            )
            .plain(self.accepted());
        figures
            .counter(
                "inhale_usages_replayed",
                "Usages answered again because their key was stored before.",
            )
            .plain(self.sum(|core| &core.replayed));
        let refused = figures.counter("inhale_usages_refused", "Usages that were not taken in.");
        for reason in Refusal::ALL {
            let count = self.sum(|core| &core.refused[*reason as usize]);
            refused.labelled(&[("reason", reason.text())], count);
        }
    }

    fn traffic(&self, figures: &mut Figures) {
        figures.gauge("inhale_connections_open", "Connections open now.").plain(self.connections());
        figures
            .counter("inhale_connections", "Connections accepted.")
            .plain(self.sum(|core| &core.connections_opened));
        figures
            .counter(
                "inhale_connections_refused",
                "Connections answered with 503 because --connections-max were open.",
            )
            .plain(self.sum(|core| &core.connections_refused));
        figures
            .counter(
                "inhale_accept_errors",
                "Accepts that failed, such as for want of file descriptors.",
            )
            .plain(self.sum(|core| &core.accept_errors));
        figures
            .counter("inhale_received_bytes", "Bytes of request bodies read.")
            .plain(self.sum(|core| &core.bytes_in));
        figures
            .counter("inhale_sent_bytes", "Bytes of response bodies written.")
            .plain(self.sum(|core| &core.bytes_out));
    }
}

fn labels(route: Route, method: Method, status: &str) -> [(&'static str, &str); 3] {
    [("method", method.text()), ("route", route.text()), ("status", status)]
}

fn pairs() -> impl Iterator<Item = (Route, Method)> {
    Route::ALL.iter().flat_map(|route| Method::ALL.iter().map(|method| (*route, *method)))
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("cores", &self.cores.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, line: &str) {
        assert!(text.lines().any(|found| found == line), "no line `{line}` in\n{text}");
    }

    #[test]
    fn cores_are_added_up() {
        let metrics = Metrics::new(2);
        for core in 0..2 {
            let cells = metrics.core(core);
            cells.request(Route::Usages, Method::Post, 201, Duration::from_micros(300));
            cells.accepted(2);
            cells.refused(Refusal::Invalid);
            cells.connection_opened();
        }
        metrics.core(0).connection_closed();
        metrics.add_source(|figures| figures.gauge("inhale_index_lag_usages", "Behind.").plain(7));
        let text = metrics.expose();
        check(&text, "inhale_usages_accepted_total 4");
        check(&text, "inhale_usages_refused_total{reason=\"invalid\"} 2");
        check(&text, "inhale_usages_refused_total{reason=\"no_space\"} 0");
        check(&text, "inhale_connections_open 1");
        check(&text, "inhale_index_lag_usages 7");
        check(
            &text,
            "http_server_requests_total{method=\"POST\",route=\"/api/usages\",status=\"201\"} 2",
        );
        check(
            &text,
            "http_server_request_duration_seconds_bucket{le=\"0.0004\",method=\"POST\",route=\"/api/usages\",status=\"201\"} 2",
        );
        check(&text, "# EOF");
    }

    #[test]
    fn repro_a_source_that_panics_costs_one_scrape() {
        let metrics = Metrics::new(1);
        let panics = std::sync::atomic::AtomicBool::new(true);
        metrics.add_source(move |figures| {
            assert!(!panics.swap(false, Relaxed), "injected");
            figures.gauge("inhale_index_lag_usages", "Behind.").plain(7);
        });
        let scrape = || std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| metrics.expose()));
        scrape().expect_err("the panic was injected");
        check(&scrape().expect("the next scrape is answered"), "inhale_index_lag_usages 7");
        metrics.add_source(|_| ());
    }
}
