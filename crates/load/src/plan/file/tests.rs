//! Scenario files and what travels between machines.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const FILE_TEXT: &str = r#"
url = "http://localhost:3000/api/usages"
thresholds = ["http_req_duration: p(95)<5ms"]
threads = 2
abort-on-fail = true
seed = 7
patients = 1000

[headers]
X-Number = 3
Authorization = "Bearer x"

[scenarios.day]
rate = "1M/m"
shape = "daily"
checks = "status is 201"
tags = { region = 1 }

[scenarios.night]
rate = 100
http2 = true
stages = ["1s:3"]
"#;

fn lines(error: &PlanError) -> Vec<String> {
    error.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn a_file_is_options() {
    let options = Options::from_toml(FILE_TEXT).expect("in order");
    let expected = json!({
        "defaults": {
            "url": "http://localhost:3000/api/usages",
            "patients": "1000",
            "headers": ["Authorization: Bearer x", "X-Number: 3"],
        },
        "scenarios": {
            "day": {
                "rate": "1M/m", "shape": "daily", "checks": ["status is 201"],
                "tags": { "region": "1" },
            },
            "night": { "rate": "100", "http2": true, "stages": ["1s:3"] },
        },
        "thresholds": ["http_req_duration: p(95)<5ms"],
        "threads": 2, "abort-on-fail": true, "seed": 7,
    });
    assert_eq!(options, serde_json::from_value(expected).expect("options"));
    assert_eq!(Options::from_toml(""), Ok(Options::default()));
}

#[test]
fn every_wrong_key_and_value_is_named() {
    let check = |text: &str, expected: &[&str]| {
        let error = Options::from_toml(text).expect_err(text);
        let found = lines(&error);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for expected in expected {
            assert!(found.iter().any(|line| line.contains(expected)), "{found:?} {expected}");
        }
    };
    check("rat = 1", &["--file: there is no key `rat`; did you mean `rate`?"]);
    check("html = \"a.html\"", &["`html` is no key of a file: say --html beside --file"]);
    check("threshold = []", &["did you mean `thresholds`?"]);
    check("defaults = {}", &["there is no key `defaults`"]);
    check("rate = true", &["--rate: invalid type: boolean `true`"]);
    check("threads = \"many\"", &["--threads: invalid type"]);
    check("checks = [[1]]", &["--check: invalid type"]);
    check("scenarios = 3", &["scenarios: each is a table"]);
    check("scenarios.a = 3", &["scenarios: write it as a table: [scenarios.a]"]);
    check(
        "colour = 1\nhttp2 = 3\n[scenarios.a]\nthresholds = []\nvu = 1\nrate = {}",
        &[
            "`thresholds` is of the whole run, and stands at the top of the file (scenario `a`)",
            "there is no key `vu`; did you mean `vus`? (scenario `a`)",
            "--rate: invalid type: map, expected a string (scenario `a`)",
            "there is no key `colour`",
            "--http2: invalid type",
        ],
    );
    let error = Options::from_toml("rate = \n").expect_err("not TOML").to_string();
    assert!(error.starts_with("--file: TOML parse error at line 1"), "{error}");
}

#[test]
fn files_are_found_beside_it_and_embedded() {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect(name);
    write("run.toml", "body-file = \"body.json\"\n[scenarios.a]\ndata = \"rows.csv\"\n");
    write("body.json", "{}\n");
    write("rows.csv", "a\n1\n");
    let options = Options::read(&dir.path().join("run.toml")).expect("in order");
    let embedded = options.embed_files().expect("the files are there");
    assert_eq!(embedded.defaults.body.as_deref(), Some("{}\n"), "byte for byte");
    assert_eq!(embedded.defaults.body_file, None);
    assert_eq!(embedded.scenarios["a"].data_text.as_deref(), Some("a\n1"));
    assert_eq!(embedded.embed_files().as_ref(), Ok(&embedded));

    std::fs::remove_file(dir.path().join("body.json")).expect("it was there");
    write("rows.csv", &"x".repeat(DATA_BYTES_MAX + 1));
    let found = lines(&options.embed_files().expect_err("one is gone, one too long"));
    assert_eq!(found.len(), 2);
    assert!(found[0].contains("--data: ") && found[0].contains("more than the"), "{found:?}");
    assert!(found[1].starts_with("--body-file: cannot read"), "{found:?}");
    let error = Options::read(&dir.path().join("none.toml")).expect_err("not there").to_string();
    assert!(error.starts_with("--file: cannot read"), "{error}");
}

#[test]
fn certificates_are_embedded_and_may_stand_in_the_file_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).expect(name);
    let pem = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
    write("ca.pem", &format!("an authority\n{pem}"));
    write("tls.toml", "ca = \"ca.pem\"\ncert = \"ca.pem\"\nkey = \"ca.pem\"\n");
    let options = Options::read(&dir.path().join("tls.toml")).expect("in order");
    let found = lines(&options.embed_files().expect_err("that is no key"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("--key: ") && found[0].contains("no private key"), "{found:?}");
    write("tls.toml", &format!("ca = \"ca.pem\"\n[scenarios.a]\nca = \"\"\"{pem}\"\"\"\n"));
    let options = Options::read(&dir.path().join("tls.toml")).expect("in order");
    let embedded = options.embed_files().expect("the file is there");
    assert!(embedded.defaults.ca.as_ref().is_some_and(|ca| ca.ends_with(pem)));
    assert_eq!(embedded.scenarios["a"].ca.as_deref(), Some(pem));
    assert_eq!(embedded.embed_files().as_ref(), Ok(&embedded));
}

