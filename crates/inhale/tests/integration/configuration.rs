//! Where settings come from, and that misspelt ones are refused by name.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{expect_refused, run};

/// A configuration file.
struct Written(TempDir);

impl Written {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        std::fs::write(folder.path().join("inhale.toml"), text).expect("it has room");
        Self(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("inhale.toml")
    }
}

fn text_of(path: &Path) -> &str {
    path.to_str().expect("it is text")
}

/// What `inhale config --json` says of the setting `name`.
fn shown(name: &str, words: &[&str], variables: &[(&str, &str)]) -> Value {
    let output = run(&[&["config", "--json"], words].concat(), variables);
    assert!(output.status.success(), "{output:?}");
    let all: Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    all[name].clone()
}

/// Each of a setting's four values must show, with where it comes from, unless one that overrides it is given;
/// `toml` is the file's value as it is written there, the others are JSON.
#[track_caller]
fn check(name: &str, default: &Value, toml: &str, [in_file, variable, flag]: [Value; 3]) {
    let file = Written::new(&format!("[serve]\n{name} = {toml}\n"));
    let path = file.path();
    let path = text_of(&path);
    let named = format!("INHALE_{}", name.replace('-', "_").to_uppercase());
    let typed = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    };
    let (in_variable, word) = (typed(&variable), format!("--{name}={}", typed(&flag)));
    let expect = |words: &[&str], variables: &[(&str, &str)], value: &Value, source: &str| {
        let expected = json!({ "value": value, "source": source });
        assert_eq!(shown(name, words, variables), expected, "{name} {words:?} {variables:?}");
    };
    expect(&[], &[], default, "default");
    expect(&["--config", path], &[], &in_file, &format!("file {path}"));
    let from_variable = format!("environment {named}");
    expect(&[], &[(&named, &in_variable)], &variable, &from_variable);
    expect(&["--config", path], &[(&named, &in_variable)], &variable, &from_variable);
    let from_flag = format!("flag --{name}");
    expect(&[&word], &[], &flag, &from_flag);
    expect(&["--config", path, &word], &[(&named, &in_variable)], &flag, &from_flag);
    // The file may be named by the environment too.
    expect(&[], &[("INHALE_CONFIG", path)], &in_file, &format!("file {path}"));
}

#[test]
fn flags_override_the_environment_which_overrides_the_file_which_overrides_defaults() {
    check("cores", &json!(0), "3", [json!(3), json!(4), json!(5)]);
    check("log-sample", &json!(10000), "\"7\"", [json!(7), json!(8), json!(9)]);
    check("drain-grace", &json!("1s"), "\"2s\"", [json!("2s"), json!("3s"), json!("4s")]);
    check("retain", &Value::Null, "\"2days\"", [json!("2days"), json!("3days"), json!("4days")]);
    check("pending-max", &json!("4MiB"), "\"5MiB\"", [json!("5MiB"), json!("6MiB"), json!("7MiB")]);
    check("data", &json!("./inhale-data"), "\"a\"", [json!("a"), json!("b"), json!("c")]);
    check(
        "listen",
        &json!(["localhost:3000"]),
        "[\"[::1]:1\", \"[::1]:2\"]",
        [json!(["[::1]:1", "[::1]:2"]), json!(["[::1]:2", "[::1]:3"]), json!(["[::1]:3"])],
    );
    check("allow-anonymous", &json!(false), "true", [json!(true), json!(false), json!(true)]);
    check("log-level", &json!("info"), "\"warn\"", [json!("warn"), json!("debug"), json!("error")]);
    check(
        "unknown-fields",
        &json!("refuse"),
        "\"keep\"",
        [json!("keep"), json!("refuse"), json!("keep")],
    );
}

#[test]
fn what_is_printed_says_the_same_when_it_is_read_back() {
    let words = ["--cores", "3", "--listen", "127.0.0.1:1", "--listen", "127.0.0.1:2"];
    let output = run(&[&["config"], &words[..]].concat(), &[("INHALE_LOG_SAMPLE", "5")]);
    let printed = String::from_utf8(output.stdout).expect("it is text");
    let line = |name: &str| {
        let found = printed.lines().find(|line| line.starts_with(name));
        found.unwrap_or_else(|| panic!("no {name} in {printed}"))
    };
    assert!(line("cores = 3 ").ends_with("# flag --cores"), "{printed}");
    assert!(line("log-sample = 5 ").ends_with("# environment INHALE_LOG_SAMPLE"), "{printed}");
    assert!(line("allow-anonymous = false ").ends_with("# default"), "{printed}");
    assert!(line("drain-grace = \"1s\" ").ends_with("# default"), "{printed}");
    assert!(line("admin-listen = [\"localhost:3001\"]").ends_with("# default"), "{printed}");
    assert!(line("# retain is not set").ends_with("# default"), "{printed}");
    let file = Written::new(&printed);
    let path = file.path();
    let again = run(&["config", "--config", text_of(&path)], &[]);
    let values = |printed: &str| -> toml::Table { printed.parse().expect("it is TOML") };
    let again = String::from_utf8(again.stdout).expect("it is text");
    assert_eq!(values(&again), values(&printed));
}

