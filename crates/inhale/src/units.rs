//! Rates, sizes and durations as people write them.

use std::time::Duration;

use bytesize::ByteSize;

/// Usages in a span of time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate(f64);

impl Rate {
    /// Usages a second.
    pub(crate) fn per_second(self) -> f64 {
        self.0
    }
}

/// Parses `1M/m`, `16700/s` or `5k/h`; more than none.
pub(crate) fn parse_rate(text: &str) -> Result<Rate, String> {
    match load::plan::rate(text)? {
        rate if rate > 0.0 => Ok(Rate(rate)),
        _ => Err(format!("`{text}` is a rate of zero; write it like 1M/m, 16700/s or 5k/s")),
    }
}

/// Parses `256MiB`, `1.5GB` or a number of bytes.
pub(crate) fn parse_size(text: &str) -> Result<ByteSize, String> {
    text.parse().map_err(|_| format!("`{text}` is not a size; write it like 64MiB, 1GiB or 4096"))
}

/// Parses how long usages are kept.
pub(crate) fn parse_retention(text: &str) -> Result<Duration, String> {
    if ["forever", "never", "unlimited"].contains(&text.to_lowercase().as_str()) {
        return Err("usages are kept forever by default; leave this setting out".to_owned());
    }
    load::plan::duration(text)
}

/// Bytes for people: `1.5 GiB`.
pub(crate) fn size_text(bytes: u64) -> String {
    ByteSize(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repro_a_value_of_another_form_is_answered_with_one_that_works() {
        fn check<T>(parsed: Result<T, String>, expected: &str) {
            let said = parsed.err().unwrap_or_default();
            assert!(said.contains(expected) && said.is_empty() == expected.is_empty(), "{said}");
        }
        for wrong in ["10%", "big", "", "-1MiB", "1 MiB 2"] {
            check(parse_size(wrong), "64MiB");
        }
        for size in ["64MiB", "1GiB", "4096", "1.5GB"] {
            check(parse_size(size), "");
        }
        for wrong in ["soon", "", "-1s", "30 dayz"] {
            check(load::plan::duration(wrong), "30days");
        }
        check(load::plan::duration("10"), "write 10s or 10ms");
        for duration in ["250ms", "10s", "1h 30m", "30days", "1min", "0s"] {
            check(load::plan::duration(duration), "");
        }
        for forever in ["forever", "Never"] {
            check(parse_retention(forever), "leave this setting out");
        }
        check(parse_retention("2days"), "");
    }

    #[test]
    fn rates() {
        let check = |text: &str, expected: Option<f64>| {
            let rate = parse_rate(text).ok().map(|rate| rate.per_second().round());
            assert_eq!(rate, expected, "{text}");
        };
        check("1M/m", Some(16_667.0));
        check("16700/s", Some(16_700.0));
        check("5k/s", Some(5_000.0));
        check("3.6k/h", Some(1.0));
        for wrong in ["", "/s", "x/s", "-1/s", "0/s", "inf/s", "NaN/s", "1/d", "1T/s"] {
            check(wrong, None);
        }
    }
}
