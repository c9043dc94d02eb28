//! The contract and the pages that explain it. Nothing on them comes from elsewhere.

use bytes::Bytes;
use edge::{ProblemKind, Response};
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use http_body_util::Full;
use telemetry::Route;

/// The OpenAPI 3.1 document that `/openapi.json` answers.
pub const OPENAPI: &str = include_str!("openapi.json");
const DOCS: &str = include_str!("pages/docs.html");
const PROBLEM: &str = include_str!("pages/problem.html");

/// The page at `path`, if there is one.
pub(crate) fn page(path: &str) -> Option<(Route, Response)> {
    match path {
        "/openapi.json" => {
            Some((Route::Openapi, text("application/json", Bytes::from_static(OPENAPI.as_bytes()))))
        }
        "/docs" => Some((Route::Docs, html(DOCS.to_owned()))),
        _ => {
            let slug = path.strip_prefix("/problems/")?;
            let kind = ProblemKind::ALL.iter().find(|kind| kind.slug == slug)?;
            let page = PROBLEM
                .replace("{title}", kind.title)
                .replace("{slug}", kind.slug)
                .replace("{status}", &kind.status.to_string())
                .replace("{explanation}", kind.explanation);
            Some((Route::Problem, html(page)))
        }
    }
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
    fn every_problem_has_a_page() {
        for kind in ProblemKind::ALL {
            assert!(page(&format!("/problems/{}", kind.slug)).is_some(), "{}", kind.slug);
        }
        assert!(page("/problems/none").is_none());
        assert!(page("/problems/").is_none());
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
}
