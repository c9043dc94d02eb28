//! The conductor with workers of the test's own, by a clock of the test's own.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::fixture::{self, Figures, MS};
use crate::measure::{Interval, Trend};
use crate::outcome::{Ending, KernelCounters};
use crate::plan::{Aggregate, Comparison, Metric, Threshold};

/// A run of ten seconds in which each tick of a second has 100 answers.
struct Script {
    now_ns: Rc<Cell<u64>>,
    log: Rc<RefCell<Vec<&'static str>>>,
    /// Answered with this.
    status: u16,
    /// Ticks to come after it was told to stop.
    grace: u64,
    missing: Vec<String>,
    /// From this tick on it says so, and that this is too much.
    lost_from: u64,
    /// Presses the flag when that tick comes.
    press_at: Vec<u64>,
    stop: Rc<StopFlag>,
    /// How many tell of each tick, one after the other.
    workers: usize,
    /// How many have told of this one.
    told: usize,
    /// The last of them tells of nothing from this tick on.
    silent_from: u64,
    tick: u64,
}

const START_NS: u64 = 1_000;
const TICK_NS: u64 = 1_000 * MS;
const TICKS: u64 = 10;

impl Script {
    fn new() -> Self {
        Self {
            now_ns: Rc::new(Cell::new(0)),
            log: Rc::default(),
            status: 201,
            grace: 0,
            missing: Vec::new(),
            lost_from: u64::MAX,
            press_at: Vec::new(),
            stop: Rc::new(StopFlag::new()),
            workers: 1,
            told: usize::MAX,
            silent_from: u64::MAX,
            tick: 0,
        }
    }

    fn interval(&self) -> Box<Interval> {
        let mut figures = Figures::new(&[1]);
        for _ in 0..100 {
            figures.answered(0, 5 * MS, self.status, 1);
        }
        let mut interval = figures.tick(TICK_NS, 0.1);
        interval.worker = self.told;
        interval.from_ns = (self.tick - 1) * TICK_NS;
        interval.until_ns = self.tick * TICK_NS;
        interval
    }
}

impl Source for Script {
    fn start_ns(&self) -> u64 {
        START_NS
    }

    fn next(&mut self, _wait: Duration) -> Step {
        let stopped = self.log.borrow().contains(&"stop");
        let given_up = self.log.borrow().contains(&"stop now");
        let silent = usize::from(self.tick >= self.silent_from);
        if self.told < self.workers - silent {
            self.told += 1;
            return Step::Interval(0, self.interval());
        }
        if given_up || self.tick >= TICKS || (stopped && self.grace == 0) {
            return Step::Ended;
        }
        self.told = 1;
        self.grace -= u64::from(stopped);
        self.tick += 1;
        self.now_ns.set(START_NS + self.tick * TICK_NS);
        for _ in self.press_at.iter().filter(|at| **at == self.tick) {
            self.stop.press();
        }
        Step::Interval(0, self.interval())
    }

    fn give_back(&mut self, machine: usize, _interval: Box<Interval>) {
        assert_eq!(machine, 0);
        self.log.borrow_mut().push("give back");
    }

    fn missing(&self) -> &[String] {
        if self.is_lost() { &self.missing } else { &[] }
    }

    fn is_lost(&self) -> bool {
        self.tick >= self.lost_from
    }

    fn stop(&mut self) {
        self.log.borrow_mut().push("stop");
    }

    fn stop_now(&mut self) {
        self.log.borrow_mut().push("stop now");
    }

    fn finish(self) -> Finished {
        Finished {
            missing: self.missing,
            machines: vec!["a machine".to_owned()],
            kernel: Some(KernelCounters::default()),
        }
    }
}

#[derive(Default)]
struct Watching {
    notes: Vec<String>,
    ticks: Vec<(Duration, u64)>,
    stopping: Vec<(Ending, Duration)>,
    missing: Vec<String>,
    ended: Option<Outcome>,
}

