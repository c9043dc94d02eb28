//! Signals that end a process by default and a server never, and what SIGHUP does.

use rustix::process::Signal;
use serde_json::Value;

use crate::http::{BODY, post};
use crate::needs::until;
use crate::process::Folder;

/// Log lines with this message.
fn lines(folder: &Folder, message: &str) -> Vec<Value> {
    let log = std::fs::read_to_string(folder.log()).expect("there is a log");
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .filter(|line| line["message"].as_str().is_some_and(|said| said.contains(message)))
        .collect()
}

#[test]
fn repro_sighup_and_sigusr1_do_not_end_a_server() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    for (signal, count) in [(Signal::USR1, 1), (Signal::USR2, 2)] {
        server.signal(signal);
        until("it is logged", || lines(&folder, "a signal was ignored").len() == count);
        post(server.address, BODY).expect(201);
    }
    server.signal(Signal::HUP);
    until("it is logged", || !lines(&folder, "every setting stays as it was").is_empty());
    let line = lines(&folder, "every setting stays as it was").remove(0);
    assert!(line["error"].as_str().is_some_and(|why| why.contains("--config")), "{line}");
    post(server.address, BODY).expect(201);
    server.stop();
}

#[test]
fn sighup_rereads_the_configuration_file() {
    let folder = Folder::new();
    let file = folder.log().with_extension("toml");
    let write = |text: &str| std::fs::write(&file, text).expect("written");
    write("[serve]\nlog-level = 'warn'\ncores = 1\n");
    let name = file.to_str().expect("it is text");
    let server = folder.serve(&["--config", name, "--drain-grace", "50ms"]);
    post(server.address, BODY).expect(201);
    assert!(lines(&folder, "request").is_empty(), "a warning is the least that is logged");

    let reread = |count: usize| {
        server.signal(Signal::HUP);
        until("it is logged", || lines(&folder, "was read again").len() == count);
        lines(&folder, "was read again").remove(count - 1)
    };
    write("[serve]\nlog-level = 'info'\ncores = 2\ndrain-grace = '9s'\nlog-sample = 5\n");
    let line = reread(1);
    assert_eq!(line["applied"], "log-level", "{line}");
    assert_eq!(line["need_restart"], "cores", "{line}");
    let overridden = line["overridden"].as_str().expect("it is text");
    assert!(overridden.contains("drain-grace (by flag --drain-grace)"), "{line}");
    assert!(overridden.contains("log-sample (by flag --log-sample)"), "{line}");
    post(server.address, BODY).expect(201);
    until("requests are logged", || !lines(&folder, "request").is_empty());

    // What is wrong is named, and nothing changes.
    for (text, named) in [
        ("[serve]\nlog-level = 'loud'\n", "log-level"),
        ("[serve]\nlisen = 'x'\n", "lisen"),
        ("[serve]\nlog-level = 'error'\nconnections-max = 0\n", "--connections-max"),
        ("[serve", "TOML"),
    ] {
        let before = lines(&folder, "every setting stays as it was").len();
        write(text);
        server.signal(Signal::HUP);
        until("it is refused", || lines(&folder, "every setting stays as it was").len() > before);
        let line = lines(&folder, "every setting stays as it was").remove(before);
        assert!(line["error"].as_str().is_some_and(|why| why.contains(named)), "{line}");
    }
    let before = lines(&folder, "request").len();
    post(server.address, BODY).expect(201);
    until("requests are still logged", || lines(&folder, "request").len() > before);
    // What needs a restart is named again.
    write("[serve]\nlog-level = 'info'\ncores = 2\n");
    let line = reread(2);
    assert_eq!(
        (&line["applied"], &line["need_restart"]),
        (&Value::from(""), &Value::from("cores"))
    );
    server.stop();
}
