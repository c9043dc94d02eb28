//! The server under test: a child process of this very binary.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal};

use crate::clock::monotonic;

/// Time in which a server must come up or go down.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running `inhale serve`; killed when dropped.
pub(crate) struct ServerProcess {
    child: Child,
    url: String,
}

impl ServerProcess {
    /// Starts a server on `store`, at free ports, and waits until it says where it listens.
    pub(crate) fn start(store: &Path, prefix: Option<&str>) -> Result<Self> {
        let binary = std::env::current_exe().context("finding the path of this program")?;
        let mut words = prefix.into_iter().flat_map(str::split_whitespace);
        let mut command = match words.next() {
            Some(program) => {
                let mut command = Command::new(program);
                command.args(words).arg(&binary);
                command
            }
            None => Command::new(&binary),
        };
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args([
                "--log-level",
                "error",
                "--segment-size",
                "4MiB",
                "--pending-max",
                "1MiB",
                "--disk-reserve",
                "16MiB",
            ])
            .arg("--data")
            .arg(store)
            .stderr(Stdio::piped())
            .stdin(Stdio::null());
        let mut child = command.spawn().context("starting the server under test")?;
        let output = child.stderr.take().context("the server's output is piped")?;
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        match first_url(&mut lines) {
            Some(url) => {
                // A pipe that is full would stop the server.
                std::thread::spawn(move || {
                    lines.filter(|line| !is_banner(line)).for_each(|line| errln!("{line}"))
                });
                Ok(Self { child, url })
            }
            None => {
                let _ = child.kill();
                let status = child.wait()?;
                bail!(
                    "the server did not start on {} ({status}); its reason stands above",
                    store.display()
                );
            }
        }
    }

    /// Where usages are posted.
    pub(crate) fn usages_url(&self) -> &str {
        &self.url
    }

    /// SIGKILL: the process is gone at once, with whatever it had not written.
    pub(crate) fn kill(&mut self) -> Result<()> {
        // Under a prefix the child is the wrapper and the server is its child. The wrapper ends by
        // itself once the server has let go of all its files, which a file system waits for.
        let servers = children_of(self.child.id());
        for pid in &servers {
            let _ = rustix::process::kill_process(*pid, Signal::KILL);
        }
        if servers.is_empty() || self.wait_for_end()?.is_none() {
            self.child.kill().context("killing the server under test")?;
        }
        self.child.wait().context("waiting for the server under test")?;
        Ok(())
    }

    /// Waits for the child's end; `None` when it does not come in time.
    fn wait_for_end(&mut self) -> Result<Option<ExitStatus>> {
        let deadline = monotonic() + PATIENCE;
        loop {
            let status = self.child.try_wait().context("waiting for the server under test")?;
            if status.is_some() || monotonic() > deadline {
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGTERM, and a clean end.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let targets = children_of(self.child.id());
        let own =
            Pid::from_raw(self.child.id().cast_signed()).context("the server has a process id")?;
        for pid in if targets.is_empty() { vec![own] } else { targets } {
            rustix::process::kill_process(pid, Signal::TERM)
                .context("stopping the server under test")?;
        }
        match self.wait_for_end()? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("the server under test ended with {status} after SIGTERM"),
            None => bail!("the server under test did not end within {PATIENCE:?} of SIGTERM"),
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// Reads lines until one names the URL for usages, and repeats those that report a failure; `None` when the
/// output ends first.
fn first_url(lines: &mut impl Iterator<Item = String>) -> Option<String> {
    lines.find_map(|line| {
        if !is_banner(&line) {
            errln!("{line}");
        }
        line.split_whitespace().find(|word| word.ends_with("/api/usages")).map(str::to_owned)
    })
}

/// Whether a line is of what a server prints about itself when it starts.
fn is_banner(line: &str) -> bool {
    line.starts_with("  ") || line == concat!("inhale ", env!("CARGO_PKG_VERSION"))
}

/// The direct children of a process, from /proc.
fn children_of(parent: u32) -> Vec<Pid> {
    std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|word| word.parse().ok().and_then(Pid::from_raw))
        .collect()
}
