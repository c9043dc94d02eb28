//! `inhale load` in a terminal: what is seen of a run while it goes on, and what is left of it there.

use rustix::process::{Pid, Signal, kill_process};

use crate::needs::until;
use crate::process::{Folder, PROGRAM};
use crate::tmux::Terminal;

/// Starts a run of ten minutes that leaves its process's id, and waits until answers have come.
#[track_caller]
fn start(terminal: &Terminal, server: std::net::SocketAddr) -> Pid {
    let id = terminal.folder.path().join("id");
    terminal.run(&format!(
        "sh -c 'echo $$ > {}; exec {PROGRAM} load http://{server}/api/usages --rate 100 -d 10m'",
        id.display()
    ));
    let screen = terminal
        .wait("answers", |screen| screen.contains("status 201") && screen.contains("checks 100%"));
    for figure in ["running", "/s of ", "in flight", "whole run", "lag p99", "┤", "q stops"] {
        assert!(screen.contains(figure), "no {figure} on\n{screen}");
    }
    let id = std::fs::read_to_string(id).expect("it was left");
    Pid::from_raw(id.trim().parse().expect("a number")).expect("not 0")
}

/// Whether a process that is nobody's child here has ended. Where the first process of a container does
/// not look after orphans it stays a zombie, which can still be sent signals.
fn has_ended(id: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", id.as_raw_nonzero()));
    // The state follows the program's name (proc(5)), which is in parentheses.
    stat.map_or(true, |stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')))
}

#[test]
fn a_run_is_watched_and_ended_by_a_key_or_a_signal() {
    let test = "a_run_is_watched_and_ended_by_a_key_or_a_signal";
    let Some(terminal) = Terminal::open(test, 80, 24) else { return };
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let before = terminal.mode();

    start(&terminal, server.address);
    terminal.press("q");
    let screen = terminal.see("interrupted after");
    assert!(!screen.contains("q stops"), "the view is still there:\n{screen}");
    terminal.is_sane(&before);

    for signal in [Signal::TERM, Signal::INT] {
        let id = start(&terminal, server.address);
        kill_process(id, signal).expect("it runs");
        terminal.see("interrupted after");
        terminal.is_sane(&before);
    }
    // Nobody takes a hangup for a wish to have a report; the terminal is given back all the same.
    let id = start(&terminal, server.address);
    kill_process(id, Signal::HUP).expect("it runs");
    terminal.wait("shell", |screen| !screen.contains("q stops"));
    terminal.is_sane(&before);
    server.stop();
}

/// Clearing the view asked the terminal where its cursor was, through standard output: the file began
/// with the question, nobody answered it, and there was no view.
#[test]
fn repro_what_is_written_to_a_file_is_watched_and_stays_whole() {
    let test = "repro_what_is_written_to_a_file_is_watched_and_stays_whole";
    let Some(terminal) = Terminal::open(test, 80, 24) else { return };
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let before = terminal.mode();
    let path = terminal.folder.path().join("outcome");
    let url = format!("http://{}/api/usages", server.address);
    terminal.run(&format!("{PROGRAM} load {url} --rate 100 -d 3s --json > {}", path.display()));
    terminal.see("q stops");
    terminal.press("C-l");
    terminal.is_sane(&before);
    let outcome = std::fs::read_to_string(&path).expect("it was written");
    let outcome: serde_json::Value = serde_json::from_str(&outcome).expect("it is JSON");
    assert_eq!(outcome.pointer("/inhale/requests/ended"), Some(&300.into()), "{outcome}");
    server.stop();
}

/// The library that reads keys never returns from a terminal that has hung up, and keeps a core busy.
#[test]
fn repro_a_run_whose_terminal_is_taken_away_ends() {
    let test = "repro_a_run_whose_terminal_is_taken_away_ends";
    let Some(terminal) = Terminal::open(test, 80, 24) else { return };
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let id = start(&terminal, server.address);
    drop(terminal);
    until("the run ends", || has_ended(id));
    server.stop();
}
