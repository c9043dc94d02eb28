//! Signals that end or stop a program by default, and would leave the terminal as the view has set it.
//!
//! Whoever runs the view may catch signals: those are theirs. The others are caught here, so that the
//! terminal is given back before they do what they always do.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::process::{Signal, kill_current_process_group};
use signal_hook::SigId;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
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
pub(super) struct Jobs(&'static Told);

/// What the shell has asked for. It is one for all, as handlers of signals are.
struct Told {
    stop: Arc<AtomicBool>,
    continued: Arc<AtomicBool>,
    /// What SIGTSTP does while somebody looks; `None` where it is ignored.
    heeded: Option<libc::sigaction>,
}

impl Jobs {
    /// Catches the signals that stop it from a terminal, unless they are ignored, and let it go on.
    pub(super) fn catch() -> io::Result<Self> {
        static TOLD: OnceLock<Told> = OnceLock::new();
        let told = match TOLD.get() {
            Some(told) => told,
            None => {
                let told = Told::new()?;
                TOLD.get_or_init(|| told)
            }
        };
        told.heeded.as_ref().map(on_stop).transpose()?;
        Ok(Self(told))
    }

    /// Asks for a stop of the whole job, as Ctrl-Z does where the terminal makes a signal of it.
    pub(super) fn ask_to_stop() -> io::Result<()> {
        Ok(kill_current_process_group(Signal::TSTP)?)
    }

    /// Whether a stop was asked for; it is then as if it had not been.
    pub(super) fn take_stop(&self) -> bool {
        self.0.stop.swap(false, Ordering::SeqCst)
    }

    /// Whether it was stopped and goes on, which is told once.
    pub(super) fn take_continued(&self) -> bool {
        self.0.continued.swap(false, Ordering::SeqCst)
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        if self.0.heeded.is_some() {
            // Nobody looks any more. It was set before, so it can be set.
            let _ = on_stop(&default_action());
        }
    }
}

impl Told {
    fn new() -> io::Result<Self> {
        let (stop, continued) = (Arc::default(), Arc::default());
        flag::register(SIGCONT, Arc::clone(&continued))?;
        let others = handled(&fs::read_to_string("/proc/self/status").unwrap_or_default());
        let heeded = if others & bit(SIGTSTP) == 0 {
            flag::register(SIGTSTP, Arc::clone(&stop))?;
            Some(on_stop(&default_action())?)
        } else {
            None
        };
        Ok(Self { stop, continued, heeded })
    }
}

/// Does what SIGTSTP does by default: stops this process, all its threads, until somebody lets it go on;
/// or nothing where there is no shell that could.
pub(super) fn stop_here() -> io::Result<()> {
    let before = on_stop(&default_action())?;
    let stopped = low_level::raise(SIGTSTP);
    on_stop(&before)?;
    stopped
}

/// Sets what SIGTSTP does; what it did before.
fn on_stop(action: &libc::sigaction) -> io::Result<libc::sigaction> {
    let mut before = default_action();
    // SAFETY: both are whole and outlive the call, and `action` is the default or was in force before.
    let set = unsafe { libc::sigaction(SIGTSTP, action, &raw mut before) };
    if set == 0 { Ok(before) } else { Err(io::Error::last_os_error()) }
}

fn default_action() -> libc::sigaction {
    // SAFETY: all zeros are a `sigaction` without flags and with no signal masked.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = libc::SIG_DFL;
    action
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
