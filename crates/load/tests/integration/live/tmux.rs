//! A real terminal, which tmux plays, with a shell in it.

use std::io::Write as _;
use std::process::{Command, Output};
use std::time::Duration;

/// How long anything may take before it counts as a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// A terminal with a shell in it.
pub(crate) struct Terminal {
    /// For the socket, and for what a test leaves.
    pub(crate) folder: tempfile::TempDir,
}

impl Terminal {
    /// `None` where there is no tmux, which is noted.
    pub(crate) fn open(test: &str, columns: u16, rows: u16) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder for the socket");
        let terminal = Self { folder };
        if Command::new("tmux").arg("-V").output().is_err() {
            skip(test, "there is no tmux");
            return None;
        }
        let (columns, rows) = (columns.to_string(), rows.to_string());
        let shell = "env PS1='ready> ' TERM=tmux-256color sh";
        terminal.tmux(&["new-session", "-d", "-x", &columns, "-y", &rows, shell]);
        terminal.see("ready>");
        Some(terminal)
    }

    pub(crate) fn tmux(&self, words: &[&str]) -> Output {
        let socket = self.folder.path().join("tmux");
        let output = Command::new("tmux")
            .args(["-f", "/dev/null", "-S"])
            .arg(socket)
            .args(words)
            .env("LC_ALL", "C.UTF-8")
            .env_remove("TMUX")
            .output()
            .expect("tmux runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "tmux {words:?}: {said}");
        output
    }

    /// What it shows, with lines that wrap in one piece.
    pub(crate) fn screen(&self) -> String {
        let output = self.tmux(&["capture-pane", "-p", "-J"]);
        String::from_utf8(output.stdout).expect("it is text")
    }

    /// Types a command.
    pub(crate) fn run(&self, command: &str) {
        self.tmux(&["send-keys", "-l", command]);
        self.tmux(&["send-keys", "Enter"]);
    }

    pub(crate) fn press(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    /// Waits until the screen shows what is asked for.
    #[track_caller]
    pub(crate) fn see(&self, text: &str) -> String {
        self.wait(&format!("{text:?}"), |screen| screen.contains(text))
    }

    #[track_caller]
    pub(crate) fn wait(&self, what: &str, condition: impl Fn(&str) -> bool) -> String {
        let pause = Duration::from_millis(20);
        let mut pauses = PATIENCE.as_millis() / pause.as_millis();
        loop {
            let screen = self.screen();
            if condition(&screen) {
                return screen;
            }
            pauses = pauses.checked_sub(1).unwrap_or_else(|| panic!("no {what} on\n{screen}"));
            std::thread::sleep(pause);
        }
    }

    /// Fails unless the terminal is as it was: the mode, the cursor, the screen.
    #[track_caller]
    pub(crate) fn is_sane(&self, before: &str) {
        self.wait("shell", |screen| screen.trim_end().ends_with("ready>"));
        let shows = |format: &str| {
            let output = self.tmux(&["display-message", "-p", format]);
            String::from_utf8(output.stdout).expect("it is text").trim().to_owned()
        };
        assert_eq!(shows("#{alternate_on} #{cursor_flag}"), "0 1", "screen and cursor");
        assert_eq!(self.mode(), before, "the terminal's mode");
    }

    /// The terminal's mode in the words of stty.
    pub(crate) fn mode(&self) -> String {
        let path = self.folder.path().join("mode");
        self.run(&format!("clear; stty -a | sed 1d > {0}.new && mv {0}.new {0}", path.display()));
        self.wait("mode", |_| path.exists());
        let mode = std::fs::read_to_string(&path).expect("it was written");
        std::fs::remove_file(&path).expect("it is ours");
        self.wait("shell", |screen| screen.trim_end().ends_with("ready>"));
        mode
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Not through `tmux`, which panics: a test that fails is panicking already.
        let socket = self.folder.path().join("tmux");
        let _ = Command::new("tmux").arg("-S").arg(socket).arg("kill-server").output();
    }
}

fn skip(test: &str, why: &str) {
    if let Some(path) = std::env::var_os("INHALE_TEST_SKIPS") {
        let notes = std::fs::File::options().create(true).append(true).open(path);
        writeln!(notes.expect("the notes can be opened"), "{test}: {why}").expect("it has room");
    }
}
