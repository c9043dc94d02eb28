//! The answer to a head that is no HTTP or too large. hyper gives it by itself, before any service
//! is asked, and without a body; here it becomes a problem like every other.

use std::fmt::Write as _;

use crate::problem::{Problem, ProblemKind};

/// The line by which hyper says that its answer has no body.
const NO_BODY: &str = "content-length: 0\r\n";

/// The problem and the whole answer in place of `written`, when that is hyper's own refusal of a head.
pub(crate) fn explained(written: &[u8]) -> Option<(&'static ProblemKind, Vec<u8>)> {
    let head = std::str::from_utf8(written).ok()?;
    let kind = match head.strip_prefix("HTTP/1.1 ")?.get(..3)? {
        "400" => ProblemKind::MALFORMED,
        "431" => ProblemKind::HEAD_TOO_LARGE,
        _ => return None,
    };
    let (before, after) = head.split_once(NO_BODY)?;
    if !after.ends_with("\r\n") || !head.ends_with("\r\n\r\n") {
        return None;
    }
    let body = Problem::from(kind).json();
    let length = body.len();
    let answer = format!(
        "{before}content-type: application/problem+json\r\ncache-control: no-store\r\n\
         content-length: {length}\r\n{after}{body}"
    );
    Some((kind, answer.into_bytes()))
}

/// A whole answer for a connection that hyper has not answered and never will.
pub(crate) fn whole(problem: &Problem) -> Vec<u8> {
    let response = problem.response();
    let mut answer = format!("HTTP/1.1 {}\r\n", response.status());
    for (name, value) in response.headers() {
        let value = value.to_str().expect("the headers of a problem are visible ASCII");
        let _ = write!(answer, "{name}: {value}\r\n");
    }
    let body = problem.json();
    let _ = write!(answer, "connection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    answer.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refused_head_is_explained() {
        let check = |written: &str, slug: Option<&str>| {
            let found = explained(written.as_bytes())
                .map(|(_, answer)| String::from_utf8(answer).expect("it is text"));
            assert_eq!(found.is_some(), slug.is_some(), "{written}");
            let (Some(found), Some(slug)) = (found, slug) else { return };
            let (head, body) = found.split_once("\r\n\r\n").expect("it has a body");
            assert!(body.contains(&format!("/problems/{slug}")), "{body}");
            assert!(head.contains(&format!("\r\ncontent-length: {}", body.len())), "{head}");
            assert!(head.contains("\r\nconnection: close"), "{head}");
        };
        let refusal = |status: &str| {
            format!(
                "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: 0\r\ndate: d\r\n\r\n"
            )
        };
        check(&refusal("400"), Some("malformed"));
        check(&refusal("431"), Some("head-too-large"));
        check(&refusal("204"), None);
        check(&refusal("400").replace(": 0", ": 5"), None);
        check(refusal("400").trim_end(), None);
        check("HTTP/1.1 ", None);
    }
}
