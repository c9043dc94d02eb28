//! The view: a thread that draws the latest glance at most ten times a second and listens to keys. A
//! terminal that takes no output, as after Ctrl-S, holds up this thread and not the run.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use crate::clock;
use crate::measure::Totals;
use crate::observe::Observer;
use crate::outcome::Ending;
use crate::plan::Plan;
use crate::run::StopFlag;

use super::draw::draw;
use super::gather::Gatherer;
use super::glance::{Glance, Pressed};
use super::look::Look;
use super::screen::{self, Screen};
use super::signals::{Deadly, Jobs, stop_here};

/// Frames are at least so far apart, and a key is noticed within this.
const FRAME: Duration = Duration::from_millis(100);

/// A run on a terminal. Dropping it gives the terminal back.
pub struct View {
    gatherer: Gatherer,
    shared: Arc<Shared>,
    drawing: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// The latest glance, until it is drawn.
    latest: Mutex<Option<Glance>>,
    over: AtomicBool,
}

impl View {
    /// Takes the terminal. `stop` is pressed at each `q` or Ctrl-C; what catches signals must do so
    /// before.
    ///
    /// # Errors
    /// When the terminal cannot be had.
    pub fn start(look: Look, stop: Arc<StopFlag>) -> io::Result<Self> {
        let deadly = Deadly::catch()?;
        let jobs = Jobs::catch()?;
        let screen = Screen::take()?;
        let shared = Arc::new(Shared::default());
        let drawing = Drawing { screen, deadly, jobs, look, stop, shared: Arc::clone(&shared) };
        let drawing = thread::Builder::new().name("view".to_owned()).spawn(|| drawing.run())?;
        Ok(Self { gatherer: Gatherer::default(), shared, drawing: Some(drawing) })
    }
}

impl Observer for View {
    fn tick(&mut self, plan: &Plan, totals: &Totals, at: Duration) {
        if let Some(glance) = self.gatherer.gather(plan, totals, at) {
            *self.shared.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(glance);
        }
    }

    fn missing(&mut self, words: &str) {
        self.gatherer.missing(words);
    }

    fn stopping(&mut self, why: Ending, at: Duration) {
        self.gatherer.stopping(why, at);
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        if let Some(drawing) = self.drawing.take() {
            // Its panic was told by the hook, and the terminal is given back either way.
            let _ = drawing.join();
        }
    }
}

struct Drawing {
    screen: Screen,
    deadly: Deadly,
    jobs: Jobs,
    look: Look,
    stop: Arc<StopFlag>,
    shared: Arc<Shared>,
}

impl Drawing {
    /// Until the view is dropped. When the terminal is gone, signals are still what they were.
    fn run(mut self) {
        if self.show().is_err() {
            while !self.shared.over.load(Ordering::SeqCst) {
                self.deadly.die_if_told(screen::give_back);
                if self.jobs.take_stop() {
                    let _ = stop_here();
                }
                thread::park_timeout(FRAME);
            }
        }
    }

    /// Until the view is dropped.
    ///
    /// # Errors
    /// When the terminal is gone.
    fn show(&mut self) -> io::Result<()> {
        let mut glance = Glance::default();
        let mut drawn_ns = 0;
        let mut stale = true;
        let mut pressed = Pressed::Never;
        let mut away = false;
        while !self.shared.over.load(Ordering::SeqCst) {
            self.deadly.die_if_told(screen::give_back);
            if self.jobs.take_stop() {
                if !away {
                    screen::give_back();
                }
                stop_here()?;
                away = true;
            }
            away |= self.jobs.take_continued();
            if away {
                // In the background the terminal is another's.
                if !screen::is_in_foreground() {
                    thread::park_timeout(FRAME);
                    continue;
                }
                self.screen.take_again()?;
                (away, stale) = (false, true);
            }
            let latest = self.shared.latest.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(latest) = latest {
                glance = latest;
                stale = true;
            }
            // A signal may have pressed it too.
            let pressed_now = Pressed::times(self.stop.presses());
            stale |= pressed_now != pressed;
            pressed = pressed_now;
            let since = Duration::from_nanos(clock::now_ns() - drawn_ns);
            if stale && since >= FRAME {
                let look = self.look;
                self.screen.draw(|frame| draw(frame, &glance, pressed, &look))?;
                drawn_ns = clock::now_ns();
                stale = false;
            }
            let since = Duration::from_nanos(clock::now_ns() - drawn_ns);
            stale |= self.listen(FRAME.saturating_sub(since).max(Duration::from_millis(1)))?;
        }
        Ok(())
    }

    /// Waits for keys and resizes for so long, and returns whether there is something new to draw.
    fn listen(&mut self, wait: Duration) -> io::Result<bool> {
        wait_for_input(wait)?;
        if !event::poll(Duration::ZERO)? {
            return Ok(false);
        }
        match event::read()? {
            Event::Key(key) if is_stop(key) => {
                self.stop.press();
                Ok(true)
            }
            Event::Key(key) if key.code == KeyCode::Char('z') && is_control(key) => {
                Jobs::ask_to_stop()?;
                Ok(false)
            }
            // Ctrl-L redraws by old custom.
            Event::Key(key) if key.code == KeyCode::Char('l') && is_control(key) => {
                self.screen.forget()?;
                Ok(true)
            }
            Event::Resize(..) => Ok(true),
            _ => Ok(false),
        }
    }
}

/// Waits for input for so long. The library that reads it reads the end of a terminal that has hung up
/// again and again and never returns, so it must not be asked then.
///
/// # Errors
/// When the terminal has hung up.
fn wait_for_input(wait: Duration) -> io::Result<()> {
    let stdin = io::stdin();
    let mut input = [PollFd::new(&stdin, PollFlags::IN)];
    let wait = Timespec::try_from(wait).expect("a frame is short");
    match poll(&mut input, Some(&wait)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    if input[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
        return Err(io::ErrorKind::NotConnected.into());
    }
    Ok(())
}

/// `q`, or what Ctrl-C is when the terminal makes no signal of it.
fn is_stop(key: KeyEvent) -> bool {
    let is_pressed = key.kind == KeyEventKind::Press;
    let stops = match key.code {
        KeyCode::Char('q') => key.modifiers.is_empty(),
        KeyCode::Char('c') => is_control(key),
        _ => false,
    };
    is_pressed && stops
}

fn is_control(key: KeyEvent) -> bool {
    key.modifiers.contains(KeyModifiers::CONTROL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_stop() {
        let key = |code, modifiers| is_stop(KeyEvent::new(code, modifiers));
        assert!(key(KeyCode::Char('q'), KeyModifiers::NONE));
        assert!(key(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(!key(KeyCode::Char('c'), KeyModifiers::NONE));
        assert!(!key(KeyCode::Char('l'), KeyModifiers::CONTROL));
        assert!(!key(KeyCode::Char('q'), KeyModifiers::CONTROL), "it lets a held terminal go on");
        assert!(!key(KeyCode::Esc, KeyModifiers::NONE), "it begins what other keys send");
        let mut released = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE);
        released.kind = KeyEventKind::Release;
        assert!(!is_stop(released));
    }
}
