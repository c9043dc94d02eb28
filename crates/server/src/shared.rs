//! What all cores share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use edge::Budget;
use store::{Clock, Damage, IndexState, Store};
use telemetry::Metrics;
use usage::UnknownFields;

use crate::admission::Refusing;
use crate::counting::Counting;

/// What every core sees.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    /// The room for requests that are arriving or waiting for the disk.
    pub(crate) bodies: Arc<Budget>,
    /// The room for large answers.
    pub(crate) answers: Arc<Budget>,
    pub(crate) refusing: Refusing,
    pub(crate) counting: Counting,
    pub(crate) unknown_fields: UnknownFields,
    pub(crate) stopping: AtomicBool,
}

impl Shared {
    /// What cannot be served although this server is ready, if anything.
    pub(crate) fn degraded(&self) -> Option<String> {
        let Damage { places, first } = self.store.status().damage?;
        let more = if places > 1 { format!(" and {} more", places - 1) } else { String::new() };
        Some(format!(
            "stored data is damaged ({first}{more}); requests that need it get 500, all others are \
             served; to see the damage, stop the server and run `inhale journal check`"
        ))
    }

    /// Why this server should not be sent requests now, or `None` when it should.
    pub(crate) fn not_ready(&self) -> Option<String> {
        if self.stopping.load(Ordering::Relaxed) {
            return Some("the server is stopping".to_owned());
        }
        if let Some(cause) = self.store.failure() {
            return Some(format!(
                "a write to the journal failed ({cause}); nothing is acknowledged any more"
            ));
        }
        let status = self.store.status();
        if !status.journal.begun {
            let index = match &status.index_state {
                IndexState::Failed { why } => format!("; the index has failed ({why})"),
                _ => String::new(),
            };
            return Some(format!(
                "the disk is full: usages get 507, and reads go on but for the {} usages written last \
                 before the start, which get 503{index}; the server goes on by itself once there is room",
                status.journal.unproven_frames
            ));
        }
        if status.journal.no_space {
            return Some("the disk is at its reserve; usages get 507, reads go on".to_owned());
        }
        if let Some(stalled) = self.store.stalled() {
            // From this answer on new usages are refused; without it a core may notice a moment later.
            self.refusing.note();
            return Some(format!(
                "the disk has not completed a write for {:.1} s (--stuck-after); new usages get 503",
                stalled.as_secs_f64()
            ));
        }
        match &status.index_state {
            IndexState::Ready | IndexState::Off => None,
            IndexState::CatchingUp { cursor, target } => {
                let doing = match &status.index_rebuilt {
                    Some(why) => format!("being rebuilt from the journal ({why})"),
                    None => "catching up".to_owned(),
                };
                Some(format!(
                    "the index is {doing}, at {cursor} of {target}; usages without a key are \
                     accepted, reads and keyed usages get 503"
                ))
            }
            IndexState::Opening => Some(
                "the index is being opened; usages without a key are accepted, reads and keyed \
                 usages get 503"
                    .to_owned(),
            ),
            IndexState::Failed { why } => Some(format!(
                "the index has failed and is tried again ({why}); usages without a key are taken in, \
                 reads and keyed usages get 503"
            )),
        }
    }
}
