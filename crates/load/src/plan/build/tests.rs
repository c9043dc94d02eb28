//! Plans from options, and what is said of options that make none.

use serde_json::{Value, json};

use super::*;
use crate::plan::{Keeping, LocalAddresses, Protocol, Think, UserStage};

const URL: &str = "http://127.0.0.1:9/api/usages";

/// Options of one scenario with these members, to [`URL`] unless they say otherwise.
fn options(members: Value) -> Options {
    let mut all = json!({ "url": URL });
    let (into, Value::Object(from)) = (all.as_object_mut().expect("an object"), members) else {
        panic!("members")
    };
    into.extend(from);
    serde_json::from_value(json!({ "defaults": all })).expect("options")
}

fn plan(members: Value) -> Plan {
    let text = members.to_string();
    options(members).build().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn scenario(members: Value) -> Scenario {
    plan(members).scenarios.remove(0)
}

/// Exactly these faults, a line each.
fn check_faults(members: Value, expected: &[&str]) {
    let text = members.to_string();
    check_faults_of(&options(members), expected, &text);
}

fn check_faults_of(options: &Options, expected: &[&str], text: &str) {
    let error = options.build().map(drop).expect_err(text).to_string();
    let found: Vec<&str> = error.lines().collect();
    assert_eq!(found.len(), expected.len(), "{text}: {found:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{text}: {found:?} lacks {expected:?}");
    }
}

