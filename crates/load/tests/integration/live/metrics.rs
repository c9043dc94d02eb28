//! Metrics, scraped while a run goes on.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use load::live::metrics::Metrics;
use load::measure::Trend;
use load::observe::Observer as _;

use super::synthetic::{Kind, Synthetic};

fn start() -> Metrics {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has room");
    Metrics::start(listener).expect("a thread can be started")
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("it is a socket");
    stream
}

/// The page that is answered to a scraper.
fn scrape(address: SocketAddr) -> String {
    let mut stream = connect(address);
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers and closes");
    let (head, page) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("\r\nContent-Type: text/plain; version=0.0.4"), "{head}");
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", page.len())), "{head}");
    page.to_owned()
}

/// Reads a page as Prometheus does: each sample belongs to the family announced last, and a
/// histogram's buckets never decrease. Returns samples by name and labels.
fn read(page: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let (mut family, mut kind, mut bucket) = ("", "", 0.0);
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            family = help.split(' ').next().expect("a name");
            assert!(help.len() > family.len() + 1, "no words about {family}");
            continue;
        }
        if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, its_kind) = typed.split_once(' ').expect("a name and a type");
            assert_eq!(name, family);
            kind = its_kind;
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a series and a value");
        let value: f64 = value.parse().expect("a number");
        let name = series.split('{').next().expect("a name");
        match kind {
            "counter" => assert!(name == family && name.ends_with("_total"), "{line}"),
            "gauge" => assert_eq!(name, family),
            "histogram" => match name.strip_prefix(family) {
                Some("_bucket") => {
                    assert!(value >= bucket, "{line} after {bucket}");
                    bucket = value;
                }
                Some("_count") => assert_eq!(value, std::mem::take(&mut bucket), "{line}"),
                suffix => assert_eq!(suffix, Some("_sum"), "{line}"),
            },
            _ => panic!("{kind}: {line}"),
        }
        assert!(samples.insert(series.to_owned(), value).is_none(), "twice: {series}");
    }
    samples
}

#[test]
fn a_scrape_is_the_run_so_far() {
    let mut metrics = start();
    let mut run = Synthetic::new(Kind::Several, 10, 400.0);
    metrics.begin(&run.plan, &[]);
    let before = read(&scrape(metrics.address()));
    assert_eq!(before["inhale_load_http_reqs_total{scenario=\"morning\"}"], 0.0);
    for _ in 0..12 {
        run.tick();
        metrics.tick(&run.plan, &run.totals, run.at());
    }
    let samples = read(&scrape(metrics.address()));
    for (number, scenario) in run.plan.scenarios.iter().enumerate() {
        let of = |name: &str, more: &str| {
            samples[&format!("inhale_load_{name}{{scenario=\"{}\"{more}}}", scenario.name)]
        };
        let so_far = &run.totals.scenarios[number];
        let counts = &so_far.counts;
        assert_eq!(of("http_reqs_total", ""), counts.ended as f64);
        assert_eq!(of("http_req_failed_total", ""), counts.failed as f64);
        assert_eq!(of("data_sent_bytes_total", ""), counts.bytes_sent as f64);
        let passed = of("checks_total", ",check=\"status is 201\",result=\"passed\"");
        assert_eq!(passed, counts.checks_passed[0] as f64);
        let durations = so_far.trend(Trend::Duration);
        let name = "http_req_duration_seconds";
        assert_eq!(of(&format!("{name}_count"), ""), durations.len() as f64);
        let fast = durations.buckets_ms().filter(|(ms, _)| *ms <= 1.0).map(|(_, count)| count);
        assert_eq!(of(&format!("{name}_bucket"), ",le=\"0.001\""), fast.sum::<u64>() as f64);
    }
    assert_eq!(samples["inhale_load_elapsed_seconds"], 3.0);
}

#[test]
fn a_client_that_says_nothing_holds_up_nobody_for_long() {
    let metrics = start();
    let address = metrics.address();
    // Each would be waited for until its deadline; both go away unheard.
    let mut silent = connect(address);
    let mut slow = connect(address);
    slow.write_all(b"GET /metr").expect("it reads");
    assert_eq!(scrape(address), "", "there are no figures yet");
    for stream in [&mut silent, &mut slow] {
        assert_eq!(stream.read(&mut [0; 64]).unwrap_or(0), 0, "closed without an answer");
    }
}

#[test]
fn it_ends_with_the_run() {
    let metrics = start();
    let address = metrics.address();
    drop(metrics);
    TcpStream::connect(address).expect_err("nobody listens any more");
}
