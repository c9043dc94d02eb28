//! The page as text: it is well formed, holds the figures, and nothing given is markup in it. How it
//! looks and behaves in a browser is `scripts/browser`'s to test, with the pages that are written here.

use load::report::html::render;

use super::runs::{self, Run};

fn page(run: &Run) -> String {
    render(&run.plan, &run.totals, &run.outcome)
}

/// With a folder in `REPORT_PAGES`, writes a page for each state into it, for a browser.
#[test]
fn each_state_has_its_page() {
    for run in runs::all() {
        let page = page(run);
        check_well_formed(&page);
        let word = match run.name {
            "failed" => "FAILED",
            "invalid" | "hostile" => "INVALID",
            "partial" => "PARTIAL",
            "empty" => "INTERRUPTED",
            _ => "PASSED",
        };
        assert!(page.contains(&format!("<h2>{word}</h2>")), "{}", run.name);
        assert!(page.len() < 400_000, "{}: {} bytes", run.name, page.len());
        if let Some(folder) = std::env::var_os("REPORT_PAGES") {
            let path = std::path::Path::new(&folder).join(format!("{}.html", run.name));
            std::fs::write(path, &page).expect("the folder is there");
        }
    }
}

/// What a browser shows of it, without styles, scripts and markup; each element's text is a word.
fn shown(page: &str) -> String {
    let body = page.split_once("<body>").expect("a body").1;
    let body = body.rsplit_once("<script>").expect("our script, at the end").0;
    let mut shown = String::new();
    for (number, piece) in body.split('<').enumerate() {
        let (tag, text) =
            if number == 0 { ("", piece) } else { piece.split_once('>').expect("a tag ends") };
        if !tag.starts_with("script") {
            shown.push_str(text);
            shown.push(' ');
        }
    }
    shown.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn check_shows(name: &str, texts: &[&str]) {
    let shown = shown(&page(runs::named(name)));
    for text in texts {
        assert!(shown.contains(text), "{name}: `{text}` is not in: {shown}");
    }
}

#[test]
fn a_page_holds_the_figures_of_its_run() {
    check_shows(
        "passed",
        &[
            "60,000 requests in 60 s",
            "Rate 1,000 /s 100% of 1,000/s asked",
            "p99 2.69 ms 2.66 ms from sent",
            "max 251 ms 50.0 ms from sent",
            "Failed 0% 0 of 60,000",
            "http_req_duration p(95)&lt;20ms 1.75 ms",
            "POST http://localhost:3000/api/usages HTTP/1.1, up to 256 connections kept alive",
            "header durability is fsync 100% 60,000 0",
            "counted by the server 60,000",
            "inhale load http://localhost:3000/api/usages --rate 1000/s",
            "2 cores, 24 GiB",
        ],
    );
    check_shows(
        "failed",
        &[
            "4 of 6 thresholds not met",
            "3,592 of 49,585; 415 dropped",
            "status 503 5.3% 2,636",
            "connection reset 1.5% 724",
            "http_req_connecting{scenario:none} p(95)&lt;1ms no samples",
            "kind:background",
            "41 listen overflows, 41 drops, 97 retransmits",
        ],
    );
    check_shows(
        "invalid",
        &[
            "schedule lag p99 was 39.7 ms",
            "worker 2 used 99.8%",
            "note localhost was taken for 127.0.0.1",
            "one source address only",
        ],
    );
    check_shows(
        "partial",
        &["agent 10.0.0.7 was lost", "90 users for 30 s, thinking for 0.1 s to 0.3 s"],
    );
    check_shows("empty", &["0 requests in 0 s", "p50 –", "no samples"]);
}

#[test]
fn nothing_given_is_markup() {
    let page = page(runs::named("hostile"));
    let lower = page.to_lowercase();
    assert_eq!(lower.matches("<script").count(), 7, "six plots' data and ours");
    for wrong in ["<script>alert", "<img", "onerror=alert(2)>"] {
        assert!(!lower.contains(wrong), "{wrong}");
    }
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;"));
    assert!(!page.contains('\u{1b}'));
}

#[test]
fn a_page_needs_nothing_else() {
    // What the hostile one is given looks like all of these, as text.
    for run in runs::all().iter().filter(|run| run.name != "hostile") {
        let page = page(run);
        for wrong in [" src=", "@import", "url(", "<link rel=\"stylesheet"] {
            assert!(!page.contains(wrong), "{}: {wrong}", run.name);
        }
        assert!(page.contains("default-src 'none'"), "{}", run.name);
    }
}

#[test]
#[should_panic(expected = "</div> closes <p>")]
fn what_is_not_well_formed_is_found() {
    check_well_formed("<!DOCTYPE html><div><p>text</div>");
}

/// Every element that is opened is closed, in order.
#[track_caller]
fn check_well_formed(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page;
    while let Some((_, after)) = rest.split_once('<') {
        let (tag, after) = after.split_once('>').expect("a tag ends");
        rest = after;
        let name = tag.split([' ', '/']).next().unwrap_or_default();
        if let Some(closed) = tag.strip_prefix('/') {
            let last = open.pop().unwrap_or("nothing");
            assert_eq!(closed, last, "</{closed}> closes <{last}>");
        } else if !tag.ends_with('/') && !matches!(name, "!DOCTYPE" | "meta" | "link" | "br") {
            open.push(name);
        }
        // Up to their ends, these hold text that is no markup.
        if let Some(end) = match name {
            "script" => Some("</script>"),
            "style" => Some("</style>"),
            _ => None,
        } {
            rest = &rest[rest.find(end).expect("it ends")..];
        }
    }
    assert!(open.is_empty(), "still open: {open:?}");
}
