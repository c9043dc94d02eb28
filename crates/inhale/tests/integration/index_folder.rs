//! The index is only a projection: with its folder deleted, the same questions get the same answers,
//! byte for byte.

use std::net::SocketAddr;

use serde_json::json;

use crate::http::{call, get, post, post_keyed, text};
use crate::needs::until;
use crate::process::{Folder, Server};

/// More than the index takes in one run.
const USAGES: usize = 40_000;
/// Each has fewer usages than fit one page.
const PATIENTS: usize = 50;
const KEYS: usize = 30;

/// So little memory that the index has to be made from the journal's files.
const SMALL_TAIL: [&str; 4] = ["--pending-max", "1MiB", "--tail-max", "4MiB"];

/// A usage as it was sent, told apart by its number.
fn body(number: usize) -> String {
    let (day, hour) = (1 + number % 28, number % 24);
    let medication = ["Albuterol", "Budesonide", "Salmeterol"][number % 3];
    let mut usage = json!({
        "patientId": format!("patient {}", number % PATIENTS),
        "timestamp": format!("2016-11-{day:02}T{hour:02}:{:02}:00-05:00", number % 60),
        "medication": medication,
        "attributes": { "number": number },
    });
    // An event's id is its key.
    if number < USAGES && number % 2 == 1 {
        usage["eventId"] = json!(format!("event-{number}"));
    }
    usage.to_string()
}

/// A question, and the whole body of its answer.
struct Asked {
    method: &'static str,
    target: String,
    body: String,
    answer: String,
}

impl Asked {
    fn ask(address: SocketAddr, method: &'static str, target: String, body: String) -> Self {
        let answer = ask(address, method, &target, &body);
        Self { method, target, body, answer }
    }

    fn is_answered_otherwise(&self, address: SocketAddr) -> bool {
        ask(address, self.method, &self.target, &self.body) != self.answer
    }
}

/// The targets of those questions that get another answer now.
fn answered_otherwise(address: SocketAddr, asked: &[Asked]) -> Vec<&str> {
    let changed = asked.iter().filter(|question| question.is_answered_otherwise(address));
    changed.map(|question| question.target.as_str()).collect()
}

fn ask(address: SocketAddr, method: &str, target: &str, body: &str) -> String {
    let headers = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    call(address, method, target, headers, body).expect(200).body
}

/// Fills a store and asks it all kinds of questions.
fn fill_and_ask(address: SocketAddr, keys: &mut Vec<String>) -> Vec<Asked> {
    let numbers: Vec<_> = (0..USAGES).collect();
    let mut ids = Vec::new();
    for numbers in numbers.chunks(1000) {
        let lines: Vec<_> = numbers.iter().map(|number| body(*number)).collect();
        let ndjson = "Content-Type: application/x-ndjson\r\n";
        let answer = call(address, "POST", "/api/usages", ndjson, &lines.join("\n")).expect(201);
        let results = answer.json()["results"].as_array().cloned().expect("a list");
        ids.extend(results.iter().map(|result| text(&result["id"])));
    }
    for number in 0..KEYS {
        keys.push(post_keyed(address, &format!("key-{number}"), &body(USAGES + number)).id());
    }
    ids.extend(keys.iter().cloned());

    let mut asked: Vec<_> = ids
        .iter()
        .step_by(97)
        .chain(keys.iter())
        .map(|id| Asked::ask(address, "GET", format!("/api/usages/{id}"), String::new()))
        .collect();
    for patient in (0..PATIENTS).step_by(7) {
        let query = format!("/api/usages?patientId=patient%20{patient}");
        asked.push(Asked::ask(address, "GET", format!("{query}&limit=1000"), String::new()));
        let narrow = "&medication=Budesonide&from=2016-11-05T00:00:00Z&to=2016-11-20T12:30:00Z";
        asked.push(Asked::ask(
            address,
            "GET",
            format!("{query}{narrow}&limit=1000"),
            String::new(),
        ));
        // A cursor pins what its first page saw, so that later pages stay the same for ever.
        let first = get(address, &format!("{query}&limit=150")).expect(200).json();
        let mut next = first["next"].as_str().map(str::to_owned);
        assert!(next.is_some(), "there is more than a page");
        while let Some(cursor) = next {
            let target = format!("{query}&limit=150&cursor={cursor}");
            let page = Asked::ask(address, "GET", target, String::new());
            let read: serde_json::Value = serde_json::from_str(&page.answer).expect("it is JSON");
            next = read["next"].as_str().map(str::to_owned);
            asked.push(page);
        }
        let search = json!({ "patientId": format!("patient {patient}"), "limit": 1000 });
        asked.push(Asked::ask(address, "POST", "/api/usages/search".into(), search.to_string()));
    }
    for query in [
        "by=medication",
        "by=day",
        "by=day&tz=America/Chicago",
        "by=hour&from=2016-11-03T07:20:00Z&to=2016-11-09T07:25:00Z",
        "by=medication&from=2016-11-03T07:20:00Z",
    ] {
        let target = format!("/api/usages/summary?{query}");
        asked.push(Asked::ask(address, "GET", target, String::new()));
    }
    asked
}

fn index_cursor(server: &Server) -> u64 {
    let status = call(server.admin, "GET", "/status", "Accept: application/json\r\n", "").json();
    status["index"]["cursor"].as_u64().expect("a number")
}

fn ready(server: &Server) -> bool {
    get(server.admin, "/readyz").status == 200
}

#[track_caller]
fn the_same_answers(server: &Server, asked: &[Asked], keys: &[String]) {
    until("the index is there again", || ready(server));
    assert_eq!(answered_otherwise(server.address, asked), [""; 0]);
    for (number, id) in keys.iter().enumerate() {
        let again = post_keyed(server.address, &format!("key-{number}"), &body(USAGES + number));
        assert_eq!(again.header("idempotency-replayed"), Some("true"), "{again:?}");
        assert_eq!(again.id(), *id);
    }
    assert_eq!(answered_otherwise(server.address, asked), [""; 0]);
}

fn delete_index(folder: &Folder) {
    std::fs::remove_dir_all(folder.data().join("index")).expect("it is there");
}

#[test]
fn an_index_that_was_deleted_answers_the_same() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let mut keys = Vec::new();
    let asked = fill_and_ask(server.address, &mut keys);
    assert!(asked.len() > 200);
    server.stop();

    delete_index(&folder);
    let server = folder.serve(&[]);
    the_same_answers(&server, &asked, &keys);
    server.stop();

    delete_index(&folder);
    let server = folder.serve(&SMALL_TAIL);
    assert!(!ready(&server), "the rebuild takes its time");
    server.kill();
    let server = folder.serve(&SMALL_TAIL);
    until("a part of the index is there", || index_cursor(&server) > 1);
    server.kill();
    let server = folder.serve(&SMALL_TAIL);
    the_same_answers(&server, &asked, &keys);

    // The control: one usage more, of Albuterol on the 11th, is noticed wherever it belongs, and only
    // there.
    post(server.address, &body(USAGES + PATIENTS)).expect(201);
    let changed = [
        "/api/usages?patientId=patient%200&limit=1000",
        "/api/usages/search",
        "/api/usages/summary?by=medication",
        "/api/usages/summary?by=day",
        "/api/usages/summary?by=day&tz=America/Chicago",
        "/api/usages/summary?by=medication&from=2016-11-03T07:20:00Z",
    ];
    assert_eq!(answered_otherwise(server.address, &asked), changed);
    server.stop();
}
