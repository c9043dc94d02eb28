//! Histories, searches and summaries over HTTP, held against models made of what was posted.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::http::{Answer, call, get, post, text};
use crate::needs::until;
use crate::process::Folder;

const MEDICATIONS: [&str; 3] = ["Albuterol", "Budesonide", "Salbutamol & more"];

/// A usage that was posted.
#[derive(Clone)]
struct Posted {
    id: String,
    patient: String,
    ms: i64,
    medication: &'static str,
}

/// Posts `count` usages of two patients, at odd moments around a change to summer time in Berlin.
fn fill(address: SocketAddr, count: usize) -> Vec<Posted> {
    let start: Timestamp = "2016-03-26T00:00:00Z".parse().expect("it is an instant");
    let usages = (0..count).map(|number| {
        // Some at the very same instant: then arrival decides.
        let minutes = (number as i64 * 7919 % 2880) / 11 * 11;
        let ms = start.as_millisecond() + minutes * 60_000;
        let patient = format!("p{}", number % 2);
        let medication = MEDICATIONS[number % 3];
        let body = json!({ "patientId": patient, "timestamp": ms, "medication": medication });
        let id = post(address, &body.to_string()).id();
        Posted { id, patient, ms, medication }
    });
    usages.collect()
}

/// Ids in the order that a history has: the latest instant first, then the last arrival.
fn newest_first(posted: &[Posted], wanted: impl Fn(&Posted) -> bool) -> Vec<String> {
    let mut found: Vec<_> = posted.iter().enumerate().filter(|(_, usage)| wanted(usage)).collect();
    found.sort_by_key(|(arrival, usage)| std::cmp::Reverse((usage.ms, *arrival)));
    found.into_iter().map(|(_, usage)| usage.id.clone()).collect()
}

fn ids(page: &Value) -> Vec<String> {
    let usages = page["usages"].as_array().expect("a list");
    usages.iter().map(|usage| text(&usage["id"])).collect()
}

/// The target that a page's `Link` names as the next.
fn next_of(answer: &Answer) -> Option<String> {
    let link = answer.header("link")?;
    let target = link.strip_prefix('<').and_then(|rest| rest.strip_suffix(">; rel=\"next\""));
    Some(target.unwrap_or_else(|| panic!("no link: {link}")).to_owned())
}

/// All pages from `first` on, by their links, each of `limit` usages but the last; `between` runs
/// before each further page.
fn follow(address: SocketAddr, first: &str, limit: usize, between: impl Fn()) -> Vec<String> {
    let mut all = Vec::new();
    let mut target = Some(first.to_owned());
    while let Some(at) = target {
        let answer = get(address, &at).expect(200);
        let page = answer.json();
        let found = ids(&page);
        target = next_of(&answer);
        assert_eq!(page["next"].is_null(), target.is_none(), "{at}");
        assert!(if target.is_some() { found.len() == limit } else { found.len() <= limit }, "{at}");
        all.extend(found);
        between();
    }
    all
}

/// Searches with the body and gives back all pages.
fn search(address: SocketAddr, filter: &Value) -> Vec<String> {
    let mut filter = filter.clone();
    let mut all = Vec::new();
    loop {
        let json = "Content-Type: application/json\r\n";
        let answer = call(address, "POST", "/api/usages/search", json, &filter.to_string());
        let page = answer.expect(200).json();
        all.extend(ids(&page));
        if page["next"].is_null() {
            return all;
        }
        filter["cursor"] = page["next"].clone();
    }
}

#[test]
fn pages_put_together_are_the_whole_whatever_arrives_meanwhile() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let address = server.address;
    let posted = fill(address, 60);
    for limit in [1, 2, 7, 29, 30, 31, 1000] {
        let expected = newest_first(&posted, |usage| usage.patient == "p0");
        let before = ids(&get(address, "/api/usages?patientId=p0&limit=1000").json());
        assert_eq!(before.iter().filter(|id| expected.contains(id)).count(), expected.len());
        // One before, one within and one after all of them.
        let late = || {
            for instant in ["2000-01-01T00:00:00Z", "2016-03-27T00:11:00Z", "2020-01-01T00:00:00Z"]
            {
                let body = json!({ "patientId": "p0", "timestamp": instant, "medication": "late" });
                post(address, &body.to_string()).expect(201);
            }
        };
        let target = format!("/api/usages?patientId=p0&limit={limit}");
        if limit > 6 {
            assert_eq!(follow(address, &target, limit, late), before, "limit {limit}");
        } else {
            assert_eq!(follow(address, &target, limit, || ()), before, "limit {limit}");
        }
    }
    // The control: what arrived meanwhile is in a history that begins later.
    assert!(ids(&get(address, "/api/usages?patientId=p0&limit=1000").json()).len() > 30);
    let expected = newest_first(&posted, |usage| usage.patient == "p1");
    assert_eq!(follow(address, "/api/usages?patientId=p1&limit=7", 7, || ()), expected);
}

