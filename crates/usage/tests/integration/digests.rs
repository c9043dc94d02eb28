//! The digest of a usage's content.

use usage::{UnknownFields, content_digest, decode};

use crate::ORIGINAL;

fn digest(body: &str) -> u128 {
    content_digest(&decode(body.as_bytes(), UnknownFields::Refuse).unwrap())
}

fn with_attributes(attributes: &str) -> u128 {
    digest(&format!(
        r#"{{"patientId":"1","timestamp":0,"medication":"m","attributes":{attributes}}}"#
    ))
}

#[test]
fn the_digest_never_changes() {
    assert_eq!(format!("{:032x}", digest(ORIGINAL)), "edec28f76762ede559695fa5fec0e9e9");
    assert_eq!(
        format!("{:032x}", with_attributes(r#"{"b":[1,{"c":"é"}],"a":null}"#)),
        "50b9fbf7a8e4cc660c1178df474ccbce"
    );
}

#[test]
fn how_it_is_written_does_not_count() {
    assert_eq!(
        digest(ORIGINAL),
        digest(
            r#" {"medication": "\u0041lbuterol", "eventId": null, "patientId":"10\u0030",
            "timestamp":"Tue Nov 01 2016 09:11:51 GMT-0500 (CDT)" } "#
        )
    );
    let check = |a: &str, b: &str| assert_eq!(with_attributes(a), with_attributes(b), "{a} {b}");
    check(r#"{"a":1,"b":2}"#, r#"{ "b" : 2, "a" : 1 }"#);
    check(r#"{"a":{"x":[],"y":"/"}}"#, r#"{"a":{"y":"\/","\u0078":[ ]}}"#);
    check(r#"{"a":"é😀"}"#, r#"{"a":"\u00e9\ud83d\ude00"}"#);
    check(r#"{"a":[true,null,1.5]}"#, "{\"a\":[\ttrue ,\nnull,1.5 ]}");
}

#[test]
fn what_is_written_counts() {
    let bodies = [
        r#"{"patientId":"1","timestamp":0,"medication":"m"}"#,
        r#"{"patientId":"2","timestamp":0,"medication":"m"}"#,
        r#"{"patientId":"1","timestamp":1,"medication":"m"}"#,
        r#"{"patientId":"1","timestamp":"1970-01-01T00:00:00Z","medication":"m"}"#,
        r#"{"patientId":"1","timestamp":"1970-01-01T00:00:00.0Z","medication":"m"}"#,
        r#"{"patientId":"1","timestamp":"1970-01-01T00:00:00+00:00","medication":"m"}"#,
        r#"{"patientId":"1","timestamp":"Thu Jan 01 1970 00:00:00 GMT+0000","medication":"m"}"#,
        r#"{"patientId":"1","timestamp":"Thu Jan 01 1970 00:00:00 GMT+0000 (UTC)","medication":"m"}"#,
        r#"{"patientId":"1","timestamp":0,"medication":"M"}"#,
        r#"{"patientId":"1","timestamp":0,"medication":"m","eventId":"e"}"#,
        r#"{"patientId":"1","timestamp":0,"medication":"me"}"#,
        r#"{"patientId":"1","timestamp":0,"medication":"m","attributes":{}}"#,
        r#"{"patientId":"1","timestamp":0,"medication":"m","eventId":"{}"}"#,
    ];
    let attributes = [
        r#"{"a":1}"#,
        r#"{"a":1.0}"#,
        r#"{"a":1e0}"#,
        r#"{"a":"1"}"#,
        r#"{"a":[1]}"#,
        r#"{"a":null}"#,
        r#"{"a":[1,2]}"#,
        r#"{"a":[2,1]}"#,
        r#"{"a":{"b":1}}"#,
        r#"{"b":1}"#,
        r#"{"a":1,"a":2}"#,
        r#"{"a":2,"a":1}"#,
        r#"{"a":18446744073709551616}"#,
        r#"{"a":18446744073709551617}"#,
        r#"{"a":"b\",\"c"}"#,
        r#"{"a":"b","c":1}"#,
    ];
    let mut digests: Vec<_> = bodies.iter().map(|body| digest(body)).collect();
    digests.extend(attributes.iter().map(|attributes| with_attributes(attributes)));
    let count = digests.len();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), count);
}
