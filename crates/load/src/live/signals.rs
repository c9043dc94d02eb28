//! Signals that end or stop a program by default, and would leave the terminal as the view has set it.
//!
//! Whoever runs the view may catch signals: those are theirs. The others are caught here, so that the
//! terminal is given back before they do what they always do.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::SigId;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGSTOP, SIGTERM, SIGTSTP};
use signal_hook::{flag, low_level};

const DEADLY: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// Deadly signals that nobody else catches, while this lives.
pub(super) struct Deadly {
    came: Arc<AtomicUsize>,
    registered: Vec<SigId>,
}

impl Deadly {
    /// Catches them. What catches signals must do so before.
    pub(super) fn catch() -> io::Result<Self> {
        let others = handled(&fs::read_to_string("/proc/self/status").unwrap_or_default());
        let came = Arc::new(AtomicUsize::new(0));
        let mut deadly = Self { came: Arc::clone(&came), registered: Vec::new() };
        let again = Arc::new(AtomicBool::new(false));
        for signal in DEADLY.into_iter().filter(|signal| others & bit(*signal) == 0) {
            let number = usize::try_from(signal).expect("signals are numbered from 1");
            // A terminal that takes no output holds up whoever would look: a second one is the end.
            deadly.registered.push(flag::register_conditional_default(signal, Arc::clone(&again))?);
            deadly.registered.push(flag::register(signal, Arc::clone(&again))?);
            deadly.registered.push(flag::register_usize(signal, Arc::clone(&came), number)?);
        }
        Ok(deadly)
    }

    /// Does what a signal does by default if one came, after `before`: this does not return then.
    pub(super) fn die_if_told(&self, before: impl FnOnce()) {
        let signal = self.came.load(Ordering::SeqCst);
        if signal > 0 {
            before();
            let signal = i32::try_from(signal).expect("it was one");
            let _ = low_level::emulate_default_handler(signal);
        }
    }
}

impl Drop for Deadly {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            low_level::unregister(id);
        }
        // What came meanwhile is not lost.
        self.die_if_told(|| {});
    }
}

/// What a shell does with its jobs, while this lives.
pub(super) struct Jobs {
    stop: Arc<AtomicBool>,
    continued: Arc<AtomicBool>,
    /// Whether it lives no more, and a stop is what it always is.
    gone: Arc<AtomicBool>,
}

impl Jobs {
    /// Catches the signals that stop it from a terminal, and let it go on.
    pub(super) fn catch() -> io::Result<Self> {
        let jobs = Self { stop: Arc::default(), continued: Arc::default(), gone: Arc::default() };
        flag::register_conditional_default(SIGTSTP, Arc::clone(&jobs.gone))?;
        flag::register(SIGTSTP, Arc::clone(&jobs.stop))?;
        flag::register(SIGCONT, Arc::clone(&jobs.continued))?;
        Ok(jobs)
    }

    /// Asks for a stop, as Ctrl-Z does where the terminal makes no signal of it.
    pub(super) fn ask_to_stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// Whether a stop was asked for; it is then as if it had not been.
    pub(super) fn take_stop(&self) -> bool {
        self.stop.swap(false, Ordering::SeqCst)
    }

    /// Whether it was stopped and goes on, which is told once.
    pub(super) fn take_continued(&self) -> bool {
        self.continued.swap(false, Ordering::SeqCst)
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::SeqCst);
    }
}

/// Stops this process, all its threads, until somebody lets it go on.
pub(super) fn stop_here() -> io::Result<()> {
    low_level::raise(SIGSTOP)
}

/// The signals that are caught or ignored, a bit each, from the kernel's words about a process.
fn handled(status: &str) -> u64 {
    let masks = status.lines().filter_map(|line| {
        let mask = line.strip_prefix("SigCgt:").or_else(|| line.strip_prefix("SigIgn:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    });
    masks.fold(0, |all, mask| all | mask)
}

fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_handle_is_theirs() {
        let status = "Name:\tx\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000000001\n\
                      SigCgt:\t0000000000004002\nCapInh:\t0\n";
        let handled = handled(status);
        let [hangup, interrupt, quit, terminate] = DEADLY.map(|signal| handled & bit(signal) > 0);
        assert!(hangup && interrupt && terminate, "ignored or caught");
        assert!(!quit, "nobody's");
        assert_eq!(super::handled("nonsense"), 0);
    }
}
