//! What requests say, from options.

use super::Builder;
use crate::plan::{ScenarioOptions, Target};
use crate::request::{Data, Part, Requests, Spec, USAGE_BODY};

/// As many as the product is made for.
const PATIENTS: u64 = 1_000_000;
/// Numbers up to here are exact wherever they are read as JSON.
const PATIENTS_MAX: u64 = 1_000_000_000_000;
/// As many items as a request of the longest can hold.
const BATCH_MAX: u64 = 100_000;
/// Headers that speak of a connection of HTTP/1.1, beside those that nobody may set.
const OF_CONNECTIONS: [&str; 4] = ["keep-alive", "proxy-connection", "te", "upgrade"];
/// Methods whose requests have a body only if somebody asks for it.
const WITHOUT_BODY: [&str; 5] = ["GET", "HEAD", "DELETE", "OPTIONS", "TRACE"];

impl Builder {
    /// The requests, and the authority they are for, which a `Host` header may have set.
    pub(super) fn requests(
        &mut self,
        scenario: &str,
        options: &ScenarioOptions,
        found: Option<&(Target, String)>,
        seed: u64,
    ) -> Option<(Requests, String)> {
        let method = options.method.as_deref().unwrap_or("POST").to_ascii_uppercase();
        let patients = options.patients.as_deref();
        let patients = self.count("patients", patients, PATIENTS_MAX).unwrap_or(PATIENTS);
        let batch = self.count("batch", options.batch.as_deref(), BATCH_MAX).unwrap_or(1);
        let headers = self.headers(options);
        let data = self.faults.parse("data", options.data_text.as_deref(), Data::parse);
        if data.is_none() && options.data_text.is_some() {
            // What would be said of its columns follows from it.
            return None;
        }
        let default_body = (!WITHOUT_BODY.contains(&method.as_str())).then_some(USAGE_BODY);
        let (target, path) = found?;
        let host = headers.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case("host"));
        let authority = host.map_or(&target.authority, |(_, value)| value);
        if authority.contains("{{") {
            self.faults.add("headers", "the host is the same for all requests: no templates in it");
        }
        let body = options.body.as_deref().map(|body| match batch {
            ..=1 => body,
            // Editors end the last line; the lines of a batch are ended here.
            _ => body.strip_suffix('\n').unwrap_or(body),
        });
        let made = Requests::new(&Spec {
            method: &method,
            authority,
            path,
            headers: &headers,
            body: body.or(default_body),
            idempotency_key: options.idempotency_key.as_deref(),
            data: data.as_ref(),
            batch,
            patients,
            seed,
            scenario,
        });
        let requests = match made {
            Ok(requests) => requests,
            Err(faults) => {
                for fault in faults {
                    self.faults.add(key_of(fault.part), fault.words);
                }
                return None;
            }
        };
        if options.http2 == Some(true) {
            self.check_http2(authority, &headers);
        }
        if data.is_some() {
            self.has("data", requests.takes_data(), "nothing takes {{data.COLUMN}} from it");
        }
        if !requests.body_is_what_it_says() {
            let otherwise = "if that is meant, say so with --header 'Content-Type: …'";
            self.note(format!("the body is sent as JSON and is none; {otherwise}"));
        }
        Some((requests, authority.clone()))
    }

    /// What HTTP/1.1 has and HTTP/2 does not (RFC 9113, section 8.2.2), and a host that is none.
    fn check_http2(&mut self, authority: &str, headers: &[(String, String)]) {
        if authority.parse::<http::uri::Authority>().is_err() {
            self.faults.add("headers", format!("`{authority}` is no host for --http2"));
        }
        for (name, value) in headers {
            let allowed = name.eq_ignore_ascii_case("te") && value == "trailers";
            if !allowed && OF_CONNECTIONS.iter().any(|other| name.eq_ignore_ascii_case(other)) {
                let words =
                    format!("`{name}` speaks of a connection, which --http2 has no word for");
                self.faults.add("headers", words);
            }
        }
    }

    fn headers(&mut self, options: &ScenarioOptions) -> Vec<(String, String)> {
        let mut headers = Vec::new();
        for text in &options.headers {
            match text.split_once(':') {
                Some((name, value)) => {
                    headers.push((name.trim().to_owned(), value.trim().to_owned()))
                }
                None => self.faults.add("headers", format!("`{text}` is not NAME: VALUE")),
            }
        }
        headers
    }
}

fn key_of(part: Part) -> &'static str {
    match part {
        Part::Method => "method",
        Part::Path => "url",
        Part::Header => "headers",
        Part::IdempotencyKey => "idempotency-key",
        Part::Body => "body",
        Part::Batch => "batch",
    }
}