impl Observer for Watching {
    fn begin(&mut self, _plan: &Plan, notes: &[String]) {
        self.notes = notes.to_vec();
    }

    fn tick(&mut self, _plan: &Plan, totals: &Totals, at: Duration) {
        self.ticks.push((at, totals.counts(|_| true).ended));
    }

    fn missing(&mut self, words: &str) {
        self.missing.push(words.to_owned());
    }

    fn stopping(&mut self, why: Ending, at: Duration) {
        self.stopping.push((why, at));
    }

    fn end(&mut self, _plan: &Plan, _totals: &Totals, outcome: &Outcome) {
        self.ended = Some(outcome.clone());
    }
}

/// Follows the script to its end and judges it. The second is what the source was told but for
/// intervals given back, the third how many those were.
fn follow(plan: &Plan, script: Script) -> (Outcome, Vec<&'static str>, usize) {
    let (now, log, stop) =
        (Rc::clone(&script.now_ns), Rc::clone(&script.log), Rc::clone(&script.stop));
    let mut watching = Watching::default();
    let observers: &mut [&mut dyn Observer] = &mut [&mut watching];
    let conducted = conduct(plan, script, observers, &stop, &move || now.get());
    let told: Vec<_> = watching.stopping.iter().map(|(why, _)| *why).collect();
    let ended_early = Some(conducted.ending).filter(|ending| *ending != Ending::Completed);
    assert_eq!(told, Vec::from_iter(ended_early), "observers hear of it, once");
    assert_eq!(watching.missing.len(), usize::from(conducted.ending == Ending::Lost));
    let context = RunContext { command: "inhale load".to_owned(), ..RunContext::default() };
    let outcome = outcome(plan, &context, None, &conducted, 7);
    let told: Vec<_> = log.borrow().iter().copied().filter(|told| *told != "give back").collect();
    let given_back = log.borrow().len() - told.len();
    (outcome, told, given_back)
}

fn failing_threshold(abort_after_s: u64) -> Threshold {
    Threshold {
        text: "http_req_duration: max<1ms".to_owned(),
        metric: Metric::Trend(Trend::Duration),
        tags: BTreeMap::new(),
        aggregate: Aggregate::Max,
        comparison: Comparison::Below,
        value: 1.0,
        abort_after: Some(Duration::from_secs(abort_after_s)),
    }
}

#[test]
fn a_run_to_its_end_is_whole() {
    let (outcome, told, given_back) = follow(&fixture::plan(), Script::new());
    assert_eq!((told, given_back), (vec![], 10));
    assert_eq!(outcome.ending, Ending::Completed);
    assert_eq!(outcome.elapsed, Duration::from_secs(10));
    assert_eq!(outcome.health.asked_per_second, Some(100.0));
    assert!((outcome.health.achieved_per_second - 100.0).abs() < 1e-9);
    assert_eq!(outcome.health.invalid, Vec::<String>::new());
    assert_eq!(outcome.machines, ["a machine"]);
    assert_eq!((outcome.command.as_str(), outcome.started_wall_ns), ("inhale load", 7));
    assert_eq!(outcome.exit_code(), exit::PASSED);
}

#[test]
fn observers_see_it_begin_go_on_and_end() {
    let plan = fixture::plan();
    let (mut one, mut two) = (Watching::default(), Watching::default());
    let start = || Ok(Script { tick: 0, ..Script::new() });
    let notes = ["a note".to_owned()];
    let context = RunContext { metrics: MetricsUrl::Nowhere, ..RunContext::default() };
    let observers: &mut [&mut dyn Observer] = &mut [&mut one, &mut two];
    let (totals, outcome) =
        run_on(&plan, &context, &notes, start, observers, &StopFlag::new()).expect("it starts");
    assert_eq!(totals.counts(|_| true).ended, 1_000);
    for seen in [one, two] {
        assert_eq!(seen.notes, notes);
        assert!(!seen.ticks.is_empty(), "it was shown nothing");
        assert_eq!(seen.ended.expect("it is told of the end").elapsed, outcome.elapsed);
    }
}

