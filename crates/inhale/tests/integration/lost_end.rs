//! The end of a store's journal is lost: what the server and the journal commands say about it, and
//! that nothing is given out twice.

use std::collections::HashSet;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::faults::refuses_the_store;
use crate::http::{BODY, get, post};
use crate::process::{Folder, PROGRAM, Server};

/// Small files, which are read quickly.
const SETTINGS: [&str; 6] =
    ["--segment-size", "1MiB", "--pending-max", "64KiB", "--disk-reserve", "16MiB"];

/// Zeroes the second half of what the first segment holds.
fn lose_half(data: &Path) {
    let path = data.join("journal").join(format!("{:020}.seg", 1));
    let bytes = std::fs::read(&path).expect("there");
    let end = bytes.iter().rposition(|&byte| byte != 0).expect("it holds usages") + 1;
    let start = usize::midpoint(4096, end);
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("opened");
    file.write_all_at(&vec![0; end - start], start as u64).expect("written");
}

fn journal(data: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.arg("journal").args(words).arg("--data").arg(data).output().expect("it runs")
}

/// Runs a journal command, whose report is JSON, and which ends with `code`.
#[track_caller]
fn report(data: &Path, words: &[&str], code: i32) -> Value {
    let output = journal(data, &[words, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("it is JSON")
}

#[test]
fn repro_a_server_started_on_a_journal_whose_end_was_zeroed() {
    let folder = Folder::new();
    let data = folder.data();
    let server = folder.serve(&SETTINGS);
    let id = |answer: crate::http::Answer| {
        answer.expect(201).json()["id"].as_str().expect("it has one").to_owned()
    };
    let ids: Vec<_> = (0..100).map(|_| id(post(server.address, BODY))).collect();
    server.stop();
    assert!(journal(&data, &["check"]).status.success());
    lose_half(&data);

    let log = folder.log().with_extension("refused");
    let status = Server::start_under(&[], &data, &log, &SETTINGS).map(drop);
    assert_eq!(status.expect_err("half is missing").code(), Some(2));
    let said = std::fs::read_to_string(&log).expect("there is a log");
    assert!(refuses_the_store(&said) && said.contains(" frames are missing"), "{said}");

    let checked = report(&data, &["check"], 1);
    let damage = &checked["damages"][0];
    let (from, to) = (damage["lost"][0].as_u64(), damage["lost"][1].as_u64());
    // After a clean stop it is exact: 100 usages and the closing frame.
    assert_eq!(to, Some(102), "{checked}");
    let kept = usize::try_from(from.expect("a sequence")).expect("small") - 1;
    assert!((30..70).contains(&kept), "{kept}");
    let planned = report(&data, &["repair"], 1);
    assert_eq!(planned["endLoss"]["missingAtLeast"], 101 - kept, "{planned}");
    assert_eq!(planned["endLoss"]["missingAtMost"], 101 - kept, "{planned}");
    assert_eq!(report(&data, &["repair", "--yes"], 1)["endLoss"]["accepted"], false);
    let output = journal(&data, &["repair"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("--accept-loss") && !said.contains("nothing is wrong"), "{said}");

    let accepted = report(&data, &["repair", "--accept-loss"], 0);
    assert_eq!(accepted["endLoss"]["accepted"], true, "{accepted}");
    let copy = accepted["endLoss"]["kept"][0].as_str().expect("a file");
    assert!(data.join("journal").join(copy).exists(), "{accepted}");
    assert_eq!(report(&data, &["check"], 0)["sound"], true);
    let server = folder.serve(&SETTINGS);
    for (nth, id) in ids.iter().enumerate() {
        let status = if nth < kept { 200 } else { 404 };
        get(server.address, &format!("/api/usages/{id}")).expect(status);
    }
    let more: HashSet<_> = (0..100).map(|_| id(post(server.address, BODY))).collect();
    assert!(more.len() == 100 && ids.iter().all(|id| !more.contains(id)));
    server.stop();
}
