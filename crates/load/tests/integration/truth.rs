//! What is reported is what happened: servers whose delays are known, and percentiles that must be
//! those of the arithmetic.
//!
//! Two bounds hold each figure. From below, whatever the machine does: no request can have taken less
//! than from when it was due until its answer was written, which the server noted. From above: not
//! more than that and an allowance for how late threads get to run, which is measured in the same run
//! and percentile by percentile, for a machine that is busy with other things says nothing about the
//! generator. A run that breaks only the upper bound is repeated a few times.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use load::clock;
use load::measure::Trend;
use load::plan::{Arrivals, Executor, Keeping};

use crate::plans::{Ran, plan, rate, run, scenario, users};
use crate::server::{CREATED, Peer, Seen, Server};

const MS: u64 = 1_000_000;
/// Between an answer's being written and being read, on a machine with nothing else to do.
const ALLOWED_NS: u64 = 2 * MS;
/// An error that must be found.
const PLANTED_MS: f64 = 10.0;
/// Runs that may go wrong for want of a quiet machine.
const ATTEMPTS: usize = 8;
/// What a histogram of three digits may be off by, with a margin for its smallest step.
const RESOLUTION: f64 = 0.002;
/// The percentiles that are looked at, in thousandths.
const SHARES: [usize; 8] = [500, 700, 800, 950, 980, 990, 999, 1_000];

/// Notes by how much threads get to run too late while a run goes on.
struct Watch {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<u64>>,
}

impl Watch {
    fn start() -> Self {
        let over = Arc::<AtomicBool>::default();
        let of_thread = Arc::clone(&over);
        let thread = thread::spawn(move || {
            let mut late_ns = Vec::new();
            while !of_thread.load(Ordering::Relaxed) {
                let due_ns = clock::now_ns() + MS;
                thread::sleep(Duration::from_nanos(MS));
                late_ns.push(clock::now_ns().saturating_sub(due_ns));
            }
            late_ns
        });
        Self { over, thread }
    }

    fn end(self) -> Vec<u64> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("it only sleeps")
    }
}

/// By how much a figure may be above what the server noted.
struct Allowance {
    /// How late threads got to run.
    late_ns: Vec<u64>,
    /// How late the generator says that it noticed due requests, or users who were ready, at [`SHARES`].
    lag_ms: Vec<f64>,
}

impl Allowance {
    fn new(ran: &Ran, late_ns: Vec<u64>) -> Self {
        // Users have connections of their own, so that nobody but the generator blocks them.
        let is_open = !ran.totals.scenarios[0].trend(Trend::ScheduleLag).is_empty();
        let trend = if is_open { Trend::ScheduleLag } else { Trend::Blocked };
        let lag = |share: &usize| ran.percentile(trend, *share as f64 / 10.0);
        Self { late_ns, lag_ms: SHARES.iter().map(lag).collect() }
    }

    /// For the time that so many out of a thousand did not exceed, in milliseconds. What two threads
    /// were late by adds up, and not in the same order: so it is that of half of those beyond.
    fn ms(&self, place: usize) -> f64 {
        let late_ms = permille(&self.late_ns, SHARES[place].midpoint(1_000));
        ALLOWED_NS as f64 / 1e6 + 2.0 * late_ms + self.lag_ms[place]
    }

    /// For the longest.
    fn most_ms(&self) -> f64 {
        self.ms(SHARES.len() - 1)
    }
}

/// Does `attempt` with what it is told to allow, until it is content.
fn until_quiet(attempt: impl Fn(&dyn Fn(&Ran) -> Allowance) -> Result<(), String>) {
    let mut why = Vec::new();
    for _ in 0..ATTEMPTS {
        let watch = Mutex::new(Some(Watch::start()));
        // Called once, when the run is over.
        let allowance = |ran: &Ran| {
            let watch = watch.lock().expect("nobody panics with it").take();
            Allowance::new(ran, watch.expect("it is called once").end())
        };
        match attempt(&allowance) {
            Ok(()) => return,
            Err(because) => why.push(because),
        }
    }
    panic!("in no run of {ATTEMPTS}: {why:#?}");
}

/// The time that so many out of a thousand did not exceed, in milliseconds.
fn permille(times_ns: &[u64], share: usize) -> f64 {
    let mut sorted = times_ns.to_vec();
    sorted.sort_unstable();
    sorted[(sorted.len() * share).div_ceil(1_000) - 1] as f64 / 1e6
}

