//! Points over time: their sums are the totals, and a disk that fails ends them, not the run.

use std::cell::Cell;
use std::io::{self, Write};
use std::time::Duration;

use load::measure::{Totals, Trend};
use load::observe::Observer as _;
use load::report::out::{Format, Out};
use serde_json::Value;

use super::runs::{self, Run};

/// Noon of the first of January 2026, three seconds in.
fn wall_ns() -> u64 {
    1_767_268_803_000_000_000
}

/// A run in three steps: nothing, half of a second of what it is, all of it; ticks in between.
fn played<W: Write>(run: &Run, format: Format, writer: W) -> Out<W> {
    let mut out = Out::new("out", format, writer, wall_ns);
    out.tick(&run.plan, &Totals::new(&run.plan.shape()), Duration::from_secs(3));
    for (at_ms, totals) in [(3_250, &run.totals), (4_250, &run.totals)] {
        out.tick(&run.plan, totals, Duration::from_millis(at_ms));
    }
    out.finish(&run.plan, &run.totals, Duration::from_secs(5));
    out
}

fn json_lines(run: &Run) -> Vec<Value> {
    let mut written = Vec::new();
    played(run, Format::Json, &mut written);
    let text = String::from_utf8(written).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

#[test]
fn points_add_up_to_the_totals() {
    let run = runs::named("failed");
    let lines = json_lines(run);
    let points: Vec<&Value> = lines.iter().filter(|line| line["type"] == "Point").collect();
    let sum = |metric: &str| -> f64 {
        let of = points.iter().filter(|point| point["metric"] == metric);
        of.filter_map(|point| point["data"]["value"].as_f64()).sum()
    };
    let counts = run.totals.counts(|_| true);
    for (metric, expected) in [
        ("http_reqs", counts.ended),
        ("dropped_iterations", counts.dropped),
        ("data_sent", counts.bytes_sent),
    ] {
        assert!(
            (sum(metric) - f64::from(u32::try_from(expected).unwrap())).abs() < 0.5,
            "{metric}"
        );
    }
    let durations = points.iter().filter(|point| point["metric"] == "http_req_duration");
    let counted: u64 = durations.filter_map(|point| point["data"]["count"].as_u64()).sum();
    assert_eq!(counted, run.totals.trend(Trend::Duration, |_| true).len());
    assert_eq!(
        points.iter().filter(|it| it["metric"] == "http_reqs").count(),
        2,
        "a scenario each"
    );
}

#[test]
fn lines_have_the_form_of_k6() {
    let lines = json_lines(runs::named("failed"));
    let metric =
        lines.iter().find(|line| line["type"] == "Metric" && line["metric"] == "http_req_duration");
    let metric = metric.expect("it is introduced");
    assert_eq!(metric["data"]["type"], "trend");
    assert_eq!(metric["data"]["thresholds"][0], "p(95)<5ms");
    let point = lines.iter().find(|line| line["type"] == "Point").expect("a point");
    assert_eq!(point["metric"], "http_reqs");
    assert_eq!(point["data"]["tags"]["scenario"], "steady");
    // Told at 4.25 s, of a run that began three seconds before somebody looked at the clock.
    assert_eq!(point["data"]["time"], "2026-01-01T12:00:04.25Z");
}

#[test]
fn a_table_has_as_many_fields_in_each_line() {
    let mut written = Vec::new();
    played(runs::named("failed"), Format::Csv, &mut written);
    let text = String::from_utf8(written).expect("UTF-8");
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().expect("names").split(',').collect();
    assert_eq!(names[..3], ["metric_name", "timestamp", "metric_value"]);
    let mut requests = 0.0;
    for line in lines {
        let fields: Vec<&str> = line.split(',').collect();
        assert_eq!(fields.len(), names.len(), "{line}");
        if fields[0] == "http_reqs" {
            requests += fields[2].parse::<f64>().expect("a number");
        }
    }
    assert!((requests - 49_585.0).abs() < 0.5, "{requests}");
}

/// A disk with room for so many bytes.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A disk that fails once, and counts how often it is written to.
struct Flaky<'a>(&'a Cell<u32>);

impl Write for Flaky<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.set(self.0.get() + 1);
        if self.0.get() == 1 { Err(io::ErrorKind::Other.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn nothing_is_written_behind_a_gap() {
    let run = runs::named("hostile");
    let written = Cell::new(0);
    let mut out = Out::new("out", Format::Csv, Flaky(&written), wall_ns);
    out.tick(&run.plan, &Totals::new(&run.plan.shape()), Duration::from_secs(1));
    out.finish(&run.plan, &run.totals, Duration::from_secs(2));
    assert!(out.warning().is_some());
    assert_eq!(written.get(), 1);
}

#[test]
fn a_full_disk_ends_the_output_with_a_warning() {
    let run = runs::named("hostile");
    assert_eq!(played(run, Format::Json, Full(1 << 30)).warning(), None);
    let out = played(run, Format::Json, Full(3_000));
    let warning = out.warning().expect("there was no room");
    assert!(warning.starts_with("out ends 4.25 s after the start: "), "{warning}");
}

#[test]
fn repro_time_never_goes_back() {
    let run = runs::named("passed");
    let mut written = Vec::new();
    let mut out = Out::new("out", Format::Csv, &mut written, wall_ns);
    // The workers' last word is of a minute after the start, and was told a second later.
    let half = Totals::new(&run.plan.shape());
    out.tick(&run.plan, &half, Duration::ZERO);
    let mut totals = run.totals.clone();
    out.tick(&run.plan, &totals, Duration::from_secs(61));
    totals.scenarios[0].counts.ended += 1;
    out.end(&run.plan, &totals, &run.outcome);
    let text = String::from_utf8(written).expect("UTF-8");
    let times: Vec<u64> = text
        .lines()
        .skip(1)
        .map(|line| line.split(',').nth(1).and_then(|time| time.parse().ok()).expect("a time"))
        .collect();
    assert!(times.len() > 1 && times.is_sorted(), "{times:?}");
}

#[test]
fn repro_an_earlier_file_is_kept_until_there_is_something_to_write() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    let text = || std::fs::read_to_string(&file).expect("it is there");
    std::fs::write(&file, "an earlier run, whose lines are long\n".repeat(10_000)).expect("room");
    let run = runs::named("passed");
    let mut out = Out::create(&format!("csv={}", file.display())).expect("there is a folder");
    assert!(text().starts_with("an earlier run"), "nothing was sent yet");
    out.finish(&run.plan, &run.totals, Duration::from_secs(60));
    assert!(text().starts_with("metric_name,") && !text().contains("earlier"), "{}", text());
}

#[test]
fn other_forms_are_refused() {
    for wrong in ["", "json", "json=", "influxdb=http://localhost", "csv:file"] {
        let error = Out::create(wrong).expect_err(wrong);
        assert!(error.to_string().contains("json=FILE or csv=FILE"), "{error}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("none").join("file");
    Out::create(&format!("csv={}", missing.display())).expect_err("there is no such folder");
    let file = folder.path().join("file");
    Out::create(&format!("csv={}", file.display())).expect("there is a folder");
    assert!(file.exists());
}
