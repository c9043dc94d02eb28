//! Journal files under wrong names: a start refuses them, `journal check` names them, `journal repair`
//! puts them right, and `journal discard` alone removes what was set aside.

use std::path::Path;

use serde_json::Value;

use crate::http::{get, post};
use crate::process::{Folder, usages_stored};
use crate::program::{expect_refused, run};

const SMALL: [&str; 4] = ["--segment-size", "1MiB", "--pending-max", "64KiB"];
const USAGE: &str =
    r#"{"patientId":"100","timestamp":"2016-11-01T14:11:51Z","medication":"Albuterol"}"#;

/// A store of two lives and what its receipts are.
fn store(folder: &Folder) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..2 {
        let server = folder.serve(&SMALL);
        ids.extend((0..5).map(|_| post(server.address, USAGE).id()));
        server.stop();
    }
    ids
}

/// What the subcommand prints as JSON, and its exit code.
fn journal(words: &[&str], data: &Path) -> (Value, Option<i32>) {
    let data = data.to_str().expect("a path in UTF-8");
    let output = run(&[&["journal"], words, &["--json", "--data", data]].concat(), &[]);
    let said = serde_json::from_slice(&output.stdout);
    (said.unwrap_or_else(|error| panic!("{error}: {output:?}")), output.status.code())
}

#[test]
fn repro_misplaced_journal_files_are_named_and_put_right() {
    let folder = Folder::new();
    let (ids, data) = (store(&folder), folder.data());
    let file = |number: u64| data.join("journal").join(format!("{number:020}.seg"));
    let between = data.join("between");
    std::fs::rename(file(1), &between).expect("there");
    std::fs::rename(file(2), file(1)).expect("there");
    std::fs::rename(&between, file(2)).expect("there");
    std::fs::copy(file(1), file(9)).expect("there");
    let path = data.to_str().expect("a path in UTF-8");
    let refused = run(&["serve", "--listen", "127.0.0.1:0", "--data", path], &[]);
    expect_refused(&refused, &["holds segment 2", "inhale journal repair"]);

    let (report, code) = journal(&["check"], &data);
    assert_eq!((code, &report["sound"]), (Some(1), &Value::Bool(false)));
    assert_eq!(report["usages"], 10, "{report}");
    assert_eq!(report["lost"]["atLeast"], 0, "{report}");
    assert_eq!(report["damages"], serde_json::json!([]));
    let holds = |file: &Value| (file["holds"].clone(), file["segment"].clone());
    let misplaced: Vec<_> =
        report["misplaced"].as_array().expect("a list").iter().map(holds).collect();
    assert_eq!(
        misplaced,
        [("copy", 2), ("segment", 1), ("segment", 2)]
            .map(|(holds, segment)| { (Value::from(holds), Value::from(segment)) })
    );

    let (planned, code) = journal(&["repair"], &data);
    assert_eq!((code, &planned["done"]), (Some(1), &Value::Bool(false)));
    assert!(file(9).exists(), "nothing is done without --yes");
    let (repaired, code) = journal(&["repair", "--yes"], &data);
    assert_eq!((code, &repaired["done"]), (Some(0), &Value::Bool(true)));
    assert!(!file(9).exists());
    assert_eq!(usages_stored(&data), 10);

    let found = |findings: &Value| {
        let findings = findings["findings"].as_array().expect("a list").clone();
        findings.into_iter().find(|finding| finding["what"] == "files set aside").expect("there")
    };
    let doctor = run(&["doctor", "--json", "--data", path], &[]);
    let doctor: Value = serde_json::from_slice(&doctor.stdout).expect("JSON");
    assert_eq!(found(&doctor)["verdict"], "warn");
    let (listed, code) = journal(&["discard"], &data);
    assert_eq!((code, listed["files"].as_array().expect("a list").len()), (Some(1), 1));
    let aside = data.join("journal/set-aside").join(format!("{:020}.seg", 9));
    assert!(aside.exists(), "nothing is removed without --yes");

    let server = folder.serve(&SMALL);
    for id in &ids {
        get(server.address, &format!("/api/usages/{id}")).expect(200);
    }
    let locked = run(&["journal", "discard", "--yes", "--data", path], &[]);
    assert!(!locked.status.success() && aside.exists(), "a server has the store: {locked:?}");
    server.stop();
    let (discarded, code) = journal(&["discard", "--yes"], &data);
    assert_eq!((code, &discarded["done"]), (Some(0), &Value::Bool(true)));
    assert!(!aside.exists());
    assert_eq!(usages_stored(&data), 10);
}

#[test]
fn repro_folders_in_the_journal_are_left_alone() {
    let folder = Folder::new();
    let (ids, data) = (store(&folder), folder.data());
    for name in ["notes.tmp", "old.cut", "set-aside/old"] {
        std::fs::create_dir_all(data.join("journal").join(name)).expect("made");
    }
    let server = folder.serve(&SMALL);
    for id in &ids {
        get(server.address, &format!("/api/usages/{id}")).expect(200);
    }
    server.stop();
    let (report, code) = journal(&["check"], &data);
    assert_eq!((code, &report["setAside"]), (Some(0), &serde_json::json!([])), "{report}");
}
