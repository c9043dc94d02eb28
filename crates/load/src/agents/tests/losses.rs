//! Agents and coordinators that are lost: nobody hangs, and it is told what is missing.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::fake::{Fake, Then};
use super::proxy::Cable;
use super::runs::{figures, gathered, join};
use super::*;
use crate::agents::greeting;
use crate::agents::message::{ToAgent, ToCoordinator};
use crate::limits::SILENCE_MAX;
use crate::measure::{Interval, Totals};
use crate::outcome::exit;

/// Until everything that is left has ended by itself, or somebody is lost.
fn watch(_: &Totals) -> Wish {
    Wish::GoOn
}

/// A run over one cable, with something done to the cable once half of the plan is in.
fn over_a_cable(harm: impl Fn(&Cable)) -> (Ran, Result<(), AgentError>, Fake) {
    let fake = Fake::new(1_000, 1, Then::Linger);
    let (coordinator, address) = listening();
    let cable = Cable::to(address);
    thread::scope(|scope| {
        let served = scope.spawn(|| join(&cable.address, &fake));
        let group = coordinator.gather(1, LONG, &mut |_| true).unwrap();
        let ready = group.prepare(fake.job(1), &mut || true).unwrap();
        let mut harmed = false;
        let ran = conduct(ready, |totals| {
            if !harmed && totals.counts(|_| true).ended == 1_000 {
                harmed = true;
                harm(&cable);
            }
            Wish::GoOn
        });
        let served = served.join().unwrap();
        cable.cut();
        (ran.unwrap(), served, fake.clone())
    })
}

#[test]
fn an_agent_that_dies_makes_the_run_partial() {
    let fake = Fake::new(2_000, 1, Then::End);
    let workshops = [fake.clone(), fake.but(Then::Panic), fake.clone()];
    thread::scope(|scope| {
        let (group, served) = gathered(scope, &workshops);
        let ready = group.prepare(fake.job(3), &mut || true).unwrap();
        let Ran { totals, finished, .. } = conduct(ready, watch).unwrap();
        let [missing] = &finished.missing[..] else { panic!("{:?}", finished.missing) };
        assert!(missing.starts_with("agent 2 of 3, box (127.0.0.1:"), "{missing}");
        // What its death caught on the way is missing, and nothing of the others.
        let counted = totals.counts(|_| true).ended - (667 + 666);
        let counts = format!(
            "of its 667 requests {counted} are in the figures and {} are missing",
            667 - counted
        );
        assert!(missing.ends_with(&counts), "{missing}");
        assert!(finished.machines[1].contains(": lost; clock "), "{:?}", finished.machines);
        assert_eq!(totals.gauges().in_flight, 2 * 3, "the dead one holds nothing");
        let served = served.into_iter().map(thread::ScopedJoinHandle::join);
        assert_eq!(served.filter(|s| matches!(s, Ok(Ok(())))).count(), 2, "the others went on");
    });
}

#[test]
fn a_coordinator_that_dies_stops_its_agents() {
    let (ran, served, fake) = over_a_cable(Cable::cut);
    let error = served.expect_err("nobody would read the figures");
    assert_eq!(error.exit_code(), exit::COORDINATOR_LOST, "{error}");
    assert_eq!(fake.log.stopped_now.load(Ordering::Acquire), 1);
    assert_eq!(fake.log.closed.load(Ordering::Acquire), 1);
    assert_eq!(ran.finished.missing.len(), 1, "seen from the other side");
}

#[test]
fn silence_is_a_loss_on_both_sides() {
    let (ran, served, fake) = over_a_cable(Cable::go_dead);
    let silence = format!("nothing was heard for {} s", SILENCE_MAX.as_secs());
    let error = served.expect_err("it hears nothing");
    assert!(error.to_string().ends_with(&silence), "{error}");
    assert_eq!(error.exit_code(), exit::COORDINATOR_LOST);
    assert_eq!(fake.log.stopped_now.load(Ordering::Acquire), 1);
    assert!(ran.finished.missing[0].contains(&silence), "{:?}", ran.finished.missing);
}

/// The coordinator was gone without a word, and the agent took that for the end of a run.
#[test]
fn repro_who_waits_for_others_is_told_that_they_did_not_come() {
    let fake = Fake::new(1_000, 1, Then::End);
    let (coordinator, address) = listening();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| join(&address, &fake));
        let mut joined = 0;
        let came = coordinator.gather(2, Duration::from_secs(2), &mut |news| {
            joined += usize::from(matches!(news, Some(GatherNews::Joined { .. })));
            true
        });
        assert!(matches!(came, Err(CoordinatorError::Late { joined: 1, .. })) && joined == 1);
        let error = waiting.join().unwrap().expect_err("there is no run");
        let words = came.expect_err("one did not come").to_string();
        assert!(error.to_string().contains(&words), "{error}");
        assert_eq!(error.exit_code(), exit::CONFIGURATION);
    });
}

#[test]
fn the_run_can_be_stopped_when_an_agent_is_lost() {
    let fake = Fake::new(1_000, 1, Then::Linger);
    let workshops = [fake.clone(), fake.but(Then::Panic)];
    thread::scope(|scope| {
        let (group, served) = gathered(scope, &workshops);
        let job = Job { stop_when_lost: true, ..fake.job(2) };
        let ran = conduct(group.prepare(job, &mut || true).unwrap(), watch).unwrap();
        let finished = ran.finished;
        assert_eq!((finished.missing.len(), fake.log.stopped.load(Ordering::Acquire)), (1, 1));
        served.into_iter().for_each(|served| drop(served.join()));
    });
}

