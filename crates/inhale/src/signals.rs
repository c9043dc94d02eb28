//! The signals that a server minds. Handlers only set flags, which the main thread looks at.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};

/// Signals that end a process by default, and a server never.
pub(crate) struct Harmless {
    reread: Arc<AtomicBool>,
    ignored: [(&'static str, Arc<AtomicBool>); 2],
}

/// Signals that ask a server to end.
pub(crate) struct Ending([(&'static str, Arc<AtomicBool>); 2]);

fn flag(signal: i32) -> io::Result<Arc<AtomicBool>> {
    let flag = Arc::default();
    signal_hook::flag::register(signal, Arc::clone(&flag))?;
    Ok(flag)
}

impl Harmless {
    /// From here on they no longer kill. What arrives before somebody looks is not lost.
    pub(crate) fn listen() -> Result<Self> {
        let all = || {
            Ok::<_, io::Error>(Self {
                reread: flag(SIGHUP)?,
                ignored: [("SIGUSR1", flag(SIGUSR1)?), ("SIGUSR2", flag(SIGUSR2)?)],
            })
        };
        all().context("listening for SIGHUP, SIGUSR1 and SIGUSR2")
    }

    /// Whether SIGHUP has come since the last look. Logs the others.
    pub(crate) fn look(&self) -> bool {
        for (signal, came) in &self.ignored {
            if came.swap(false, Ordering::Relaxed) {
                let meaning = match *signal {
                    "SIGUSR2" => {
                        "it is reserved for an upgrade in place; use `inhale serve --takeover`"
                    }
                    _ => "it has no meaning here",
                };
                tracing::info!(signal, meaning, "a signal was ignored");
            }
        }
        self.reread.swap(false, Ordering::Relaxed)
    }
}

impl Ending {
    /// From here on they no longer kill.
    pub(crate) fn listen() -> Result<Self> {
        let terminate = flag(SIGTERM).context("listening for SIGTERM")?;
        let interrupt = flag(SIGINT).context("listening for SIGINT")?;
        Ok(Self([("SIGTERM", terminate), ("SIGINT", interrupt)]))
    }

    /// The name of one that has come.
    pub(crate) fn came(&self) -> Option<&'static str> {
        let came = self.0.iter().find(|(_, came)| came.load(Ordering::Relaxed));
        came.map(|(signal, _)| *signal)
    }
}
