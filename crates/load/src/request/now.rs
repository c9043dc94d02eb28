//! The time as text. A thread keeps the text of the second it wrote last: at thousands of requests a
//! second nearly all of them find it there.

use std::cell::RefCell;
use std::fmt::Write as _;

use jiff::Timestamp;

/// Bytes of `2016-11-01T14:11:51.123Z`.
pub(crate) const RFC_3339_BYTES: usize = 24;
/// Bytes of `Tue Nov 01 2016 14:11:51 GMT+0000 (Coordinated Universal Time)`.
pub(crate) const JS_BYTES: usize = 62;

const JS_FORMAT: &str = "%a %b %d %Y %H:%M:%S GMT+0000 (Coordinated Universal Time)";

/// One second, written down.
struct Second {
    /// Since 1970.
    number: u64,
    /// Up to the point before the milliseconds.
    rfc_3339: String,
    js: String,
    js_encoded: String,
}

thread_local! {
    static LATEST: RefCell<Second> = const {
        RefCell::new(Second {
            number: u64::MAX,
            rfc_3339: String::new(),
            js: String::new(),
            js_encoded: String::new(),
        })
    };
}

/// Appends `2016-11-01T14:11:51.123Z`.
pub(crate) fn rfc_3339(wall_ns: u64, out: &mut Vec<u8>) {
    let digit = |part: u64| b'0' + u8::try_from(part % 10).expect("one digit");
    let ms = wall_ns / 1_000_000 % 1_000;
    with_second(wall_ns, |second| {
        out.extend_from_slice(second.rfc_3339.as_bytes());
        out.extend_from_slice(&[digit(ms / 100), digit(ms / 10), digit(ms), b'Z']);
    });
}

/// Appends what JavaScript's `new Date().toString()` says where the clocks are set to UTC.
pub(crate) fn js(wall_ns: u64, out: &mut Vec<u8>) {
    with_second(wall_ns, |second| out.extend_from_slice(second.js.as_bytes()));
}

/// The same for a path or a query.
pub(crate) fn js_encoded(wall_ns: u64, out: &mut Vec<u8>) {
    with_second(wall_ns, |second| out.extend_from_slice(second.js_encoded.as_bytes()));
}

fn with_second(wall_ns: u64, use_it: impl FnOnce(&Second)) {
    LATEST.with_borrow_mut(|latest| {
        let number = wall_ns / 1_000_000_000;
        if latest.number != number {
            latest.write(number);
        }
        use_it(latest);
    });
}

impl Second {
    fn write(&mut self, number: u64) {
        let timestamp = i64::try_from(number).ok().and_then(|s| Timestamp::from_second(s).ok());
        let timestamp = timestamp.unwrap_or(Timestamp::MAX);
        self.number = number;
        for (text, format) in
            [(&mut self.rfc_3339, "%Y-%m-%dT%H:%M:%S."), (&mut self.js, JS_FORMAT)]
        {
            text.clear();
            write!(text, "{}", timestamp.strftime(format)).expect("a String takes everything");
        }
        self.js_encoded = super::escape::path(&self.js).into_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wall_ns: u64, expected_rfc_3339: &str, expected_js: &str) {
        let (mut first, mut second) = (Vec::new(), Vec::new());
        rfc_3339(wall_ns, &mut first);
        js(wall_ns, &mut second);
        assert_eq!(String::from_utf8(first).unwrap(), expected_rfc_3339);
        assert_eq!(String::from_utf8(second).unwrap(), expected_js);
        assert_eq!((expected_rfc_3339.len(), expected_js.len()), (RFC_3339_BYTES, JS_BYTES));
    }

    #[test]
    fn times_are_written_as_browsers_write_them() {
        let js = "Tue Nov 01 2016 09:11:51 GMT+0000 (Coordinated Universal Time)";
        check(1_477_991_511_000_999_999, "2016-11-01T09:11:51.000Z", js);
        // The same second again, from the thread's memory, and another one.
        check(1_477_991_511_987_000_000, "2016-11-01T09:11:51.987Z", js);
        let js = "Thu Feb 29 2024 23:59:59 GMT+0000 (Coordinated Universal Time)";
        check(1_709_251_199_999_999_999, "2024-02-29T23:59:59.999Z", js);
        let js = "Thu Jan 01 1970 00:00:00 GMT+0000 (Coordinated Universal Time)";
        check(0, "1970-01-01T00:00:00.000Z", js);
    }

    #[test]
    fn a_path_holds_no_blanks() {
        let mut out = Vec::new();
        js_encoded(0, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("Thu%20Jan%2001%201970%2000%3A00%3A00%20GMT%2B0000%20"), "{text}");
    }
}
