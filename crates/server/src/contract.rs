//! The contract and the pages that explain it. Nothing on them comes from elsewhere.

use std::sync::LazyLock;

use bytes::Bytes;
use edge::{ProblemKind, Response};
use http::StatusCode;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, LOCATION};
use http_body_util::Full;
use telemetry::Route;

/// The OpenAPI 3.1 document that `/openapi.json` answers.
pub const OPENAPI: &str = include_str!("openapi.json");
/// The page of all calls and all problems, the latter from the list that the answers are made from.
static DOCS: LazyLock<String> = LazyLock::new(|| {
    let problems: String = ProblemKind::ALL.iter().map(|kind| problem_row(kind)).collect();
    include_str!("pages/docs.html").replace("{problems}", &problems)
});
const PROBLEM: &str = include_str!("pages/problem.html");

/// The page at `path`, if there is one.
pub(crate) fn page(path: &str) -> Option<(Route, Response)> {
    match path {
        "/openapi.json" => {
            Some((Route::Openapi, text("application/json", Bytes::from_static(OPENAPI.as_bytes()))))
        }
        "/docs" => Some((Route::Docs, html(DOCS.clone()))),
        "/" => Some((Route::Docs, redirect("/docs"))),
        _ => None,
    }
}

/// The page of the problem `slug`, if there is one.
pub(crate) fn problem_page(slug: &str) -> Option<(Route, Response)> {
    let kind = ProblemKind::ALL.iter().find(|kind| kind.slug == slug)?;
    let page = PROBLEM
        .replace("{title}", kind.title)
        .replace("{slug}", kind.slug)
        .replace("{status}", &kind.status.to_string())
        .replace("{happened}", &marked_up(kind.happened))
        .replace("{action}", &marked_up(kind.action))
        .replace("{retry}", retry_text(kind));
    Some((Route::Problem, html(page)))
}

/// A problem's row on the page of all calls; its name leads to the page of its own.
fn problem_row(kind: &ProblemKind) -> String {
    format!(
        "<tr id=\"problem-{slug}\"><td><a href=\"/problems/{slug}\"><code>{slug}</code></a></td>\
         <td>{}</td><td>{}. {}</td><td>{}</td><td>{}</td></tr>\n",
        kind.status,
        kind.title,
        marked_up(kind.happened),
        marked_up(kind.action),
        if kind.retry_helps { "yes" } else { "no" },
        slug = kind.slug,
    )
}

fn retry_text(kind: &ProblemKind) -> &'static str {
    if kind.retry_helps {
        "The same request may be answered otherwise later."
    } else {
        "Sending the same request again cannot help."
    }
}

/// A sentence of ours as HTML: what stands between backticks is code.
fn marked_up(sentence: &str) -> String {
    let escaped = sentence.replace('&', "&amp;").replace('<', "&lt;");
    let mut parts = escaped.split('`');
    let mut html = parts.next().unwrap_or_default().to_owned();
    for (number, part) in parts.enumerate() {
        html.push_str(if number % 2 == 0 { "<code>" } else { "</code>" });
        html.push_str(part);
    }
    html
}

/// A page that may run its own script, and load nothing from elsewhere.
pub(crate) fn html(page: String) -> Response {
    let mut response = text("text/html; charset=utf-8", Bytes::from(page));
    response.headers_mut().insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; connect-src 'self'; script-src 'unsafe-inline'; style-src 'unsafe-inline'",
        ),
    );
    response
}

/// Leads to another page.
fn redirect(path: &'static str) -> Response {
    let mut response = http::Response::new(Full::default());
    *response.status_mut() = StatusCode::FOUND;
    response.headers_mut().insert(LOCATION, HeaderValue::from_static(path));
    response
}

/// An answer of any media type.
pub(crate) fn text(media_type: &'static str, body: Bytes) -> Response {
    let mut response = http::Response::new(Full::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_problems_that_there_are_have_a_page() {
        assert!(problem_page("invalid").is_some());
        assert!(problem_page("none").is_none());
        assert!(problem_page("").is_none());
    }

    #[test]
    fn code_is_marked_and_nothing_else_is_html() {
        let check = |sentence, expected| assert_eq!(marked_up(sentence), expected);
        check("a `b` & <c>, `d`.", "a <code>b</code> &amp; &lt;c>, <code>d</code>.");
        for kind in ProblemKind::ALL {
            for sentence in [kind.happened, kind.action] {
                assert_eq!(sentence.matches('`').count() % 2, 0, "{sentence}");
            }
        }
    }

    #[test]
    fn the_contract_is_json_and_names_every_problem_status() {
        let contract: serde_json::Value = serde_json::from_str(OPENAPI).expect("it is JSON");
        let post = &contract["paths"]["/api/usages"]["post"]["responses"];
        for status in ["201", "207", "400", "408", "413", "415", "422", "431", "500", "503", "507"]
        {
            assert!(post.get(status).is_some(), "{status}");
        }
    }

    #[test]
    fn every_call_lists_what_the_edge_refuses_and_every_read_works_as_head() {
        let contract: serde_json::Value = serde_json::from_str(OPENAPI).expect("it is JSON");
        for (path, calls) in contract["paths"].as_object().expect("it has paths") {
            for (method, call) in calls.as_object().expect("a path has calls") {
                for status in ["400", "403", "421"] {
                    assert!(call["responses"].get(status).is_some(), "{method} {path}: {status}");
                }
            }
            assert_eq!(calls.get("get").is_some(), calls.get("head").is_some(), "{path}");
        }
    }

    #[test]
    fn the_contracts_bounds_are_those_of_the_code() {
        use usage::limits;
        let contract: serde_json::Value = serde_json::from_str(OPENAPI).expect("it is JSON");
        let check = |place: &str, bound: usize| {
            assert_eq!(contract.pointer(place), Some(&serde_json::json!(bound)), "{place}");
        };
        // Quoted, and each character escaped.
        let key_bytes_max = 2 + 2 * limits::KEY_CHARS_MAX;
        check("/components/parameters/IdempotencyKey/schema/maxLength", key_bytes_max);
        check("/components/parameters/PatientId/schema/maxLength", limits::PATIENT_ID_CHARS_MAX);
        check("/components/parameters/Medication/schema/maxLength", limits::MEDICATION_CHARS_MAX);
        for (field, chars_max) in [
            ("patientId", limits::PATIENT_ID_CHARS_MAX),
            ("medication", limits::MEDICATION_CHARS_MAX),
            ("eventId", limits::EVENT_ID_CHARS_MAX),
        ] {
            check(&format!("/components/schemas/Usage/properties/{field}/maxLength"), chars_max);
        }
        let body = "/paths/~1api~1usages/post/requestBody/content/application~1json/schema/oneOf";
        check(&format!("{body}/1/maxItems"), limits::BATCH_ITEMS_MAX);
        let key = &contract["components"]["parameters"]["IdempotencyKey"]["description"];
        let said = format!("1 to {} characters", limits::KEY_CHARS_MAX);
        assert!(key.as_str().is_some_and(|text| text.contains(&said)), "{key}");
    }
}
