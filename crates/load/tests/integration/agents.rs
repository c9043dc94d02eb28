//! Plans divided among agents, with the engine at work against a server that counts; and agents and
//! coordinators that are processes of their own and are killed.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use load::agents::{
    AgentError, Coordinator, CoordinatorError, GatherNews, Group, Job, Joining, Secret,
    ThisMachine, agent,
};
use load::clock;
use load::measure::Totals;
use load::observe::Observer;
use load::outcome::{Ending, Outcome, exit};
use load::plan::{Options, Plan, ScenarioOptions};
use load::run::{RunContext, StopFlag};

use crate::server::Server;

const LONG: Duration = Duration::from_secs(60);
/// Tells a process of this test binary that it is to be an agent of this coordinator, or a
/// coordinator that has a run of this URL, in the place of the test that started it.
const AGENT_OF: &str = "LOAD_TEST_AGENT_OF";
const COORDINATOR_FOR: &str = "LOAD_TEST_COORDINATOR_FOR";

fn secret() -> Secret {
    Secret::new(b"a secret of these tests").expect("long enough")
}

fn options(url: &str, rate: &str, duration: &str) -> Options {
    let body = Some(r#"{"number":{{seq}}}"#.to_owned());
    let (url, rate) = (Some(url.to_owned()), Some(rate.to_owned()));
    let duration = Some(duration.to_owned());
    let defaults = ScenarioOptions { url, rate, duration, body, ..ScenarioOptions::default() };
    Options { defaults, threads: Some(2), ..Options::default() }
}

fn url(server: &Server) -> String {
    format!("http://{}/api/usages", server.address)
}

fn join(address: &str, machine: &ThisMachine) -> Result<(), AgentError> {
    let secret = secret();
    let joining = Joining { address, secret: &secret, name: "here", keep: false };
    agent(&joining, machine, &|| false, &mut |_| {})
}

/// What is asked at each tick.
struct Watch<F: FnMut(&Totals)>(F);

impl<F: FnMut(&Totals)> Observer for Watch<F> {
    fn tick(&mut self, _: &Plan, totals: &Totals, _: Duration) {
        (self.0)(totals);
    }
}

fn gather(coordinator: Coordinator, agents: usize) -> Group {
    coordinator.gather(agents, LONG, &mut |_| true).expect("they come")
}

fn run(
    group: Group,
    options: &Options,
    machines: usize,
    receipts: bool,
    watch: impl FnMut(&Totals),
) -> Result<(Totals, Outcome), CoordinatorError> {
    let plan = options.build().expect("a plan");
    let job = Job::new(&plan, options, machines, receipts, false)?;
    let stop = StopFlag::new();
    let context = RunContext::default();
    load::agents::run(group, job, &plan, &context, &mut [&mut Watch(watch)], &stop)
}

fn listening() -> (Coordinator, String) {
    let coordinator = Coordinator::listen("127.0.0.1:0", secret()).expect("a free port");
    let address = coordinator.address().expect("it listens").to_string();
    (coordinator, address)
}

#[test]
fn three_machines_send_what_one_would_to_the_last_request() {
    let open = |url: &str| options(url, "1501/s", "2s");
    let shared = |url: &str| {
        let mut options = options(url, "", "");
        (options.defaults.rate, options.defaults.duration) = (None, None);
        options.defaults.iterations = Some("3001".to_owned());
        options.defaults.vus = Some("7".to_owned());
        options
    };
    for (options, count) in [(&open as &dyn Fn(&str) -> Options, 3_002), (&shared, 3_001)] {
        let server = Server::friendly();
        let (coordinator, address) = listening();
        let machine = ThisMachine::default();
        thread::scope(|scope| {
            let agents: Vec<_> = (0..3).map(|_| scope.spawn(|| join(&address, &machine))).collect();
            let group = gather(coordinator, 3);
            let (totals, outcome) =
                run(group, &options(&url(&server)), 3, false, |_| {}).expect("a run");
            assert_eq!(server.numbers(), (0..count).collect::<Vec<_>>());
            let counts = totals.counts(|_| true);
            assert_eq!((counts.started, counts.answered, counts.dropped), (count, count, 0));
            assert_eq!(counts.statuses().collect::<Vec<_>>(), [(201, count)]);
            assert_eq!((outcome.missing.len(), outcome.ending), (0, Ending::Completed));
            assert_eq!(outcome.machines.len(), 3, "{:?}", outcome.machines);
            agents.into_iter().for_each(|agent| agent.join().expect("no panic").expect("served"));
        });
    }
}

/// Each of the six workers would open at least one, if `--connections` were each one's own.
#[test]
fn repro_machines_and_workers_divide_the_connections_too() {
    for connections in [1, 4, 9] {
        // Slow enough for all of them to be busy.
        let server = Server::start(|peer| {
            while let Some(request) = peer.request()? {
                thread::sleep(Duration::from_millis(50));
                peer.answer(&request, crate::server::CREATED)?;
            }
            Ok(())
        });
        let mut options = options(&url(&server), "300/s", "500ms");
        options.defaults.connections = Some(connections.to_string());
        let (coordinator, address) = listening();
        let machine = ThisMachine::default();
        thread::scope(|scope| {
            let agents: Vec<_> = (0..3).map(|_| scope.spawn(|| join(&address, &machine))).collect();
            let group = gather(coordinator, 3);
            let (totals, _) = run(group, &options, 3, false, |_| {}).expect("a run");
            let counts = totals.counts(|_| true);
            assert_eq!((counts.connections, counts.answered), (connections, 150));
            agents.into_iter().for_each(|agent| agent.join().expect("no panic").expect("served"));
        });
    }
}

#[test]
fn each_agent_keeps_the_receipts_of_its_part() {
    let server = Server::start(|peer| {
        while let Some(request) = peer.request()? {
            let body = format!(r#"{{"id":"00000000-0000-7000-8000-{:012}"}}"#, request.number);
            let answer =
                format!("HTTP/1.1 201 Created\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            peer.answer(&request, answer.as_bytes())?;
        }
        Ok(())
    });
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("ids");
    let machine = ThisMachine { receipts: Some(path.clone()) };
    let (coordinator, address) = listening();
    let plan = options(&url(&server), "500/s", "1s");
    thread::scope(|scope| {
        let agents = [(); 2].map(|()| scope.spawn(|| join(&address, &machine)));
        run(gather(coordinator, 2), &plan, 2, true, |_| {}).expect("a run");
        agents.into_iter().for_each(|agent| agent.join().expect("no panic").expect("served"));
    });
    let ids = |machine| std::fs::read_to_string(dir.path().join(format!("ids.{machine}")));
    let (one, two) = (ids(1).expect("a file each"), ids(2).expect("a file each"));
    assert_eq!((one.lines().count(), two.lines().count()), (250, 250));
    assert_eq!(one.lines().chain(two.lines()).collect::<BTreeSet<_>>().len(), 500, "each once");

    // A record that is there is not written over; and who has no place for one is refused.
    for (machine, why) in
        [(machine, "ids.1: it is there already"), (ThisMachine::default(), "--receipts")]
    {
        let (coordinator, address) = listening();
        thread::scope(|scope| {
            let served = scope.spawn(|| join(&address, &machine));
            let error = run(gather(coordinator, 1), &plan, 1, true, |_| {}).expect_err("refused");
            assert!(error.to_string().contains(why), "{error}");
            assert_eq!(error.exit_code(), exit::CONFIGURATION);
            served.join().expect("no panic").expect_err("refused");
        });
    }
    assert_eq!(server.seen().len(), 500, "nothing was sent");
}

#[test]
fn what_an_agent_finds_before_the_start_ends_the_run() {
    // Nobody listens at the target.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let target = format!("http://{}/", nobody.local_addr().expect("bound"));
    drop(nobody);
    let (coordinator, address) = listening();
    let machine = ThisMachine::default();
    thread::scope(|scope| {
        let served = scope.spawn(|| join(&address, &machine));
        let plan = options(&target, "100/s", "1s");
        let error = run(gather(coordinator, 1), &plan, 1, false, |_| {}).expect_err("refused");
        assert!(error.to_string().starts_with("agent 1 of 1, here (127.0.0.1:"), "{error}");
        served.join().expect("no panic").expect_err("refused");
    });
    // A coordinator that names a file here instead of sending what is in its own.
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("mine");
    std::fs::write(&path, "-----BEGIN CERTIFICATE-----\n").expect("a file");
    let mine = || Some(path.display().to_string());
    let server = Server::friendly();
    let of_bodies = ScenarioOptions { body_file: mine(), ..ScenarioOptions::default() };
    let of_keys = ScenarioOptions { ca: mine(), ..ScenarioOptions::default() };
    for names in [of_bodies, of_keys] {
        let (coordinator, address) = listening();
        thread::scope(|scope| {
            let served = scope.spawn(|| join(&address, &machine));
            let mut plan = options(&url(&server), "100/s", "1s");
            plan.defaults = plan.defaults.overlaid(&names);
            let error = run(gather(coordinator, 1), &plan, 1, false, |_| {}).expect_err("refused");
            assert!(error.to_string().contains("names files on this machine"), "{error}");
            served.join().expect("no panic").expect_err("refused");
        });
    }
    assert_eq!(server.accepted(), 0, "nobody went there");
}

/// A process of this binary that is something else in the place of one of the tests below.
struct Process(Child);

impl Process {
    fn start(test: &str, variable: &str, value: &str) -> Self {
        let program = std::env::current_exe().expect("this program");
        let child = Command::new(program)
            .args(["--exact", test, "--nocapture"])
            .env(variable, value)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts");
        Self(child)
    }

    /// The rest of the line that begins with `word`.
    fn line(&mut self, word: &str) -> String {
        let out = self.0.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(out).lines();
        let line = lines.find_map(|line| {
            let line = line.expect("text");
            // The test runner may have begun the line.
            line.split_once(word).map(|(_, rest)| rest.to_owned())
        });
        // What it says further is let go, and must not stop it.
        thread::spawn(move || lines.for_each(drop));
        line.expect("it says so")
    }

    fn kill(mut self) -> ExitStatus {
        self.0.kill().expect("it is ours");
        self.0.wait().expect("it is ours")
    }

    fn exit_code(mut self) -> Option<i32> {
        let until_ns = clock::now_ns() + 60_000_000_000;
        while clock::now_ns() < until_ns {
            if let Some(status) = self.0.try_wait().expect("it is ours") {
                return status.code();
            }
            thread::yield_now();
        }
        self.kill();
        None
    }
}

/// In a process that was started as an agent: is one, to its end.
fn be_an_agent_if_told() {
    let Ok(address) = std::env::var(AGENT_OF) else { return };
    let served = join(&address, &ThisMachine::default());
    std::process::exit(i32::from(served.map_or_else(|error| error.exit_code(), |()| 0)));
}

/// In a process that was started as a coordinator: is one, to its end.
#[expect(clippy::print_stdout, reason = "a process tells its parent where it listens")]
fn be_a_coordinator_if_told() {
    let Ok(target) = std::env::var(COORDINATOR_FOR) else { return };
    let (coordinator, address) = listening();
    println!("listening {address}");
    let group = gather(coordinator, 1);
    let ran = run(group, &options(&target, "200/s", "60s"), 1, false, |_| {});
    std::process::exit(i32::from(ran.is_err()));
}

#[test]
fn an_agent_that_is_killed_makes_the_run_partial_and_the_others_go_on() {
    be_an_agent_if_told();
    let this = "agents::an_agent_that_is_killed_makes_the_run_partial_and_the_others_go_on";
    let server = Server::friendly();
    let (coordinator, address) = listening();
    let survivor = Process::start(this, AGENT_OF, &address);
    let mut victim = None;
    // The victim comes second, so that its number is known.
    let group = coordinator
        .gather(2, LONG, &mut |news| {
            if matches!(news, Some(GatherNews::Joined { joined: 1, .. })) {
                victim = Some(Process::start(this, AGENT_OF, &address));
            }
            true
        })
        .expect("they come");
    let plan = options(&url(&server), "500/s", "4s");
    let (totals, outcome) = run(group, &plan, 2, false, |totals| {
        if totals.counts(|_| true).answered > 300 {
            victim.take().map(Process::kill);
        }
    })
    .expect("a run");
    assert!(victim.is_none(), "it was killed");
    assert_eq!(survivor.exit_code(), Some(0));
    assert_eq!(outcome.exit_code(), exit::PARTIAL);
    let slow = outcome.health.invalid.iter().find(|why| why.contains("did not keep up"));
    assert_eq!(slow, None, "what was lost is nobody's slowness");
    let [missing] = &outcome.missing[..] else { panic!("{:?}", outcome.missing) };
    assert!(missing.starts_with("agent 2 of 2, here (127.0.0.1:"), "{missing}");
    let answered = totals.counts(|_| true).answered;
    let of_victim = totals.counts(|_| true).ended - 1_000;
    let words = format!("of its 1000 requests {of_victim} are in the figures and");
    assert!(missing.contains(&words), "{words}: {missing}");
    assert!(of_victim > 0 && of_victim < 1_000, "{of_victim}");
    // Nothing is in the figures that the server has not seen, and nothing of the survivor is not.
    let numbers = server.numbers();
    assert!(answered <= numbers.len() as u64, "{answered} {}", numbers.len());
    let of_survivor: Vec<u64> = numbers.into_iter().filter(|number| number % 4 < 2).collect();
    assert_eq!(of_survivor, (0..2_000).filter(|number| number % 4 < 2).collect::<Vec<_>>());
}

#[test]
fn agents_of_a_coordinator_that_is_killed_stop() {
    be_an_agent_if_told();
    be_a_coordinator_if_told();
    let this = "agents::agents_of_a_coordinator_that_is_killed_stop";
    let server = Arc::new(Server::friendly());
    let mut coordinator = Process::start(this, COORDINATOR_FOR, &url(&server));
    let address = coordinator.line("listening ");
    let agent = Process::start(this, AGENT_OF, &address);
    let until_ns = clock::now_ns() + 60_000_000_000;
    while server.seen().len() < 100 {
        assert!(clock::now_ns() < until_ns, "the run does not start");
        thread::yield_now();
    }
    coordinator.kill();
    assert_eq!(agent.exit_code(), Some(i32::from(exit::COORDINATOR_LOST)));
    assert!(server.seen().len() < 200 * 60, "it stopped before its end");
}
