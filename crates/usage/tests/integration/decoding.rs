//! One usage from JSON.

use usage::{Rejection, UnknownFields, Usage, decode};

const ORIGINAL: &str = r#"{"patientId":"100","timestamp":"Tue Nov 01 2016 09:11:51 GMT-0500 (CDT)","medication":"Albuterol"}"#;

#[test]
fn the_original_body() {
    let usage = decode(ORIGINAL.as_bytes(), UnknownFields::Refuse).unwrap();
    assert_eq!(usage.timestamp.instant.seconds(), 1_478_009_511);
}
