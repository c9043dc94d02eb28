//! Mistakes that people make on the command line: each is answered with where it is and what works instead.

use std::process::Command;

use crate::http::get;
use crate::needs::until;
use crate::process::Folder;
use crate::program::{Started, expect_refused, run};

#[test]
fn repro_the_example_in_the_help_works_as_it_is_printed() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let data = folder.path().join("data");
    let data = data.to_str().expect("it is text");
    let words = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data", data];
    let server = Started::start(folder.path(), "server", &words);
    for columns in ["40", "80", "200"] {
        let help = run(&["--help"], &[("COLUMNS", columns)]).stdout;
        let help = String::from_utf8(help).expect("it is text");
        let start = help.find("curl ").unwrap_or_else(|| panic!("no example in {help}"));
        let example = help[start..].replace("localhost:3000", &server.address.to_string());
        let output = Command::new("sh").args(["-c", &example]).output().expect("it runs");
        let answer = String::from_utf8_lossy(&output.stdout);
        assert!(answer.starts_with("HTTP/1.1 201 "), "{columns} columns: {example}: {output:?}");
    }
}

#[test]
fn repro_an_address_with_a_mistake_is_answered_with_one_that_works() {
    let refused = |words: &[&str], named: &[&str]| {
        expect_refused(&run(&[&["serve", "--data", "/dev/null/none"], words].concat(), &[]), named);
    };
    refused(
        &["--listen", "http://localhost:3000"],
        &["--listen", "write HOST:PORT alone: localhost:3000"],
    );
    refused(&["--listen", ":4510"], &["--listen", "write localhost:4510"]);
    refused(&["--listen", "localhost:80000"], &["--listen", "no port from 0 to 65535"]);
    refused(&["--admin-listen", "3001"], &["--admin-listen", "HOST:PORT"]);
    let both = ["--listen", "127.0.0.1:4599", "--admin-listen", "localhost:4599"];
    refused(&both, &["--listen and --admin-listen are both", "--admin-listen 127.0.0.1:4600"]);
}

#[test]
fn repro_an_address_given_twice_is_not_called_in_use_by_another_process() {
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("it is bound").to_string();
    drop(free);
    let folder = Folder::new();
    let data = folder.data();
    let data = data.to_str().expect("it is text");
    let words = [
        "serve",
        "--data",
        data,
        "--admin-listen",
        "127.0.0.1:0",
        "--listen",
        &address,
        "--listen",
        &address,
    ];
    expect_refused(&run(&words, &[]), &["--listen", &address, "given twice"]);
}

#[test]
fn repro_a_store_that_is_open_names_the_process_that_has_it() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let data = folder.data();
    let data = data.to_str().expect("it is text");
    let holder = format!("process {} has the store in {data} open", server.id());
    for words in [
        &["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"][..],
        &["journal", "check"],
        &["journal", "repair"],
        &["journal", "rebuild"],
    ] {
        expect_refused(&run(&[words, &["--data", data]].concat(), &[]), &[&holder]);
    }
    server.stop();
    // The control: it was open because of that server.
    assert!(run(&["journal", "check", "--data", data], &[]).status.success());
}

#[test]
fn repro_a_file_in_place_of_a_folder_is_reported_once() {
    let file = tempfile::NamedTempFile::new().expect("a file can be made");
    let path = file.path().to_str().expect("it is text");
    let words =
        ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data", path];
    let output = run(&words, &[]);
    expect_refused(&output, &[path, "Not a directory"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.matches("Not a directory").count(), 1, "{said}");
}

#[test]
fn repro_a_folder_without_its_flag_is_answered_with_the_flag() {
    for words in [&["journal", "check", "DIR"][..], &["serve", "DIR"], &["doctor", "DIR"]] {
        expect_refused(&run(words, &[]), &["'DIR'", "--data DIR"]);
    }
    // The control: a misspelt flag has nothing to do with folders.
    let output = run(&["journal", "check", "--jason"], &[]);
    expect_refused(&output, &["--json"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("--data DIR"));
}

#[test]
fn repro_receipts_that_are_missing_are_named() {
    let output = run(&["load", "verify", "missing.txt", "http://127.0.0.1:1/api/usages"], &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("missing.txt: "), "{said}");
}

#[test]
fn repro_options_of_other_load_generators_are_answered_with_ours() {
    let url = "http://127.0.0.1:1/api/usages";
    for (words, tip) in [
        (&["-z", "5s"][..], "use `-d`"),
        (&["-n", "100"], "use `-i`"),
        (&["-m", "GET"], "use `-X`"),
        (&["-b", "@body.json"], "--body-file body.json"),
    ] {
        let output = run(&[&["load", url], words].concat(), &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(104) && said.contains(tip), "{words:?}: {said}");
    }
}

#[test]
fn repro_a_duration_is_written_the_same_for_every_command() {
    assert!(run(&["config", "--retain", "1min"], &[]).status.success());
    let url = "http://127.0.0.1:1/api/usages";
    for duration in ["1min", "1m30s", "1h 30m", "30days"] {
        assert!(run(&["config", "--retain", duration], &[]).status.success(), "{duration}");
        let plan = run(&["load", url, "-d", duration, "--rate", "1/h", "--plan"], &[]);
        assert!(plan.status.success(), "{duration}: {plan:?}");
    }
}

#[test]
fn repro_a_server_that_answers_404_to_everything_fails_the_run() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let url = format!("http://{}", server.address);
    // With an upper bound that holds, a generator that is late on a busy machine makes no run INVALID.
    let options = ["--threshold", "http_req_duration: p(99)<10s", "-d", "1s", "-q"];
    let output = run(&[&["load", &url, "--rate", "200"], &options[..]].concat(), &[]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(99), "{said}");
    assert!(said.contains("█ FAILED: 100% of requests failed (200 of 200)"), "{said}");
    // The control: with the path it passes.
    let url = format!("{url}/api/usages");
    let output = run(&[&["load", &url, "--rate", "50"], &options[..]].concat(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn repro_no_cycles_prove_nothing() {
    expect_refused(&run(&["prove", "--cycles", "0"], &[]), &["--cycles", "0"]);
    let help = run(&["prove", "--help"], &[]).stdout;
    let help = String::from_utf8_lossy(&help);
    assert!(!help.contains("Kept"), "help of another setting: {help}");
}

#[test]
fn logs_are_json_unless_asked_for_as_text() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let data = folder.path().join("data");
    let data = data.to_str().expect("it is text");
    let words = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data", data];
    for (name, format, is_json) in
        [("auto", "auto", true), ("json", "json", true), ("text", "text", false)]
    {
        let server =
            Started::start(folder.path(), name, &[&words[..], &["--log-format", format]].concat());
        get(server.address, "/nothing").expect(404);
        until("a refused request is logged", || server.said().contains("request"));
        server.signal(rustix::process::Signal::TERM);
        let (status, said) = server.wait();
        assert!(status.success(), "{said}");
        let events: Vec<&str> =
            said.lines().filter(|line| line.contains("INFO") || line.contains("WARN")).collect();
        assert!(events.iter().all(|line| line.starts_with('{') == is_json), "{format}: {said}");
        let refused = events.iter().find(|line| line.contains("not-found")).expect("it is logged");
        assert!(refused.contains("INFO"), "{refused}");
        let stopped = events.last().expect("it says that it stopped");
        for word in ["SIGTERM", "usages", "uptime_s"] {
            assert!(stopped.contains(word), "no {word} in {stopped}");
        }
    }
}
