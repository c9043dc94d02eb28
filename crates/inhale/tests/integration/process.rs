//! `inhale serve` as a child process on free ports, and `inhale journal check` beside it.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::http::get;
use crate::needs::until;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_inhale");

/// A folder with a store and the log of the servers that ran on it; gone with its test.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder can be made"))
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.0.path().join("log")
    }

    /// A server on this store.
    pub(crate) fn serve(&self, more: &[&str]) -> Server {
        Server::start(&self.data(), &self.log(), more)
    }
}

/// A running server; killed when its test ends early.
pub(crate) struct Server {
    child: Child,
    /// Where it takes usages in.
    pub(crate) address: SocketAddr,
    /// Where it answers operators.
    pub(crate) admin: SocketAddr,
}

impl Server {
    /// Starts a server on `data` that logs to `log`, and waits until it says where it listens.
    pub(crate) fn start(data: &Path, log: &Path, more: &[&str]) -> Self {
        match Self::start_under(&[], data, log, more) {
            Ok(server) => server,
            Err(status) => panic!(
                "it did not start ({status}): {}",
                std::fs::read_to_string(log).unwrap_or_default()
            ),
        }
    }

    /// The same under the command `prefix`, which may keep it from starting.
    pub(crate) fn start_under(
        prefix: &[&str],
        data: &Path,
        log: &Path,
        more: &[&str],
    ) -> Result<Self, ExitStatus> {
        let file = File::options().create(true).append(true).open(log).expect("a log can be made");
        // Servers before this one have said the same.
        let said_before = std::fs::read(log).expect("it was made").len();
        let mut command = match prefix {
            [] => Command::new(PROGRAM),
            [program, words @ ..] => {
                let mut command = Command::new(program);
                command.args(words).arg(PROGRAM);
                command
            }
        };
        let mut child = command
            .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(["--log-sample", "1", "--data"])
            .arg(data)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("it starts");
        let (mut listening, mut ended) = (None, None);
        until("the server listens or ends", || {
            // Asked first, so that nothing is written after the log was read.
            ended = child.try_wait().expect("it is our child");
            let said = std::fs::read(log).expect("it was made");
            let said = String::from_utf8_lossy(&said[said_before..]);
            let address = address_in(&said, "usages  http://", "/api/usages");
            listening = address.zip(address_in(&said, "status  http://", "/status"));
            listening.is_some() || ended.is_some()
        });
        match (listening, ended) {
            (Some((address, admin)), _) => Ok(Self { child, address, admin }),
            (None, ended) => Err(ended.expect("it was waited for")),
        }
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// A figure of its metrics that has no labels.
    pub(crate) fn figure(&self, name: &str) -> u64 {
        let metrics = get(self.admin, "/metrics").expect(200).body;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = line.and_then(|value| value.parse().ok());
        value.unwrap_or_else(|| panic!("no {name} in {metrics}"))
    }

    /// The most memory that it has had so far, in MiB.
    pub(crate) fn resident_mib_max(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.expect("the kernel counts it") / 1024
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it has not been waited for");
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> ExitStatus {
        let mut status = None;
        until("the server ends", || {
            status = self.child.try_wait().expect("it is our child");
            status.is_some()
        });
        status.expect("it has ended")
    }

    /// SIGKILL, and its end.
    pub(crate) fn kill(self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    /// SIGTERM, and its clean end.
    pub(crate) fn stop(self) {
        self.signal(Signal::TERM);
        let status = self.wait();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Under a tracer the server is its child, which must not outlive the test.
        let pid = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        if let Ok(None) = self.child.try_wait() {
            for child in children.unwrap_or_default().split_whitespace() {
                if let Some(child) = child.parse().ok().and_then(Pid::from_raw) {
                    let _ = kill_process(child, Signal::KILL);
                }
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address between `before` and `after` in one of the lines.
fn address_in(said: &str, before: &str, after: &str) -> Option<SocketAddr> {
    said.lines()
        .find_map(|line| line.trim().strip_prefix(before)?.strip_suffix(after)?.parse().ok())
}

/// Usages in the journal of `data`, every checksum of which is verified.
pub(crate) fn usages_stored(data: &Path) -> u64 {
    let check = Command::new(PROGRAM)
        .args(["journal", "check", "--data"])
        .arg(data)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&check.stdout);
    assert!(check.status.success(), "{said}{}", String::from_utf8_lossy(&check.stderr));
    let count = said.split(' ').next().and_then(|word| word.parse().ok());
    count.unwrap_or_else(|| panic!("no count of usages in {said}"))
}