/// That the reported distribution, `planted_ms` added, lies between what each request took at least, and
/// what it took by the server's clock and the allowance.
fn compare(
    ran: &Ran,
    least_ns: &[u64],
    taken_ns: &[u64],
    allowed: &Allowance,
    planted_ms: f64,
) -> Result<(), String> {
    assert_eq!(ran.totals.scenarios[0].trend(Trend::Duration).len(), least_ns.len() as u64);
    for (place, share) in SHARES.into_iter().enumerate() {
        let percent = share as f64 / 10.0;
        let reported = ran.percentile(Trend::Duration, percent) + planted_ms;
        let least = permille(least_ns, share);
        assert!(
            reported >= least * (1.0 - RESOLUTION) - 0.001,
            "p{percent} is {reported} ms, but {least} ms at least"
        );
        let most = permille(taken_ns, share) * (1.0 + RESOLUTION) + allowed.ms(place);
        if reported > most {
            return Err(format!("p{percent} is {reported} ms, but {most} ms at most"));
        }
    }
    Ok(())
}

/// From when each was due until its answer was written.
fn taken_ns(ran: &Ran, executor: &Executor, seen: &[Seen]) -> Vec<u64> {
    let Executor::Arrivals(arrivals) = executor else { panic!("an open model") };
    let due_ns = |seen: &Seen| ran.start_ns + due_ns(arrivals, seen.number);
    seen.iter().map(|seen| seen.answered_ns - due_ns(seen)).collect()
}

fn due_ns(arrivals: &Arrivals, number: u64) -> u64 {
    arrivals.due_ns(number).expect("it is one of them")
}

/// A server that stands still for a second, one second after its first request; and when that was.
fn stalling() -> (Server, Arc<OnceLock<(u64, u64)>>) {
    let stall = Arc::<OnceLock<(u64, u64)>>::default();
    let of_server = Arc::clone(&stall);
    let server = Server::start(move |peer| {
        while let Some(request) = peer.request()? {
            let now_ns = clock::now_ns();
            let (from_ns, until_ns) =
                *of_server.get_or_init(|| (now_ns + 1_000 * MS, now_ns + 2_000 * MS));
            if (from_ns..until_ns).contains(&now_ns) {
                thread::sleep(Duration::from_nanos(until_ns - now_ns));
            }
            peer.answer(&request, CREATED)?;
        }
        Ok(())
    });
    (server, stall)
}

#[test]
fn a_stall_is_seen_by_all_who_were_due_in_it() {
    until_quiet(|allowance| {
        let (server, stall) = stalling();
        let executor = rate(1_000.0, 30_000);
        let ran = run(plan(scenario(server.address, executor.clone())));
        let allowed = allowance(&ran);
        let (from_ns, until_ns) = *stall.get().expect("it has served");
        // Whoever was due in the stall waits for its end, a thousandth of a second less each: a
        // thirtieth of all, so that p98 is four tenths of the stall and p99 seven.
        let Executor::Arrivals(arrivals) = &executor else { unreachable!("see above") };
        let least_ns: Vec<u64> = (0..30_000)
            .map(|number| ran.start_ns + due_ns(arrivals, number))
            .map(|due_ns| if due_ns >= from_ns { until_ns.saturating_sub(due_ns) } else { 0 })
            .collect();
        let (p98, p99) = (permille(&least_ns, 980), permille(&least_ns, 990));
        assert!((p98 - 400.0).abs() < 2.0 && (p99 - 700.0).abs() < 2.0, "{p98} {p99}");
        let taken_ns = taken_ns(&ran, &executor, &server.seen());
        // Nor has any taken less than until its answer was written, by the server's own record.
        let least_ns: Vec<u64> =
            least_ns.iter().zip(&taken_ns).map(|(least, taken)| *least.max(taken)).collect();
        compare(&ran, &least_ns, &taken_ns, &allowed, 0.0)?;
        // The control: figures that are ten milliseconds too high are found to be, from the median on.
        match compare(&ran, &least_ns, &taken_ns, &allowed, PLANTED_MS) {
            Err(found) if found.starts_with("p50 ") => {}
            _ => return Err("the machine is too busy to tell ten milliseconds".to_owned()),
        }
        // Counted from sending, as a closed model would, all but ten of them have vanished.
        let from_sent = ran.percentile(Trend::DurationFromSent, 99.0);
        if from_sent < p99 / 2.0 { Ok(()) } else { Err(format!("{from_sent} ms from sending")) }
    });
}

