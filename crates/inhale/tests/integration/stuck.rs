//! A disk that hangs, and threads that end: neither leaves a client without an answer, nor an operator
//! without a sign.

use std::io::Read as _;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::faults::{inject_into, journal_files};
use crate::http::{BODY, get, post, post_keyed, read_answer};
use crate::needs::{lacks, until};
use crate::overload::begin;
use crate::process::{Folder, Server};

/// Waits little, so that a test does.
const SHORT: [&str; 4] = ["--stuck-after", "300ms", "--commit-timeout", "1s"];

const AGE: &str = "inhale_oldest_unanswered_usage_age_seconds";

/// A server whose second commit hangs for so many microseconds, the first one being done.
fn stuck_for(folder: &Folder, micros: u64, more: &[&str]) -> (Server, Child) {
    let server = folder.serve(more);
    // The spare file is made by another thread, whose syncs are not the ones that are meant.
    until("the next journal file is there", || journal_files(&folder.data()) >= 2);
    let tracer = inject_into(&server, &format!("delay_enter={micros}:when=2"));
    post(server.address, BODY).expect(201);
    (server, tracer)
}

/// The age of the oldest usage that waits, in seconds.
fn age(admin: SocketAddr) -> f64 {
    let metrics = get(admin, "/metrics").expect(200).body;
    let line = metrics.lines().find_map(|line| line.strip_prefix(AGE)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {AGE} in {metrics}"))
}

#[test]
fn repro_a_stuck_disk_shows_and_leaves_nobody_waiting() {
    if lacks("repro_a_stuck_disk_shows_and_leaves_nobody_waiting", &["strace"]) {
        return;
    }
    let folder = Folder::new();
    let (server, mut tracer) = stuck_for(&folder, 8_000_000, &SHORT);
    let (address, admin) = (server.address, server.admin);
    get(admin, "/readyz").expect(200);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || post_keyed(address, "stuck", BODY));
        until("the disk counts as stuck", || get(admin, "/readyz").status == 503);
        let why = get(admin, "/readyz").expect(503).body;
        assert!(why.contains("has not completed a write for"), "{why}");
        get(admin, "/healthz").expect(200);
        assert!(age(admin) >= 0.3);
        // Not one byte of the body is sent.
        let mut stream = begin(address, 1000, 0);
        let answer = read_answer(&mut stream, "POST").expect("it is answered");
        let answer = answer.expect_problem(503, "disk-stuck");
        assert_eq!(answer.header("retry-after"), Some("1"));
        // Reads go on.
        get(address, "/api/usages?patientId=100").expect(200);
        let answer = waiting.join().expect("it is answered");
        let answer = answer.expect_problem(500, "outcome-unknown");
        assert_eq!(answer.header("retry-after"), None);
        assert_eq!(answer.header("connection"), Some("close"));
        get(admin, "/readyz").expect(503);
    });
    until("the sync completes", || get(admin, "/readyz").status == 200);
    assert!(age(admin).abs() < f64::EPSILON, "nothing waits");
    // What nobody was told of is stored, once.
    let again = post_keyed(address, "stuck", BODY).expect(201);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    post(address, BODY).expect(201);
    for (reason, count) in [("stuck", 1), ("commit_timeout", 1), ("poisoned", 0)] {
        let refused = format!("inhale_usages_refused_total{{reason=\"{reason}\"}}");
        assert_eq!(server.figure(&refused), count, "{reason}");
    }
    server.stop();
    tracer.wait().expect("it ends with the server");
    let log = std::fs::read_to_string(folder.log()).expect("there is a log");
    assert_eq!(log.matches("does not complete its writes").count(), 1, "{log}");
    assert_eq!(log.matches("completes its writes again").count(), 1, "{log}");
}

/// The control: with longer patience the same disk is only slow.
#[test]
fn a_slow_disk_is_waited_for() {
    if lacks("a_slow_disk_is_waited_for", &["strace"]) {
        return;
    }
    let folder = Folder::new();
    let (server, mut tracer) = stuck_for(&folder, 1_500_000, &["--stuck-after", "1min"]);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| post(server.address, BODY));
        until("it waits", || age(server.admin) > 0.5);
        get(server.admin, "/readyz").expect(200);
        waiting.join().expect("it is answered").expect(201);
    });
    server.stop();
    tracer.wait().expect("it ends with the server");
}

/// The sync hangs for longer than any test waits.
#[test]
fn repro_a_stop_does_not_wait_for_a_stuck_disk() {
    if lacks("repro_a_stop_does_not_wait_for_a_stuck_disk", &["strace"]) {
        return;
    }
    let folder = Folder::new();
    let more = [&SHORT[..], &["--shutdown-timeout", "3s"]].concat();
    let (server, mut tracer) = stuck_for(&folder, 600_000_000, &more);
    let address = server.address;
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || post(address, BODY));
        until("it waits", || age(server.admin) > 0.0);
        server.signal(Signal::TERM);
        waiting.join().expect("it is answered").expect_problem(500, "outcome-unknown");
        until("the server has ended but for the thread that the tracer holds", || is_dead(&server));
        tracer.kill().expect("it is our child");
        assert_eq!(server.wait().code(), Some(2));
    });
    tracer.wait().expect("it has ended");
    let log = std::fs::read_to_string(folder.log()).expect("there is a log");
    assert!(log.contains("--shutdown-timeout"), "{log}");
    // After that it is as after any crash.
    let server = folder.serve(&[]);
    post(server.address, BODY).expect(201);
    server.stop();
}

/// A core's thread panics when its epoll fails.
#[test]
fn repro_the_death_of_a_core_ends_the_server() {
    if lacks("repro_the_death_of_a_core_ends_the_server", &["strace"]) {
        return;
    }
    let folder = Folder::new();
    let server = folder.serve(&["--cores", "2"]);
    let ids: Vec<_> = (0..20).map(|_| post(server.address, BODY).id()).collect();
    let thread = thread_named(&server, "core-1");
    let mut tracer = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "-e", "trace=epoll_wait", "-e"])
        .args(["inject=epoll_wait:error=EBADF", "-p", &thread])
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    assert_eq!(server.wait().code(), Some(2));
    tracer.wait().expect("it ends with the thread");
    let log = std::fs::read_to_string(folder.log()).expect("there is a log");
    assert!(log.contains("\"panic\"") && log.contains("the thread of core 1"), "{log}");
    // The store was closed in order.
    let server = folder.serve(&[]);
    for id in ids {
        get(server.address, &format!("/api/usages/{id}")).expect(200);
    }
    server.stop();
}

/// Whether a server's process is dead (proc_pid_stat(5)).
fn is_dead(server: &Server) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.id()));
    stat.expect("it has not been waited for").contains(") Z ")
}

/// The id of a server's thread.
fn thread_named(server: &Server, name: &str) -> String {
    let threads = std::fs::read_dir(format!("/proc/{}/task", server.id())).expect("it runs");
    let is_it = |thread: &std::fs::DirEntry| {
        let mut comm = String::new();
        let file = std::fs::File::open(thread.path().join("comm"));
        file.and_then(|mut file| file.read_to_string(&mut comm)).is_ok() && comm.trim() == name
    };
    let mut threads = threads.map_while(Result::ok);
    let thread = threads.find(is_it).unwrap_or_else(|| panic!("no thread {name}"));
    thread.file_name().into_string().expect("it is a number")
}
