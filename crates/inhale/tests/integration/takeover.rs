//! Takeovers in which either side dies, hangs or is refused at any step: somebody always serves, and
//! nothing acknowledged is lost.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::http::{BODY, get, post};
use crate::needs::{lacks, until};
use crate::process::{Folder, PROGRAM, Server, usages_stored};

/// The longest that nobody may serve.
const GAP_MAX: Duration = Duration::from_secs(2);
/// The longest that a successor waits for a predecessor that says nothing.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(5);
/// What a busy machine may add to either: time in which this test or a server is not scheduled.
const SCHEDULING: Duration = Duration::from_millis(1500);

/// Small files, as a build for tests is slow at reading large ones.
const QUICK: [&str; 8] = [
    "--drain-grace",
    "100ms",
    "--segment-size",
    "256KiB",
    "--pending-max",
    "32KiB",
    "--cores",
    "2",
];

/// Held by one test at a time: what they measure is others' waiting.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::disallowed_methods, reason = "it measures what a client sees")]
fn now() -> Instant {
    Instant::now()
}

/// Posts usages, one a connection, whatever happens, and keeps what was acknowledged.
struct Prober {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    ids: Vec<String>,
    /// Requests without an answer, whose usages may be stored all the same.
    unanswered: u64,
    gap_max: Duration,
}

impl Prober {
    fn start(address: SocketAddr) -> Self {
        let (stop, seen) =
            (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Seen::default())));
        let threads = (0..2)
            .map(|_| {
                let (stop, seen) = (Arc::clone(&stop), Arc::clone(&seen));
                std::thread::spawn(move || {
                    let mut last = now();
                    while !stop.load(Relaxed) {
                        let posted = post_one(address);
                        let mut seen = seen.lock().expect("no holder panics");
                        match posted {
                            Ok(Some(id)) => {
                                seen.ids.push(id);
                                seen.gap_max = seen.gap_max.max(last.elapsed());
                                last = now();
                            }
                            Ok(None) => {}
                            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                            Err(_) => seen.unanswered += 1,
                        }
                        drop(seen);
                        std::thread::sleep(Duration::from_millis(2));
                    }
                })
            })
            .collect();
        Self { stop, seen, threads }
    }

    fn acknowledged(&self) -> usize {
        self.seen.lock().expect("no holder panics").ids.len()
    }

    /// Waits until `more` usages are acknowledged.
    #[track_caller]
    fn wait_for(&self, more: usize) {
        let target = self.acknowledged() + more;
        until("usages are acknowledged", || self.acknowledged() >= target);
    }

    /// Forgets the gaps up to now.
    fn forget_gaps(&self) {
        self.seen.lock().expect("no holder panics").gap_max = Duration::ZERO;
    }

    /// Ends it, and finds every acknowledged usage in the store of the server at `address`, which is
    /// then stopped, and no usage twice.
    #[track_caller]
    fn verify(self, address: SocketAddr, folder: &Folder, stop: impl FnOnce()) -> Duration {
        self.stop.store(true, Relaxed);
        for thread in self.threads {
            thread.join().expect("no panic");
        }
        let seen = std::mem::take(&mut *self.seen.lock().expect("no holder panics"));
        for id in seen.ids.iter().step_by(seen.ids.len().div_ceil(200)) {
            get(address, &format!("/api/usages/{id}")).expect(200);
        }
        let acknowledged = seen.ids.len() as u64;
        let mut ids = seen.ids;
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len() as u64, acknowledged, "an id was given twice");
        stop();
        let stored = usages_stored(&folder.data());
        let bound = acknowledged + seen.unanswered;
        assert!(
            (acknowledged..=bound).contains(&stored),
            "{stored} stored, {acknowledged} acknowledged, {} unanswered",
            seen.unanswered
        );
        seen.gap_max
    }
}

/// Posts one usage; its id if it was acknowledged, `None` if it was refused.
fn post_one(address: SocketAddr) -> io::Result<Option<String>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let request = format!(
        "POST /api/usages HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if !answer.starts_with("HTTP/1.1 201 ") {
        return Ok(None);
    }
    let id = answer.split(r#""id":""#).nth(1).and_then(|rest| rest.split('"').next());
    Ok(Some(id.expect("a 201 has an id").to_owned()))
}

/// A successor that may fail at a step.
struct Successor {
    child: Child,
    log: PathBuf,
}

