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

/// Each of a setting's four values must show, with where it comes from, unless one that stands over
/// it is given; `toml` is the file's value as it is written there.
#[track_caller]
fn check(name: &str, default: &Value, [toml, in_file, variable, flag]: [&str; 4]) {
    let file = Written::new(&format!("[serve]\n{name} = {toml}\n"));
    let path = file.path();
    let path = text_of(&path);
    let named = format!("INHALE_{}", name.replace('-', "_").to_uppercase());
    let word = format!("--{name}={flag}");
    let expect = |words: &[&str], variables: &[(&str, &str)], values: Value, source: &str| {
        let expected = json!({ "values": values, "source": source });
        assert_eq!(shown(name, words, variables), expected, "{name} {words:?} {variables:?}");
    };
    expect(&[], &[], default.clone(), "default");
    expect(&["--config", path], &[], json!([in_file]), &format!("file {path}"));
    let from_variable = format!("environment {named}");
    expect(&[], &[(&named, variable)], json!([variable]), &from_variable);
    expect(&["--config", path], &[(&named, variable)], json!([variable]), &from_variable);
    let from_flag = format!("flag --{name}");
    expect(&[&word], &[], json!([flag]), &from_flag);
    expect(&["--config", path, &word], &[(&named, variable)], json!([flag]), &from_flag);
    // The file may be named by the environment too.
    expect(&[], &[("INHALE_CONFIG", path)], json!([in_file]), &format!("file {path}"));
}

#[test]
fn flags_stand_over_the_environment_that_over_the_file_that_over_defaults() {
    check("cores", &json!(["0"]), ["3", "3", "4", "5"]);
    check("log-sample", &json!(["10000"]), ["\"7\"", "7", "8", "9"]);
    check("drain-grace", &json!(["1s"]), ["\"2s\"", "2s", "3s", "4s"]);
    check("retain", &json!([]), ["\"2days\"", "2days", "3days", "4days"]);
    check("pending-max", &json!(["4MiB"]), ["\"5MiB\"", "5MiB", "6MiB", "7MiB"]);
    check("data", &json!(["./inhale-data"]), ["\"a\"", "a", "b", "c"]);
    check("listen", &json!(["localhost:3000"]), ["[\"[::1]:1\"]", "[::1]:1", "[::1]:2", "[::1]:3"]);
    check("allow-anonymous", &json!(["false"]), ["true", "true", "false", "true"]);
    check("log-level", &json!(["info"]), ["\"warn\"", "warn", "debug", "error"]);
    check("unknown-fields", &json!(["refuse"]), ["\"keep\"", "keep", "refuse", "keep"]);
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
    assert!(line("cores = ").ends_with("# flag --cores"), "{printed}");
    assert!(line("log-sample = ").ends_with("# environment INHALE_LOG_SAMPLE"), "{printed}");
    assert!(line("drain-grace = ").ends_with("# default"), "{printed}");
    assert!(line("# retain is not set").ends_with("# default"), "{printed}");
    let file = Written::new(&printed);
    let path = file.path();
    for (name, values) in [
        ("cores", json!(["3"])),
        ("listen", json!(["127.0.0.1:1", "127.0.0.1:2"])),
        ("log-sample", json!(["5"])),
        ("drain-grace", json!(["1s"])),
    ] {
        assert_eq!(shown(name, &["--config", text_of(&path)], &[])["values"], values, "{name}");
    }
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
fn values_that_are_none_are_refused_by_the_name_of_their_flag() {
    for (name, value) in [
        ("cores", "many"),
        ("log-sample", "-1"),
        ("drain-grace", "soon"),
        ("pending-max", "big"),
        ("store-number", "4096"),
        ("allow-anonymous", "perhaps"),
        ("log-level", "loud"),
        ("index", "maybe"),
    ] {
        let (flag, word) = (format!("--{name}"), format!("--{name}={value}"));
        let variable = format!("INHALE_{}", name.replace('-', "_").to_uppercase());
        let file = Written::new(&format!("[serve]\n{name} = '{value}'\n"));
        let path = file.path();
        for command in ["serve", "config"] {
            expect_refused(&run(&[command, &word], &[]), &[&flag, value]);
            expect_refused(&run(&[command], &[(&variable, value)]), &[&flag, value]);
            let output = run(&[command, "--config", text_of(&path)], &[]);
            expect_refused(&output, &[name, value, text_of(&path)]);
        }
    }
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
