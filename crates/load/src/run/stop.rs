//! The wish of somebody else that a run end.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Pressed once, a run begins no further request and waits for those under way; pressed again, it
/// ends now. Pressing is all that it does, so a handler of signals may.
#[derive(Debug, Default)]
pub struct StopFlag {
    presses: AtomicU8,
}

impl StopFlag {
    /// Not pressed.
    pub const fn new() -> Self {
        Self { presses: AtomicU8::new(0) }
    }

    /// Presses once more, and says how often that was.
    pub fn press(&self) -> u8 {
        let more = |presses: u8| Some(presses.saturating_add(1));
        self.presses.fetch_update(Relaxed, Relaxed, more).map_or(u8::MAX, |b| b.saturating_add(1))
    }

    /// How often it was pressed.
    pub fn presses(&self) -> u8 {
        self.presses.load(Relaxed)
    }
}
