//! How numbers are written: as k6 writes them, for its blocks, and in three digits, for people.

/// A time in k6's form: `434.26µs`, `44.58ms`, `1.5s`, `2m5s`. Digits are cut off, not rounded.
pub fn k6_time(ms: f64) -> String {
    if ms == 0.0 {
        return "0s".to_owned();
    }
    if ms < 0.001 {
        return format!("{}ns", (ms * 1e6).trunc());
    }
    if ms < 1.0 {
        return format!("{}µs", k6_number((ms * 1e5).trunc() / 1e2));
    }
    if ms < 1_000.0 {
        return format!("{}ms", k6_number((ms * 1e2).trunc() / 1e2));
    }
    let seconds = (ms % 60_000.0) / 1_000.0;
    let minutes = (ms / 60_000.0).trunc();
    if minutes < 1.0 {
        return format!("{}s", k6_number((seconds * 1e2).trunc() / 1e2));
    }
    let (hours, minutes, seconds) = ((minutes / 60.0).trunc(), minutes % 60.0, seconds.trunc());
    if hours < 1.0 {
        format!("{minutes}m{seconds}s")
    } else {
        format!("{hours}h{minutes}m{seconds}s")
    }
}

/// A number in k6's form: at most six decimals, without zeros at their end.
pub fn k6_number(number: f64) -> String {
    let text = format!("{number:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A share in k6's form: `98.40%`. Digits are cut off, not rounded.
pub fn k6_share(share: f64) -> String {
    format!("{:.2}%", (share * 1e4).trunc() / 1e2)
}

/// Bytes in k6's form: `8.6 kB`, `28 kB`, in steps of a thousand.
pub fn k6_bytes(bytes: f64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let (mut value, mut unit) = (bytes, 0);
    while value >= 1_000.0 && unit + 1 < UNITS.len() {
        value /= 1_000.0;
        unit += 1;
    }
    let value = (value * 10.0 + 0.5).floor() / 10.0;
    let decimals = usize::from(value < 10.0 && (unit > 0 || value.fract() > 0.0));
    format!("{value:.decimals$} {}", UNITS[unit])
}

/// A count with its thousands apart: `1,000,000`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number in three digits at least, with its thousands apart: `16,667`, `87.3`, `0.052`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rounded and above 0")]
pub fn number(number: f64) -> String {
    if number.abs() >= 100.0 {
        let sign = if number < 0.0 { "−" } else { "" };
        return format!("{sign}{}", count(number.abs().round() as u64));
    }
    let decimals = match number.abs() {
        0.0 => 0,
        small if small >= 9.995 => 1,
        small if small >= 0.9995 => 2,
        _ => 3,
    };
    let text = format!("{number:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A time in three digits, its unit behind a space: `342 µs`, `3.42 ms`, `1.23 s`, `2 min 5 s`.
pub fn time(ms: f64) -> String {
    let digits = |value: f64| match value {
        v if v >= 99.95 => format!("{v:.0}"),
        v if v >= 9.995 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    };
    match ms {
        0.0 => "0 ms".to_owned(),
        ms if ms < 0.9995 => format!("{} µs", digits(ms * 1e3)),
        ms if ms < 999.5 => format!("{} ms", digits(ms)),
        ms if ms < 59_995.0 => format!("{} s", digits(ms / 1e3)),
        ms => seconds(ms / 1e3),
    }
}

/// A time that an axis names: as [`time`] without zeros at its end.
pub fn axis_time(ms: f64) -> String {
    let text = time(ms);
    match text.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

/// A span of time for people, in its two largest units: `60 s`, `10 min`, `1 h 30 min`, `2 d 3 h`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a span is not below 0"
)]
pub fn seconds(seconds: f64) -> String {
    if seconds < 120.0 {
        return format!("{} s", number(if seconds >= 10.0 { seconds.round() } else { seconds }));
    }
    let whole = seconds.round() as u64;
    let (large, small, names) = match whole {
        ..3_600 => (whole / 60, whole % 60, ("min", "s")),
        3_600..86_400 => (whole / 3_600, whole % 3_600 / 60, ("h", "min")),
        _ => (whole / 86_400, whole % 86_400 / 3_600, ("d", "h")),
    };
    if small == 0 {
        format!("{large} {}", names.0)
    } else {
        format!("{large} {} {small} {}", names.0, names.1)
    }
}

/// A share in per cent: `99.97%`; one that is not quite none or all is not written as such.
pub fn share(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        0.0 => "0%".to_owned(),
        100.0 => "100%".to_owned(),
        p if p < 0.001 => "< 0.001%".to_owned(),
        p if p > 99.999 && p < 100.0 => "> 99.999%".to_owned(),
        p if p < 1.0 || p > 99.0 && p < 100.0 => {
            let text = format!("{p:.3}");
            format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
        }
        p => format!("{p:.1}%"),
    }
}

/// An instant of the wall clock in UTC, as RFC 3339 writes it: `2026-01-01T12:00:00Z`.
pub fn instant(wall_ns: u64) -> String {
    let instant = jiff::Timestamp::from_nanosecond(wall_ns.into());
    instant.map_or_else(|_| "-".to_owned(), |instant| instant.to_string())
}

/// `part` of `whole`, 0 to 1; of nothing, nothing.
pub fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { real(part) / real(whole) }
}

/// A count to calculate with.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub fn real(count: u64) -> f64 {
    count as f64
}

