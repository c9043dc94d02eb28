//! What a reader asks for, from a query string or a JSON body, checked as a whole: every wrong
//! parameter is reported at once.

use std::fmt;

use edge::{FieldProblem, Problem, ProblemKind};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use store::{HistoryCursor, HistoryQuery, SummaryBy, SummaryQuery};
use usage::{Instant, Timestamp, limits};

use crate::address;

/// Usages on a page unless asked otherwise, and at most.
const PAGE_USAGES: usize = 100;
const PAGE_USAGES_MAX: usize = 1000;
/// Bytes of a query string; longer ones are refused before they are looked at.
const QUERY_BYTES_MAX: usize = 8 * 1024;

/// The members of a JSON object in their order, the same name as often as it was sent.
pub(crate) struct Members(Vec<(String, serde_json::Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// Parameters by name, each at most once; names are checked against those a call takes.
struct Parameters<'a> {
    given: Vec<(String, String)>,
    known: &'a [&'a str],
    errors: Vec<FieldProblem>,
}

impl<'a> Parameters<'a> {
    fn from_query(query: &str, known: &'a [&'a str]) -> Result<Self, Problem> {
        let mut parameters = Self { given: Vec::new(), known, errors: Vec::new() };
        if query.len() > QUERY_BYTES_MAX {
            let detail = format!("the query is longer than {QUERY_BYTES_MAX} bytes");
            let errors = vec![FieldProblem { pointer: String::new(), code: "too-long", detail }];
            return Err(Problem::from(ProblemKind::INVALID).errors(errors));
        }
        for (name, value) in address::parameters(query)? {
            parameters.give(name, value);
        }
        Ok(parameters)
    }

    fn from_body(body: Members, known: &'a [&'a str]) -> Self {
        let mut parameters = Self { given: Vec::new(), known, errors: Vec::new() };
        let mut nulls: Vec<String> = Vec::new();
        for (name, value) in body.0 {
            if nulls.contains(&name) {
                parameters.wrong(&name, "duplicate-field", "may be given once".to_owned());
                continue;
            }
            match value {
                serde_json::Value::Null
                    if parameters.given.iter().any(|(given, _)| *given == name) =>
                {
                    parameters.wrong(&name, "duplicate-field", "may be given once".to_owned());
                }
                serde_json::Value::Null if known.contains(&name.as_str()) => nulls.push(name),
                serde_json::Value::Null => {}
                serde_json::Value::String(text) => parameters.give(name, text),
                serde_json::Value::Number(number) => parameters.give(name, number.to_string()),
                _ => parameters.wrong(&name, "wrong-type", "must be text or a number".to_owned()),
            }
        }
        parameters
    }

    fn give(&mut self, name: String, value: String) {
        if !self.known.contains(&name.as_str()) {
            let known = self.known.join(", ");
            self.wrong(
                &name,
                "unknown-field",
                format!("is not a parameter of this call; it takes {known}"),
            );
        } else if self.given.iter().any(|(given, _)| *given == name) {
            self.wrong(&name, "duplicate-field", "may be given once".to_owned());
        } else {
            self.given.push((name, value));
        }
    }

    fn wrong(&mut self, name: &str, code: &'static str, detail: String) {
        if self.errors.len() < limits::ERRORS_MAX {
            self.errors.push(FieldProblem { pointer: address::pointer(name), code, detail });
        }
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.given.iter().position(|(given, _)| given == name)?;
        Some(self.given.swap_remove(at).1)
    }

    /// Text of 1 to `chars_max` characters.
    fn text(&mut self, name: &str, chars_max: usize) -> Option<String> {
        let text = self.take(name)?;
        if text.is_empty() {
            self.wrong(name, "empty", "must not be empty".to_owned());
            return None;
        }
        if text.chars().count() > chars_max {
            self.wrong(name, "too-long", format!("must have at most {chars_max} characters"));
            return None;
        }
        Some(text)
    }

    fn required(&mut self, name: &'static str, found: Option<String>) -> String {
        let pointer = address::pointer(name);
        if found.is_none() && !self.errors.iter().any(|error| error.pointer == pointer) {
            self.wrong(name, "required", "is required".to_owned());
        }
        found.unwrap_or_default()
    }

    fn instant(&mut self, name: &'static str) -> Option<Instant> {
        let text = self.take(name)?;
        // A query knows no types: digits alone are epoch milliseconds, as a number in a body is.
        let timestamp = match text.parse() {
            Ok(number) => Timestamp::from_number(number),
            Err(_) => Timestamp::parse(&text).map(Timestamp::into_owned),
        };
        match timestamp {
            Ok(timestamp) => Some(timestamp.instant),
            Err(error) => {
                self.wrong(name, error.code(), error.to_string());
                None
            }
        }
    }

    fn bounds(&mut self) -> (Option<Instant>, Option<Instant>) {
        let (from, to) = (self.instant("from"), self.instant("to"));
        if let (Some(from), Some(to)) = (from, to)
            && from > to
        {
            self.wrong("to", "order", "lies before `from`".to_owned());
        }
        (from, to)
    }

    fn limit(&mut self) -> usize {
        let Some(text) = self.take("limit") else { return PAGE_USAGES };
        match text.parse() {
            Ok(limit) if (1..=PAGE_USAGES_MAX).contains(&limit) => limit,
            _ => {
                self.wrong(
                    "limit",
                    "range",
                    format!("must be a whole number from 1 to {PAGE_USAGES_MAX}"),
                );
                PAGE_USAGES
            }
        }
    }

    fn finish<T>(self, value: T) -> Result<T, Problem> {
        if self.errors.is_empty() {
            return Ok(value);
        }
        Err(Problem::from(ProblemKind::INVALID).errors(self.errors))
    }
}