impl Successor {
    fn start(folder: &Folder, of: &Server, fault: &str, more: &[&str]) -> Self {
        let log = folder.log().with_extension("successor");
        let file = File::options().create(true).append(true).open(&log).expect("a log can be made");
        let child = Command::new(PROGRAM)
            .args(["serve", "--takeover", "--listen", &of.address.to_string()])
            .args(["--admin-listen", &of.admin.to_string()])
            .arg("--data")
            .arg(folder.data())
            .args(QUICK)
            .args(more)
            .env("TEST_TAKEOVER_FAULT", fault)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("it starts");
        Self { child, log }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).expect("there is a log")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it has not been waited for");
    }

    #[track_caller]
    fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        until("the successor ends", || {
            status = self.child.try_wait().expect("it is our child");
            status.is_some()
        });
        status.expect("it has ended")
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn predecessor(folder: &Folder, fault: &str) -> Server {
    let fault = format!("TEST_TAKEOVER_FAULT={fault}");
    let started = Server::start_under(&["env", &fault], &folder.data(), &folder.log(), &QUICK);
    started.expect("it starts")
}

#[track_caller]
fn assert_served(case: &str, gap: Duration) {
    assert!(gap <= GAP_MAX + SCHEDULING, "{case}: nobody answered for {gap:?}");
}

/// The successor fails at `step`: the predecessor serves on.
fn successor_fails(step: &str, fault: &str) {
    let case = format!("successor {step}:{fault}");
    let folder = Folder::new();
    let server = predecessor(&folder, "");
    let prober = Prober::start(server.address);
    prober.wait_for(10);
    let mut successor = Successor::start(&folder, &server, &format!("{step}:{fault}"), &[]);
    if fault == "stop" && ["connected", "proved", "received"].contains(&step) {
        let log = folder.log();
        until("it is given up", || {
            let log = std::fs::read_to_string(&log).expect("there is a log");
            log.contains("did not take over")
        });
        successor.signal(Signal::KILL);
    }
    let status = successor.wait();
    assert!(!status.success(), "{case}: {}", successor.said());
    prober.wait_for(50);
    // The predecessor can still be taken over.
    let next = folder.serve(&[&QUICK[..], &["--takeover"]].concat());
    assert!(server.wait().success(), "{case}");
    prober.wait_for(50);
    let address = next.address;
    let gap = prober.verify(address, &folder, || next.stop());
    assert_served(&case, gap);
}

/// The predecessor fails at `step`: the successor serves.
fn predecessor_fails(step: &str, fault: &str) {
    let case = format!("predecessor {step}:{fault}");
    let folder = Folder::new();
    let server = predecessor(&folder, &format!("{step}:{fault}"));
    let (address, data) = (server.address, folder.data());
    let prober = Prober::start(address);
    prober.wait_for(10);
    let successor = Successor::start(&folder, &server, "", &[]);
    let status = server.wait();
    assert_eq!(status.success(), fault == "term", "{case}: {status}");
    prober.wait_for(50);
    let gap = prober.verify(address, &folder, || {
        let mut successor = successor;
        successor.signal(Signal::TERM);
        assert!(successor.wait().success(), "{case}: {}", successor.said());
    });
    assert!(data.exists());
    assert_served(&case, gap);
}

/// The predecessor is stopped at `step`: the successor gives up, unless the store is its own by then;
/// the predecessor serves on when it is continued.
fn predecessor_stops(step: &str) {
    let case = format!("predecessor {step}:stop");
    let folder = Folder::new();
    let server = predecessor(&folder, &format!("{step}:stop"));
    let address = server.address;
    let prober = Prober::start(address);
    prober.wait_for(10);
    let mut successor = Successor::start(&folder, &server, "", &[]);
    let status = format!("/proc/{}/status", server.id());
    until("it is stopped", || {
        std::fs::read_to_string(&status).expect("it runs").contains("State:\tT")
    });
    if step == "said-yours" {
        prober.wait_for(50);
        server.signal(Signal::CONT);
        assert!(server.wait().success(), "{case}");
        prober.wait_for(50);
        let gap = prober.verify(address, &folder, || {
            successor.signal(Signal::TERM);
            assert!(successor.wait().success(), "{case}");
        });
        assert_served(&case, gap);
        return;
    }
    let begun = now();
    assert!(!successor.wait().success(), "{case}");
    assert!(begun.elapsed() <= GIVEN_UP_WITHIN + SCHEDULING, "{case}: {:?}", begun.elapsed());
    assert!(successor.said().contains("nothing was changed"), "{case}: {}", successor.said());
    server.signal(Signal::CONT);
    prober.wait_for(10);
    prober.forget_gaps();
    prober.wait_for(50);
    let gap = prober.verify(address, &folder, || server.stop());
    assert_served(&case, gap);
}

