//! Disks that fail and processes that die at one sync after another, injected with strace: what was
//! acknowledged is there afterwards. The control fakes the syncs, and then it is not.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};

use rustix::process::Signal;

use crate::acknowledged::{Heard, Posting};
use crate::http::{BODY, post};
use crate::mounted::{self, Mounted};
use crate::needs::{lacks, until};
use crate::process::{Folder, Server};

/// A journal file every few usages.
const SMALL: [&str; 6] =
    ["--segment-size", "32KiB", "--pending-max", "4KiB", "--disk-reserve", "16MiB"];

/// The syncs that fail. The first ones are the main thread's while it opens the store; then come
/// commits, and among the later ones the making and changing of journal files.
const SYNCS: [usize; 17] = [1, 2, 3, 4, 5, 6, 8, 10, 11, 12, 13, 14, 16, 20, 24, 40, 80];

const CLIENTS: usize = 4;

/// Runs a program with something injected into its syncs. Each thread counts its own.
pub(crate) fn injecting(what: &str) -> Vec<String> {
    // As a grandchild, which leaves the server the test's own child.
    let tracer = "strace -D -f -qq -o /dev/null -e trace=fdatasync,fsync -e";
    let inject = format!("inject=fdatasync,fsync:{what}");
    // The filter stops nothing but syncs; with it strace 6.1 forgets to send the signal.
    let filter = if what.starts_with("signal") { None } else { Some("--seccomp-bpf".to_owned()) };
    tracer.split(' ').map(str::to_owned).chain([inject]).chain(filter).collect()
}

pub(crate) fn start_under(
    prefix: &[String],
    data: &Path,
    log: &Path,
) -> Result<Server, ExitStatus> {
    let prefix: Vec<_> = prefix.iter().map(String::as_str).collect();
    Server::start_under(&prefix, data, log, &SMALL)
}

/// What posting against a server came to that ends by itself; nothing if it never started.
fn post_until_its_end(started: Result<Server, ExitStatus>) -> (bool, Heard, ExitStatus) {
    match started {
        Err(status) => (false, Heard::default(), status),
        Ok(server) => {
            let heard = Posting::start(server.address, CLIENTS, 500, 1500).finish();
            assert!(!heard.endings.is_empty(), "a fault was injected");
            (true, heard, server.wait())
        }
    }
}

/// The next server, without faults, has everything and takes in more.
#[track_caller]
fn nothing_is_lost(data: &Path, log: &Path, heard: &Heard) {
    let server = Server::start(data, log, &SMALL);
    assert_eq!(heard.lost(server.address), 0, "of {}", heard.acknowledged.len());
    post(server.address, BODY).expect(201);
    server.stop();
}

#[test]
fn a_failed_sync_ends_the_server_and_loses_nothing() {
    if lacks("a_failed_sync_ends_the_server_and_loses_nothing", &["strace"]) {
        return;
    }
    let (mut served, mut acknowledged) = (0, 0);
    for number in SYNCS {
        let folder = Folder::new();
        let prefix = injecting(&format!("error=EIO:when={number}"));
        let started = start_under(&prefix, &folder.data(), &folder.log());
        let (started, heard, status) = post_until_its_end(started);
        assert_eq!(status.code(), Some(2), "at sync {number}");
        if started {
            assert!(heard.unknown() > 0, "at sync {number}: {:?}", heard.endings);
            served += 1;
            acknowledged += heard.acknowledged.len();
        }
        nothing_is_lost(&folder.data(), &folder.log(), &heard);
    }
    assert!(served > 5 && acknowledged > 100, "{served} servers, {acknowledged} acknowledged");
}

#[test]
fn a_kill_at_a_sync_loses_nothing() {
    if lacks("a_kill_at_a_sync_loses_nothing", &["strace"]) {
        return;
    }
    let mut acknowledged = 0;
    for number in SYNCS {
        let folder = Folder::new();
        let prefix = injecting(&format!("signal=SIGKILL:when={number}"));
        let started = start_under(&prefix, &folder.data(), &folder.log());
        let (_, heard, status) = post_until_its_end(started);
        assert_eq!(status.signal(), Some(9), "at sync {number}");
        acknowledged += heard.acknowledged.len();
        nothing_is_lost(&folder.data(), &folder.log(), &heard);
    }
    assert!(acknowledged > 50, "{acknowledged} acknowledged");
}

