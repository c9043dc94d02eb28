//! Idempotency keys: one key is one usage, also across kill -9.

use std::collections::HashSet;

use serde_json::json;

use crate::http::{BODY, call, get, post, post_keyed};
use crate::needs::until;
use crate::process::{Folder, Server};

#[test]
fn a_key_is_stored_once_also_across_a_kill() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let address = server.address;
    let first = post_keyed(address, "once", BODY).expect(201);
    assert_eq!(first.header("idempotency-replayed"), None);
    let ids: HashSet<String> = std::thread::scope(|scope| {
        let posting: Vec<_> = (0..16)
            .map(|_| scope.spawn(move || post_keyed(address, "at-once", BODY).id()))
            .collect();
        posting.into_iter().map(|posting| posting.join().expect("it was answered")).collect()
    });
    assert_eq!(ids.len(), 1);
    // The control: without a key, equal bodies are different usages.
    assert_ne!(post(address, BODY).id(), post(address, BODY).id());
    server.kill();

    let server = folder.serve(&[]);
    let again = post_keyed(server.address, "once", BODY).expect(201);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.id(), first.id());
    let other = BODY.replace("Albuterol", "Budesonide");
    post_keyed(server.address, "once", &other).expect(422);
    server.stop();
}

#[test]
fn repro_an_event_id_belongs_to_its_patient() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let address = server.address;
    let event = |patient: &str| {
        format!(r#"{{"patientId":"{patient}","timestamp":0,"medication":"m","eventId":"dev7-1"}}"#)
    };
    let first = post(address, &event("1")).id();
    assert_ne!(post(address, &event("2")).id(), first);
    let header = post_keyed(address, "dev7-1", &event("3").replace(r#","eventId":"dev7-1""#, ""));
    assert_ne!(header.id(), first);
    // Header and event id alike, and in a batch: the event's scope.
    assert_eq!(post_keyed(address, "dev7-1", &event("1")).id(), first);
    let headers = "Content-Type: application/json\r\nIdempotency-Key: \"k\"\r\n";
    let batch = call(address, "POST", "/api/usages", headers, &format!("[{}]", event("1")));
    assert_eq!(batch.expect(201).json()["results"][0]["id"], json!(first));
    server.stop();
}

/// Their frames are read from the disk, which the reading threads do.
#[test]
fn keys_that_only_the_index_knows_are_replayed_one_by_one_and_in_a_batch() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let line = |number: usize| {
        format!(r#"{{"patientId":"1","timestamp":0,"medication":"m","eventId":"e-{number}"}}"#)
    };
    let lines: Vec<String> = (0..1000).map(line).collect();
    let batch = lines.join("\n");
    let ndjson = |address, lines: &str| {
        call(address, "POST", "/api/usages", "Content-Type: application/x-ndjson\r\n", lines)
    };
    let first = ndjson(server.address, &batch).expect(201).json();
    server.stop();
    // A start without a tail: the index has every key.
    let server = folder.serve(&[]);
    let again = ndjson(server.address, &batch).expect(201).json();
    for (number, line) in lines.iter().enumerate() {
        let [first, again] = [&first, &again].map(|answer| &answer["results"][number]);
        assert_eq!((&again["id"], &again["replayed"]), (&first["id"], &json!(true)));
        if number % 100 == 0 {
            let single = post(server.address, line).expect(201);
            assert_eq!(single.header("idempotency-replayed"), Some("true"));
            assert_eq!(json!(single.id()), first["id"]);
        }
    }
    let other = line(0).replace(r#""m""#, r#""n""#);
    post(server.address, &other).expect_problem(422, "key-reused");
    ndjson(server.address, &format!("{}\n{other}", line(1000))).expect(207);
    let counted = get(server.address, "/api/usages/summary?by=medication").expect(200).json();
    assert_eq!(counted["rows"][0]["count"], json!(1001));
    server.stop();
}

/// Reading threads start when there is something to read.
fn reading_threads(server: &Server) -> usize {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.id())).expect("procfs");
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("tokio-rt-worker")).count()
}

#[test]
fn repro_only_keys_that_were_used_before_are_looked_up_on_the_disk_and_not_by_the_event_loop() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    for number in 0..50 {
        post_keyed(server.address, &format!("k-{number}"), BODY).expect(201);
    }
    assert_eq!(reading_threads(&server), 0, "memory has every answer");
    until("the index has the keys", || server.figure("inhale_keys_in_memory") == 0);
    post_keyed(server.address, "another", BODY).expect(201);
    assert_eq!(reading_threads(&server), 0, "filters rule out a new key");
    let again = post_keyed(server.address, "k-7", BODY).expect(201);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert!(reading_threads(&server) > 0);
    server.stop();
}
