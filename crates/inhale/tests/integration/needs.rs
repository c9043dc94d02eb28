//! What a test needs beyond a folder: root and other programs. Without them it says so and returns.

use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

/// How long anything may take before it counts as a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether root or one of `programs` is missing, which is noted for whoever counts skipped tests.
pub(crate) fn lacks(test: &str, programs: &[&str]) -> bool {
    let why = if rustix::process::geteuid().is_root() {
        let missing = programs.iter().find(|program| !is_there(program));
        missing.map(|program| format!("there is no {program}"))
    } else {
        Some("it needs root".to_owned())
    };
    let Some(why) = why else { return false };
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
    if let Some(path) = std::env::var_os("INHALE_TEST_SKIPS") {
        let notes = std::fs::File::options().create(true).append(true).open(path);
        writeln!(notes.expect("the notes can be opened"), "{test}: {why}").expect("it has room");
    }
    true
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let pause = Duration::from_millis(2);
    let mut pauses = PATIENCE.as_millis() / pause.as_millis();
    while !condition() {
        pauses = pauses.checked_sub(1).unwrap_or_else(|| panic!("not in time: {what}"));
        std::thread::sleep(pause);
    }
}

/// Runs a program to its end, which must be a good one.
#[track_caller]
pub(crate) fn run(program: &str, words: &[&str]) {
    let output = Command::new(program).args(words).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {words:?}: {said}");
}