#[test]
fn names_that_are_not_there_are_refused() {
    for (text, named) in [
        ("[serve]\nlisen = 'x'", "`lisen`"),
        ("[sevre]\ncores = 1", "[sevre]"),
        ("[doctor]\nrate = '1M/m'", "[doctor]"),
        ("cores = 1", "`cores`"),
        ("[serve]\ncores = 1.5", "cores"),
        ("[serve]\ncores = 1\ncores = 2", "TOML"),
    ] {
        let file = Written::new(text);
        let path = file.path();
        for command in ["serve", "config"] {
            let output = run(&[command, "--config", text_of(&path)], &[]);
            expect_refused(&output, &[named, text_of(&path)]);
        }
    }
    expect_refused(&run(&["serve", "--lisen", "x"], &[]), &["--lisen", "--listen"]);
    expect_refused(&run(&["sevre"], &[]), &["sevre", "serve"]);
    expect_refused(&run(&["serve", "--config", "/none.toml"], &[]), &["/none.toml", "--config"]);
    // The control: what is right is taken.
    assert!(run(&["config", "--cores", "1"], &[]).status.success());
}

#[test]
fn a_wrong_value_is_refused_by_the_place_where_it_is_with_one_that_works() {
    for (name, value, works) in [
        ("cores", "two", "digit"),
        ("log-sample", "-1", "0..=4294967295"),
        ("drain-grace", "soon", "30days"),
        ("retain", "forever", "leave this setting out"),
        ("pending-max", "big", "64MiB"),
        ("disk-reserve", "10%", "64MiB"),
        ("store-number", "4096", "0..4096"),
        ("allow-anonymous", "perhaps", "true, false"),
        ("log-level", "loud", "error, warn, info, debug"),
        ("log-format", "xml", "auto, text, json"),
        ("index", "maybe", "on, off"),
    ] {
        let (flag, word) = (format!("--{name}"), format!("--{name}={value}"));
        let variable = format!("INHALE_{}", name.replace('-', "_").to_uppercase());
        let file = Written::new(&format!("[serve]\n{name} = '{value}'\n"));
        let path = file.path();
        for command in ["serve", "config"] {
            expect_refused(&run(&[command, &word], &[]), &[&flag, value, works]);
            let from_variable = run(&[command], &[(&variable, value)]);
            expect_refused(&from_variable, &[&format!("inhale: {variable}: "), value, works]);
            let output = run(&[command, "--config", text_of(&path)], &[]);
            expect_refused(&output, &[name, value, text_of(&path), works]);
        }
    }
    // Upper case means the same.
    assert_eq!(shown("log-level", &["--log-level", "INFO"], &[])["source"], "flag --log-level");
}

#[test]
fn repro_a_key_with_underscores_is_answered_with_the_right_one() {
    let file = Written::new("[serve]\nadmin_listen = 'localhost:1'\n");
    let output = run(&["config", "--config", text_of(&file.path())], &[]);
    expect_refused(&output, &["`admin_listen`", "did you mean `admin-listen`?"]);
}

#[test]
fn misspelt_variables_are_refused_and_strange_ones_told_of() {
    for (variable, nearest) in [
        ("INHALE_LISEN", "INHALE_LISTEN"),
        ("INHALE_RETIAN", "INHALE_RETAIN"),
        ("INHALE_data", "INHALE_DATA"),
        ("INHALE_CONFG", "INHALE_CONFIG"),
    ] {
        for command in ["serve", "config"] {
            let output = run(&[command], &[(variable, "hush")]);
            expect_refused(&output, &[&format!("{variable};"), &format!("{nearest}?")]);
            assert!(!String::from_utf8_lossy(&output.stderr).contains("hush"));
        }
    }
    // Another program's, or a newer version's.
    let host = [("INHALE_SERVICE_HOST", "10.0.0.1")];
    let output = run(&["config"], &host);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("INHALE_SERVICE_HOST") && !said.contains("10.0.0.1"), "{said}");
    // The server says so too, before it refuses for another reason.
    let output = run(&["serve", "--cores", "100000"], &host);
    expect_refused(&output, &["INHALE_SERVICE_HOST", "--cores"]);
    // The control: without it nothing is said; and who takes no settings does not look.
    assert!(run(&["config"], &[]).stderr.is_empty());
    assert!(run(&["doctor", "--help"], &[("INHALE_LISEN", "x")]).status.success());
}