#[test]
fn filters_hold_in_queries_and_searches_alike() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let address = server.address;
    let posted = fill(address, 90);
    let (from, to) = (posted[40].ms.min(posted[10].ms), posted[40].ms.max(posted[10].ms));
    assert!(from < to);
    for (low, high) in [
        (None, None),
        (Some(from), None),
        (None, Some(to)),
        (Some(from), Some(to)),
        (Some(from), Some(from)),
    ] {
        for medication in [None, Some(MEDICATIONS[0]), Some(MEDICATIONS[2]), Some("none")] {
            let mut filter = json!({ "patientId": "p1", "limit": 4 });
            let mut query = form(&[("patientId", "p1"), ("limit", "4")]);
            let mut give = |name: &str, value: Option<Value>, typed: String| {
                if let Some(value) = value {
                    filter[name] = value;
                    query += &format!("&{}", form(&[(name, &typed)]));
                }
            };
            give("from", low.map(Value::from), low.unwrap_or_default().to_string());
            give("to", high.map(Value::from), high.unwrap_or_default().to_string());
            give(
                "medication",
                medication.map(Value::from),
                medication.unwrap_or_default().to_owned(),
            );
            let expected = newest_first(&posted, |usage| {
                usage.patient == "p1"
                    && low.is_none_or(|low| usage.ms >= low)
                    && high.is_none_or(|high| usage.ms < high)
                    && medication.is_none_or(|wanted| usage.medication == wanted)
            });
            let target = format!("/api/usages?{query}");
            assert_eq!(follow(address, &target, 4, || ()), expected, "{target}");
            assert_eq!(search(address, &filter), expected, "{filter}");
        }
    }
}

/// A query, with what would end a value escaped.
fn form(pairs: &[(&str, &str)]) -> String {
    let pair = |(name, value): &(&str, &str)| {
        format!("{name}={}", value.replace('%', "%25").replace('&', "%26").replace(' ', "+"))
    };
    pairs.iter().map(pair).collect::<Vec<_>>().join("&")
}

#[test]
fn a_cursor_is_bound_to_its_filter() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let address = server.address;
    fill(address, 20);
    let page = get(address, "/api/usages?patientId=p0&limit=2").expect(200).json();
    let cursor = text(&page["next"]);
    let check = |query: &str, cursor: &str| {
        let target = format!("/api/usages?{query}&cursor={cursor}");
        let refused = get(address, &target).expect_problem(422, "invalid");
        assert_eq!(refused.pointers(), ["/cursor"], "{target}: {refused:?}");
        // The same in a search.
        let mut filter: serde_json::Map<_, _> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect();
        // What `%00` stands for.
        filter.insert("cursor".to_owned(), json!(cursor.replace("%00", "\0")));
        let headers = "Content-Type: application/json\r\n";
        let body = serde_json::Value::Object(filter).to_string();
        let refused = call(address, "POST", "/api/usages/search", headers, &body);
        assert_eq!(refused.expect_problem(422, "invalid").pointers(), ["/cursor"], "{body}");
    };
    check("patientId=p1&limit=2", &cursor);
    check("patientId=p0&limit=2&medication=Albuterol", &cursor);
    check("patientId=p0&limit=2&from=0", &cursor);
    check("patientId=p0&limit=2&to=4102444800000", &cursor);
    for malformed in
        ["x", "%00", &cursor[..cursor.len() - 2], &format!("{cursor}AA"), &"A".repeat(500)]
    {
        check("patientId=p0&limit=2", malformed);
    }
    // The control: as it was given, it goes on, also in pages of another size and in a search.
    let target = format!("/api/usages?patientId=p0&limit=3&cursor={cursor}");
    let rest = ids(&get(address, &target).expect(200).json());
    assert_eq!(rest.len(), 3);
    assert_eq!(
        search(address, &json!({ "patientId": "p0", "limit": 3, "cursor": cursor }))[..3],
        rest
    );
}

