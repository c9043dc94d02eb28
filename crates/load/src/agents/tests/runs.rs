//! Runs that go as they should, and those that are ended on purpose.

use std::sync::atomic::Ordering;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use super::fake::{Fake, Then};
use super::*;
use crate::limits::SILENCE_MAX;
use crate::measure::{Totals, Trend};
use crate::outcome::KernelCounters;

type Served<'scope> = ScopedJoinHandle<'scope, Result<(), AgentError>>;

/// An agent that serves one run.
pub(super) fn join(address: &str, workshop: &Fake) -> Result<(), AgentError> {
    let secret = secret();
    let joining = Joining { address, secret: &secret, name: "box", keep: false };
    agent(&joining, workshop, &|| false, &mut |_| {})
}

/// Agents that have joined, each with its workshop and in this order.
pub(super) fn gathered<'scope, 'env>(
    scope: &'scope thread::Scope<'scope, 'env>,
    workshops: &'env [Fake],
) -> (Group, Vec<Served<'scope>>) {
    let (coordinator, address) = listening();
    let mut served = Vec::new();
    let mut waiting = workshops.iter();
    let mut start_next = |_: &str| {
        if let Some(workshop) = waiting.next() {
            let address = address.clone();
            served.push(scope.spawn(move || join(&address, workshop)));
        }
    };
    start_next("the first");
    let group = coordinator
        .gather(workshops.len(), LONG, &mut |news| {
            if let Some(GatherNews::Joined { agent, .. }) = news {
                start_next(agent);
            }
            true
        })
        .unwrap();
    (group, served)
}

pub(super) fn run(
    workshops: &[Fake],
    watch: impl FnMut(&Totals) -> Wish,
) -> (Ran, Vec<Result<(), AgentError>>) {
    thread::scope(|scope| {
        let (group, served) = gathered(scope, workshops);
        let job = workshops[0].job(workshops.len() as u64);
        let ran = conduct(group.prepare(job, &mut || true).unwrap(), watch).unwrap();
        (ran, served.into_iter().map(|served| served.join().unwrap()).collect())
    })
}

/// Everything of totals that can be compared, but for whose workers measured it.
pub(super) fn figures(totals: &Totals) -> impl PartialEq + std::fmt::Debug + use<> {
    let distribution = |trend| totals.trend(trend, |_| true).buckets_ms().collect::<Vec<_>>();
    let percentiles = |trend| {
        let distribution = totals.trend(trend, |_| true);
        [50.0, 90.0, 99.0, 99.9].map(|percent| distribution.percentile_ms(percent))
    };
    let points = totals.timeline.points().iter();
    (
        Trend::ALL.map(distribution),
        Trend::ALL.map(percentiles),
        totals.scenarios[0].counts.clone(),
        points.map(|p| (p.ended, p.failed, p.percentile_ms(99.0))).collect::<Vec<_>>(),
        totals.until_ns,
    )
}

#[test]
fn three_machines_do_what_one_would_to_the_last_request() {
    let fake = Fake::new(2_003, 2, Then::End);
    let alone = fake.alone();
    fake.log.numbers.lock().unwrap().clear();
    let (ran, served) = run(&vec![fake.clone(); 3], |_| Wish::GoOn);
    served.into_iter().for_each(|served| served.unwrap());
    let mut numbers = fake.log.numbers.lock().unwrap().clone();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..2_003).collect::<Vec<_>>(), "each once");
    assert_eq!(figures(&ran.totals), figures(&alone));
    let finished = ran.finished;
    assert_eq!(finished.missing.len(), 0);
    // Two of the three are on one host, whose kernel counted the same for both.
    let kernel = KernelCounters { listen_overflows: 2, listen_drops: 4, retransmits: 6 };
    assert_eq!(finished.kernel, Some(kernel));
    let lines = finished.machines;
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[1].starts_with("agent 2 of 3, box (127.0.0.1:"), "{lines:?}");
    assert_eq!(fake.log.closed.load(Ordering::Acquire), 3);
}

#[test]
fn a_lost_request_would_be_seen() {
    // The negative control of the comparison: another plan has other figures.
    let one = Fake::new(2_003, 2, Then::End).alone();
    let other = Fake::new(2_002, 2, Then::End).alone();
    assert!(figures(&one) != figures(&other));
}

#[test]
fn another_division_is_refused_before_the_start() {
    let fake = Fake::new(1_000, 2, Then::End);
    let other = Fake { threads: 3, ..fake.clone() };
    let error = unprepared(&[fake.clone(), other]);
    assert!(error.to_string().contains("divides the plan otherwise"), "{error}");
    assert_eq!(fake.log.started.load(Ordering::Acquire), 0);
}

#[test]
fn what_one_machine_cannot_do_ends_the_run_before_the_start() {
    let fake = Fake::new(1_000, 1, Then::End);
    let error = unprepared(&[fake.clone(), fake.but(Then::Unfit), fake.clone()]);
    let words = error.to_string();
    assert!(words.starts_with("agent 2 of 3, box (127.0.0.1:"), "{words}");
    assert!(words.ends_with("no ports are left (--connections)"), "{words}");
    assert_eq!(error.exit_code(), 104);
    assert_eq!(fake.log.started.load(Ordering::Acquire), 0);
}

/// The error of preparing; every agent is told of it, or told it.
fn unprepared(workshops: &[Fake]) -> CoordinatorError {
    thread::scope(|scope| {
        let (group, served) = gathered(scope, workshops);
        let job = workshops[0].job(workshops.len() as u64);
        let error = group.prepare(job, &mut || true).expect_err("it cannot");
        for served in served {
            match served.join().unwrap().expect_err("there is no run") {
                AgentError::Dismissed(why) => assert_eq!(why, error.to_string()),
                AgentError::Unfit(why) => assert!(error.to_string().ends_with(&why)),
                other => panic!("{other}"),
            }
        }
        error
    })
}

