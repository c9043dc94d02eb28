//! A wall clock that jumps: it decides neither the order of usages nor, unasked, their end.

use std::process::Command;

use usage::{IdKind, UsageId};

use crate::acknowledged::{Heard, Posting};
use crate::http::{BODY, get, post, text};
use crate::needs::{lacks, until};
use crate::process::{Folder, Server};

/// A server whose wall clock is off by `offset`, such as `+3d`; the monotonic clock is right.
fn serve_at(folder: &Folder, offset: &str, more: &[&str]) -> Server {
    serve_by(folder, &[format!("FAKETIME={offset}")], more)
}

/// A server whose wall clock is what libfaketime is told by these variables.
fn serve_by(folder: &Folder, told: &[String], more: &[&str]) -> Server {
    // The wrapper would stand between the server and its signals: it only tells where the library is.
    let found = Command::new("faketime").args(["-f", "+0", "printenv", "LD_PRELOAD"]).output();
    let library = String::from_utf8(found.expect("it runs").stdout).expect("it is a path");
    let library = format!("LD_PRELOAD={}", library.trim());
    let mut prefix = vec!["env", &library, "FAKETIME_DONT_FAKE_MONOTONIC=1"];
    prefix.extend(told.iter().map(String::as_str));
    Server::start_under(&prefix, &folder.data(), &folder.log(), more).expect("it starts")
}

fn sequence(id: &str) -> u64 {
    match id.parse::<UsageId>().expect("it is an id").kind() {
        IdKind::Plain { seq, .. } => seq,
        other => panic!("{other:?} has no sequence"),
    }
}

#[test]
fn order_is_by_arrival_whatever_the_clock_says() {
    if lacks("order_is_by_arrival_whatever_the_clock_says", &["faketime"]) {
        return;
    }
    let folder = Folder::new();
    let mut ids = Vec::new();
    let mut days = Vec::new();
    for (round, offset) in ["+0d", "+1d", "-1d", "+0d", "-2d"].into_iter().enumerate() {
        let server = serve_at(&folder, offset, &[]);
        until("the index has caught up", || get(server.admin, "/readyz").status == 200);
        ids.extend((0..5).map(|_| post(server.address, BODY).id()));
        // The same instant for all: only their order of arrival tells them apart.
        let page = get(server.address, "/api/usages?patientId=100").expect(200).json();
        let shown: Vec<_> = page["usages"].as_array().expect("a list").iter().collect();
        let shown: Vec<_> = shown.iter().map(|usage| text(&usage["id"])).collect();
        let newest_first: Vec<_> = ids.iter().rev().cloned().collect();
        assert_eq!(shown, newest_first, "at {offset}");
        for id in &ids {
            get(server.address, &format!("/api/usages/{id}")).expect(200);
        }
        days.push(text(&page["usages"][0]["receivedAt"])[..10].to_owned());
        // Both ends: in order and all of a sudden.
        if round % 2 == 0 { server.stop() } else { server.kill() }
    }
    let sequences: Vec<_> = ids.iter().map(|id| sequence(id)).collect();
    assert!(sequences.is_sorted_by(|one, next| one < next), "{sequences:?}");
    // The control: the clock did jump. Not each time, since faketime now and then starts a program
    // without its offset.
    assert!(days.iter().any(|day| *day != days[0]), "{days:?}");
}

/// Whatever is old goes at once, and journal files are small, so that there is something to go.
const FORGETFUL: [&str; 10] = [
    "--retain",
    "1s",
    "--key-window",
    "1s",
    "--segment-size",
    "32KiB",
    "--pending-max",
    "4KiB",
    "--disk-reserve",
    "16MiB",
];

#[test]
fn a_jump_deletes_nothing_until_the_clock_is_confirmed() {
    if lacks("a_jump_deletes_nothing_until_the_clock_is_confirmed", &["faketime"]) {
        return;
    }
    let folder = Folder::new();
    let mut heard = Heard::default();
    // Again and again the same wrong time, which must not vouch for itself by what was recorded.
    for (round, offset) in ["+0d", "-3d", "+3d", "+3d", "+3d"].into_iter().enumerate() {
        let server = serve_at(&folder, offset, &FORGETFUL);
        heard.add(post_until_housekept(&server));
        let suspect = status(&server)["journal"]["clockSuspect"].clone();
        assert_eq!(suspect, offset == "+3d", "round {round} at {offset}");
        assert_eq!(heard.lost(server.address), 0, "round {round} at {offset}");
        if round == 3 { server.kill() } else { server.stop() }
    }
    // The control: once somebody says that it is right, what is too old goes.
    let confirmed = [&FORGETFUL[..], &["--confirm-clock"]].concat();
    let server = serve_at(&folder, "+3d", &confirmed);
    let (first, _) = &heard.acknowledged[0];
    let place = format!("/api/usages/{first}");
    until("the oldest usage expires", || get(server.address, &place).status == 410);
    assert_eq!(status(&server)["journal"]["clockSuspect"], false);
}

#[test]
fn a_jump_of_a_running_server_deletes_nothing_until_the_clock_is_right_again() {
    let name = "a_jump_of_a_running_server_deletes_nothing_until_the_clock_is_right_again";
    if lacks(name, &["faketime"]) {
        return;
    }
    let folder = Folder::new();
    let told = folder.log().with_extension("faketime");
    // Whoever reads it meanwhile sees one or the other.
    let tell = |offset: &str| {
        let new = told.with_extension("new");
        std::fs::write(&new, offset).expect("it has room");
        std::fs::rename(&new, &told).expect("it is there");
    };
    tell("+0d");
    let variables =
        [format!("FAKETIME_TIMESTAMP_FILE={}", told.display()), "FAKETIME_NO_CACHE=1".to_owned()];
    let server = serve_by(&folder, &variables, &FORGETFUL);
    let suspect = || status(&server)["journal"]["clockSuspect"] == true;
    let mut heard = post_until_housekept(&server);
    assert!(!suspect());
    tell("+3d");
    until("the jump is noticed", suspect);
    heard.add(post_until_housekept(&server));
    assert!(suspect());
    assert_eq!(heard.lost(server.address), 0);
    tell("+0d");
    until("the jump is undone", || !suspect());
    heard.add(post_until_housekept(&server));
    assert_eq!(heard.lost(server.address), 0);
    server.stop();
}

fn status(server: &Server) -> serde_json::Value {
    crate::http::call(server.admin, "GET", "/status", "Accept: application/json\r\n", "").json()
}

/// Posts until the housekeeper, which compresses one file a round and then looks for what is too
/// old, has gone round at least twice.
fn post_until_housekept(server: &Server) -> Heard {
    let compressed = || status(server)["journal"]["segmentsCompressed"].as_u64().expect("a count");
    let before = compressed();
    let mut heard = Heard::default();
    until("the housekeeper goes round", || {
        heard.add(Posting::start(server.address, 1, 20, 1500).finish());
        compressed() >= before + 3
    });
    assert!(heard.endings.is_empty(), "{:?}", heard.endings);
    heard
}
