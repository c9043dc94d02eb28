//! What all cores share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use store::{Clock, IndexState, Store};
use telemetry::Metrics;
use usage::UnknownFields;

use crate::admission::{Admission, Refusing};
use crate::counting::Counting;

/// What every core sees.
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) admission: Admission,
    /// The room for large answers.
    pub(crate) answers: Arc<Admission>,
    pub(crate) refusing: Refusing,
    pub(crate) counting: Counting,
    pub(crate) unknown_fields: UnknownFields,
    pub(crate) stopping: AtomicBool,
}

impl Shared {
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
        if status.journal.no_space {
            return Some("the disk is at its reserve; usages get 507, reads go on".to_owned());
        }
        match &status.index_state {
            IndexState::Ready | IndexState::Off => None,
            IndexState::CatchingUp { cursor, target } => Some(format!(
                "the index is catching up, at {cursor} of {target}; usages without a key are taken in, \
                 reads and keyed usages get 503"
            )),
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