#[test]
fn observers_are_shown_no_more_than_ten_frames_a_second() {
    /// Passes 10 ms with each look, and ends after two seconds.
    struct Idle(Rc<Cell<u64>>);
    impl Source for Idle {
        fn start_ns(&self) -> u64 {
            0
        }
        fn next(&mut self, _wait: Duration) -> Step {
            self.0.set(self.0.get() + 10 * MS);
            if self.0.get() > 2_000 * MS { Step::Ended } else { Step::Nothing }
        }
        fn give_back(&mut self, _machine: usize, _interval: Box<Interval>) {}
        fn stop(&mut self) {}
        fn stop_now(&mut self) {}
        fn finish(self) -> Finished {
            Finished::default()
        }
    }
    let now = Rc::new(Cell::new(0));
    let mut watching = Watching::default();
    let idle = Idle(Rc::clone(&now));
    let observers: &mut [&mut dyn Observer] = &mut [&mut watching];
    conduct(&fixture::plan(), idle, observers, &StopFlag::new(), &move || now.get());
    assert_eq!(watching.ticks.len(), 20, "{:?}", watching.ticks);
}

#[test]
fn one_press_ends_gracefully_and_a_second_at_once() {
    let pressed = Script { press_at: vec![2], grace: 2, ..Script::new() };
    let (outcome, told, given_back) = follow(&fixture::plan(), pressed);
    assert_eq!((told, given_back), (vec!["stop"], 4), "two ticks are in the graceful stop");
    assert_eq!(outcome.ending, Ending::Interrupted);
    assert_eq!(outcome.exit_code(), exit::INTERRUPTED);
    assert!(outcome.health.warnings[0].contains("2.0 s of 10.0 s"), "{:?}", outcome.health);
    let pressed = Script { press_at: vec![2, 4], grace: 20, ..Script::new() };
    let (_, told, given_back) = follow(&fixture::plan(), pressed);
    assert_eq!((told, given_back), (vec!["stop", "stop now"], 4));
}

#[test]
fn repro_a_run_that_lost_too_much_is_of_a_part() {
    let missing = vec!["agent 2 of 2 was lost".to_owned()];
    let lost = Script { lost_from: 4, grace: 2, missing: missing.clone(), ..Script::new() };
    let (outcome, told, given_back) = follow(&fixture::plan(), lost);
    assert_eq!((told, given_back), (vec!["stop"], 6));
    assert_eq!((outcome.ending, outcome.missing), (Ending::Lost, missing));
    assert_eq!(outcome.stopped_at, Some(Duration::from_secs(4)));
    assert_eq!(outcome.health.asked_per_second, Some(100.0), "of its four seconds");
    assert!(outcome.health.warnings[0].contains("agent was lost"), "{:?}", outcome.health);
}

#[test]
fn repro_past_its_end_a_run_cannot_be_cut_short() {
    let pressed = Script { press_at: vec![TICKS], ..Script::new() };
    let (outcome, _, _) = follow(&fixture::plan(), pressed);
    assert_eq!((outcome.ending, outcome.stopped_at), (Ending::Interrupted, None));
    assert!(outcome.health.warnings[0].contains("last answers"), "{:?}", outcome.health);
}

#[test]
fn a_threshold_ends_the_run_after_its_delay() {
    let mut plan = fixture::plan();
    plan.thresholds = vec![failing_threshold(3)];
    let (outcome, told, given_back) = follow(&plan, Script::new());
    assert_eq!((told, given_back), (vec!["stop"], 3));
    assert_eq!(outcome.ending, Ending::Aborted);
    assert_eq!(outcome.exit_code(), exit::THRESHOLDS);
    // Somebody who cannot wait presses once.
    let pressed = Script { press_at: vec![5], grace: 20, ..Script::new() };
    let (outcome, told, _) = follow(&plan, pressed);
    assert_eq!(told, ["stop", "stop now"]);
    assert_eq!(outcome.ending, Ending::Aborted);
    // The control: a threshold that does not ask for it lets the run go on.
    plan.thresholds[0].abort_after = None;
    let (outcome, told, _) = follow(&plan, Script::new());
    assert_eq!((told, outcome.ending), (vec![], Ending::Completed));
    assert_eq!(outcome.exit_code(), exit::THRESHOLDS);
}

