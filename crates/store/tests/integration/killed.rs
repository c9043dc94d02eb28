//! A process that is killed at any point: nothing acknowledged is lost, nothing is doubled, and
//! the index, wherever it was interrupted, comes to the same answers.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use store::Accepted;

use crate::harness::*;
use crate::model::Model;

const CHILD_DIR: &str = "STORE_TEST_CHILD_DIR";

/// What the child runs: usages without end, each acknowledged by a line, in the order of `n`.
#[test]
fn child_that_appends_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let store = start(config(Path::new(&dir)));
    let mut out = std::io::stdout();
    for n in 0.. {
        let sent = sent(n);
        let accepted = loop {
            match post(&store, &sent) {
                Ok(accepted) => break accepted,
                Err(_) => std::thread::yield_now(),
            }
        };
        // Most are sent without waiting, so that a kill finds many in flight.
        if n % 16 == 15 {
            store.journal().wait_durable(accepted.seq, DEADLINE).expect("works");
            writeln!(out, "durable {n}").expect("the parent listens");
        }
    }
}

/// Every other one has a key.
fn sent(n: u64) -> Sent {
    if n.is_multiple_of(2) { nth(n).keyed(&format!("key-{n}")) } else { nth(n) }
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_doubled_by_a_kill() {
    let dir = folder();
    let mut model = Model::default();
    for cycle in 0..4 {
        let mut child = Command::new(std::env::current_exe().expect("known"))
            .args(["--exact", "killed::child_that_appends_until_it_is_killed", "--nocapture"])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        // A different moment each time, in front of, amid and behind the runs of the index.
        let wanted = 20 + cycle * 37;
        let acknowledged: Vec<u64> = lines
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("durable ").and_then(|n| n.parse().ok()))
            .take(wanted)
            .collect();
        child.kill().expect("killed");
        child.wait().expect("gone");
        let last = *acknowledged.last().expect("some were acknowledged");

        // What a client does after a crash: it sends again what has a key.
        let store = start(config(dir.path()));
        let begun = store.journal().durable();
        let again: Vec<(u64, Accepted)> =
            (0..=last).step_by(2).map(|n| (n, post(&store, &sent(n)).expect("answered"))).collect();
        for (n, accepted) in again {
            assert!(accepted.replayed, "usage {n} was acknowledged and is not known");
            assert!(accepted.seq < begun);
        }
        wait_indexed(&store);
        // The journal's own frames are the oracle for what exists.
        model.usages = stored(&store);
        model.compare(&store);
        check_keys_are_unique(&model);
        assert_eq!(store.status().index_rebuilds, 0, "a kill is no loss");
        store.close().expect("closes");
    }
}

/// All usages in the journal.
fn stored(store: &store::Store) -> std::collections::BTreeMap<u64, Sent> {
    let mut reader = store.journal().reader(store.journal().first_seq());
    let mut usages = std::collections::BTreeMap::new();
    while let Some(batch) = reader.next_batch().expect("readable") {
        for frame in batch.frames().filter(|frame| frame.kind == journal::FrameKind::Usage) {
            let record = usage::record::decode(frame.payload).expect("a record");
            let instant_ms = record.usage.timestamp.instant.millis();
            let mut sent =
                Sent::new(&record.usage.patient_id, instant_ms, &record.usage.medication);
            sent.key = record.key.map(|key| key.to_string());
            usages.insert(frame.seq, sent);
        }
    }
    usages
}

fn check_keys_are_unique(model: &Model) {
    let keys: Vec<&String> = model.usages.values().filter_map(|sent| sent.key.as_ref()).collect();
    let unique: std::collections::BTreeSet<_> = keys.iter().collect();
    assert_eq!(unique.len(), keys.len(), "a key was stored twice");
}