#[test]
fn a_stall_is_seen_once_by_each_user_of_a_closed_model() {
    // The negative control: the same server and about the same rate, but nobody is due while all wait.
    until_quiet(|allowance| {
        let (server, _) = stalling();
        let ran = run(plan(scenario(server.address, users(5, 30_000, 4))));
        let allowed_ms = allowance(&ran).most_ms();
        let durations = ran.totals.scenarios[0].trend(Trend::Duration);
        let stalled: u64 =
            durations.buckets_ms().filter(|(ms, _)| *ms > 500.0).map(|(_, count)| count).sum();
        let p99 = ran.percentile(Trend::Duration, 99.0);
        if stalled == 5 && p99 < 100.0 + allowed_ms {
            Ok(())
        } else {
            Err(format!("{stalled} of {} were stalled, p99 is {p99} ms", durations.len()))
        }
    });
}

/// One request in ten takes 60 ms.
fn bimodal(peer: &mut Peer) -> io::Result<()> {
    while let Some(request) = peer.request()? {
        if request.number.is_multiple_of(10) {
            thread::sleep(Duration::from_millis(60));
        }
        peer.answer(&request, CREATED)?;
    }
    Ok(())
}

#[test]
fn two_modes_are_two_modes() {
    until_quiet(|allowance| {
        let server = Server::start(bimodal);
        let executor = rate(500.0, 2_000);
        let mut scenario = scenario(server.address, executor.clone());
        scenario.connections.keeping = Keeping::Alive { max: 100 };
        let ran = run(plan(scenario));
        let allowed = allowance(&ran);
        let least_ns: Vec<u64> =
            (0..1_000u64).map(|n| if n.is_multiple_of(10) { 60 * MS } else { 0 }).collect();
        let seen = server.seen();
        compare(&ran, &least_ns, &taken_ns(&ran, &executor, &seen), &allowed, 0.0)?;
        let p80 = ran.percentile(Trend::Duration, 80.0);
        if p80 < 60.0 { Ok(()) } else { Err(format!("the fast ones took {p80} ms")) }
    });
}

#[test]
fn two_modes_are_two_modes_to_users_as_well() {
    until_quiet(|allowance| {
        let server = Server::start(bimodal);
        let ran = run(plan(scenario(server.address, users(5, 1_000, 0))));
        let allowed = allowance(&ran);
        let mut seen = server.seen();
        let least_ns: Vec<u64> =
            seen.iter().map(|seen| seen.answered_ns - seen.received_ns).collect();
        // A user is ready as soon as its last answer is there.
        seen.sort_by_key(|seen| (seen.connection, seen.received_ns));
        let mut taken_ns = Vec::new();
        let mut last: Option<&Seen> = None;
        for seen in &seen {
            let ready_ns = match last {
                Some(last) if last.connection == seen.connection => last.answered_ns,
                _ => ran.start_ns,
            };
            taken_ns.push(seen.answered_ns - ready_ns);
            last = Some(seen);
        }
        compare(&ran, &least_ns, &taken_ns, &allowed, 0.0)
    });
}

/// No more than one request in 3 ms, over all connections.
fn capped() -> Server {
    let one = Mutex::new(());
    Server::start(move |peer| {
        while let Some(request) = peer.request()? {
            let turn = one.lock().expect("nobody panics with it");
            thread::sleep(Duration::from_millis(3));
            drop(turn);
            peer.answer(&request, CREATED)?;
        }
        Ok(())
    })
}

#[test]
fn a_server_that_cannot_keep_up_makes_everybody_wait_longer() {
    until_quiet(|allowance| {
        let server = capped();
        let executor = rate(500.0, 800);
        let mut open = scenario(server.address, executor.clone());
        open.connections.keeping = Keeping::Alive { max: 1 };
        let ran = run(plan(open));
        let allowed = allowance(&ran);
        // One comes in 2 ms and one goes in 3 ms, so each waits for 1 ms longer than the one before.
        let least_ns: Vec<u64> = (0..400).map(|number| (number + 3) * MS).collect();
        let seen = server.seen();
        compare(&ran, &least_ns, &taken_ns(&ran, &executor, &seen), &allowed, 0.0)?;
        // To users of a closed model the same server is as fast as ever.
        let server = capped();
        let closed = run(plan(scenario(server.address, users(1, 800, 0))));
        let p99 = closed.percentile(Trend::Duration, 99.0);
        let most = 100.0 + allowed.most_ms();
        if p99 < most { Ok(()) } else { Err(format!("{p99} ms of service")) }
    });
}
