//! Structured logs on standard error, one line per event, through a bounded queue that drops lines rather
//! than delay a request, and counts what it dropped.

use std::panic::PanicHookInfo;

use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};

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
}

impl LogWriter {
    /// A count of lines dropped because too many waited, for the metrics.
    pub fn dropped_counter(&self) -> impl Fn() -> u64 + Send + Sync + use<> {
        let dropped = self.dropped.clone();
        move || dropped.dropped_lines() as u64
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
    let events = tracing_subscriber::fmt().with_max_level(level).with_writer(writer);
    match format {
        Format::Text => events.with_target(false).init(),
        Format::Json => {
            let events = events.json().flatten_event(true);
            events.with_current_span(false).with_span_list(false).init();
        }
    }
    std::panic::set_hook(Box::new(log_panic));
    LogWriter { _worker: worker, dropped }
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let (file, line) = panic.location().map_or(("?", 0), |place| (place.file(), place.line()));
    tracing::error!(file, line, "panic");
}
