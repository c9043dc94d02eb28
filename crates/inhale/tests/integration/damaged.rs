//! A server on damaged files says what is damaged, serves everything else, and hides nothing.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::http::{call, get, post_keyed};
use crate::needs::until;
use crate::process::{Folder, PROGRAM, Server};

/// A usage whose record is easily found in a raw segment.
fn body(number: usize) -> String {
    json!({
        "patientId": format!("patient {number}"),
        "timestamp": "2016-11-01T14:11:51Z",
        "medication": format!("medication {number} of those of this test"),
    })
    .to_string()
}

/// A store with a keyed usage in each of several batches; returns their ids.
fn fill(folder: &Folder, count: usize) -> Vec<String> {
    let server = folder.serve(&[]);
    let ids = (0..count)
        .map(|n| post_keyed(server.address, &format!("key-{n}"), &body(n)).id())
        .collect();
    server.stop();
    ids
}

/// Flips a bit of a usage's record in the journal.
fn damage(data: &Path, number: usize) {
    let needle = format!("medication {number} of");
    let segments = std::fs::read_dir(data.join("journal")).expect("listed");
    let segments = segments.map(|entry| entry.expect("listed").path());
    let mut hit = 0;
    for path in segments.filter(|path| path.extension().is_some_and(|ext| ext == "seg")) {
        let mut bytes = std::fs::read(&path).expect("read");
        let at = bytes.windows(needle.len()).position(|window| window == needle.as_bytes());
        if let Some(at) = at {
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).expect("written");
            hit += 1;
        }
    }
    assert_eq!(hit, 1, "the usage is in one segment");
}

fn readyz(server: &Server) -> String {
    get(server.admin, "/readyz").expect(200).body
}

/// The file with this name in the index's folder.
fn index_file(data: &Path, name: &str) -> PathBuf {
    data.join("index/v1").join(name)
}

#[test]
fn damage_in_the_journal_is_reported_and_the_rest_is_served() {
    let folder = Folder::new();
    let ids = fill(&folder, 6);
    // Another start, so that the last batch of the first lies in a segment that is not the newest.
    folder.serve(&[]).stop();
    damage(&folder.data(), 2);
    let server = folder.serve(&[]);
    until("the index is open", || get(server.admin, "/readyz").status == 200);
    assert_eq!(
        (readyz(&server).as_str(), server.figure("inhale_data_damaged_places")),
        ("ready\n", 0)
    );
    for _ in 0..3 {
        let answer = get(server.address, &format!("/api/usages/{}", ids[2]));
        let problem = answer.expect_problem(500, "data-damaged");
        assert_eq!(problem.header("retry-after"), None);
        assert!(problem.body.contains(&ids[2]), "{}", problem.body);
    }
    for (_, id) in ids.iter().enumerate().filter(|(n, _)| *n != 2) {
        get(server.address, &format!("/api/usages/{id}")).expect(200);
    }
    // The index has the whole usage, which distinguishes a retry from another usage.
    let again = post_keyed(server.address, "key-2", &body(2)).expect(201);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    post_keyed(server.address, "key-2", &body(3)).expect_problem(422, "key-reused");
    get(server.address, "/api/usages?patientId=patient%202").expect(200);
    let degraded = readyz(&server);
    assert!(
        degraded.starts_with("ready, degraded: stored data is damaged (segment "),
        "{degraded}"
    );
    assert_eq!(server.figure("inhale_data_damaged_places"), 1);
    server.stop();
    let log = std::fs::read_to_string(folder.log()).expect("a log");
    assert_eq!(log.matches("stored data is damaged").count(), 1, "once, not for each request");
}

#[test]
fn repro_an_index_without_its_librarys_journal_opened_as_an_empty_one() {
    let folder = Folder::new();
    let ids = fill(&folder, 6);
    let journals = std::fs::read_dir(folder.data().join("index/v1")).expect("listed");
    let journals = journals.map(|entry| entry.expect("listed").path());
    for journal in journals.filter(|path| path.extension().is_some_and(|ext| ext == "jnl")) {
        std::fs::remove_file(journal).expect("removed");
    }
    let server = folder.serve(&[]);
    until("the index is made again", || get(server.admin, "/readyz").status == 200);
    let status = call(server.admin, "GET", "/status", "Accept: application/json\r\n", "").json();
    assert!(status["index"]["rebuilt"].as_str().is_some_and(|why| why.contains("incomplete")));
    assert_eq!(server.figure("inhale_index_rebuilds_total"), 1);
    for (number, id) in ids.iter().enumerate() {
        let again = post_keyed(server.address, &format!("key-{number}"), &body(number)).expect(201);
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        let history = format!("/api/usages?patientId=patient%20{number}");
        let history = get(server.address, &history).expect(200);
        assert_eq!(history.json()["usages"][0]["id"], **id);
    }
    server.stop();
    let log = std::fs::read_to_string(folder.log()).expect("a log");
    assert!(log.contains("the index is rebuilt from the journal"), "{log}");
}

#[test]
fn a_check_counts_the_index_in_full() {
    let folder = Folder::new();
    fill(&folder, 6);
    let check = |expected: bool| {
        let check = std::process::Command::new(PROGRAM)
            .args(["journal", "check", "--json", "--data"])
            .arg(folder.data())
            .output()
            .expect("it runs");
        assert_eq!(check.status.success(), expected, "{check:?}");
        let report: serde_json::Value =
            serde_json::from_slice(&check.stdout).expect("it is one JSON object");
        report["index"].clone()
    };
    let index = check(true);
    assert_eq!((&index["usages"], &index["keys"]), (&json!(6), &json!(6)));
    let manifest = index_file(&folder.data(), "manifest");
    let whole = std::fs::read(&manifest).expect("read");
    std::fs::write(&manifest, &whole[1..]).expect("written");
    assert!(check(false)["faults"][0].as_str().is_some_and(|why| why.contains("manifest")));
    std::fs::write(&manifest, &whole).expect("written");
    assert_eq!(check(true), index);
    std::fs::remove_dir_all(folder.data().join("index")).expect("removed");
    assert_eq!(check(true), serde_json::Value::Null);
    assert!(!folder.data().join("index").exists(), "a check makes none");
}
