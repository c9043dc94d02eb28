//! The pages that explain: each problem there is, found through HTTP by its `type`.

use std::io::Write as _;
use std::net::TcpStream;

use edge::{Problem, ProblemKind};
use serde_json::Value;

use crate::http::{call, get, post, read_answer, text};
use crate::process::Folder;

/// A sentence as a page has it: what stands between backticks is code.
fn on_a_page(sentence: &str) -> String {
    let sentence = sentence.replace('&', "&amp;").replace('<', "&lt;");
    let parts = sentence.split('`').enumerate();
    parts.fold(String::new(), |html, (number, part)| match number {
        0 => part.to_owned(),
        odd if odd % 2 == 1 => format!("{html}<code>{part}"),
        _ => format!("{html}</code>{part}"),
    })
}

/// What of a problem is not on a page.
fn missing(page: &str, kind: &ProblemKind) -> Vec<String> {
    let wanted = [
        kind.slug.to_owned(),
        kind.status.to_string(),
        kind.title.to_owned(),
        on_a_page(kind.happened),
        on_a_page(kind.action),
    ];
    wanted.into_iter().filter(|wanted| !page.contains(wanted)).collect()
}

#[test]
fn every_problem_is_explained_where_its_type_leads_and_among_all() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let all = get(server.address, "/docs").expect(200).body;
    for kind in ProblemKind::ALL {
        let problem: Value = serde_json::from_str(&Problem::from(*kind).json()).expect("JSON");
        let address = text(&problem["type"]);
        let page = get(server.address, &address).expect(200);
        assert!(page.header("content-type").is_some_and(|media| media.starts_with("text/html")));
        assert_eq!(missing(&page.body, kind), Vec::<String>::new(), "{address}");
        let says = if kind.retry_helps { "may be answered otherwise" } else { "cannot help" };
        assert!(page.body.contains(says), "{address}: {says}");

        let row = all.split("<tr id=\"problem-").find(|row| row.starts_with(kind.slug));
        let row = row.and_then(|row| row.split("</tr>").next());
        let row = row.unwrap_or_else(|| panic!("/docs has no {}", kind.slug));
        assert_eq!(missing(row, kind), Vec::<String>::new(), "/docs: {}", kind.slug);
        assert!(row.contains(&format!("href=\"{address}\"")), "{row}");
        let says = if kind.retry_helps { "<td>yes</td>" } else { "<td>no</td>" };
        assert!(row.contains(says), "{row}");
    }
    // The control: a problem's page does not explain another.
    let page = get(server.address, "/problems/invalid").expect(200);
    assert_eq!(missing(&page.body, ProblemKind::EXPIRED).len(), 5);
    get(server.address, "/problems/none").expect(404);
}

/// Whoever is told of a wrong parameter is told which.
#[test]
fn every_wrong_parameter_of_a_read_is_named() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let check = |query: &str, names: &[&str]| {
        let target = format!("/api/usages{query}");
        let problem = get(server.address, &target).expect_problem(422, "invalid");
        assert_eq!(problem.pointers(), names, "{target}");
    };
    check("", &["/patientId"]);
    check("?patientId=1&cursor=x", &["/cursor"]);
    check("?patientId=1&from=1&to=0", &["/to"]);
    check("?patientId=1&limit=0&from=x&to=y", &["/from", "/to", "/limit"]);
    check("?patientId=1&medication=&page=2", &["/page", "/medication"]);
    check("/summary", &["/by"]);
    check("/summary?by=week&tz=Mars&from=x", &["/by", "/from", "/tz"]);
    check("/summary?by=day&by=hour", &["/by"]);
    let headers = "Content-Type: application/json\r\n";
    let body = r#"{"patientId":1,"limit":"x","cursor":"y","z":0}"#;
    let problem = call(server.address, "POST", "/api/usages/search", headers, body);
    let problem = problem.expect_problem(422, "invalid");
    assert_eq!(problem.pointers(), ["/z", "/limit", "/cursor"]);
    // A batch that is none is wrong as a whole.
    assert_eq!(post(server.address, "[]").expect_problem(422, "invalid").pointers(), [""]);
}

/// What is refused before any call is known is a problem all the same.
#[test]
fn a_head_that_is_none_is_a_problem() {
    let folder = Folder::new();
    let server = folder.serve(&[]);
    let long = format!("X-Long: {}\r\n", "x".repeat(20_000));
    let target = "/api/usages?patientId=1";
    call(server.address, "GET", target, &long, "").expect_problem(431, "head-too-large");
    let mut stream = TcpStream::connect(server.address).expect("it listens");
    stream.write_all(b"G@T / HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it reads");
    let answer = read_answer(&mut stream, "GET").expect("it is answered");
    answer.expect_problem(400, "malformed");
}
