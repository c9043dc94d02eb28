//! An event id belongs to its patient, also across the upgrade of a store in which it did not.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use journal::disk::sim::Crash;
use journal::disk::{Disk as _, SimDisk};
use store::{Accepted, AppendRefused, Key, Store};
use usage::{UnknownFields, UsageId};

use crate::harness::*;

const DAY_MS: u64 = 24 * 3600 * 1000;
const EVENT: &str = "dev7-0001";

fn json(patient_id: &str, medication: &str, event_id: Option<&str>) -> String {
    let event = event_id.map_or(String::new(), |id| format!(r#","eventId":"{id}""#));
    format!(
        r#"{{"patientId":"{patient_id}","timestamp":{START_MS},"medication":"{medication}"{event}}}"#
    )
}

fn post_as(
    store: &Store,
    json: &str,
    key: Key<'_>,
    received_ms: u64,
) -> Result<Accepted, AppendRefused> {
    let usage = usage::decode(json.as_bytes(), UnknownFields::Refuse).expect("valid");
    store.append_keyed(&usage, key, received_ms)
}

fn post_event(
    store: &Store,
    patient_id: &str,
    medication: &str,
) -> Result<Accepted, AppendRefused> {
    let key = Key::Event { principal: "default", event_id: EVENT };
    post_as(store, &json(patient_id, medication, Some(EVENT)), key, START_MS)
}

fn index(store: &Store) {
    store.journal().commit_once().expect("commits");
    while store.index_once() {}
}

#[test]
fn repro_devices_that_number_their_events_alike_do_not_collide() {
    let dir = folder();
    let store = open(config(dir.path()));
    // A client that claims the id first, for another patient and in a header.
    let claimed = post_event(&store, "2", "A").expect("new");
    let header = post_as(&store, &json("1", "B", None), header(EVENT), START_MS).expect("new");
    let first = post_event(&store, "1", "A").expect("the device's own dose");
    assert!(!first.replayed && first.id != claimed.id && first.id != header.id);
    for indexed in [false, true] {
        if indexed {
            index(&store);
        }
        let again = post_event(&store, "1", "A");
        assert_eq!(again, Ok(Accepted { replayed: true, ..first }), "indexed: {indexed}");
        assert_eq!(post_event(&store, "1", "B"), Err(AppendRefused::KeyReused));
        assert!(!post_event(&store, &format!("3{indexed}"), "A").expect("new").replayed);
    }
    assert_eq!(header.id, UsageId::keyed("default", EVENT), "headers keep their ids");
    index(&store);
    let receipt = store.receipt(&first.id).expect("served").expect("stored");
    assert_eq!((receipt.seq, receipt.patient_id.as_str()), (first.seq, "1"));
}

/// A store as it was before event ids belonged to patients, with an event of the patient 1 and a
/// header's key of the patient 4; `indexed` before it is closed, or not.
fn former_store(dir: &Path, clock: &Arc<StillClock>, indexed: bool) -> Accepted {
    clock.wall_ms.store(START_MS, Ordering::Relaxed);
    let store = open_at(&config(dir), clock);
    let event = json("1", "A", Some(EVENT));
    let first = post_as(&store, &event, header(EVENT), START_MS).expect("new");
    post_as(&store, &json("4", "A", None), header("dev4-0001"), START_MS).expect("new");
    if indexed {
        index(&store);
    }
    store.close().expect("closes");
    drop(store);
    std::fs::remove_file(config(dir).journal_dir().join("events")).expect("a new store has one");
    first
}

#[test]
fn retries_across_the_upgrade_find_their_event_and_no_other() {
    for indexed in [false, true] {
        let dir = folder();
        let clock = Arc::new(StillClock::default());
        let first = former_store(dir.path(), &clock, indexed);
        for restarts in 0..3 {
            let store = open_at(&config(dir.path()), &clock);
            let what = format!("indexed: {indexed}, restarts: {restarts}");
            let replayed = Ok(Accepted { replayed: true, ..first });
            assert_eq!(post_event(&store, "1", "A"), replayed, "{what}");
            assert_eq!(post_event(&store, "1", "B"), Err(AppendRefused::KeyReused), "{what}");
            // Another patient's event, and one whose id stood in a header.
            let other = post_event(&store, "2", "A").expect(&what);
            assert_eq!((other.replayed, other.id == first.id), (restarts > 0, false), "{what}");
            let key = Key::Event { principal: "default", event_id: "dev4-0001" };
            let of_header = post_as(&store, &json("4", "B", Some("dev4-0001")), key, START_MS);
            assert_eq!(of_header.expect(&what).replayed, restarts > 0, "{what}");
            if restarts == 1 {
                index(&store);
                assert_eq!(post_event(&store, "1", "A"), replayed, "{what}");
            }
            store.close().expect("closes");
        }
        let clock_ms = START_MS + 40 * DAY_MS;
        clock.wall_ms.store(clock_ms, Ordering::Relaxed);
        let store = open_at(&config(dir.path()), &clock);
        store.journal().confirm_clock();
        index(&store);
        let key = Key::Event { principal: "default", event_id: EVENT };
        let late = post_as(&store, &json("1", "A", Some(EVENT)), key, clock_ms).expect("answered");
        assert!(!late.replayed, "beyond the window of keys, indexed: {indexed}");
    }
}

/// The batch that was last before the upgrade counts as former though it is proven only later.
#[test]
fn repro_a_former_event_in_an_unproven_batch_is_found_once_there_is_room() {
    let (dir, disk) = (folder(), SimDisk::new(1));
    let clock = Arc::new(StillClock::default());
    clock.wall_ms.store(START_MS, Ordering::Relaxed);
    let open_on = || {
        let clock: Arc<StillClock> = Arc::clone(&clock);
        Store::open_on(config(dir.path()), Arc::new(disk.clone()), clock).expect("opens")
    };
    let store = open_on();
    let first = post_as(&store, &json("1", "A", Some(EVENT)), header(EVENT), START_MS);
    let first = first.expect("new");
    store.journal().commit_once().expect("commits");
    drop(store);
    disk.crash(Crash::Kill);
    disk.remove("events").expect("a new store has one");
    // Room for the file `events`, but not for a segment.
    disk.set_capacity(disk.used_bytes() + 1000);
    let store = open_on();
    assert!(store.recovery().full.is_some());
    assert!(disk.list().expect("listed").contains(&"events".to_owned()));
    disk.set_capacity(u64::MAX);
    wait_until("the journal begins", || {
        store.journal().housekeep_once();
        store.status().journal.begun
    });
    let replayed = Ok(Accepted { replayed: true, ..first });
    for indexed in [false, true] {
        if indexed {
            index(&store);
        }
        assert_eq!(post_event(&store, "1", "A"), replayed, "indexed: {indexed}");
    }
}

#[test]
fn a_header_used_after_the_upgrade_is_no_former_event() {
    let dir = folder();
    let clock = Arc::new(StillClock::default());
    former_store(dir.path(), &clock, true);
    let store = open_at(&config(dir.path()), &clock);
    let sent = json("9", "A", Some("dev9-0001"));
    for indexed in [false, true] {
        // As only a former version did it.
        post_as(&store, &sent, header("dev9-0001"), START_MS).expect("answered");
        if indexed {
            index(&store);
        }
        let key = Key::Event { principal: "default", event_id: "dev9-0001" };
        let event = post_as(&store, &sent, key, START_MS).expect("answered");
        assert_eq!(
            (event.id, event.replayed),
            (UsageId::event("default", "9", "dev9-0001"), indexed)
        );
    }
}

#[test]
fn control_in_a_store_that_never_had_them_no_former_event_is_looked_for() {
    let dir = folder();
    let store = open(config(dir.path()));
    post_as(&store, &json("1", "A", Some(EVENT)), header(EVENT), START_MS).expect("new");
    index(&store);
    assert!(!post_event(&store, "1", "A").expect("new").replayed);
}

#[test]
fn a_damaged_file_costs_looks_and_no_usage() {
    let dir = folder();
    let clock = Arc::new(StillClock::default());
    former_store(dir.path(), &clock, true);
    let file = config(dir.path()).journal_dir().join("events");
    let first = |damage: &dyn Fn()| {
        damage();
        let store = open_at(&config(dir.path()), &clock);
        let replayed = post_event(&store, "1", "A").expect("answered").replayed;
        store.close().expect("closes");
        replayed
    };
    assert!(first(&|| ()));
    let whole = std::fs::read(&file).expect("it was written");
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 4;
        assert!(first(&|| std::fs::write(&file, &damaged).expect("written")), "byte {at}");
    }
    assert!(first(&|| std::fs::write(&file, b"").expect("written")));
    assert!(first(&|| std::fs::remove_file(&file).expect("removed")));
}
