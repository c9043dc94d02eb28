//! `inhale serve` as a child process on free ports, and `inhale journal check` beside it.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

const PROGRAM: &str = env!("CARGO_BIN_EXE_inhale");

/// A running server; killed when its test ends early.
pub(crate) struct Server {
    child: Child,
    /// Where it takes usages in.
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts a server on `data` that logs to `log`, and waits until it says where it listens.
    pub(crate) fn start(data: &Path, log: &Path, more: &[&str]) -> Self {
        let log = File::options().create(true).append(true).open(log).expect("a log can be made");
        let mut child = Command::new(PROGRAM)
            .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(["--log-sample", "1", "--data"])
            .arg(data)
            .args(more)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("it starts");
        let said = BufReader::new(child.stdout.take().expect("it is piped"));
        let address = said
            .lines()
            .map_while(Result::ok)
            .find_map(|line| {
                let rest = line.trim().strip_prefix("usages  http://")?.to_owned();
                rest.strip_suffix("/api/usages")?.parse().ok()
            })
            .expect("it says where it takes usages in");
        Self { child, address }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it has not been waited for");
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> ExitStatus {
        self.child.wait().expect("it is our child")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
