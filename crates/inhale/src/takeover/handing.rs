//! The predecessor's side, from the moment that a successor can serve. This process ends only when the
//! successor has answered requests; otherwise it serves on, or again.

use std::thread::JoinHandle;
use std::time::Duration;

use edge::handover;
use server::Server;
use store::Store;

use super::door::{Door, Ready};
use super::{Held, NO, WAIT, YOURS, fault, probe};
use crate::clock::monotonic;
use crate::descriptors;

/// The longest that a process which has handed over waits for requests that are still in flight.
pub(crate) const DRAIN_MAX: Duration = Duration::from_secs(45);

/// Time for the disk to take what is pending, before anything is changed.
const DISK_ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// Time beside the grace for background work of the journal to end. A signal to end waits as long.
const RETIRE_MAX: Duration = Duration::from_secs(8);
/// Deadlines of connections are looked at so often.
const SWEEP_GRAIN: Duration = Duration::from_millis(150);
/// How often the successor hears that this takes longer.
const WAIT_EVERY: Duration = Duration::from_millis(500);
/// Nobody accepts from here on: time for what is in flight, in which most requests are answered. What
/// takes longer is answered later; usages among it get 503, for the journal is closed.
const IN_FLIGHT_WITHIN: Duration = Duration::from_millis(300);
/// Time for the journal to be closed, for which up to six syncs follow each other.
const CLOSED_WITHIN: Duration = Duration::from_millis(500);
/// Time for the successor to open the store and answer.
const SERVING_WITHIN: Duration = Duration::from_secs(1);
/// Time for one request to it.
const PROBE_WITHIN: Duration = Duration::from_millis(250);
/// Time for a killed process to be gone.
const DEAD_WITHIN: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(5);

/// What a takeover came to.
pub(crate) enum Outcome {
    /// Nothing has changed.
    Kept,
    /// The successor serves. What is in flight here is still to be answered.
    HandedOver,
    /// The journal is closed and the successor is gone: the store is to be opened again.
    Reopen,
    /// The same, but only once this is true. Until then the sockets are served, and usages refused.
    ReopenOnce(Box<dyn Fn() -> bool>),
}

/// Hands the store over to `successor`. Waits up to `grace` for clients to give up their connections.
pub(crate) fn hand_over(
    successor: Ready,
    door: &mut Option<Door>,
    held: &Held,
    server: &Server,
    store: &Store,
    grace: Duration,
) -> Outcome {
    fault::at("ready-heard");
    // Whether it has gone matters when it is waited for, and is noticed then.
    let refuse = |why: &str| {
        tracing::warn!(why, "the store is not handed over; this server goes on");
        let _ = handover::send_line(&successor.stream, &format!("{NO}{why}"));
    };
    if store.journal().settle(DISK_ANSWERS_WITHIN).is_err() {
        refuse("the disk does not complete its writes");
        return Outcome::Kept;
    }
    // For requests to the successor, and to open the store again.
    let cores = held.listeners().api.len();
    if descriptors::prove(descriptors::wanted(cores, 0)).is_err() {
        refuse("no file descriptors are free; raise `ulimit -n`");
        return Outcome::Kept;
    }
    // Closing the journal would wait for it, with nobody accepting.
    let quiet = std::thread::spawn({
        let store = store.clone();
        move || store.journal().housekeep(false)
    });
    if let Err(why) = retire(&successor, &quiet, server, store, grace) {
        server.resume();
        refuse(why);
        let store = store.clone();
        std::thread::spawn(move || {
            // Otherwise it might stop housekeeping for good after this has resumed it.
            let _ = quiet.join();
            store.journal().housekeep(true);
        });
        return Outcome::Kept;
    }
    fault::at("paused");
    // Its file's name is the successor's from here on.
    *door = None;
    let closing = std::thread::spawn({
        let store = store.clone();
        move || {
            let finished = store.finish();
            fault::at("closing");
            finished
        }
    });
    if !within(CLOSED_WITHIN, || closing.is_finished()) {
        refuse("the disk does not complete its writes");
        server.resume();
        server.announce_stop();
        return Outcome::ReopenOnce(Box::new(move || closing.is_finished()));
    }
    if !is_closed(closing) {
        // The journal's failure ends this process.
        server.resume();
        return Outcome::Kept;
    }
    fault::at("closed");
    let begun = monotonic();
    let said = handover::send_line(&successor.stream, YOURS);
    fault::at("said-yours");
    close_index(store);
    if said.is_ok() && serves(&successor, held, begun + SERVING_WITHIN) {
        tracing::info!("handed over to a successor, which answers requests");
        return Outcome::HandedOver;
    }
    tracing::error!("the successor does not answer requests; it is killed and this server goes on");
    successor.peer.kill();
    if successor.peer.ends_within(DEAD_WITHIN) {
        return Outcome::Reopen;
    }
    server.resume();
    server.announce_stop();
    Outcome::ReopenOnce(Box::new(move || successor.peer.has_ended()))
}