/// The tracer comes to a server that is running already, so that the committer's first syncs fail.
#[test]
fn the_very_first_commits_fail() {
    if lacks("the_very_first_commits_fail", &["strace"]) {
        return;
    }
    for number in [1, 2, 3, 5, 8] {
        let folder = Folder::new();
        let server = folder.serve(&SMALL);
        // The spare file is made by another thread, whose syncs are not the ones that are meant.
        until("the next journal file is there", || journal_files(&folder.data()) >= 2);
        let mut tracer = inject_into(&server, &format!("error=EIO:when={number}"));
        let (_, heard, status) = post_until_its_end(Ok(server));
        tracer.wait().expect("it ends with the server");
        assert_eq!(status.code(), Some(2), "at commit {number}");
        let log = std::fs::read_to_string(folder.log()).expect("there is a log");
        // In the log, and as what the program says at its end.
        assert_eq!(log.matches("Input/output error").count(), 2, "{log}");
        assert!(heard.unknown() > 0, "at commit {number}: {:?}", heard.endings);
        // Each commit before it took one usage of each client at most.
        assert!(
            heard.acknowledged.len() <= CLIENTS * (number - 1),
            "after the failed commit {number}"
        );
        nothing_is_lost(&folder.data(), &folder.log(), &heard);
    }
}

/// Injects something into the syncs of a server's data that runs already. Each thread counts its own.
pub(crate) fn inject_into(server: &Server, what: &str) -> Child {
    let process = server.id().to_string();
    let words = ["-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e"];
    let tracer = Command::new("strace")
        .args(words)
        .args([&format!("inject=fdatasync:{what}"), "-p", &process])
        .spawn()
        .expect("it starts");
    until("every thread is traced", || every_thread_is_traced(server.id()));
    tracer
}

pub(crate) fn journal_files(data: &Path) -> usize {
    let files = std::fs::read_dir(data.join("journal")).expect("it is there");
    let names = files.map_while(Result::ok).map(|file| file.file_name());
    names.filter(|name| name.to_string_lossy().ends_with(".seg")).count()
}

fn every_thread_is_traced(process: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    threads.map_while(Result::ok).all(|thread| {
        let status = std::fs::read_to_string(thread.path().join("status"));
        status.is_ok_and(|status| !status.contains("TracerPid:\t0\n"))
    })
}

#[test]
fn a_failed_sync_a_restart_and_a_power_cut_lose_nothing() {
    let programs = [&["strace"][..], &mounted::PROGRAMS].concat();
    if lacks("a_failed_sync_a_restart_and_a_power_cut_lose_nothing", &programs) {
        return;
    }
    let mounted = Mounted::new(256 << 20);
    let (data, log) = (mounted.data(), mounted.log());
    let mut heard = Heard::default();
    let mut unknown = 0;
    for number in [20, 30] {
        let prefix = injecting(&format!("error=EIO:when={number}"));
        let (_, more, status) = post_until_its_end(start_under(&prefix, &data, &log));
        assert_eq!(status.code(), Some(2), "at sync {number}");
        unknown += more.unknown();
        heard.add(more);
        let server = Server::start(&data, &log, &SMALL);
        let posting = Posting::start(server.address, CLIENTS, 100_000, 100);
        posting.wait_for(200);
        mounted.cut_power();
        server.kill();
        heard.add(posting.finish());
        mounted.come_back();
        nothing_is_lost(&data, &log, &heard);
    }
    assert!(unknown > 0 && heard.acknowledged.len() >= 400);
}

/// The control: with syncs that do nothing a power cut loses usages, and that is noticed.
#[test]
fn a_power_cut_loses_usages_whose_sync_was_faked() {
    let programs = [&["strace"][..], &mounted::PROGRAMS].concat();
    if lacks("a_power_cut_loses_usages_whose_sync_was_faked", &programs) {
        return;
    }
    let mounted = Mounted::new(256 << 20);
    let (data, log) = (mounted.data(), mounted.log());
    let server = start_under(&injecting("retval=0"), &data, &log).expect("it does not notice");
    let posting = Posting::start(server.address, CLIENTS, 100_000, 100);
    posting.wait_for(200);
    mounted.cut_power();
    server.signal(Signal::KILL);
    server.wait();
    let heard = posting.finish();
    mounted.come_back();
    let log = mounted.log().with_extension("after");
    match start_under(&[], &data, &log) {
        Ok(server) => assert!(heard.lost(server.address) > 0, "the loss is noticed"),
        Err(status) => {
            let said = std::fs::read_to_string(log).expect("there is a log");
            assert_eq!(status.code(), Some(2), "{said}");
            assert!(refuses_the_store(&said), "{said}");
        }
    }
}

/// Whether this is why a server did not start on a store that is damaged or has lost files: 2 is the
/// exit code of whatever keeps it from starting.
pub(crate) fn refuses_the_store(said: &str) -> bool {
    ["store.meta", "`inhale journal repair"].iter().any(|words| said.contains(words))
}
