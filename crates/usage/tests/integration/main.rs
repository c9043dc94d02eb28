//! The crate as its users see it: tables of inputs with what is expected of each, and properties.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod allocations;
mod batches;
mod decoding;
mod digests;
mod ids;
mod keys;
mod privacy;
mod records;
mod strategies;
mod timestamps;
mod unknown;

/// The body that everything began with.
const ORIGINAL: &str = r#"{"patientId":"100","timestamp":"Tue Nov 01 2016 09:11:51 GMT-0500 (CDT)","medication":"Albuterol"}"#;

/// What became of a usage, in one line: `ok`, `not JSON`, or each pointer with its code.
fn outcome(result: &Result<usage::Usage<'_>, usage::Rejection>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(usage::Rejection::NotJson { .. }) => "not JSON".to_owned(),
        Err(usage::Rejection::Invalid(errors)) => {
            let lines: Vec<_> =
                errors.iter().map(|error| format!("{} {}", error.pointer, error.code)).collect();
            lines.join(", ")
        }
    }
}