#[test]
fn a_threshold_that_ended_the_run_is_not_mended_by_what_comes_after() {
    let mut plan = fixture::plan();
    // 100 answers a second, all of them good: too few at first, and enough in the end.
    plan.thresholds = vec![Threshold {
        text: "http_reqs: count>250".to_owned(),
        metric: Metric::HttpReqs,
        aggregate: Aggregate::Count,
        comparison: Comparison::Above,
        value: 250.0,
        ..failing_threshold(2)
    }];
    let (outcome, told, _) = follow(&plan, Script { grace: 5, ..Script::new() });
    assert_eq!((told, outcome.ending), (vec!["stop"], Ending::Aborted));
    assert_eq!(outcome.thresholds[0].found, Some(200.0), "as it was found then");
    assert_eq!(outcome.exit_code(), exit::THRESHOLDS);
    // The control: given time, it holds.
    plan.thresholds[0].abort_after = Some(Duration::from_secs(3));
    let (outcome, told, _) = follow(&plan, Script { grace: 5, ..Script::new() });
    assert_eq!((told, outcome.exit_code()), (vec![], exit::PASSED));
}

#[test]
fn rates_are_judged_when_every_worker_has_told() {
    let rate = |value| Threshold {
        text: "http_reqs: rate>=N".to_owned(),
        metric: Metric::HttpReqs,
        aggregate: Aggregate::Rate,
        comparison: Comparison::AtLeast,
        value,
        ..failing_threshold(2)
    };
    let mut plan = fixture::plan();
    let two = || Script { workers: 2, ..Script::new() };
    for (asked, ending) in [(200.0, Ending::Completed), (201.0, Ending::Aborted)] {
        plan.thresholds = vec![rate(asked)];
        let (outcome, _, _) = follow(&plan, two());
        assert_eq!(outcome.ending, ending, "{asked}: {:?}", outcome.thresholds);
    }
    // Who is silent for too long is not waited for.
    plan.thresholds = vec![rate(200.0)];
    let (outcome, _, _) = follow(&plan, Script { silent_from: 3, ..two() });
    assert_eq!(outcome.ending, Ending::Aborted, "{:?}", outcome.thresholds);
}

#[test]
fn what_is_missing_makes_it_partial() {
    let missing = vec!["an agent is gone".to_owned()];
    let (outcome, _, _) = follow(&fixture::plan(), Script { missing, ..Script::new() });
    assert_eq!(outcome.exit_code(), exit::PARTIAL);
}

#[test]
fn a_plan_that_cannot_work_sends_nothing() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut plan = fixture::plan();
    plan.scenarios[0].target.addresses = vec![gone.local_addr().expect("it is bound")];
    drop(gone);
    let mut watching = Watching::default();
    let observers: &mut [&mut dyn Observer] = &mut [&mut watching];
    let context = RunContext::default();
    let start = || -> Result<Script, RunError> { panic!("it was started") };
    let refused = run_here(&plan, &context, start, observers, &StopFlag::new());
    let error = refused.expect_err("nobody listens");
    assert!(error.to_string().contains("Nobody listens"), "{error}");
    assert_eq!(error.exit_code(), exit::CONFIGURATION);
    assert!(watching.ticks.is_empty());
}

#[test]
fn a_flag_counts_its_presses() {
    let flag = StopFlag::new();
    assert_eq!((flag.presses(), flag.press(), flag.press(), flag.presses()), (0, 1, 2, 2));
}