/// What comes: the count, the time, and the highest rate, each rounded.
fn arrivals(members: Value) -> (u64, f64, f64) {
    match scenario(members).executor {
        Executor::Arrivals(a) => (a.count(), a.duration().as_secs_f64(), a.rate_max().round()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_url_alone_is_a_run() {
    let plan = plan(json!({}));
    let [scenario] = plan.scenarios.as_slice() else { panic!("{plan:?}") };
    assert_eq!(arrivals(json!({})), (1_000, 10.0, 100.0));
    assert_eq!(scenario.name, "default");
    assert_eq!(scenario.tags["scenario"], "default");
    assert_eq!(scenario.checks, [Check::Status(201)]);
    assert_eq!(scenario.connections.keeping, Keeping::Alive { max: 512 });
    assert_eq!(scenario.connections.local, LocalAddresses::Kernel);
    assert_eq!((plan.thresholds.len(), plan.graceful_stop), (0, Duration::from_secs(30)));
    assert!(plan.threads >= 1);
    assert!(plan.notes.iter().any(|note| note.contains("100 requests a second")), "{plan:?}");
    let mut request = Vec::new();
    scenario.requests.write_http1(0, 0, false, &mut request);
    let text = String::from_utf8(request).expect("text");
    assert!(text.starts_with("POST /api/usages HTTP/1.1\r\nHost: 127.0.0.1:9\r\n"), "{text}");
}

#[test]
fn open_models() {
    let check = |members: Value, expected: (u64, f64, f64)| {
        let text = members.to_string();
        assert_eq!(arrivals(members), expected, "{text}");
    };
    check(json!({ "rate": "1M/m", "duration": "60s" }), (1_000_000, 60.0, 16_667.0));
    check(json!({ "duration": "30s" }), (3_000, 30.0, 100.0));
    check(json!({ "rate": "100", "iterations": "250" }), (250, 2.5, 100.0));
    check(json!({ "rate": "16667", "iterations": "1M" }), (1_000_000, 59.998_800_023, 16_667.0));
    check(json!({ "rate": "100", "iterations": "250", "duration": "1s" }), (100, 1.0, 100.0));
    check(json!({ "stages": ["30s:5k/s", "10s:5k/s"] }), (125_000, 40.0, 5_000.0));
    check(json!({ "rate": "100", "stages": ["10s:300,10s:0"] }), (3_500, 20.0, 300.0));
    check(json!({ "executor": "ramping-arrival-rate", "stages": ["2s:100"] }), (100, 2.0, 100.0));
    check(json!({ "rate": "1", "shape": "flat", "duration": "2s" }), (2, 2.0, 1.0));
    let late = scenario(json!({ "late-max": "5ms" })).late_max;
    assert_eq!(late, Some(Duration::from_millis(5)));
}

#[test]
fn a_day_has_two_peaks_and_the_area_of_its_average() {
    for (rate, duration, count) in
        [("1M/m", "60s", 1_000_000), ("7/s", "61s", 427), ("1k/s", "24h", 86_400_000)]
    {
        let members = json!({ "rate": rate, "duration": duration, "shape": "daily" });
        let Executor::Arrivals(day) = scenario(members).executor else { panic!("arrivals") };
        assert_eq!(day.count(), count, "{rate} {duration}");
        // How many come in each hour of the day.
        let (mut hours, hour_ns) = ([0u32; 24], day.duration().as_secs_f64() * 1e9 / 24.0);
        let step = (count / 100_000).max(1);
        for number in (0..count).step_by(usize::try_from(step).expect("small")) {
            #[expect(clippy::cast_precision_loss, reason = "shares")]
            let hour = day.due_ns(number).expect("due") as f64 / hour_ns;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 24")]
            let hour = (hour as usize).min(23);
            hours[hour] += 1;
        }
        let peak = |from: usize| (from..from + 12).max_by_key(|hour| hours[*hour]).expect("some");
        assert!((7..=8).contains(&peak(0)) && (19..=20).contains(&peak(12)), "{hours:?}");
        assert!(hours[13] * 2 < hours[8] && hours[2] * 8 < hours[8], "{hours:?}");
    }
}

#[test]
fn closed_models() {
    let check = |members: Value, expected: &str| {
        let text = members.to_string();
        assert_eq!(format!("{:?}", scenario(members).executor), expected, "{text}");
    };
    let think = format!("think: {:?}", Think::default());
    check(
        json!({ "vus": "10", "duration": "30s" }),
        &format!("Users {{ stages: [UserStage {{ duration: 30s, from: 10, to: 10 }}], {think} }}"),
    );
    check(
        json!({ "vus": "10", "iterations": "1000" }),
        &format!("SharedIterations {{ users: 10, iterations: 1000, duration_max: 600s, {think} }}"),
    );
    check(
        json!({ "iterations": "5", "duration": "3s" }),
        &format!("SharedIterations {{ users: 1, iterations: 5, duration_max: 3s, {think} }}"),
    );
    check(
        json!({ "executor": "per-vu-iterations", "vus": "2", "iterations": "5" }),
        &format!("PerUserIterations {{ users: 2, iterations: 5, duration_max: 600s, {think} }}"),
    );
    let ramp = scenario(json!({ "stages": ["30s:100", "0s:50", "1m:0"], "think": "1s..3s" }));
    let Executor::Users { stages, think } = &ramp.executor else { panic!("{ramp:?}") };
    let stage = |seconds, from, to| UserStage { duration: Duration::from_secs(seconds), from, to };
    assert_eq!(stages.as_slice(), [stage(30, 1, 100), stage(0, 100, 50), stage(60, 50, 0)]);
    let (min, max) = (Duration::from_secs(1), Duration::from_secs(3));
    assert_eq!(*think, Think { min, max });
    assert_eq!(ramp.connections.keeping, Keeping::Alive { max: 100 });
    // k6's cap, on any of them.
    for (members, rps_max) in [
        (json!({ "rps": "16700", "vus": "50", "duration": "1m" }), 16_700.0),
        (json!({ "rps": "1M/m", "stages": ["1s:3"] }), 1_000_000.0 / 60.0),
        (json!({ "rps": "7", "vus": "2", "iterations": "5" }), 7.0),
        (json!({ "rps": "7" }), 7.0),
    ] {
        let capped = scenario(members.clone());
        assert!(!matches!(capped.executor, Executor::Arrivals(_)), "{members}");
        assert_eq!(capped.rps_max, Some(rps_max), "{members}");
    }
    assert_eq!(scenario(json!({ "vus": "2" })).rps_max, None);
    let from_vus = scenario(json!({ "vus": "7", "stages": ["3s:9"] })).executor;
    let Executor::Users { stages, .. } = &from_vus else { panic!("{from_vus:?}") };
    assert_eq!(stages.as_slice(), [stage(3, 7, 9)]);
}

#[test]
fn connections() {
    let keeping = |members: Value| scenario(members).connections.keeping;
    let new = |max, server_closes| Keeping::PerRequest { max, server_closes };
    let rate = |extra: Value| {
        let mut all = json!({ "rate": "1M/m", "duration": "60s", "connection-per-user": true });
        all.as_object_mut().expect("one").extend(extra.as_object().expect("one").clone());
        all
    };
    assert_eq!(keeping(rate(json!({}))), new(4_096, true));
    assert_eq!(keeping(rate(json!({ "close": "client", "connections": "9" }))), new(9, false));
    assert_eq!(keeping(rate(json!({ "http2": true }))), new(4_096, false));
    assert_eq!(keeping(json!({ "vus": "3", "connection-per-user": true })), new(3, true));
    assert_eq!(keeping(json!({ "connections": "20k" })), Keeping::Alive { max: 20_000 });
    let protocol = scenario(json!({ "http2": true, "streams": "7" })).connections.protocol;
    assert_eq!(protocol, Protocol::Http2 { streams_max: 7 });

    let count = |members: Value| match scenario(members).connections.local {
        LocalAddresses::Of(all) => all.len(),
        LocalAddresses::Kernel => 0,
    };
    // 16,667 a second for 60 s are a million ports, of 28,232 on each address.
    assert_eq!(count(rate(json!({}))), 54);
    // 60 s of 313/s are 18,780, which with half as many to spare fit one address; 314/s do not.
    assert_eq!(count(rate(json!({ "rate": "313/s" }))), 0);
    assert_eq!(count(rate(json!({ "rate": "314/s" }))), 2);
    assert_eq!(count(rate(json!({ "duration": "1s" }))), 54, "another run may follow");
    let users = |iterations: &str| json!({ "vus": "5", "iterations": iterations, "connection-per-user": true });
    assert_eq!((count(users("20")), count(users("1M")), count(users("1G"))), (0, 54, 160));
    assert_eq!(count(rate(json!({ "rate": "1M/s" }))), 253);
    assert_eq!(count(rate(json!({ "local-ips": ["127.0.0.2-127.0.0.5", "127.0.0.9"] }))), 5);
    assert_eq!(count(rate(json!({ "url": "http://[::1]:9/" }))), 0);
}

#[test]
fn repro_many_scenarios_take_no_more_connections_than_there_are() {
    let of = |scenarios: usize, is_new: bool| {
        let mut options = options(json!({ "rate": "10/s", "connection-per-user": is_new }));
        for number in 0..scenarios {
            options.scenarios.insert(format!("s{number}"), ScenarioOptions::default());
        }
        let plan = options.build().expect("in order");
        let all = plan.scenarios.iter().map(|scenario| scenario.connections.keeping.max());
        (all.clone().max().expect("there is one"), all.sum::<usize>())
    };
    assert_eq!((of(1, false), of(4, false)), ((512, 512), (512, 2_048)));
    assert_eq!((of(64, false), of(64, true)), ((32, 2_048), (256, 16_384)));
}

#[test]
fn localhost_is_127_0_0_1() {
    let plan = plan(json!({
        "url": "http://localhost:9/x", "rate": "1M/m", "duration": "60s",
        "connection-per-user": true,
    }));
    let addresses = &plan.scenarios[0].target.addresses;
    assert!(addresses.iter().all(|address| address.to_string() == "127.0.0.1:9"), "{addresses:?}");
    assert!(plan.notes.iter().any(|note| note.contains("127.0.0.2 to 127.0.0.")), "{plan:?}");
}

#[test]
fn requests() {
    let text = |members: Value, number: u64| {
        let mut request = Vec::new();
        scenario(members).requests.write_http1(number, 0, false, &mut request);
        String::from_utf8(request).expect("text")
    };
    let get = text(json!({ "method": "get", "url": "http://127.0.0.1?p={{patient}}" }), 3);
    assert!(get.starts_with("GET /?p=103 HTTP/1.1\r\nHost: 127.0.0.1\r\n"), "{get}");
    assert!(get.ends_with("\r\n\r\n") && !get.contains("Content-"), "{get}");
    assert_eq!(scenario(json!({ "method": "get" })).checks, [Check::Status(200)]);
    let hosted = scenario(json!({ "headers": ["Host: a.example", "X: {{seq}}"] }));
    assert_eq!(
        (hosted.target.authority.as_str(), hosted.target.host.as_str()),
        ("a.example", "127.0.0.1")
    );
    let row = text(json!({ "data-text": "d\n1\n2", "body": "{{data.d}}", "patients": "2k" }), 3);
    assert!(row.ends_with("\r\n\r\n2"), "{row}");
    let put = text(json!({ "method": "PUT", "body": "" }), 0);
    assert!(put.ends_with("Content-Length: 0\r\n\r\n"), "{put}");
    // The seed and the scenario's name make ids; nothing else does.
    let key = |seed: Option<u64>, name: &str| {
        let mut options = options(json!({ "idempotency-key": "{{uuid}}" }));
        options.seed = seed;
        options.scenarios.insert(name.to_owned(), ScenarioOptions::default());
        let mut request = Vec::new();
        let plan = options.build().expect("in order");
        plan.scenarios[0].requests.write_http1(0, 0, false, &mut request);
        String::from_utf8(request).expect("text")
    };
    assert_eq!(key(None, "a"), key(Some(0), "a"));
    assert_ne!(key(Some(1), "a"), key(Some(0), "a"));
    assert_ne!(key(Some(1), "a"), key(Some(1), "b"));
}

#[test]
fn a_body_that_is_no_json_is_noted() {
    let noted = |members: Value| plan(members).notes.iter().any(|note| note.contains("as JSON"));
    assert!(noted(json!({ "body": "{patientId: 100}" })));
    assert!(!noted(json!({ "body": "{\"patientId\": \"{{patient}}\"}" })));
    assert!(!noted(json!({ "body": "x", "headers": ["content-type: text/plain"] })));
}

#[test]
fn what_is_of_no_use_is_noted() {
    let noted = |plan: &Plan| -> Vec<String> {
        plan.notes.iter().filter(|note| note.contains("of no use")).cloned().collect()
    };
    let data = json!({ "data-text": "a,b\n1,2" });
    assert_eq!(
        noted(&plan(data.clone())),
        ["--data is of no use: nothing takes {{data.COLUMN}} from it"]
    );
    for taken in ["url", "body", "idempotency-key"] {
        let mut data = data.clone();
        data[taken] =
            json!(if taken == "url" { "http://[::1]:9/{{data.b}}" } else { "{{data.b}}" });
        assert_eq!(noted(&plan(data)), Vec::<String>::new(), "{taken}");
    }
    let mut tls = json!({ "insecure-skip-tls-verify": true, "no-tls-resume": true });
    let [one, other] = &noted(&plan(tls.clone()))[..] else { panic!("two are of no use") };
    assert_eq!(one, "--insecure-skip-tls-verify is of no use: the URL is not https://");
    assert!(other.starts_with("--no-tls-resume"), "{other}");
    tls["url"] = json!("https://127.0.0.1:9/");
    assert_eq!(noted(&plan(tls)), Vec::<String>::new());
    // What stands at the top need not be of use to all.
    let file = r#"
        insecure-skip-tls-verify = true
        [scenarios.a]
        url = "http://127.0.0.1:9/"
        [scenarios.b]
        url = "https://127.0.0.1:9/"
    "#;
    let both = Options::from_toml(file).expect("in order").build().expect("in order");
    assert_eq!(noted(&both), Vec::<String>::new());
}

#[test]
fn scenarios_stand_side_by_side() {
    let file = r#"
        url = "http://127.0.0.1:9/"
        rate = "10/s"
        duration = "4s"
        thresholds = ["http_req_duration{scenario:b}: p(95)<5ms", "checks{region:eu}: rate>0.9"]
        abort-on-fail = true
        abort-delay = "1s"
        graceful-stop = "0s"
        threads = 3
        [tags]
        region = "eu"
        [scenarios.a]
        start = "5s"
        tags = { region = "us" }
        [scenarios.b]
        vus = 3
        checks = ["none"]
    "#;
    let plan = Options::from_toml(file).expect("TOML").build().expect("in order");
    assert_eq!(plan.shape(), [1, 0]);
    assert_eq!(plan.duration(), Duration::from_secs(9));
    assert_eq!((plan.threads, plan.graceful_stop), (3, Duration::ZERO));
    assert_eq!((plan.scenarios[0].name.as_str(), plan.scenarios[1].name.as_str()), ("a", "b"));
    assert_eq!(plan.scenarios[0].tags["region"], "us");
    assert_eq!(plan.scenarios[1].tags["region"], "eu");
    let aborts: Vec<_> = plan.thresholds.iter().map(|t| t.abort_after).collect();
    assert_eq!(aborts, [Some(Duration::from_secs(1)); 2]);
}

#[test]
fn what_is_malformed_is_told_with_its_flag() {
    let check = check_faults;
    check(json!({ "url": null }), &["URL: there is none"]);
    check(json!({ "url": "localhost:3000" }), &["URL: `localhost:3000` is no URL; write it like"]);
    check(json!({ "url": "http://nowhere.invalid" }), &["URL: `nowhere.invalid` has no address"]);
    check(json!({ "url": "http://127.0.0.1/{{x}}" }), &["URL: there is no placeholder `{{x}}`"]);
    check(json!({ "rate": "1M/d" }), &["--rate: `1M/d` is not a rate; write it like 1M/m"]);
    check(json!({ "rate": "0" }), &["--rate: it must be above 0"]);
    check(json!({ "rate": "1G" }), &["--rate: more than 100000000 requests a second"]);
    check(json!({ "rate": "1/h", "duration": "0s" }), &["--duration: it must be above 0"]);
    check(json!({ "duration": "30" }), &["--duration: `30` has no unit; write 30s"]);
    check(json!({ "duration": "32d" }), &["--duration: it must be above 0 and at most 31 days"]);
    check(json!({ "start": "31d" }), &["--duration: a run is over after 31 days"]);
    check(json!({ "vus": "0" }), &["--vus: 0 is not from 1 to 1000000"]);
    check(json!({ "iterations": "1.5" }), &["--iterations: `1.5` is no whole number"]);
    check(
        json!({ "rps": "5", "rate": "5" }),
        &["--rps: not for what the others ask for (constant-arrival-rate): it caps"],
    );
    check(json!({ "rps": "0", "vus": "5" }), &["--rps: it must be above 0"]);
    check(
        json!({ "rate": "5", "vus": "5" }),
        &[
            "--vus: not for what the others ask for (constant-arrival-rate): requests come at a rate",
        ],
    );
    check(json!({ "rate": "5", "think": "5s" }), &["--think: not for"]);
    check(json!({ "stages": ["5s:5"], "rps": "5", "duration": "1s" }), &["--duration: not for"]);
    check(
        json!({ "stages": ["5s:5", "5s:7/s"] }),
        &["--stage: `5s:5` is of users and `5s:7/s` a rate"],
    );
    check(json!({ "stages": ["5s:5"], "shape": "daily" }), &["--shape: not for"]);
    check(json!({ "stages": ["5s"] }), &["--stage: `5s` is no stage; write it like 30s:100"]);
    check(
        json!({ "stages": ["5s:5/s,x:3/s,3s:y/s"] }),
        &["--stage: `x` is not a duration", "--stage: `y/s` is not a rate"],
    );
    check(json!({ "stages": ["5s:-1"] }), &["--stage: `-1` is no whole number"]);
    check(json!({ "stages": ["5s:2M"] }), &["--stage: 2000000 users of at most 1000000"]);
    check(json!({ "stages": ["0s:5"] }), &["--stage: together they must be above 0"]);
    check(
        json!({ "vus": "1", "stages": ["5s:0/s"] }),
        &["--vus: not for", "--stage: not even one request is due"],
    );
    check(
        json!({ "executor": "constant-vu" }),
        &["--executor: there is no `constant-vu`; did you mean `constant-vus`?"],
    );
    check(
        json!({ "executor": "constant-vus", "rate": "5" }),
        &["--rate: not for what the others ask for (constant-vus)"],
    );
    check(json!({ "executor": "ramping-vus" }), &["--stage: 0 stages"]);
    check(
        json!({ "vus": "1", "think": "3s..1s" }),
        &["--think: `3s..1s` is not like 1s or 1s..3s"],
    );
    check(json!({ "shape": "weekly" }), &["--shape: `weekly` is neither flat nor daily"]);
    check(json!({ "late-max": "x" }), &["--late-max: `x` is not a duration"]);
    check(
        json!({ "late-max": "1s", "vus": "1" }),
        &["--late-max: users of a closed model are never late"],
    );
    check(json!({ "method": "BREW COFFEE" }), &["--method: `BREW COFFEE` is no method"]);
    check(json!({ "headers": ["x"] }), &["--header: `x` is not NAME: VALUE"]);
    check(
        json!({ "headers": ["Content-Length: 3"] }),
        &["--header: `Content-Length` is written by the generator"],
    );
    check(
        json!({ "headers": ["Host: {{seq}}"] }),
        &["--header: the host is the same for all requests"],
    );
    check(json!({ "body": "{{x}}" }), &["--body: there is no placeholder `{{x}}`"]);
    check(
        json!({ "body": "{{data.x}}" }),
        &["--body: `{{data.x}}` needs a file of rows: --data FILE"],
    );
    check(json!({ "body-file": "/nowhere" }), &["--body-file: cannot read /nowhere"]);
    check(json!({ "data": "/nowhere" }), &["--data: cannot read /nowhere"]);
    check(json!({ "data-text": "a" }), &["--data: there is no row of data"]);
    check(json!({ "patients": "0" }), &["--patients: 0 is not from 1"]);
    check(json!({ "batch": "2", "method": "GET" }), &["--batch: a batch needs a body"]);
    check(json!({ "batch": "100k" }), &["--batch: the longest request has"]);
    check(json!({ "idempotency-key": "{{x}}" }), &["--idempotency-key: there is no placeholder"]);
    check(json!({ "connections": "0" }), &["--connections: 0 is not from 1"]);
    check(
        json!({ "connections": "5", "vus": "5" }),
        &["--connections: each user of a closed model"],
    );
    check(json!({ "close": "client" }), &["--close: connections are kept"]);
    check(
        json!({ "close": "nobody", "connection-per-user": true }),
        &["--close: `nobody` is neither"],
    );
    check(
        json!({ "close": "server", "connection-per-user": true, "http2": true }),
        &["--close: HTTP/2 cannot ask"],
    );
    check(json!({ "checks": ["none", "status is 201"] }), &["--check: `none` says"]);
    check(json!({ "streams": "5" }), &["--streams: HTTP/1.1 has none"]);
    check(
        json!({ "http2": true, "headers": ["Host: a b", "Keep-Alive: 5", "X: y"] }),
        &["--header: `a b` is no host", "--header: `Keep-Alive` speaks of a connection"],
    );
    check(json!({ "http2": true, "headers": ["TE: gzip"] }), &["--header: `TE` speaks of"]);
    check(json!({ "url": "http://localhost/x?q=\"a\"" }), &["URL: a path holds ASCII"]);
    check(json!({ "local-ips": ["127.0.0.x"] }), &["--local-ips: `127.0.0.x` is no address"]);
    check(
        json!({ "local-ips": ["::1"] }),
        &["--local-ips: an IPv6 address reaches no target of IPv4"],
    );
    check(json!({ "timeout": "0s" }), &["--timeout: it must be above 0"]);
    check(json!({ "connect-timeout": "x" }), &["--connect-timeout: `x` is not a duration"]);
    check(
        json!({ "cert": "/nowhere" }),
        &["--cert: cannot read /nowhere", "--key: a certificate needs its key"],
    );
    check(json!({ "ca": file!() }), &["--ca: "]);
    check(
        json!({ "checks": ["status ok"] }),
        &["--check: `status ok` is no check; write `status is 201`"],
    );
    check(json!({ "tags": { "scenario": "x" } }), &["--tag: `scenario` is set by the generator"]);
    check(json!({ "tags": { "a:b": "x" } }), &["--tag: `a:b=x`: 1 to 64 characters"]);
}

#[test]
fn what_belongs_to_the_run_is_told_with_its_flag() {
    let check = |change: &dyn Fn(&mut Options), expected: &[&str]| {
        let mut options = options(json!({}));
        change(&mut options);
        check_faults_of(&options, expected, expected[0]);
    };
    let threshold = |text: &str| vec![text.to_owned()];
    check(&|o| o.threads = Some(0), &["--threads: 0 is not from 1 to 64"]);
    check(&|o| o.threads = Some(65), &["--threads: 65 is not from 1 to 64"]);
    check(&|o| o.graceful_stop = Some("2d".to_owned()), &["--graceful-stop: it must be"]);
    check(
        &|o| o.abort_delay = Some("1s".to_owned()),
        &["--abort-delay: it delays --abort-on-fail"],
    );
    check(&|o| o.abort_on_fail = true, &["--abort-on-fail: there is no --threshold"]);
    check(
        &|o| o.thresholds = threshold("http_req_duraton: p(95)<5"),
        &["--threshold: there is no metric `http_req_duraton`; did you mean"],
    );
    check(
        &|o| o.thresholds = threshold("http_req_duration{scenario:x}: p(95)<5"),
        &["--threshold: no scenario has `scenario:x`; there are scenario:default (and"],
    );
    check(
        &|o| drop(o.scenarios.insert("a b".to_owned(), ScenarioOptions::default())),
        &["scenarios: `a b` is no name; letters, digits, - and _ make one (scenario `a b`)"],
    );
    check(
        &|o| {
            o.scenarios = (0..65).map(|n| (format!("s{n}"), ScenarioOptions::default())).collect();
        },
        &["scenarios: 65, of at most 64"],
    );
    check(
        &|o| {
            o.defaults.connections = Some("600k".to_owned());
            o.scenarios = (0..2).map(|n| (format!("s{n}"), ScenarioOptions::default())).collect();
        },
        &["--connections: 1200000 over all scenarios, of at most 1000000"],
    );
}

/// Everything is told at once, and once.
#[test]
fn every_fault_is_told() {
    check_faults(
        json!({ "url": "x", "rate": "y", "body": "{{z", "checks": ["a", "b"], "timeout": "c" }),
        &[
            "--rate: `y` is not a rate",
            "URL: `x` is no URL",
            "--check: `a` is no check",
            "--check: `b` is no check",
            "--timeout: `c` is not a duration",
        ],
    );
    let mut options = options(json!({ "rate": "y" }));
    for name in ["a", "b"] {
        options.scenarios.insert(name.to_owned(), ScenarioOptions::default());
    }
    options.scenarios.get_mut("b").expect("it is there").vus = Some("0".to_owned());
    check_faults_of(
        &options,
        &[
            "--rate: `y` is not a rate; write it like 1M/m, 16700/s or 5k/s (scenario `a`)",
            "--vus: 0",
        ],
        "two scenarios",
    );
    // What both have from the top is said once.
    options.scenarios.get_mut("b").expect("it is there").vus = None;
    check_faults_of(&options, &["--rate: `y` is not a rate"], "two scenarios alike");
}