/// A text in lines of so many columns, broken between words; one that is longer stays whole.
pub fn broken(text: &str, columns: usize) -> Vec<String> {
    let options = textwrap::Options::new(columns)
        .break_words(false)
        .word_splitter(textwrap::WordSplitter::NoHyphenation);
    textwrap::wrap(text, options).into_iter().map(String::from).collect()
}

/// A text that somebody gave, without what would move a terminal's cursor, break a line, or have it
/// read from the other side (Unicode's bidirectional controls).
pub fn printable(text: &str) -> String {
    let steers =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Copy + std::fmt::Debug>(write: impl Fn(T) -> String, cases: &[(T, &str)]) {
        for (value, expected) in cases {
            assert_eq!(write(*value), *expected, "{value:?}");
        }
    }

    #[test]
    fn times_of_k6() {
        // The first ones as k6 1.1 printed them for these very values.
        check(
            k6_time,
            &[
                (42.698_433_286_384_976, "42.69ms"),
                (42.704_555, "42.7ms"),
                (3.011_057, "3.01ms"),
                (44.000_9, "44ms"),
                (0.684_871, "684.87µs"),
                (0.425_7, "425.7µs"),
                (0.0, "0s"),
                (0.000_5, "500ns"),
                (1_000.0, "1s"),
                (59_999.0, "59.99s"),
                (60_000.0, "1m0s"),
                (125_999.0, "2m5s"),
                (3_725_000.0, "1h2m5s"),
            ],
        );
    }

    #[test]
    fn numbers_shares_and_bytes_of_k6() {
        check(
            k6_number,
            &[
                (87.272_612_586_416_68, "87.272613"),
                (154.908_887_340_889_6, "154.908887"),
                (220.0, "220"),
                (100.0, "100"),
                (0.5, "0.5"),
                (0.0, "0"),
            ],
        );
        check(
            k6_share,
            &[
                (0.031_818_181_818, "3.18%"),
                (0.984_090_909_09, "98.40%"),
                (7.0 / 440.0, "1.59%"),
                (1.0, "100.00%"),
                (0.0, "0.00%"),
            ],
        );
        check(
            k6_bytes,
            &[
                (28_024.0, "28 kB"),
                (5_558.472, "5.6 kB"),
                (20_460.0, "20 kB"),
                (4_058.176, "4.1 kB"),
                (0.0, "0 B"),
                (999.0, "999 B"),
                (9_999.0, "10 kB"),
                (1_240_000_000.0, "1.2 GB"),
            ],
        );
    }

    #[test]
    fn numbers_for_people() {
        check(count, &[(0, "0"), (999, "999"), (1_000, "1,000"), (1_000_000, "1,000,000")]);
        check(
            number,
            &[
                (16_666.6, "16,667"),
                (87.27, "87.3"),
                (9.999, "10"),
                (0.0521, "0.052"),
                (0.0, "0"),
                (10.0, "10"),
            ],
        );
        check(
            time,
            &[
                (0.342_4, "342 µs"),
                (0.999_9, "1.00 ms"),
                (3.4231, "3.42 ms"),
                (34.26, "34.3 ms"),
                (342.6, "343 ms"),
                (1_234.0, "1.23 s"),
                (59_990.0, "60.0 s"),
                (125_000.0, "2 min 5 s"),
            ],
        );
        check(axis_time, &[(0.3, "300 µs"), (1.0, "1 ms"), (10.0, "10 ms"), (2_500.0, "2.5 s")]);
        check(
            seconds,
            &[
                (60.0, "60 s"),
                (0.25, "0.25 s"),
                (600.0, "10 min"),
                (5_400.0, "1 h 30 min"),
                (86_400.0, "1 d"),
            ],
        );
        check(
            share,
            &[
                (0.0, "0%"),
                (1.0, "100%"),
                (0.999_97, "99.997%"),
                (0.999_999_9, "> 99.999%"),
                (0.000_001, "< 0.001%"),
                (0.0318, "3.2%"),
            ],
        );
    }

    #[test]
    fn what_would_move_the_cursor_is_not_printed() {
        assert_eq!(printable("a\u{1b}[2J\nü"), "a\u{fffd}[2J\u{fffd}ü");
    }
}
