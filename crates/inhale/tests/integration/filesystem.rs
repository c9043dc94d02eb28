//! A file system of 64 MiB that is filled again and again: usages are refused in time, reads go on,
//! and room that is made is used.

use std::fs::File;

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
                reads_go_on(&server, &heard);
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

fn index_is_ready(server: &Server) -> bool {
    let json = "Accept: application/json\r\n";
    let status = call(server.admin, "GET", "/status", json, "").expect(200).json();
    status["index"]["state"] == "ready"
}

/// One more usage.
fn probe(server: &Server) -> Answer {
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