#[test]
fn an_agent_that_does_not_end_is_given_up() {
    let fake = Fake::new(1_000, 1, Then::Linger);
    let workshops = [fake.clone()];
    thread::scope(|scope| {
        let (group, served) = gathered(scope, &workshops);
        let job = Job { length: Duration::ZERO, ..fake.job(1) };
        let ran = conduct(group.prepare(job, &mut || true).unwrap(), watch).unwrap();
        let finished = ran.finished;
        assert!(finished.missing[0].contains("did not come to its end in time"));
        let error = served.into_iter().next().unwrap().join().unwrap().expect_err("sent away");
        assert!(matches!(error, AgentError::Dismissed(_)), "{error}");
        assert_eq!(fake.log.stopped_now.load(Ordering::Acquire), 1);
    });
}

#[test]
fn a_signal_at_an_agent_makes_the_run_partial_and_loses_nothing_measured() {
    let fake = Fake::new(1_000, 1, Then::Linger);
    let (coordinator, address) = listening();
    thread::scope(|scope| {
        let served = scope.spawn(|| {
            let secret = secret();
            let joining = Joining { address: &address, secret: &secret, name: "", keep: true };
            // Once everything is measured.
            let stop = || fake.log.given_back.load(Ordering::Acquire) == 10;
            agent(&joining, &fake, &stop, &mut |_| {})
        });
        let group = coordinator.gather(1, LONG, &mut |_| true).unwrap();
        let ready = group.prepare(fake.job(1), &mut || true).unwrap();
        let ran = conduct(ready, watch);
        assert_eq!(served.join().unwrap().expect_err("a signal").exit_code(), 105);
        let finished = ran.unwrap().finished;
        let missing = &finished.missing[0];
        assert!(missing.contains("(it was interrupted there)"), "{missing}");
        assert!(missing.ends_with("1000 are in the figures and 0 are missing"), "{missing}");
    });
}

#[test]
fn what_is_no_interval_of_the_plan_is_refused() {
    let (coordinator, address) = listening();
    thread::scope(|scope| {
        let served = scope.spawn(|| {
            let mut link = connect(&address);
            let binding = link.binding().unwrap();
            greeting::introduce(&mut link, &secret(), &binding).unwrap();
            link.send(&ToCoordinator::Here { name: "\x1b[2J".into(), cores: 0 }).unwrap();
            let fake = Fake::new(1_000, 1, Then::End);
            loop {
                match next::<ToAgent>(&mut link) {
                    Ok(ToAgent::Plan(_)) => {
                        let readiness = Readiness { share: fake.share(0, 1), notes: Vec::new() };
                        link.send(&ToCoordinator::Ready(readiness)).unwrap();
                    }
                    Ok(ToAgent::Ping { number }) => {
                        link.send(&ToCoordinator::Pong { number, wall_ns: 1 }).unwrap();
                    }
                    Ok(ToAgent::Begin { .. }) => {
                        let wire = Box::new(Interval::new(0, &[1, 1]).to_wire());
                        link.send(&ToCoordinator::Interval(wire)).unwrap();
                    }
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        });
        let group = coordinator.gather(1, LONG, &mut |_| true).unwrap();
        assert!(!group.names()[0].contains('\x1b'), "{:?}", group.names());
        assert_eq!(group.threads(), 1, "also for whoever claims to have no core");
        let job = Fake::new(1_000, 1, Then::End).job(1);
        let ready = group.prepare(job, &mut || true).unwrap();
        assert!(ready.notes()[0].contains(" ms behind"), "{:?}", ready.notes());
        let error = conduct(ready, watch).err().expect("before the start");
        assert!(error.to_string().contains("cannot be understood"), "{error}");
        served.join().unwrap();
    });
}

#[test]
fn what_is_missing_is_counted() {
    // An agent that is lost at the start has sent nothing of its half.
    let fake = Fake::new(1_000, 1, Then::Linger);
    let (coordinator, address) = listening();
    let cable = Cable::to(address.clone());
    thread::scope(|scope| {
        let lost = scope.spawn(|| join(&cable.address, &fake.but(Then::Late)));
        let mut others = Vec::new();
        let group = coordinator
            .gather(2, LONG, &mut |news| {
                if matches!(news, Some(GatherNews::Joined { .. })) && others.is_empty() {
                    others.push(scope.spawn(|| join(&address, &fake)));
                }
                true
            })
            .unwrap();
        let ready = group.prepare(fake.job(2), &mut || true).unwrap();
        let ran = conduct(ready, |totals| {
            if totals.counts(|_| true).ended == 500 {
                cable.cut();
            }
            let stop = fake.log.stopped_now.load(Ordering::Acquire) > 0;
            if stop { Wish::Stop } else { Wish::GoOn }
        });
        let Ran { totals, finished, .. } = ran.unwrap();
        let counts = "of its 500 requests 0 are in the figures and 500 are missing";
        assert!(finished.missing[0].ends_with(counts), "{:?}", finished.missing);
        assert!(figures(&totals) != figures(&fake.alone()), "the control");
        lost.join().unwrap().expect_err("cut off");
        others.into_iter().for_each(|other| other.join().unwrap().unwrap());
    });
}
