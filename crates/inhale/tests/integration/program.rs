//! The program run with any words and only the environment that a test gives, all that it says kept.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::needs::until;
use crate::process::PROGRAM;

/// Runs the program to its end; the environment is `variables` alone.
pub(crate) fn run(words: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(words).env_clear().envs(variables.iter().copied());
    command.output().expect("it runs")
}

/// Fails unless it refused to run, and said so with each of `named`.
#[track_caller]
pub(crate) fn expect_refused(output: &Output, named: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    for name in named {
        assert!(said.contains(name), "nothing of {name:?} in {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

/// A server with both its streams in files; killed when its test ends early.
pub(crate) struct Started {
    child: Child,
    out: PathBuf,
    err: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Started {
    /// Starts `inhale serve` and waits until it says where it listens. Its streams go to files
    /// named `name` in `folder`.
    pub(crate) fn start(folder: &Path, name: &str, words: &[&str]) -> Self {
        let (out, err) = (folder.join(format!("{name}.out")), folder.join(format!("{name}.err")));
        let file = |path: &Path| File::create(path).expect("a file can be made");
        let child = Command::new(PROGRAM)
            .arg("serve")
            .args(words)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(file(&out))
            .stderr(file(&err))
            .spawn()
            .expect("it starts");
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut started = Self { child, out, err, address: nowhere, admin: nowhere };
        until("the server says where it listens", || {
            let said = started.said();
            let ended = started.child.try_wait().expect("it is our child");
            assert!(ended.is_none(), "it did not start: {said}");
            let line = |before: &str, after: &str| {
                said.lines().find_map(|line| {
                    line.trim().strip_prefix(before)?.strip_suffix(after)?.parse().ok()
                })
            };
            let both =
                line("usages  http://", "/api/usages").zip(line("status  http://", "/status"));
            both.map(|(address, admin)| (started.address, started.admin) = (address, admin))
                .is_some()
        });
        started
    }

    /// Everything that it said so far, on both streams.
    pub(crate) fn said(&self) -> String {
        let read = |path: &Path| std::fs::read_to_string(path).expect("it was made");
        read(&self.out) + &read(&self.err)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it has not been waited for");
    }

    /// Waits for its end; gives back how it ended and what it said.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let mut status = None;
        until("the server ends", || {
            status = self.child.try_wait().expect("it is our child");
            status.is_some()
        });
        (status.expect("it has ended"), self.said())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
