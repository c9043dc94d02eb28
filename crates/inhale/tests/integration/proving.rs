//! `inhale prove` proves, and with a protection switched off it says that usages are lost.

use std::process::{Command, Output};

use tempfile::TempDir;

use crate::faults::refuses_the_store;
use crate::mounted;
use crate::needs::lacks;
use crate::process::PROGRAM;

/// XFS file systems are made too.
const PROGRAMS: [&str; 5] = {
    let [a, b, c, d] = mounted::PROGRAMS;
    [a, b, c, d, "mkfs.xfs"]
};

fn prove(more: &[&str]) -> Output {
    prove_in(&tempfile::tempdir().expect("a folder can be made"), more)
}

fn prove_in(folder: &TempDir, more: &[&str]) -> Output {
    let output = Command::new(PROGRAM)
        .args(["prove", "--connections", "4", "--dir"])
        .arg(folder.path().join("place"))
        .args(more)
        .output()
        .expect("it runs");
    let left: Vec<_> = std::fs::read_dir(folder.path()).expect("it is there").collect();
    assert!(left.is_empty(), "left behind: {left:?} by {output:?}");
    output
}

/// Acknowledged, found and lost, as the last line says.
fn counts(output: &Output) -> Option<[u64; 3]> {
    let said = String::from_utf8_lossy(&output.stdout);
    let words: Vec<_> = said.lines().last()?.split(' ').collect();
    let [acknowledged, "usages", "acknowledged,", found, "found,", lost, "lost"] = words[..] else {
        return None;
    };
    Some([acknowledged, found, lost].map(|count| count.parse().expect("it is a count")))
}

/// Fails unless it found that usages were lost, and was no success.
#[track_caller]
fn expect_loss(output: &Output) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let [acknowledged, found, lost] = counts(output).expect("it ends in counts");
    assert!(lost > 0 && acknowledged == found + lost, "{output:?}");
}

#[test]
fn kills_and_power_cuts_lose_nothing() {
    if lacks("kills_and_power_cuts_lose_nothing", &PROGRAMS) {
        return;
    }
    let output = prove(&["--cycles", "2"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let [acknowledged, found, lost] = counts(&output).expect("it ends in counts");
    assert!(acknowledged > 0 && found == acknowledged && lost == 0, "{output:?}");
    let log = String::from_utf8_lossy(&output.stderr);
    for place in ["kill -9 2/2", "power cut, ext4 2/2", "power cut, XFS 2/2"] {
        assert!(log.contains(place), "{log}");
    }
}

/// The control: what was acknowledged is zeroed before the restart.
#[test]
fn a_damaged_tail_is_reported_as_lost() {
    expect_loss(&prove(&["--cycles", "1", "--power", "off", "--damage-tail", "4096"]));
}

/// The control: a disk that lies about the journal's segments, and the power fails. The server
/// refuses to start, because its mark was durable; then the loss is accepted and counted.
#[test]
fn faked_syncs_of_the_segments_are_refused_and_then_reported_as_lost() {
    let programs = [&["strace"][..], &PROGRAMS].concat();
    if lacks("faked_syncs_of_the_segments_are_refused_and_then_reported_as_lost", &programs) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder can be made");
    let mut tracer = "strace -f -qq -o /dev/null -e trace=fdatasync,fsync".to_owned();
    for (place, segment) in
        ["ext4", "xfs"].iter().flat_map(|place| (1..5).map(move |segment| (place, segment)))
    {
        let store = folder.path().join("place").join(place).join("mount/store");
        tracer += &format!(" -P {}/journal/{segment:020}.seg", store.display());
    }
    tracer += " -e inject=fdatasync,fsync:retval=0";
    // Long enough for a mark after the first one.
    let flags = ["--cycles", "1", "--kill", "off", "--power", "on", "--load-ms", "3000"];
    let output = prove_in(&folder, &[&flags[..], &["--server-prefix", &tracer]].concat());
    expect_loss(&output);
    let said = String::from_utf8_lossy(&output.stderr);
    for place in ["ext4", "XFS"] {
        let accepted = format!("{place}: the server refused to start, and the loss was accepted");
        assert!(said.contains(&accepted), "{said}");
    }
}

/// The control: no sync does anything, and the power fails.
#[test]
fn faked_syncs_are_reported_as_lost() {
    let programs = [&["strace"][..], &PROGRAMS].concat();
    if lacks("faked_syncs_are_reported_as_lost", &programs) {
        return;
    }
    let tracer = "strace -f -qq -o /dev/null --seccomp-bpf -e trace=fdatasync,fsync -e inject=fdatasync,fsync:retval=0";
    let flags = ["--cycles", "1", "--kill", "off", "--power", "on", "--server-prefix", tracer];
    let output = prove(&flags);
    // A store of which nothing is left is a loss; one that is broken is refused with 2.
    if output.status.code() == Some(2) {
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(refuses_the_store(&said), "{said}");
    } else {
        expect_loss(&output);
    }
}