const HISTORY: [&str; 6] = ["patientId", "from", "to", "medication", "limit", "cursor"];

/// `GET /api/usages?…`.
pub(crate) fn history_from_query(query: &str) -> Result<HistoryQuery, Problem> {
    history(Parameters::from_query(query, &HISTORY)?)
}

/// `POST /api/usages/search`.
pub(crate) fn history_from_body(body: Members) -> Result<HistoryQuery, Problem> {
    history(Parameters::from_body(body, &HISTORY))
}

fn history(mut parameters: Parameters<'_>) -> Result<HistoryQuery, Problem> {
    let patient_id = parameters.text("patientId", limits::PATIENT_ID_CHARS_MAX);
    let patient_id = parameters.required("patientId", patient_id);
    let medication = parameters.text("medication", limits::MEDICATION_CHARS_MAX);
    let (from, to) = parameters.bounds();
    let limit = parameters.limit();
    let cursor = parameters.take("cursor").and_then(|text| match text.parse::<HistoryCursor>() {
        Ok(cursor) => Some(cursor),
        Err(error) => {
            parameters.wrong("cursor", "cursor", error.to_string());
            None
        }
    });
    parameters.finish(HistoryQuery { patient_id, from, to, medication, limit, cursor })
}

/// `GET /api/usages/summary?…`: the query and the zone's name.
pub(crate) fn summary_from_query(query: &str) -> Result<(SummaryQuery, String), Problem> {
    let mut parameters = Parameters::from_query(query, &["by", "from", "to", "tz"])?;
    let by = parameters.take("by");
    let missing = by.is_none();
    let by = match parameters.required("by", by).as_str() {
        "hour" => SummaryBy::Hour,
        "day" => SummaryBy::Day,
        "medication" => SummaryBy::Medication,
        // Reported already.
        _ if missing => SummaryBy::Hour,
        _ => {
            parameters.wrong("by", "choice", "must be hour, day or medication".to_owned());
            SummaryBy::Hour
        }
    };
    let (from, to) = parameters.bounds();
    let name = parameters.take("tz").unwrap_or_else(|| "UTC".to_owned());
    let tz = jiff::tz::TimeZone::get(&name).unwrap_or_else(|_| {
        parameters.wrong(
            "tz",
            "zone",
            "is not an IANA time zone, such as America/Chicago".to_owned(),
        );
        jiff::tz::TimeZone::UTC
    });
    parameters.finish((SummaryQuery { by, from, to, tz }, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_history(query: &str, wrong: &[(&str, &str)]) {
        let found: Vec<_> = history_from_query(query)
            .err()
            .map(|problem| problem.errors)
            .unwrap_or_default()
            .into_iter()
            .map(|error| (error.pointer, error.code))
            .collect();
        let wrong: Vec<_> =
            wrong.iter().map(|(pointer, code)| ((*pointer).to_owned(), *code)).collect();
        assert_eq!(found, wrong, "{query}");
    }

    #[test]
    fn every_wrong_parameter_is_named_at_once() {
        check_history("patientId=100", &[]);
        check_history("patientId=100&limit=1000&from=2016-11-01T14:11:51Z", &[]);
        check_history("", &[("/patientId", "required")]);
        check_history("patientId=", &[("/patientId", "empty")]);
        check_history(&format!("patientId={}", "x".repeat(129)), &[("/patientId", "too-long")]);
        check_history("patientId=1&patientId=2", &[("/patientId", "duplicate-field")]);
        check_history("patientId=1&patient=2", &[("/patient", "unknown-field")]);
        check_history("patientId=1&from=1478009511", &[("/from", "timestamp-seconds")]);
        check_history("patientId=x%ff", &[("/patientId", "encoding")]);
        check_history(&"x".repeat(QUERY_BYTES_MAX + 1), &[("", "too-long")]);
        check_history(
            "patientId=1&limit=0&from=yesterday&cursor=%00",
            &[("/from", "timestamp-form"), ("/limit", "range"), ("/cursor", "cursor")],
        );
        check_history(
            "patientId=1&from=2016-11-02T00:00:00Z&to=2016-11-01T00:00:00Z",
            &[("/to", "order")],
        );
    }

    #[test]
    fn a_body_says_the_same_as_a_query() {
        let read = |body: &str| serde_json::from_str(body).expect("it is an object");
        let body = read(r#"{"patientId":"100","limit":5,"medication":null}"#);
        let query = history_from_body(body).expect("it is right");
        assert_eq!((query.patient_id.as_str(), query.limit, query.medication), ("100", 5, None));
        let check = |body: &str, wrong: &[&str]| {
            let errors = history_from_body(read(body)).expect_err("it is wrong").errors;
            let pointers: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
            assert_eq!(pointers, wrong, "{body}");
        };
        check(r#"{"patientId":["100"],"x":1}"#, &["/patientId", "/x"]);
        check(r#"{"patientId":"1","a/b~c":1}"#, &["/a~1b~0c"]);
        check(r#"{"patientId":"1","patientId":"2"}"#, &["/patientId"]);
        check(r#"{"patientId":"1","limit":null,"limit":5}"#, &["/limit"]);
        check(r#"{"patientId":"1","limit":5,"limit":null}"#, &["/limit"]);
    }

    #[test]
    fn zones() {
        assert!(summary_from_query("by=day&tz=America/Chicago").is_ok());
        assert!(summary_from_query("by=day&tz=Mars/Olympus").is_err());
        assert!(summary_from_query("by=week").is_err());
        assert!(summary_from_query("by=").is_err());
        assert!(summary_from_query("").is_err());
    }
}