fn each_death(steps: &[&str], check: fn(&str, &str)) {
    for step in steps {
        for fault in ["kill", "term", "exit", "panic"] {
            check(step, fault);
        }
    }
}

#[test]
fn a_successor_that_dies_before_the_handover_leaves_the_old_server_serving() {
    let _alone = alone();
    each_death(&["connected", "proved", "received", "said-ready"], successor_fails);
}

#[test]
fn a_successor_that_dies_after_the_handover_has_the_old_server_serve_again() {
    let _alone = alone();
    each_death(&["given", "opened"], successor_fails);
    successor_fails("given", "descriptors");
}

#[test]
fn a_stopped_successor_is_given_up_or_killed() {
    let _alone = alone();
    for step in ["connected", "proved", "received", "said-ready", "given", "opened"] {
        successor_fails(step, "stop");
    }
}

#[test]
fn a_predecessor_that_dies_before_the_handover_is_followed_by_its_successor() {
    let _alone = alone();
    each_death(&["let-in", "sent", "ready-heard", "retiring"], predecessor_fails);
}

#[test]
fn a_predecessor_that_dies_after_the_handover_is_followed_by_its_successor() {
    let _alone = alone();
    each_death(&["paused", "closed", "said-yours"], predecessor_fails);
}

#[test]
fn a_stopped_predecessor_is_not_waited_for() {
    let _alone = alone();
    let steps = ["let-in", "sent", "ready-heard", "retiring", "paused", "closed", "said-yours"];
    for step in steps {
        predecessor_stops(step);
    }
}

#[test]
fn a_server_told_to_end_during_a_takeover_that_fails_ends() {
    let _alone = alone();
    let folder = Folder::new();
    let server = predecessor(&folder, "closed:term");
    post(server.address, BODY).expect(201);
    let mut successor = Successor::start(&folder, &server, "given:exit", &[]);
    assert!(!successor.wait().success());
    assert!(server.wait().success(), "in order");
    let log = std::fs::read_to_string(folder.log()).expect("there is a log");
    assert!(log.contains("serving again"), "{log}");
    assert_eq!(usages_stored(&folder.data()), 1);
}

#[test]
fn a_journal_that_is_not_closed_in_time_is_opened_again() {
    let _alone = alone();
    let folder = Folder::new();
    let server = predecessor(&folder, "closing:hang");
    let (address, admin) = (server.address, server.admin);
    let prober = Prober::start(address);
    prober.wait_for(10);
    let mut successor = Successor::start(&folder, &server, "", &[]);
    assert!(!successor.wait().success());
    let said = successor.said();
    assert!(said.contains("the running server goes on"), "{said}");
    // Meanwhile it says that it cannot, rather than nothing.
    let not_ready = get(admin, "/readyz").expect(503);
    assert!(not_ready.body.contains("stopping"), "{not_ready:?}");
    prober.wait_for(50);
    until("the index is open again", || get(admin, "/readyz").status == 200);
    prober.verify(address, &folder, || server.stop());
}

/// The control: a predecessor that ends on its successor's word leaves nobody serving when that one
/// fails.
#[test]
fn a_predecessor_that_trusts_its_successor_is_missed() {
    let _alone = alone();
    let folder = Folder::new();
    let server = predecessor(&folder, "said-yours:exit");
    let address = server.address;
    post(address, BODY).expect(201);
    let mut successor = Successor::start(&folder, &server, "given:exit", &[]);
    assert!(!successor.wait().success());
    assert!(!server.wait().success());
    let refused = TcpStream::connect(address).expect_err("nobody serves");
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}

/// The control: without a successor, a server that is killed is missed for longer than allowed.
#[test]
fn a_gap_is_noticed() {
    let _alone = alone();
    let folder = Folder::new();
    let server = folder.serve(&QUICK);
    let (address, admin) = (server.address, server.admin);
    let prober = Prober::start(address);
    prober.wait_for(10);
    server.kill();
    std::thread::sleep(GAP_MAX + SCHEDULING);
    let listen = [address.to_string(), admin.to_string()];
    let mut child = Command::new(PROGRAM)
        .args(["serve", "--listen", &listen[0], "--admin-listen", &listen[1], "--data"])
        .arg(folder.data())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    prober.wait_for(10);
    let gap = prober.verify(address, &folder, || {
        kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
        assert!(child.wait().expect("it is our child").success());
    });
    assert!(gap > GAP_MAX + SCHEDULING, "{gap:?}");
}

