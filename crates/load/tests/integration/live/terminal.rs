//! The view in a real terminal, which tmux plays: what is seen, what keys and signals do, and what is
//! left behind.

use std::path::PathBuf;
use std::process::Command;

use super::tmux::Terminal;

/// The example that shows a made-up run; cargo builds it beside the tests.
fn live_view(words: &str) -> String {
    let mut path: PathBuf = std::env::current_exe().expect("this test has a file");
    path.pop();
    path.pop();
    path.push("examples/live_view");
    assert!(path.exists(), "`cargo test -p load` builds {}, without a test named", path.display());
    format!("{} {words}", path.display())
}

/// Shows a run for long. The shell that becomes the program leaves its id for whoever ends it.
fn run_with_id(terminal: &Terminal) -> String {
    let id = terminal.folder.path().join("id");
    let command = live_view("well 600");
    terminal.run(&format!("sh -c 'echo $$ > {}; exec {command}'", id.display()));
    terminal.see("Generator");
    std::fs::read_to_string(&id).expect("it was left")
}

fn kill(signal: &str, id: &str) {
    let sent = Command::new("kill").args(["-s", signal, id.trim()]).status();
    assert!(sent.expect("kill runs").success());
}

/// Ends a run at once.
fn press_twice(terminal: &Terminal, before: &str) {
    terminal.press("q");
    terminal.press("q");
    terminal.see("after 2 presses");
    terminal.is_sane(before);
}

#[test]
fn a_run_is_seen_and_q_ends_it() {
    let Some(terminal) = Terminal::open("a_run_is_seen_and_q_ends_it", 80, 24) else { return };
    let before = terminal.mode();
    terminal.run(&live_view("failing 600"));
    let screen = terminal.wait("latencies", |screen| {
        screen.contains("running") && screen.contains("connection refused")
    });
    for figure in ["16,66", "in flight", "p99", "whole run", "lag p99", "cpu", "checks", "┤"] {
        assert!(screen.contains(figure), "no {figure} on\n{screen}");
    }
    assert!(!screen.contains("ready>"), "a screen of its own");

    // Smaller, and larger again.
    terminal.tmux(&["resize-window", "-x", "40", "-y", "10"]);
    let small = terminal.wait("the small one", |screen| {
        screen.lines().next().is_some_and(|line| line.starts_with("running"))
    });
    assert!(small.contains("p99") && !small.contains("Generator"), "{small}");
    terminal.tmux(&["resize-window", "-x", "100", "-y", "30"]);
    terminal.see("Generator");

    // What is in flight is waited for; a second press ends it.
    terminal.press("q");
    terminal.see("stopping");
    terminal.press("C-c");
    terminal.see("after 2 presses");
    let screen = terminal.screen();
    assert!(!screen.contains("Generator"), "something is left behind:\n{screen}");
    terminal.is_sane(&before);
}

#[test]
fn a_job_that_is_stopped_gives_the_terminal_back_until_it_goes_on() {
    let test = "a_job_that_is_stopped_gives_the_terminal_back_until_it_goes_on";
    let Some(terminal) = Terminal::open(test, 80, 24) else { return };
    let before = terminal.mode();
    let id = run_with_id(&terminal);
    for _ in 0..2 {
        terminal.press("C-z");
        terminal.wait("shell", |screen| !screen.contains("Generator"));
        terminal.is_sane(&before);
        terminal.run("fg");
        let screen = terminal.wait("the view again", |screen| screen.contains("q stops"));
        assert!(screen.contains("Generator") && !screen.contains("ready>"), "{screen}");
    }
    // A stop that cannot be caught leaves the screen as it is; then all of it is drawn anew.
    kill("STOP", &id);
    terminal.see("ready>");
    // The terminal is as the view has set it, and makes no line's end of Enter.
    terminal.tmux(&["send-keys", "-l", "fg"]);
    terminal.press("C-j");
    let screen = terminal.wait("the view alone", |screen| {
        screen.contains("q stops") && !screen.contains("ready>") && !screen.contains("exec")
    });
    assert!(screen.contains("Generator"), "{screen}");
    press_twice(&terminal, &before);
    // Of a job of several all are stopped, else the shell would wait for the others.
    terminal.run(&format!("{} | cat", live_view("well 600")));
    terminal.see("Generator");
    terminal.press("C-z");
    terminal.wait("shell", |screen| !screen.contains("Generator"));
    terminal.is_sane(&before);
    terminal.run("fg");
    terminal.see("Generator");
    press_twice(&terminal, &before);
}

/// Nobody could let it go on.
#[test]
fn where_there_is_no_shell_nothing_is_stopped() {
    let test = "where_there_is_no_shell_nothing_is_stopped";
    let Some(terminal) = Terminal::open(test, 80, 24) else { return };
    terminal.tmux(&["respawn-pane", "-k", &live_view("well 4")]);
    terminal.see("Generator");
    terminal.press("C-z");
    // The run goes on to its end, and takes the terminal with it.
    let socket = terminal.folder.path().join("tmux");
    let ends = (0..600).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        let output = Command::new("tmux").arg("-S").arg(&socket).arg("list-panes").output();
        !output.expect("tmux runs").status.success()
    });
    assert!(ends, "{}", terminal.screen());
}

#[test]
fn a_signal_that_nobody_catches_leaves_the_terminal_as_it_was() {
    let test = "a_signal_that_nobody_catches_leaves_the_terminal_as_it_was";
    let Some(terminal) = Terminal::open(test, 80, 24) else { return };
    let before = terminal.mode();
    for signal in ["TERM", "INT", "QUIT", "HUP"] {
        let id = run_with_id(&terminal);
        kill(signal, &id);
        terminal.wait("shell", |screen| !screen.contains("Generator"));
        terminal.is_sane(&before);
    }
}

#[test]
fn a_panic_is_read_on_a_terminal_as_it_was() {
    let test = "a_panic_is_read_on_a_terminal_as_it_was";
    let Some(terminal) = Terminal::open(test, 80, 24) else { return };
    let before = terminal.mode();
    terminal.run(&live_view("panic 600"));
    terminal.see("a panic as an example");
    terminal.is_sane(&before);
}

#[test]
fn a_program_that_forgets_the_view_is_noticed() {
    let test = "a_program_that_forgets_the_view_is_noticed";
    let Some(terminal) = Terminal::open(test, 80, 24) else { return };
    let before = terminal.mode();
    // Nothing can give the terminal back then; so this is what the other tests would see.
    let id = run_with_id(&terminal);
    kill("KILL", &id);
    let shows = || terminal.tmux(&["display-message", "-p", "#{alternate_on}"]).stdout;
    assert_eq!(shows().trim_ascii(), b"1", "the view's screen is still there");
    terminal.run("stty sane");
    let _ = before;
}

#[test]
fn elsewhere_there_are_lines() {
    let test = "elsewhere_there_are_lines";
    let Some(terminal) = Terminal::open(test, 80, 24) else { return };
    terminal.run(&format!("TERM=dumb {}", live_view("well 5")));
    let screen = terminal.see("p99 1.1");
    assert!(screen.contains("/ 5.0s  16,667/s of 16,667/s"), "{screen}");
    terminal.see("ended at 5.0 s");
    terminal.run(&format!("clear; {} 2>&1 | cat", live_view("well 3")));
    let screen = terminal.see("ended at 3.0 s");
    let lines = screen.lines().filter(|line| line.contains("/ 3.0s")).count();
    assert!((1..=3).contains(&lines), "{lines} lines in\n{screen}");
}
