//! A wall clock that jumps: it decides neither the order of usages nor, unasked, their end.

use std::process::{Command, ExitStatus};

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use usage::{IdKind, UsageId};

use crate::acknowledged::{Heard, Posting};
use crate::http::{BODY, get, post, text};
use crate::needs::{lacks, until};
use crate::process::{Folder, Server};

const DAY_SECONDS: i64 = 24 * 3600;
/// Starts of which one has to be with the clock that was asked for.
const TRIES: usize = 10;

/// A server whose wall clock is off by so many days; the monotonic clock is right.
fn serve_at(folder: &Folder, days: i64, more: &[&str]) -> Server {
    serve_by(folder, &[format!("FAKETIME={days:+}d")], days, more)
}

/// A server whose wall clock is off by so many days, as libfaketime is told by these variables. Now and
/// then it starts a program without its offset; that one is ended, and another started.
fn serve_by(folder: &Folder, told: &[String], days: i64, more: &[&str]) -> Server {
    for _ in 0..TRIES {
        let server = start(folder, told, more);
        if days_off(&server, folder) == days {
            return server;
        }
        server.stop();
    }
    panic!("libfaketime does not set the clock {days} days off");
}

/// By how many days the server's clock differs from that of the disk, to which its log has just been
/// written.
fn days_off(server: &Server, folder: &Folder) -> i64 {
    let date = get(server.admin, "/healthz").header("date").map(rfc2822::parse);
    let told = date.expect("it tells its time").expect("it is a date").timestamp();
    let written = std::fs::metadata(folder.log()).and_then(|log| log.modified());
    let written = Timestamp::try_from(written.expect("there is a log")).expect("it is a time");
    (told.as_second() - written.as_second() + DAY_SECONDS / 2).div_euclid(DAY_SECONDS)
}

fn start(folder: &Folder, told: &[String], more: &[&str]) -> Server {
    try_start(folder, told, more).expect("it starts")
}

fn try_start(folder: &Folder, told: &[String], more: &[&str]) -> Result<Server, ExitStatus> {
    // The wrapper would stand between the server and its signals: it only tells where the library is.
    let found = Command::new("faketime").args(["-f", "+0", "printenv", "LD_PRELOAD"]).output();
    let library = String::from_utf8(found.expect("it runs").stdout).expect("it is a path");
    let library = format!("LD_PRELOAD={}", library.trim());
    let mut prefix = vec!["env", &library, "FAKETIME_DONT_FAKE_MONOTONIC=1"];
    prefix.extend(told.iter().map(String::as_str));
    Server::start_under(&prefix, &folder.data(), &folder.log(), more)
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
    for (round, days) in [0, 1, -1, 0, -2].into_iter().enumerate() {
        let server = serve_at(&folder, days, &[]);
        until("the index has caught up", || get(server.admin, "/readyz").status == 200);
        ids.extend((0..5).map(|_| post(server.address, BODY).id()));
        // The same instant for all: only their order of arrival tells them apart.
        let page = get(server.address, "/api/usages?patientId=100").expect(200).json();
        let shown: Vec<_> = page["usages"].as_array().expect("a list").iter().collect();
        let shown: Vec<_> = shown.iter().map(|usage| text(&usage["id"])).collect();
        let newest_first: Vec<_> = ids.iter().rev().cloned().collect();
        assert_eq!(shown, newest_first, "at {days:+} days");
        for id in &ids {
            get(server.address, &format!("/api/usages/{id}")).expect(200);
        }
        // Both ends: in order and all of a sudden.
        if round % 2 == 0 { server.stop() } else { server.kill() }
    }
    let sequences: Vec<_> = ids.iter().map(|id| sequence(id)).collect();
    assert!(sequences.is_sorted_by(|one, next| one < next), "{sequences:?}");
}

#[test]
fn repro_a_clock_before_1970_is_refused_in_words() {
    if lacks("repro_a_clock_before_1970_is_refused_in_words", &["faketime"]) {
        return;
    }
    let folder = Folder::new();
    for _ in 0..TRIES {
        match try_start(&folder, &["FAKETIME=@1969-06-01 00:00:00".to_owned()], &[]) {
            Err(status) => {
                assert_eq!(status.code(), Some(2));
                let said = std::fs::read_to_string(folder.log()).expect("there is a log");
                assert!(said.contains("clock is before 1970; set it"), "{said}");
                return;
            }
            // libfaketime did not tell it the time.
            Ok(server) => server.stop(),
        }
    }
    panic!("libfaketime does not set the clock before 1970");
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
    for (round, days) in [0, -3, 3, 3, 3].into_iter().enumerate() {
        let server = serve_at(&folder, days, &FORGETFUL);
        heard.add(post_until_housekept(&server));
        let suspect = status(&server)["journal"]["clockSuspect"].clone();
        assert_eq!(suspect, days > 0, "round {round} at {days:+} days");
        assert_eq!(heard.lost(server.address), 0, "round {round} at {days:+} days");
        if round == 3 { server.kill() } else { server.stop() }
    }
    // The control: once somebody says that it is right, what is too old goes.
    let confirmed = [&FORGETFUL[..], &["--confirm-clock"]].concat();
    let server = serve_at(&folder, 3, &confirmed);
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
    // What is right for this server is another time than the disk's, which shows that it is told.
    tell("-1d");
    let variables =
        [format!("FAKETIME_TIMESTAMP_FILE={}", told.display()), "FAKETIME_NO_CACHE=1".to_owned()];
    let server = serve_by(&folder, &variables, -1, &FORGETFUL);
    let suspect = || status(&server)["journal"]["clockSuspect"] == true;
    let mut heard = post_until_housekept(&server);
    // Now and then libfaketime tells a time without the offset, which looks like a jump until the next.
    until("the clock is believed", || !suspect());
    tell("+2d");
    until("the jump is noticed", suspect);
    heard.add(post_until_housekept(&server));
    assert!(suspect());
    assert_eq!(heard.lost(server.address), 0);
    tell("-1d");
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
