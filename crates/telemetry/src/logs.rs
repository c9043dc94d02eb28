//! Structured logs on standard error, one line per event, through a bounded queue that drops lines rather
//! than delay a request, and counts what it dropped.

use std::panic::PanicHookInfo;

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt, registry, reload};

/// Lines that may wait to be written.
const LINES_MAX: usize = 8192;

/// How an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// Keeps the writer alive; dropping it writes what waits.
pub struct LogWriter {
    _worker: WorkerGuard,
    dropped: ErrorCounter,
    level: reload::Handle<LevelFilter, Registry>,
}

impl LogWriter {
    /// A count of lines dropped because too many waited, for the metrics.
    pub fn dropped_counter(&self) -> impl Fn() -> u64 + Send + Sync + use<> {
        let dropped = self.dropped.clone();
        move || dropped.dropped_lines() as u64
    }

    /// Has only events of at least `level` written from now on.
    pub fn set_level(&self, level: LevelFilter) {
        self.level.reload(level).expect("the logs last as long as the process");
    }
}

/// Has every `tracing` event of at least `level` written, and panics logged by their place only: a
/// panic's message may hold what was being worked on.
///
/// # Panics
/// When logging was started before in this process.
pub fn start(level: LevelFilter, format: Format) -> LogWriter {
    let (writer, worker) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(LINES_MAX)
        .thread_name("logs")
        .finish(std::io::stderr());
    let dropped = writer.error_counter();
    let (filter, level) = reload::Layer::new(level);
    let (events, lines) = (registry().with(filter), fmt::layer().with_writer(writer));
    match format {
        Format::Text => events.with(lines.with_target(false)).init(),
        Format::Json => {
            let lines = lines.json().flatten_event(true);
            events.with(lines.with_current_span(false).with_span_list(false)).init();
        }
    }
    std::panic::set_hook(Box::new(log_panic));
    LogWriter { _worker: worker, dropped, level }
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let (file, line) = panic.location().map_or(("?", 0), |place| (place.file(), place.line()));
    tracing::error!(file, line, "panic");
}
