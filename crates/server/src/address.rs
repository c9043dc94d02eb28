//! Paths and queries as text: percent-encoding, decoded strictly. A patient's name that arrives
//! garbled must not become another patient's.

use edge::{FieldProblem, Problem, ProblemKind};

/// Longest part of a name that a pointer repeats, in characters: it comes from the sender.
const POINTER_NAME_CHARS_MAX: usize = 64;

/// A JSON pointer (RFC 6901) to the member of a body, or to the parameter of a query, called `name`.
pub(crate) fn pointer(name: &str) -> String {
    let name: String = name.chars().take(POINTER_NAME_CHARS_MAX).collect();
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// Percent-decoded text (RFC 3986, section 2.1). `None` when a `%` stands before anything but two
/// hexadecimal digits, or the bytes are not UTF-8.
pub(crate) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        let (digits, rest) = part.as_bytes().split_at_checked(2)?;
        let digit = |at: usize| char::from(digits[at]).to_digit(16);
        bytes.push(u8::try_from(digit(0)? * 16 + digit(1)?).expect("two digits are below 256"));
        bytes.extend_from_slice(rest);
    }
    String::from_utf8(bytes).ok()
}

/// The names and values of a query, as forms write them: `+` is a blank.
pub(crate) fn parameters(query: &str) -> Result<Vec<(String, String)>, Problem> {
    let mut parameters = Vec::new();
    let mut garbled = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decoded(&name.replace('+', " "));
        let value = decoded(&value.replace('+', " "));
        match (name, value) {
            (Some(name), Some(value)) => parameters.push((name, value)),
            (Some(name), None) => garbled.push(pointer(&name)),
            (None, _) => garbled.push(String::new()),
        }
    }
    if garbled.is_empty() { Ok(parameters) } else { Err(badly_encoded(garbled)) }
}

/// The problem of what stands at `pointers`.
pub(crate) fn badly_encoded(pointers: Vec<String>) -> Problem {
    let errors = pointers.into_iter().take(usage::limits::ERRORS_MAX).map(|pointer| FieldProblem {
        pointer,
        code: "encoding",
        detail: "must be percent-encoded UTF-8: `%` and two hexadecimal digits for each byte"
            .to_owned(),
    });
    Problem::from(ProblemKind::BAD_ENCODING).errors(errors.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_right_encodings_are_decoded() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(decoded(text).as_deref(), expected, "{text}");
        };
        check("", Some(""));
        check("a+b", Some("a+b"));
        check("J%c3%BCrgen%20%F0%9F%98%80", Some("Jürgen 😀"));
        check("%00%25", Some("\0%"));
        for wrong in ["%", "1%", "%z", "%zz", "%1", "x%ff", "%c3", "%+1", "%é", "%1é", "a%2"] {
            check(wrong, None);
        }
    }

    #[test]
    fn repro_a_garbled_parameter_is_named() {
        let check = |query: &str, pointers: &[&str]| {
            let problem = parameters(query).expect_err("it is garbled");
            assert_eq!(problem.kind, ProblemKind::BAD_ENCODING);
            let found: Vec<_> = problem.errors.iter().map(|error| &*error.pointer).collect();
            assert_eq!(found, pointers, "{query}");
        };
        check("patientId=x%ff", &["/patientId"]);
        check("patientId=%zz&limit=1%", &["/patientId", "/limit"]);
        check("p%61tientId=1%", &["/patientId"]);
        check("%=1", &[""]);
        check(&format!("{}=%", "x".repeat(100)), &[&format!("/{}", "x".repeat(64))]);
        let right = parameters("&a=1+2%2B&&b&=c").expect("it is right");
        let expected = [("a", "1 2+"), ("b", ""), ("", "c")];
        assert_eq!(right, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
