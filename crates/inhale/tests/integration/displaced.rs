//! A store that is removed, renamed or covered under a running server: the server acknowledges nothing
//! more, says what has happened, and ends. A store in memory is warned of.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::http::{BODY, get, post};
use crate::needs::{lacks, run, until};
use crate::process::{Folder, PROGRAM, Server, usages_stored};

/// Has `displace` change the store of a server that has just acknowledged a usage. Returns what the
/// server said until its end.
#[track_caller]
fn end_after(folder: &Folder, displace: impl FnOnce(&Path)) -> String {
    let server = folder.serve(&[]);
    post(server.address, BODY).expect(201);
    displace(&folder.data());
    // It ends by itself, so that a connection may be refused by now.
    let json = "Content-Type: application/json\r\n";
    let body = BODY.as_bytes();
    let answer = crate::http::try_call(server.address, "POST", "/api/usages", json, body);
    if let Ok(answer) = answer {
        assert_eq!(answer.status, 500, "{answer:?}");
    }
    assert_eq!(server.wait().code(), Some(2));
    std::fs::read_to_string(folder.log()).expect("there is a log")
}

fn elsewhere(path: &Path) -> PathBuf {
    path.with_extension("elsewhere")
}

#[test]
fn repro_usages_were_acknowledged_after_the_store_was_removed() {
    fn check(displace: fn(&Path), expected: &str) -> Folder {
        let folder = Folder::new();
        let said = end_after(&folder, displace);
        let expected = format!("inhale: the journal failed: the journal's {expected}");
        assert!(said.contains(&expected), "{expected}: {said}");
        folder
    }
    let removed = "directory was removed or renamed while the journal was open";
    check(|data| std::fs::remove_dir_all(data).expect("removed"), removed);
    let folder = check(|data| std::fs::rename(data, elsewhere(data)).expect("renamed"), removed);
    // The server makes no folder, of its index say, in the store's place.
    std::fs::rename(elsewhere(&folder.data()), folder.data()).expect("renamed back");
    assert!(usages_stored(&folder.data()) >= 1, "what was acknowledged is where it was");
    let folder = check(
        |data| std::fs::remove_file(data.join("journal/lock")).expect("removed"),
        "lock file was removed or renamed while the journal was open",
    );
    assert!(usages_stored(&folder.data()) >= 1);
}

#[test]
fn a_file_system_that_is_mounted_over_the_store_ends_the_server() {
    if lacks("a_file_system_that_is_mounted_over_the_store_ends_the_server", &["mount", "umount"]) {
        return;
    }
    struct Unmount(PathBuf);
    impl Drop for Unmount {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg(&self.0).status();
        }
    }
    let folder = Folder::new();
    let mut mounted = None;
    let said = end_after(&folder, |data| {
        std::fs::create_dir(data.join("journal/there")).expect("made");
        mounted = Some(Unmount(data.to_owned()));
        let data = data.to_str().expect("it is UTF-8");
        run("mount", &["-t", "tmpfs", "none", data]);
        std::fs::create_dir(Path::new(data).join("journal")).expect("made");
    });
    assert!(said.contains("directory was replaced while the journal was open"), "{said}");
    drop(mounted);
    assert!(usages_stored(&folder.data()) >= 1);
}

/// The control: a store that is reached by another way, and everything beside the journal.
#[test]
fn what_leaves_the_journal_in_place_ends_nothing() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let data = folder.data();
    std::fs::rename(&data, elsewhere(&data)).expect("renamed");
    std::os::unix::fs::symlink(elsewhere(&data), &data).expect("linked");
    std::fs::remove_dir_all(data.join("index")).expect("removed");
    let id = post(server.address, BODY).id();
    get(server.address, &format!("/api/usages/{id}")).expect(200);
    until("the disk was looked at", || server.figure("inhale_disk_free_bytes") > 0);
    assert_eq!(get(server.address, &format!("/api/usages/{id}")).status, 200);
    server.stop();
}

#[test]
fn a_store_in_memory_is_warned_of() {
    let warned_of = |folder: &tempfile::TempDir| {
        let (data, log) = (folder.path().join("data"), folder.path().join("log"));
        Server::start(&data, &log, &[]).stop();
        let doctor = Command::new(PROGRAM)
            .args(["doctor", "--json", "--rate", "1/s", "--data"])
            .arg(&data)
            .output()
            .expect("it runs");
        let found: serde_json::Value = serde_json::from_slice(&doctor.stdout).expect("JSON");
        let findings = found["findings"].as_array().expect("a list");
        let finding = findings.iter().find(|it| it["what"] == "file system").expect("looked at");
        let said = std::fs::read_to_string(log).expect("there is a log");
        let warned = said.contains("file system in memory");
        assert_eq!(warned, finding["verdict"] == "warn", "{said} {finding}");
        warned
    };
    let in_memory = Path::new("/dev/shm");
    if in_memory.is_dir() {
        assert!(warned_of(&tempfile::tempdir_in(in_memory).expect("a folder can be made")));
    }
    // Wherever the program itself was built, it was not in memory.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    assert!(!warned_of(&tempfile::tempdir_in(target).expect("a folder can be made")));
}
