//! Durations, rates and counts as people write them, the same everywhere on the command line.

use std::time::Duration;

/// A duration: numbers with units, as k6 has them (`1m30s`, `500ms`, `1.5h`) or in words (`1min`, `30 days`).
///
/// # Errors
/// A sentence that shows how to write it.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration; write it like 500ms, 30s, 1m30s or 30days");
    let without_spaces: String = text.split_whitespace().collect();
    let mut rest = without_spaces.as_str();
    let mut seconds = 0.0;
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, behind) = after.split_at(letters);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        if unit.is_empty() {
            return Err(format!("`{text}` has no unit; write {number}s or {number}ms"));
        }
        seconds += number * unit_seconds(unit).ok_or_else(wrong)?;
        rest = behind;
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "y" | "year" | "years" => 31_557_600.0,
        "M" | "month" | "months" => 2_630_016.0,
        "w" | "week" | "weeks" => 604_800.0,
        "d" | "day" | "days" => 86_400.0,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "ms" | "msec" | "millis" => 1e-3,
        "us" | "µs" | "μs" | "usec" => 1e-6,
        "ns" | "nsec" | "nanos" => 1e-9,
        _ => return None,
    })
}

/// A rate, in requests a second: `1M/m`, `16700/s`, `1.5k/s`, `3600/h`; without a unit a second's.
///
/// # Errors
/// A sentence that shows how to write it.
pub fn rate(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is not a rate; write it like 1M/m, 16700/s or 5k/s");
    let (amount, seconds) = match text.trim().split_once('/') {
        None => (text, 1.0),
        Some((amount, "s" | "sec")) => (amount, 1.0),
        Some((amount, "m" | "min")) => (amount, 60.0),
        Some((amount, "h" | "hour")) => (amount, 3_600.0),
        Some(_) => return Err(wrong()),
    };
    Ok(scaled(amount).ok_or_else(wrong)? / seconds)
}

/// How many: `1000`, `20k`, `1M`, `1_000_000`.
///
/// # Errors
/// In words.
pub(super) fn count(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no whole number; write it like 100, 20k or 1M");
    if let Ok(number) = text.trim().replace('_', "").parse::<u64>() {
        return Ok(number);
    }
    let number = scaled(text).filter(|number| number.fract() == 0.0).ok_or_else(wrong)?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "scaled numbers are whole here, not negative, and below 2^53"
    )]
    Ok(number as u64)
}

/// A number from 0 to 2^53, perhaps with `k`, `M` or `G` behind it.
fn scaled(text: &str) -> Option<f64> {
    let text = text.trim().replace('_', "");
    let (digits, scale) = match text.chars().next_back()? {
        'k' | 'K' => (&text[..text.len() - 1], 1e3),
        'M' => (&text[..text.len() - 1], 1e6),
        'G' => (&text[..text.len() - 1], 1e9),
        _ => (text.as_str(), 1.0),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let number = digits.parse::<f64>().ok()? * scale;
    (number <= 9e15).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations() {
        let check = |text: &str, ms: Option<f64>| {
            let found = duration(text).ok().map(|duration| duration.as_secs_f64() * 1e3);
            assert_eq!(found.map(f64::round), ms, "{text}");
        };
        check("1m30s", Some(90_000.0));
        check("500ms", Some(500.0));
        check("1.5h", Some(5_400_000.0));
        check("1d2h3m4s5ms", Some(93_784_005.0));
        check("2000us", Some(2.0));
        check("2000µs", Some(2.0));
        check("0", Some(0.0));
        check("0s", Some(0.0));
        check("1min", Some(60_000.0));
        check("1h 30min", Some(5_400_000.0));
        check("2 weeks", Some(1_209_600_000.0));
        check("30days", Some(2_592_000_000.0));
        for wrong in ["", " ", "30", "s", "1x", "1m30", "-1s", "1..5s", ".s", "1e3s", "inf", "é"] {
            check(wrong, None);
        }
        assert!(duration("30").unwrap_err().contains("write 30s or 30ms"));
    }

    #[test]
    fn rates() {
        let check = |text: &str, expected: Option<f64>| {
            let found = rate(text).ok().map(|per_second| (per_second * 1e3).round() / 1e3);
            assert_eq!(found, expected, "{text}");
        };
        check("1M/m", Some(16_666.667));
        check("1M/min", Some(16_666.667));
        check("16700/s", Some(16_700.0));
        check("1.5k/s", Some(1_500.0));
        check("3.6k/h", Some(1.0));
        check("100", Some(100.0));
        check("0/s", Some(0.0));
        for wrong in ["", "/s", "x/s", "-1/s", "inf", "NaN/s", "1/d", "1T/s", "k/s", "1e3", "5 /"] {
            check(wrong, None);
        }
    }

    #[test]
    fn counts() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(count(text).ok(), expected, "{text}");
        };
        check("0", Some(0));
        check("100", Some(100));
        check("1M", Some(1_000_000));
        check("2.5k", Some(2_500));
        check("1_000", Some(1_000));
        check("18446744073709551615", Some(u64::MAX));
        for wrong in ["", "k", "1.5", "0.0001k", "-1", "1e6", "1M/m", "99999999G"] {
            check(wrong, None);
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in ".{0,24}") {
            let _ = (duration(&text), rate(&text), count(&text));
        }

        #[test]
        fn what_is_written_is_read(number in 0u32..100_000_000) {
            prop_assert_eq!(count(&number.to_string()).ok(), Some(u64::from(number)));
            let ms = format!("{number}ms");
            prop_assert_eq!(duration(&ms).ok(), Some(Duration::from_millis(number.into())));
            let found = rate(&format!("{number}/m")).map(|per_second| per_second * 60.0);
            prop_assert!((found.expect("a rate") - f64::from(number)).abs() < 1e-6);
        }
    }
}