#[test]
fn what_cannot_start_ends_the_run_before_the_start() {
    let fake = Fake::new(1_000, 1, Then::Linger);
    let workshops = [fake.clone(), fake.but(Then::Unstartable)];
    thread::scope(|scope| {
        let (group, served) = gathered(scope, &workshops);
        let ready = group.prepare(fake.job(2), &mut || true).unwrap();
        let error = conduct(ready, |_| Wish::GoOn).err().expect("it cannot");
        assert!(error.to_string().ends_with("no thread is to be had"), "{error}");
        served.into_iter().for_each(|served| drop(served.join().unwrap().expect_err("no run")));
        assert_eq!(fake.log.stopped_now.load(Ordering::Acquire), 1);
    });
}

#[test]
fn a_wish_to_stop_is_passed_on() {
    for wish in [Wish::Stop, Wish::StopNow] {
        let fake = Fake::new(1_000, 1, Then::Linger);
        // Once everything has been heard.
        let (ran, served) = run(&vec![fake.clone(); 2], |totals| {
            let whole = totals.counts(|_| true).ended == 1_000;
            if whole { wish } else { Wish::GoOn }
        });
        served.into_iter().for_each(|served| served.unwrap());
        assert_eq!((ran.finished.missing.len(), ran.stopped), (0, true));
        let stops = (&fake.log.stopped, &fake.log.stopped_now);
        let stops = (stops.0.load(Ordering::Acquire), stops.1.load(Ordering::Acquire));
        assert_eq!(stops, if wish == Wish::Stop { (2, 0) } else { (0, 2) });
    }
}

#[test]
fn whoever_waits_can_be_interrupted() {
    let (coordinator, _) = listening();
    let error = coordinator.gather(1, LONG, &mut |_| false).expect_err("nobody wants to wait");
    assert_eq!(
        (error.to_string().as_str(), error.exit_code()),
        ("interrupted before the start", 105)
    );
    let (coordinator, _) = listening();
    let error = coordinator.gather(2, Duration::ZERO, &mut |_| true).expect_err("nobody comes");
    assert!(error.to_string().starts_with("0 of 2 agents have joined within 0 s"), "{error}");
    let (coordinator, _) = listening();
    coordinator.gather(0, LONG, &mut |_| true).expect_err("no agents are no run");
    let fake = Fake::new(1, 1, Then::End);
    let secret = secret();
    let joining = Joining { address: "127.0.0.1:9", secret: &secret, name: "", keep: true };
    let error = agent(&joining, &fake, &|| true, &mut |_| {}).expect_err("it wants to stop");
    assert_eq!(error.exit_code(), 105);
}

/// A run of one agent and a hundred requests.
fn serve_one(group: Group, fake: &Fake) {
    let ready = group.prepare(fake.job(1), &mut || true).unwrap();
    let ran = conduct(ready, |_| Wish::GoOn).unwrap();
    assert_eq!(ran.totals.counts(|_| true).ended, 100);
    assert_eq!(ran.finished.missing.len(), 0);
}

#[test]
fn one_agent_too_many_is_told_so() {
    let fake = Fake::new(100, 1, Then::End);
    let (coordinator, address) = listening();
    thread::scope(|scope| {
        let served = [0, 1].map(|_| scope.spawn(|| join(&address, &fake)));
        // The first to join is waited for, and the other is there or comes too late.
        let group = coordinator.gather(1, LONG, &mut |_| true).unwrap();
        serve_one(group, &fake);
        let served = served.map(|served| served.join().unwrap());
        assert_eq!(served.iter().filter(|served| served.is_ok()).count(), 1, "{served:?}");
    });
}

#[test]
fn preparing_may_take_longer_than_silence() {
    let fake = Fake::new(100, 1, Then::End);
    fake.log.held_up.store(true, Ordering::Release);
    let workshops = [fake.clone()];
    thread::scope(|scope| {
        let (group, served) = gathered(scope, &workshops);
        let until_ns = after(SILENCE_MAX + Duration::from_secs(1));
        let ready = group.prepare(fake.job(1), &mut || {
            fake.log.held_up.store(now_ns() < until_ns, Ordering::Release);
            true
        });
        let ran = conduct(ready.unwrap(), |_| Wish::GoOn).unwrap();
        assert_eq!(ran.totals.counts(|_| true).ended, 100);
        served.into_iter().for_each(|served| served.join().unwrap().unwrap());
    });
}

#[test]
fn an_agent_that_is_kept_serves_one_run_after_another() {
    let fake = Fake::new(100, 1, Then::End);
    let (first, address) = listening();
    let stop = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let kept = scope.spawn(|| {
            let secret = secret();
            let joining = Joining { address: &address, secret: &secret, name: "", keep: true };
            agent(&joining, &fake, &|| stop.load(Ordering::Acquire), &mut |_| {})
        });
        let mut coordinator = Some(first);
        for _ in 0..2 {
            let coordinator = coordinator
                .take()
                .unwrap_or_else(|| Coordinator::listen(&address, secret()).expect("it is free"));
            let group = coordinator.gather(1, LONG, &mut |_| true).unwrap();
            serve_one(group, &fake);
        }
        stop.store(true, Ordering::Release);
        assert_eq!(kept.join().unwrap().expect_err("it was stopped").exit_code(), 105);
    });
}
