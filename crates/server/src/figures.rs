//! What store and admission add to the metrics at each scrape.

use std::sync::{Arc, Weak};

use store::{IndexState, Status};
use telemetry::{Figures, Histogram};

use crate::shared::Shared;

/// Has every scrape include the store's figures.
pub(crate) fn register(
    shared: &Arc<Shared>,
    sync_durations: Arc<Histogram>,
    log_lines_dropped: impl Fn() -> u64 + Send + Sync + 'static,
) {
    // Weak, because the metrics are part of what is shared.
    let weak: Weak<Shared> = Arc::downgrade(shared);
    shared.metrics.add_source(move |figures| {
        figures
            .counter("inhale_log_lines_dropped", "Log lines dropped because too many waited.")
            .plain(log_lines_dropped());
        if let Some(shared) = weak.upgrade() {
            figures
                .gauge(
                    "inhale_body_bytes",
                    "Memory of requests that are arriving or waiting for the disk.",
                )
                .plain(shared.bodies.bytes() as u64);
            figures
                .gauge(
                    "inhale_answer_bytes",
                    "Bytes of large answers that wait for their receivers.",
                )
                .plain(shared.answers.bytes() as u64);
            store_figures(figures, &shared.store.status());
            figures
                .gauge(
                    "inhale_oldest_unanswered_usage_age_seconds",
                    "Age of the oldest usage that is not safe on disk yet; 0 when there is none.",
                )
                .plain(shared.store.journal().backlog().oldest.as_secs_f64());
            figures
                .histogram(
                    "inhale_journal_sync_seconds",
                    "Time of the journal's writes and syncs, one for each batch.",
                )
                .plain(sync_durations.snapshot());
        }
    });
}

fn store_figures(figures: &mut Figures, status: &Status) {
    let journal = &status.journal;
    let mut gauge = |name, help, value: u64| figures.gauge(name, help).plain(value);
    gauge("inhale_journal_bytes", "Bytes of all journal files.", journal.bytes);
    gauge("inhale_journal_segments", "Journal files in use.", journal.segments as u64);
    gauge(
        "inhale_journal_pending_bytes",
        "Bytes waiting for the disk.",
        journal.pending_bytes as u64,
    );
    gauge("inhale_journal_durable_position", "One past the last durable sequence.", status.durable);
    gauge(
        "inhale_journal_openings",
        "How often the journal was opened, each time by another process.",
        journal.epoch.into(),
    );
    gauge(
        "inhale_journal_no_space",
        "1 while usages are refused for want of space.",
        journal.no_space.into(),
    );
    gauge(
        "inhale_journal_poisoned",
        "1 once a write or sync has failed.",
        journal.poisoned.is_some().into(),
    );
    gauge(
        "inhale_data_damaged_places",
        "Damaged places in stored data that reads have met since the start, 1,000 at most.",
        status.damage.as_ref().map_or(0, |damage| damage.places as u64),
    );
    gauge("inhale_disk_free_bytes", "Free bytes of the journal's disk.", journal.free_bytes);
    gauge(
        "inhale_index_cursor",
        "Everything below this sequence is in the index.",
        status.index_cursor,
    );
    gauge(
        "inhale_index_lag_usages",
        "Durable usages that the index has not taken yet.",
        status.index_lag,
    );
    gauge("inhale_index_bytes", "Bytes of the index on disk.", status.index_bytes);
    let ready = status.index_state == IndexState::Ready;
    gauge("inhale_index_ready", "1 while reads and keyed usages are answered.", ready.into());
    gauge(
        "inhale_tail_bytes",
        "Memory of usages that the index has not taken yet.",
        status.tail_bytes as u64,
    );
    gauge(
        "inhale_keys_in_memory",
        "Idempotency keys that the index has not taken yet.",
        status.keys_in_memory as u64,
    );
    figures
        .counter(
            "inhale_index_rebuilds",
            "Times that the index was rebuilt: damaged, incomplete, or not of this journal.",
        )
        .plain(status.index_rebuilds);
    figures.counter("inhale_journal_syncs", "Syncs of the journal.").plain(journal.syncs);
    figures.counter("inhale_journal_batches", "Batches committed.").plain(journal.batches);
}