fn scenario_strategy() -> impl Strategy<Value = ScenarioOptions> {
    let text = || prop::option::of(".{0,8}");
    let texts = || prop::collection::vec(".{0,8}", 0..3);
    let flag = || prop::option::of(any::<bool>());
    let tags = prop::collection::btree_map("[a-z]{1,3}", ".{0,4}", 0..3);
    (text(), text(), texts(), texts(), flag(), flag(), tags, text()).prop_map(
        |(url, rate, headers, stages, http2, connection_per_user, tags, data_text)| {
            ScenarioOptions {
                url,
                rate,
                headers,
                stages,
                http2,
                connection_per_user,
                tags,
                data_text,
                ..ScenarioOptions::default()
            }
        },
    )
}

proptest! {
    #[test]
    fn options_travel_unchanged(
        defaults in scenario_strategy(),
        scenarios in prop::collection::btree_map("[a-z]{1,3}", scenario_strategy(), 0..3),
        thresholds in prop::collection::vec(".{0,8}", 0..3),
        threads in prop::option::of(any::<usize>()),
        seed in prop::option::of(any::<u64>()),
        abort_on_fail in any::<bool>(),
    ) {
        let options =
            Options { defaults, scenarios, thresholds, threads, seed, abort_on_fail, ..Options::default() };
        let text = serde_json::to_string(&options).expect("JSON");
        prop_assert_eq!(serde_json::from_str::<Options>(&text).expect("options"), options);
    }

    #[test]
    fn nothing_panics(text in "[a-z =\"\\[\\]{}.\n0-9]{0,80}") {
        let _ = Options::from_toml(&text);
    }
}

/// The page that explains all this: its example is a plan, and it leaves no key out.
const PAGE: &str = include_str!("../../../../../docs/load.md");

#[test]
fn the_page_is_true() {
    let (_, after) = PAGE.split_once("```toml\n").expect("an example");
    let (example, _) = after.split_once("```").expect("its end");
    let options = Options::from_toml(&example.replace("localhost", "127.0.0.1")).expect("TOML");
    let plan = options.build().expect("in order");
    assert_eq!(plan.scenarios.len(), 2);

    let named = |key: &str| PAGE.contains(&format!("`{key}`"));
    let of_scenarios = members(&ScenarioOptions::default());
    let missing: Vec<String> =
        run_keys().into_iter().chain(of_scenarios.into_iter().map(|(key, _)| key)).collect();
    let missing: Vec<String> = missing.into_iter().filter(|key| !named(key)).collect();
    assert_eq!(missing, Vec::<String>::new());
    assert!(!named("colour"));
}