#[test]
fn repro_a_successor_that_is_refused_changes_nothing() {
    let _alone = alone();
    let folder = Folder::new();
    let small = ["--segment-size", "32KiB", "--pending-max", "4KiB", "--disk-reserve", "16MiB"];
    let server = folder.serve(&small);
    let (address, admin) = (server.address, server.admin);
    let prober = Prober::start(address);
    prober.wait_for(500);
    let refused = |prefix: &[&str], named: &str| {
        let words = [&["--takeover", "--cores", "1"], &small[..]].concat();
        let started = Server::start_under(prefix, &folder.data(), &folder.log(), &words);
        assert!(started.is_err_and(|status| !status.success()), "{named}");
        let log = std::fs::read_to_string(folder.log()).expect("there is a log");
        assert!(log.contains(named), "{named}: {log}");
        prober.wait_for(10);
        get(admin, "/readyz").expect(200);
    };
    refused(&["sh", "-c", "ulimit -n 20 && exec \"$0\" \"$@\""], "ulimit -n 256");
    // A damaged header in an old segment.
    let journal = folder.data().join("journal");
    until("there are several segments", || server.figure("inhale_journal_segments") > 3);
    let old =
        std::fs::read_dir(&journal).expect("it is there").map(|entry| entry.expect("read").path());
    let mut segments: Vec<_> = old.filter(|path| path.to_string_lossy().contains("seg")).collect();
    segments.sort_unstable();
    let second = segments.get(1).expect("there is a second one").clone();
    let bytes = std::fs::read(&second).expect("it is there");
    let mut damaged = bytes.clone();
    damaged[100] ^= 1;
    std::fs::write(&second, damaged).expect("written");
    refused(&[], "cannot use the journal");
    std::fs::write(&second, bytes).expect("written");
    // The control: with all that right it is taken over.
    let words = [&["--takeover"], &small[..]].concat();
    let next = Server::start(&folder.data(), &folder.log(), &words);
    assert!(server.wait().success());
    prober.wait_for(10);
    let gap = prober.verify(address, &folder, || next.stop());
    assert_served("refusals", gap);
}

#[test]
fn repro_a_server_whose_sync_hangs_is_not_taken_over() {
    let _alone = alone();
    const NAME: &str = "repro_a_server_whose_sync_hangs_is_not_taken_over";
    if lacks(NAME, &["strace"]) {
        return;
    }
    let folder = Folder::new();
    let hang = "inject=fdatasync:delay_enter=8000000:when=30";
    let prefix = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", hang];
    let started = Server::start_under(&prefix, &folder.data(), &folder.log(), &QUICK);
    let server = started.expect("it starts");
    let prober = Prober::start(server.address);
    until("a sync hangs", || {
        let before = prober.acknowledged();
        std::thread::sleep(Duration::from_millis(500));
        prober.acknowledged() == before
    });
    let mut successor = Successor::start(&folder, &server, "", &[]);
    let begun = now();
    assert!(!successor.wait().success());
    assert!(begun.elapsed() <= GIVEN_UP_WITHIN + SCHEDULING, "{:?}", begun.elapsed());
    let said = successor.said();
    assert!(said.contains("the disk does not complete its writes"), "{said}");
    prober.wait_for(50);
    let next = folder.serve(&[&QUICK[..], &["--takeover"]].concat());
    server.wait();
    prober.wait_for(10);
    let address = next.address;
    prober.verify(address, &folder, || next.stop());
}

#[test]
fn repro_as_many_sockets_as_cores_allow_are_taken_over() {
    let _alone = alone();
    let folder = Folder::new();
    // 120 cores with two sockets each were one socket more than one message carries.
    let words = [&QUICK[..6], &["--cores", "120", "--listen", "localhost:0"]].concat();
    let server = folder.serve(&words);
    post(server.address, BODY).expect(201);
    let next =
        Server::start(&folder.data(), &folder.log(), &[&words[..], &["--takeover"]].concat());
    assert!(server.wait().success());
    post(next.address, BODY).expect(201);
    // The lock that was handed on is held by the new process, though the old one took it.
    let check = Command::new(PROGRAM)
        .args(["journal", "check", "--data"])
        .arg(folder.data())
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&check.stderr);
    assert!(said.contains(&format!("process {} has the store", next.id())), "{said}");
    next.stop();
    assert_eq!(usages_stored(&folder.data()), 2);
}
