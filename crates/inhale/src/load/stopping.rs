//! Ctrl-C and SIGTERM: once means that the run is to end in order, twice that it ends now.

use std::sync::Arc;

use ::load::run::StopFlag;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level;

/// A flag that signals press, from now on and for as long as the program lives.
pub(super) fn on_signals() -> Result<Arc<StopFlag>, String> {
    let stop = Arc::new(StopFlag::new());
    for signal in [SIGINT, SIGTERM] {
        let pressed = Arc::clone(&stop);
        // SAFETY: pressing is one atomic operation, which a handler may do.
        let caught = unsafe {
            low_level::register(signal, move || {
                pressed.press();
            })
        };
        caught.map_err(|error| format!("signals cannot be caught: {error}"))?;
    }
    Ok(stop)
}