#[test]
fn summaries_count_what_a_model_counts() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let address = server.address;
    let posted = fill(address, 90);
    let (from, to) = (posted[40].ms.min(posted[10].ms), posted[40].ms.max(posted[10].ms));
    for zone in ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns"] {
        let tz = TimeZone::get(zone).expect("it is known");
        for by in ["hour", "day", "medication"] {
            for range in [None, Some((from, to))] {
                let mut counts: BTreeMap<String, u64> = BTreeMap::new();
                for usage in &posted {
                    if range.is_some_and(|(from, to)| usage.ms < from || usage.ms >= to) {
                        continue;
                    }
                    *counts.entry(bucket(usage, by, &tz)).or_default() += 1;
                }
                let bounds =
                    range.map_or_else(String::new, |(from, to)| format!("&from={from}&to={to}"));
                let target = format!("/api/usages/summary?by={by}&tz={zone}{bounds}");
                let said = get(address, &target).expect(200).json();
                let rows = said["rows"].as_array().expect("a list");
                let found: BTreeMap<_, _> = rows.iter().map(|row| key_and_count(row, by)).collect();
                assert_eq!(found, counts, "{target}");
                assert_eq!(found.len(), rows.len(), "{target}: no row twice");
            }
        }
    }
}

/// What a usage is counted under: a medication or the start of an hour or day, as an instant.
fn bucket(usage: &Posted, by: &str, tz: &TimeZone) -> String {
    let at = Timestamp::from_millisecond(usage.ms).expect("it is an instant");
    let at = at.to_zoned_datetime(tz.clone());
    match by {
        "medication" => usage.medication.to_owned(),
        "day" => at.start_of_day().expect("it has one").timestamp().to_string(),
        _ => {
            let within = i64::from(at.minute()) * 60_000 + i64::from(at.second()) * 1000;
            Timestamp::from_millisecond(usage.ms - within).expect("it is an instant").to_string()
        }
    }
}

fn key_and_count(row: &Value, by: &str) -> (String, u64) {
    let count = row["count"].as_u64().expect("a count");
    if by == "medication" {
        return (text(&row["medication"]), count);
    }
    let start: Timestamp = text(&row["start"]).parse().expect("an instant");
    (start.to_string(), count)
}

#[test]
fn every_problem_is_explained_and_no_page_needs_another_host() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let address = server.address;
    let id = post(address, crate::http::BODY).id();
    let head = call(address, "HEAD", &format!("/api/usages/{id}"), "", "").expect(200);
    let whole = get(address, &format!("/api/usages/{id}")).expect(200);
    assert_eq!(head.header("content-length"), whole.header("content-length"));
    call(address, "HEAD", "/api/usages/none", "", "").expect(404);
    let met = [
        post(address, "{"),
        post(address, "{}"),
        get(address, "/none"),
        call(address, "PUT", "/api/usages", "", ""),
        call(address, "POST", "/api/usages", "Content-Type: text/plain\r\n", "x"),
        post(address, &" ".repeat((1 << 20) + 1)),
    ];
    for answer in met {
        let page = text(&answer.json()["type"]);
        let explained = get(address, &page).expect(200);
        let title = text(&answer.json()["title"]);
        assert!(explained.body.contains(&title), "{page} says nothing of {title}");
    }
    let docs = get(address, "/docs").expect(200).body;
    for line in docs.lines().filter(|line| line.contains("://")) {
        for outside in ["src=", "href=\"http", "@import", "url("] {
            assert!(!line.contains(outside), "{line}");
        }
    }
}

/// More usages than a summary may read beside other reads, all in one quarter of an hour.
#[test]
fn a_summary_that_reads_much_has_a_time_of_its_own() {
    let folder = Folder::new();
    let server = folder.serve(&["--summary-timeout", "0s"]);
    let line = r#"{"patientId":"p","timestamp":1000,"medication":"m"}"#;
    let batch = [line; 1000].join("\n");
    for _ in 0..201 {
        let headers = "Content-Type: application/x-ndjson\r\n";
        call(server.address, "POST", "/api/usages", headers, &batch).expect(201);
    }
    until("the index has them", || server.figure("inhale_index_lag_usages") == 0);
    let rows = |count: u64| json!([{ "medication": "m", "count": count }]);
    // Counted already.
    let target = "/api/usages/summary?by=medication&from=0";
    assert_eq!(get(server.address, target).expect(200).json()["rows"], rows(201_000));
    // Read one by one.
    let target = "/api/usages/summary?by=medication&from=1";
    let answer = get(server.address, target).expect_problem(503, "too-slow");
    assert_eq!(answer.header("retry-after"), Some("10"));
    // The control: where no usage lies in the quarter that is cut, there is nothing to read.
    let target = "/api/usages/summary?by=medication&from=-1";
    assert_eq!(get(server.address, target).expect(200).json()["rows"], rows(201_000));
    server.stop();
    // With time for it, it is answered.
    let server = folder.serve(&[]);
    for (from, count) in [(1, 201_000), (1000, 201_000), (1001, 0)] {
        let target = format!("/api/usages/summary?by=medication&from={from}");
        let found = get(server.address, &target).expect(200).json();
        let expected = if count == 0 { json!([]) } else { rows(count) };
        assert_eq!(found["rows"], expected, "{target}");
    }
}
