//! The `Idempotency-Key` header.

use usage::{KeyError, item_key, limits, parse_idempotency_key};

fn check(header: &str, expected: Result<&str, KeyError>) {
    let found = parse_idempotency_key(header.as_bytes());
    assert_eq!(found, expected.map(str::to_owned), "{header}");
}

#[test]
fn quoted_and_bare_are_the_same_key() {
    check("abc", Ok("abc"));
    check("\"abc\"", Ok("abc"));
    check(" \t\"abc\" ", Ok("abc"));
    check("8e03978e-40d5-43dd-bc93-6894a57f9324", Ok("8e03978e-40d5-43dd-bc93-6894a57f9324"));
    check("a+/=;:'b", Ok("a+/=;:'b"));
    check(r#""a \"b\" \\c, d""#, Ok(r#"a "b" \c, d"#));
    check(r"a\b", Ok(r"a\b"));
}

#[test]
fn other_bytes_are_refused() {
    check("", Err(KeyError::Empty));
    check("  ", Err(KeyError::Empty));
    check("\"\"", Err(KeyError::Empty));
    check("a b", Err(KeyError::BareCharacter));
    check("a,b", Err(KeyError::BareCharacter));
    check("a\"b", Err(KeyError::BareCharacter));
    check("é", Err(KeyError::BareCharacter));
    check("\"é\"", Err(KeyError::QuotedCharacter));
    check("\"a\u{1f}b\"", Err(KeyError::QuotedCharacter));
    check(r#""\a""#, Err(KeyError::QuotedCharacter));
    check("\"abc", Err(KeyError::Unterminated));
    check("\"abc\\", Err(KeyError::Unterminated));
    check("\"", Err(KeyError::Unterminated));
    check("\"a\";p=1", Err(KeyError::Unterminated));
    check("\"a\", \"b\"", Err(KeyError::Unterminated));
    assert_eq!(parse_idempotency_key(b"\xff"), Err(KeyError::BareCharacter));
}

#[test]
fn the_length_is_capped() {
    let longest = "k".repeat(limits::KEY_CHARS_MAX);
    check(&longest, Ok(&longest));
    check(&format!("\"{longest}\""), Ok(&longest));
    check(&format!("{longest}k"), Err(KeyError::TooLong));
}

#[test]
fn no_key_that_can_be_sent_is_an_items_key() {
    assert_ne!(item_key("k", 1), item_key("k", 11));
    assert_ne!(item_key("k1", 1), item_key("k", 11));
    let item = item_key("k", 0);
    assert!(parse_idempotency_key(item.as_bytes()).is_err());
    assert!(parse_idempotency_key(format!("\"{item}\"").as_bytes()).is_err());
}
