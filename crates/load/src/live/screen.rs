//! The terminal while the view has it, and how it is given back: when the view ends, when the program
//! panics, and when a signal ends it.

use std::io::{self, BufWriter, IsTerminal, Stderr, Write};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use rustix::process::getpgrp;
use rustix::termios::{QueueSelector, tcflush, tcgetpgrp};

/// What a run's progress is shown with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Display {
    /// A view that has the whole terminal.
    View,
    /// A line that is written over again and again.
    LineOnTerminal,
    /// A line a second.
    Lines,
    /// Nothing.
    Nothing,
}

/// What fits standard error. The view also needs the keyboard, so the program must be in the
/// terminal's foreground: a program in the background that sets a terminal's mode is stopped for it.
pub fn display_for(quiet: bool, term: Option<&str>) -> Display {
    let stderr = io::stderr();
    if quiet {
        Display::Nothing
    } else if !stderr.is_terminal() {
        Display::Lines
    } else if io::stdin().is_terminal()
        && is_in_foreground()
        && term.is_some_and(|term| !term.is_empty() && term != "dumb")
    {
        Display::View
    } else {
        Display::LineOnTerminal
    }
}

/// Whether the terminal is for this program now, and not for another of its shell's jobs.
pub(super) fn is_in_foreground() -> bool {
    tcgetpgrp(io::stderr()).is_ok_and(|group| group == getpgrp())
}

/// Whether the terminal is ours. It is one for all, as the terminal is.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal, taken: no line editing, no echo, and a screen of its own that leaves no trace.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Stderr>>>,
}

/// More than a frame of a large terminal, so that a frame is one write.
const FRAME_BYTES: usize = 64 << 10;

impl Screen {
    /// Takes the terminal.
    pub(super) fn take() -> io::Result<Self> {
        give_back_on_panic();
        if TAKEN.swap(true, Ordering::SeqCst) {
            return Err(io::Error::other("the terminal shows another run already"));
        }
        let taken = enable_raw_mode()
            .and_then(|()| execute!(io::stderr(), EnterAlternateScreen))
            .and_then(|()| {
                let out = BufWriter::with_capacity(FRAME_BYTES, io::stderr());
                let mut terminal = Terminal::new(CrosstermBackend::new(out))?;
                terminal.hide_cursor()?;
                Ok(Self { terminal })
            });
        if taken.is_err() {
            give_back();
        }
        taken
    }

    /// Draws a frame, unless the terminal was given back.
    pub(super) fn draw(&mut self, paint: impl FnOnce(&mut ratatui::Frame<'_>)) -> io::Result<()> {
        if TAKEN.load(Ordering::SeqCst) {
            self.terminal.draw(paint)?;
        }
        Ok(())
    }
}

impl Screen {
    /// Takes the terminal again, whatever somebody else has done with it meanwhile.
    pub(super) fn take_again(&mut self) -> io::Result<()> {
        disable_raw_mode()?;
        enable_raw_mode()?;
        TAKEN.store(true, Ordering::SeqCst);
        execute!(io::stderr(), EnterAlternateScreen)?;
        self.terminal.hide_cursor()?;
        self.forget()
    }

    /// Draws all of the next frame, not only what has changed. `Terminal::clear` would do, but asks
    /// where the cursor is through standard output, which may be a file.
    pub(super) fn forget(&mut self) -> io::Result<()> {
        let size = self.terminal.size()?;
        self.terminal.resize(size.into())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back as it was; does nothing if it is not ours.
pub(super) fn give_back() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    // Where another job has the terminal, it is as the shell wants it, and not ours to touch.
    if !is_in_foreground() {
        return;
    }
    // There is nobody left to tell of an error.
    let mut out = io::stderr();
    let _ = execute!(out, LeaveAlternateScreen, Show);
    let _ = out.flush();
    // Keys that were pressed for the view are not for the shell.
    let _ = tcflush(io::stdin(), QueueSelector::IFlush);
    let _ = disable_raw_mode();
}

/// A panic's message must be seen, and not on a screen that is about to vanish.
fn give_back_on_panic() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            give_back();
            before(info);
        }));
    });
}
