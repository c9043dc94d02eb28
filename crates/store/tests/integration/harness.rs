//! What every test needs: small stores, usages, and ways to wait.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant as Moment};

use store::{
    Accepted, AppendRefused, BatchItem, Clock, Config, HistoryQuery, IndexState, Key, Store,
    StoredUsage, SystemClock,
};
use usage::{UnknownFields, Usage};

pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// 2026-11-01T00:00:00Z.
pub(crate) const START_MS: u64 = 1_793_491_200_000;

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) patient_id: String,
    pub(crate) instant_ms: i64,
    pub(crate) medication: String,
    pub(crate) key: Option<String>,
}

impl Sent {
    pub(crate) fn new(patient_id: &str, instant_ms: i64, medication: &str) -> Self {
        let (patient_id, medication) = (patient_id.into(), medication.into());
        Self { patient_id, instant_ms, medication, key: None }
    }

    pub(crate) fn keyed(mut self, key: &str) -> Self {
        self.key = Some(key.into());
        self
    }

    fn json(&self) -> String {
        let Self { patient_id, instant_ms, medication, .. } = self;
        format!(
            r#"{{"patientId":"{patient_id}","timestamp":{instant_ms},"medication":"{medication}"}}"#
        )
    }
}

/// The `n`th of many different usages, of a few patients.
pub(crate) fn nth(n: u64) -> Sent {
    let medication = ["Albuterol", "Budesonide", "Salmeterol"][(n % 3) as usize];
    let instant_ms = START_MS as i64 + (n as i64 * 7_919_000) % 100_000_000;
    Sent::new(&format!("patient-{}", n % 5), instant_ms, medication)
}

pub(crate) fn with_usage<R>(sent: &Sent, then: impl FnOnce(&Usage<'_>) -> R) -> R {
    let json = sent.json();
    then(&usage::decode(json.as_bytes(), UnknownFields::Refuse).expect("a valid usage"))
}

/// A key in a header.
pub(crate) fn header(key: &str) -> Key<'_> {
    Key::Header { principal: "default", key }
}

/// Appends and does not wait.
pub(crate) fn post_at(
    store: &Store,
    sent: &Sent,
    received_ms: u64,
) -> Result<Accepted, AppendRefused> {
    with_usage(sent, |usage| match &sent.key {
        Some(key) => store.append_keyed(usage, header(key), received_ms),
        None => store.append(usage, received_ms),
    })
}

pub(crate) fn post(store: &Store, sent: &Sent) -> Result<Accepted, AppendRefused> {
    post_at(store, sent, START_MS)
}

/// Appends all in one call.
pub(crate) fn post_batch(store: &Store, sent: &[Sent]) -> Vec<Result<Accepted, AppendRefused>> {
    post_batch_at(store, sent, START_MS)
}

pub(crate) fn post_batch_at(
    store: &Store,
    sent: &[Sent],
    received_ms: u64,
) -> Vec<Result<Accepted, AppendRefused>> {
    let texts: Vec<String> = sent.iter().map(Sent::json).collect();
    let decode = |text: &String| {
        usage::decode(text.as_bytes(), UnknownFields::Refuse).map(into_owned).expect("valid")
    };
    let usages: Vec<Usage<'static>> = texts.iter().map(decode).collect();
    let items: Vec<BatchItem<'_>> = usages
        .iter()
        .zip(sent)
        .map(|(usage, sent)| BatchItem { usage, key: sent.key.as_deref().map(header) })
        .collect();
    store.append_batch(&items, received_ms)
}

fn into_owned(usage: Usage<'_>) -> Usage<'static> {
    Usage {
        patient_id: usage.patient_id.into_owned().into(),
        timestamp: usage.timestamp.into_owned(),
        medication: usage.medication.into_owned().into(),
        event_id: None,
        attributes: None,
    }
}

/// Appends and waits until it is durable, as a request does.
pub(crate) fn post_durably(store: &Store, sent: &Sent) -> Accepted {
    let accepted = post(store, sent).expect("there is room");
    store.journal().wait_durable(accepted.seq, DEADLINE).expect("the disk works");
    accepted
}

/// Small segments and runs, so that little is needed to reach every path.
pub(crate) fn config(dir: &Path) -> Config {
    let mut config = Config::new(dir);
    config.journal.segment_bytes = 64 << 10;
    config.journal.pending_bytes_max = 16 << 10;
    config.journal.reserve_bytes = 0;
    config.journal.spacing = Duration::ZERO;
    config.tail_bytes_max = 1 << 20;
    config.run.usages_max = 200;
    config.run.interval = Duration::from_millis(2);
    config
}

pub(crate) fn open(config: Config) -> Store {
    Store::open(config, Arc::new(SystemClock::new())).expect("the store opens")
}

pub(crate) fn start(config: Config) -> Store {
    let store = open(config);
    store.start().expect("threads start");
    store
}

/// Time that stands still until it is moved.
#[derive(Default)]
pub(crate) struct StillClock {
    pub(crate) wall_ms: AtomicU64,
    /// How far it has moved without time having passed.
    jumped_ms: AtomicU64,
}

impl StillClock {
    /// Sets the wall clock forward.
    pub(crate) fn jump(&self, ms: u64) {
        self.wall_ms.fetch_add(ms, Ordering::Relaxed);
        self.jumped_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for StillClock {
    fn wall_ms(&self) -> u64 {
        self.wall_ms.load(Ordering::Relaxed)
    }
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.wall_ms() - self.jumped_ms.load(Ordering::Relaxed))
    }
}

/// Opens a store whose time is `clock`'s.
pub(crate) fn open_at(config: &Config, clock: &Arc<StillClock>) -> Store {
    let clock: Arc<StillClock> = Arc::clone(clock);
    Store::open(config.clone(), clock).expect("opens")
}

#[expect(clippy::disallowed_methods, reason = "a deadline, so that a failure ends")]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Moment::now();
    while !condition() {
        assert!(begun.elapsed() < DEADLINE, "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Waits until the index holds everything durable.
pub(crate) fn wait_indexed(store: &Store) {
    wait_until("the index catches up", || {
        let status = store.status();
        status.index_state == IndexState::Ready && status.index_cursor >= status.durable
    });
}

pub(crate) fn history_of(patient_id: &str) -> HistoryQuery {
    HistoryQuery {
        patient_id: patient_id.into(),
        from: None,
        to: None,
        medication: None,
        limit: 7,
        cursor: None,
    }
}

/// All pages.
pub(crate) fn whole_history(store: &Store, mut query: HistoryQuery) -> Vec<StoredUsage> {
    let mut usages = Vec::new();
    loop {
        let page = store.history(&query).expect("history is served");
        assert!(page.usages.len() <= query.limit);
        usages.extend(page.usages);
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => return usages,
        }
    }
}

/// A folder in memory where there is one: nothing here depends on what a disk has synced.
pub(crate) fn folder() -> tempfile::TempDir {
    let in_memory = tempfile::tempdir_in("/dev/shm");
    in_memory.or_else(|_| tempfile::tempdir()).expect("a folder for the test")
}