/// Has clients give up their connections, then stops accepting once `quiet`, which stops the
/// housekeeping, has ended. Fails with the reason if the successor goes away or this takes too long.
fn retire(
    successor: &Ready,
    quiet: &JoinHandle<()>,
    server: &Server,
    store: &Store,
    grace: Duration,
) -> Result<(), &'static str> {
    server.retire(grace);
    let begun = monotonic();
    let (rested, over) = (begun + grace + SWEEP_GRAIN, begun + grace + RETIRE_MAX);
    let mut wait_said = None;
    loop {
        let now = monotonic();
        if successor.peer.has_ended() {
            return Err("the successor has ended");
        }
        if now >= over {
            return Err("background work of the journal takes too long");
        }
        if wait_said.is_none_or(|said| now >= said + WAIT_EVERY) {
            wait_said = Some(now);
            let said = handover::send_line(&successor.stream, WAIT);
            said.map_err(|_| "the successor has gone away")?;
            fault::at("retiring");
        }
        if quiet.is_finished() && (now >= rested || server.connections() == 0) {
            break;
        }
        std::thread::sleep(LOOK);
    }
    store
        .journal()
        .settle(DISK_ANSWERS_WITHIN)
        .map_err(|_| "the disk does not complete its writes")?;
    server.pause();
    if !within(IN_FLIGHT_WITHIN, || server.is_paused()) {
        return Err("a core does not stop accepting");
    }
    within(IN_FLIGHT_WITHIN, || server.connections() == 0);
    Ok(())
}

fn is_closed(closing: JoinHandle<Result<(), journal::CommitError>>) -> bool {
    matches!(closing.join(), Ok(Ok(())))
}

/// Closes the index in the background, so that it can be opened again, here or by the successor. The
/// journal is closed.
pub(crate) fn close_index(store: &Store) {
    let store = store.clone();
    std::thread::spawn(move || {
        // What it cannot say here was said when the journal was finished.
        let _ = store.close();
        store.close_index();
    });
}

/// Whether the successor answers requests on every address before the deadline. A process that was
/// stopped meanwhile asks once more: its own time says nothing about the successor.
fn serves(successor: &Ready, held: &Held, deadline: Duration) -> bool {
    let served = held.served();
    loop {
        let last = monotonic() >= deadline;
        if served.iter().all(|(at, path)| probe::is_answered(*at, path, PROBE_WITHIN)) {
            return true;
        }
        if last || successor.peer.has_ended() {
            return false;
        }
        std::thread::sleep(LOOK);
    }
}

/// Waits until `condition` holds, and says whether it does.
fn within(patience: Duration, condition: impl Fn() -> bool) -> bool {
    let deadline = monotonic() + patience;
    while !condition() {
        if monotonic() >= deadline {
            return false;
        }
        std::thread::sleep(LOOK);
    }
    true
}
