//! A file system of 64 MiB that is filled again and again: usages are refused in time, reads go on,
//! and room that is made is used.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FallocateFlags, fallocate};

use crate::acknowledged::{Heard, Posting};
use crate::http::{Answer, BODY, call, get, try_call};
use crate::mounted::{self, Mounted};
use crate::needs::{lacks, until};
use crate::process::{Server, usages_stored};

const RESERVE_BYTES: u64 = 8 << 20;
const SEGMENT_BYTES: u64 = 1 << 20;
const FLAGS: [&str; 6] =
    ["--segment-size", "1MiB", "--pending-max", "128KiB", "--disk-reserve", "8MiB"];

/// How a round goes on once the disk is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Nothing,
    Stop,
    Kill,
    /// Others take what the reserve had left.
    LastByte,
}

#[test]
fn a_file_system_filled_again_and_again() {
    if lacks("a_file_system_filled_again_and_again", &mounted::PROGRAMS) {
        return;
    }
    let mounted = Mounted::new(64 << 20);
    let (data, log) = (mounted.data(), mounted.log());
    let mut server = Server::start(&data, &log, &FLAGS);
    let mut heard = Heard::default();
    let mut probes = 0;
    for then in [Then::Nothing, Then::Stop, Then::Kill, Then::LastByte] {
        // What others put on the disk, such that some journal files still fit.
        let room = RESERVE_BYTES + 5 * SEGMENT_BYTES;
        let others = mounted.free_bytes().checked_sub(room).expect("there is more room");
        let ballast = mounted.place().join("ballast");
        let file = File::create(&ballast).expect("there is room");
        fallocate(&file, FallocateFlags::empty(), 0, others).expect("there is room");

        let more = Posting::start(server.address, 4, 20_000, 1500).finish();
        assert!(more.acknowledged.len() > 100, "{then:?}: only {}", more.acknowledged.len());
        assert_eq!(more.endings.len(), 4, "{then:?}: every client was refused");
        for ending in more.endings.iter().flatten() {
            assert_eq!(
                (ending.status, ending.json()["type"].as_str()),
                (507, Some("/problems/disk-full")),
                "{then:?}"
            );
        }
        assert!(more.endings.iter().all(Option::is_some), "{then:?}: {:?}", more.endings);
        heard.add(more);
        reads_go_on(&server, &heard);

        match then {
            Then::Nothing => {}
            Then::Stop | Then::Kill => {
                if then == Then::Stop {
                    server.stop();
                    assert_eq!(usages_stored(&data), heard.acknowledged.len() as u64 + probes);
                } else {
                    server.kill();
                }
                server = Server::start(&data, &log, &FLAGS);
                // The server is not, while it has no room.
                until("the index is ready", || index_is_ready(&server));
                reads_go_on(&server, &heard);
            }
            Then::LastByte => {
                let rest = mounted.free_bytes();
                fallocate(&file, FallocateFlags::empty(), others, rest).expect("there is room");
                // The journal file in use has its room already, and the space is looked at in rounds.
                until("usages are refused", || {
                    let answer = probe(&server);
                    probes += u64::from(answer.status == 201);
                    assert!([201, 507].contains(&answer.status), "{answer:?}");
                    answer.status == 507
                });
                // The index may want room; a receipt never does.
                let (id, _) = heard.acknowledged.last().expect("some were acknowledged");
                get(server.address, &format!("/api/usages/{id}")).expect(200);
            }
        }
        std::fs::remove_file(&ballast).expect("it is there");
        drop(file);
        until("usages are taken in again", || {
            let answer = probe(&server);
            assert!([201, 503, 507].contains(&answer.status), "{answer:?}");
            answer.status == 201
        });
        probes += 1;
    }
    assert_eq!(heard.lost(server.address), 0);
    server.stop();
    assert_eq!(usages_stored(&data), heard.acknowledged.len() as u64 + probes);
}

fn index_status(server: &Server) -> serde_json::Value {
    let json = "Accept: application/json\r\n";
    call(server.admin, "GET", "/status", json, "").expect(200).json()["index"].take()
}

fn index_is_ready(server: &Server) -> bool {
    index_status(server)["state"] == "ready"
}

fn index_lag(server: &Server) -> u64 {
    index_status(server)["lag"].as_u64().expect("a count")
}

/// The disk is full between two looks at it, while usages come in.
#[test]
fn a_disk_that_is_full_all_of_a_sudden() {
    if lacks("a_disk_that_is_full_all_of_a_sudden", &mounted::PROGRAMS) {
        return;
    }
    let mounted = Mounted::new(64 << 20);
    let (data, log) = (mounted.data(), mounted.log());
    let server = Server::start(&data, &log, &FLAGS);
    let mut heard = Heard::default();
    let mut probes = 0;
    for _ in 0..3 {
        let posting = Posting::start(server.address, 4, 20_000, 1500);
        posting.wait_for(300);
        let ballast = mounted.place().join("ballast");
        take_everything(&ballast);
        heard.add(posting.finish());
        // Whether the index finds room for what is left is its own affair; usages are safe.
        until("the index has tried", || !index_is_ready(&server) || index_lag(&server) == 0);
        std::fs::remove_file(&ballast).expect("it is there");
        until("usages are taken in again", || probe(&server).status == 201);
        probes += 1;
        until("the index is ready", || index_is_ready(&server) && index_lag(&server) == 0);
        reads_go_on(&server, &heard);
    }
    let refused = |ending: &Option<Answer>| ending.as_ref().is_some_and(|it| it.status == 507);
    assert!(heard.endings.iter().all(refused), "{:?}", heard.endings);
    assert_eq!(heard.lost(server.address), 0);
    let stored = heard.acknowledged.len() as u64 + probes;
    let counted = get(server.address, "/api/usages/summary?by=medication").expect(200).json();
    assert_eq!(counted["rows"][0]["count"], stored);
    server.stop();
    assert_eq!(usages_stored(&data), stored);
}

/// Makes a file that takes all the room there is.
pub(crate) fn take_everything(path: &Path) {
    let file = File::create(path).expect("a name has room");
    let mut bytes = 0;
    for step in [16 << 20, 1 << 20, 64 << 10, 4 << 10] {
        while fallocate(&file, FallocateFlags::empty(), bytes, step).is_ok() {
            bytes += step;
        }
    }
    assert!(bytes > 0);
}

/// One more usage.
pub(crate) fn probe(server: &Server) -> Answer {
    let json = "Content-Type: application/json\r\n";
    try_call(server.address, "POST", "/api/usages", json, BODY.as_bytes()).expect("it answers")
}

fn reads_go_on(server: &Server, heard: &Heard) {
    let (id, patient) = heard.acknowledged.last().expect("some were acknowledged");
    get(server.address, &format!("/api/usages/{id}")).expect(200);
    let page = get(server.address, &format!("/api/usages?patientId={patient}")).expect(200);
    assert_eq!(page.json()["usages"][0]["id"], id.as_str());
    get(server.address, "/api/usages/summary?by=day").expect(200);
}
