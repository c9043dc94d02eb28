//! Starts on a file system without a free byte: each serves what is stored, and goes on by itself when
//! there is room.

use std::io::Write as _;

use crate::acknowledged::{Heard, Posting};
use crate::filesystem::{probe, take_everything};
use crate::http::get;
use crate::mounted::Mounted;
use crate::needs::{lacks, until};
use crate::process::{Server, usages_stored};

const FLAGS: [&str; 6] =
    ["--segment-size", "1MiB", "--pending-max", "128KiB", "--disk-reserve", "1KiB"];

/// The acknowledged usages that wait to be secured. Every other one is given back.
#[track_caller]
fn unproven(server: &Server, heard: &Heard) -> usize {
    let waits = |(id, _): &&(String, String)| {
        let receipt = get(server.address, &format!("/api/usages/{id}"));
        if receipt.status == 200 {
            return false;
        }
        receipt.expect_problem(503, "not-secured");
        true
    };
    heard.acknowledged.iter().filter(waits).count()
}

fn check(make: &[&str], mib: u64) {
    let mounted = Mounted::of(make, mib << 20);
    let (data, log) = (mounted.data(), mounted.log());
    let ballast = mounted.place().join("ballast");
    let (mut heard, mut full) = (Heard::default(), 0);
    for round in 0..3 {
        let server = Server::start(&data, &log, &FLAGS);
        let posting = Posting::start(server.address, 4, 20_000, 1500);
        posting.wait_for(300);
        take_everything(&ballast);
        // The last sectors too, that only small files fit.
        for n in 0..200 {
            let small = std::fs::File::create(mounted.place().join(format!("small-{n}")));
            let filled = small.and_then(|mut file| {
                (0..64).try_for_each(|_| file.write_all(&[1; 4096]))?;
                file.sync_all()
            });
            if filled.is_err() && n > 3 {
                break;
            }
        }
        heard.add(posting.finish());
        server.kill();

        for _ in 0..2 {
            let server = Server::start(&data, &log, &FLAGS);
            let waiting = unproven(&server, &heard);
            assert!(waiting < 200, "round {round}: one batch at most, not {waiting}");
            until("usages are refused", || probe(&server).status == 507);
            let why = get(server.admin, "/readyz").expect(503).body;
            assert!(why.contains("disk"), "{why}");
            unproven(&server, &heard);
            if why.contains("goes on by itself") {
                full += 1;
                let (_, patient) = &heard.acknowledged[0];
                let history = get(server.address, &format!("/api/usages?patientId={patient}"));
                // The index's library opens on a full disk, unless it was killed at a bad moment.
                match history.status {
                    200 => assert_eq!(history.json()["usages"].as_array().map(Vec::len), Some(1)),
                    _ => drop(history.expect_problem(503, "catching-up")),
                }
            }
            server.kill();
        }
        let server = Server::start(&data, &log, &FLAGS);
        std::fs::remove_file(&ballast).expect("it is there");
        for n in 0..200 {
            let _ = std::fs::remove_file(mounted.place().join(format!("small-{n}")));
        }
        until("it is ready again", || get(server.admin, "/readyz").status == 200);
        assert_eq!(heard.lost(server.address), 0, "round {round}");
        probe(&server).expect(201);
        server.stop();
    }
    assert!(full > 0, "no start lacked room");
    let said = std::fs::read_to_string(&log).expect("there is a log");
    assert!(said.contains("the disk is full: usages are refused"), "{said}");
    assert!(said.contains("there is room on the disk again"), "{said}");
    assert!(usages_stored(&data) > heard.acknowledged.len() as u64);
}

#[test]
fn repro_a_start_on_a_full_btrfs_was_refused() {
    if lacks("repro_a_start_on_a_full_btrfs_was_refused", &["mkfs.btrfs", "mount", "umount"]) {
        return;
    }
    check(&["mkfs.btrfs", "-q"], 128);
}

#[test]
fn starts_on_a_full_ext4() {
    if lacks("starts_on_a_full_ext4", &["mkfs.ext4", "mount", "umount"]) {
        return;
    }
    check(&["mkfs.ext4", "-q", "-F"], 64);
}

#[test]
fn starts_on_a_full_xfs() {
    if lacks("starts_on_a_full_xfs", &["mkfs.xfs", "mount", "umount"]) {
        return;
    }
    check(&["mkfs.xfs", "-q"], 320);
}
