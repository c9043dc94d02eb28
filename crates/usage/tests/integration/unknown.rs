//! Fields that a usage does not have, kept among the attributes.

use usage::{UnknownFields, decode, limits};

use crate::outcome;

/// Decodes the required fields and `more`, keeping unknown ones; expects the attributes or errors.
fn check(more: &str, expected: Result<Option<&str>, &str>) {
    let body = format!(r#"{{"patientId":"1","timestamp":0,{more}"medication":"m"}}"#);
    let decoded = decode(body.as_bytes(), UnknownFields::Keep);
    let found = outcome(&decoded);
    match expected {
        Ok(attributes) => {
            assert_eq!(found, "ok", "{more}");
            assert_eq!(decoded.unwrap().attributes.as_deref(), attributes);
        }
        Err(errors) => assert_eq!(found, errors, "{more}"),
    }
}

#[test]
fn unknown_fields_join_the_attributes() {
    check("", Ok(None));
    check(r#""dose":2,"#, Ok(Some(r#"{"dose":2}"#)));
    check(r#""dose": 2.50 ,"lot":{"a":[1, 2]},"#, Ok(Some(r#"{"dose":2.50,"lot":{"a":[1, 2]}}"#)));
    check(r#""x":null,"attributes":{},"#, Ok(Some(r#"{"x":null}"#)));
    check(r#""attributes":{ "a": 1 },"b":2,"#, Ok(Some(r#"{"a": 1,"b":2}"#)));
    check(r#""b":2,"attributes":null,"#, Ok(Some(r#"{"b":2}"#)));
    check(r#""q\"uo\u0074e":1,"#, Ok(Some(r#"{"q\"uote":1}"#)));
}

#[test]
fn a_name_in_use_is_refused() {
    check(r#""attributes":{"a":1},"a":2,"#, Err("/a field-collision"));
    check(r#""a":2,"attributes":{"\u0061":1},"#, Err("/a field-collision"));
    check(r#""a":2,"a":2,"#, Err("/a field-collision"));
    check(r#""attributes":3,"a":2,"#, Err("/attributes wrong-type"));
    check(r#""eventId":"e","eventId":"e","#, Err("/eventId duplicate-field"));
}

#[test]
fn limits_hold_for_the_whole() {
    let of_bytes = |bytes: usize| format!(r#""a":"{}","#, "x".repeat(bytes - 8));
    check(&of_bytes(limits::ATTRIBUTES_BYTES_MAX + 1), Err("/attributes too-large"));
    let fits = of_bytes(limits::ATTRIBUTES_BYTES_MAX);
    check(&fits, Ok(Some(&format!("{{{}}}", &fits[..fits.len() - 1]))));
    let many: String = (0..5000).map(|n| format!(r#""{n}":0,"#)).collect();
    let body = format!(r#"{{"patientId":"1","timestamp":0,{many}"medication":"m"}}"#);
    assert!(outcome(&decode(body.as_bytes(), UnknownFields::Keep)).contains("too-large"));

    let depth = limits::ATTRIBUTES_DEPTH_MAX;
    let nested = |depth: usize| format!("\"a\":{}{},", "[".repeat(depth), "]".repeat(depth));
    check(&nested(depth), Err("/a too-deep"));
    let expected = nested(depth - 1);
    check(&expected, Ok(Some(&format!("{{{}}}", &expected[..expected.len() - 1]))));
    check(r#""a":"\ud800","#, Err("/a lone-surrogate"));
}
