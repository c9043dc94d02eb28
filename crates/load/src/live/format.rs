//! Figures for people: short, aligned by their unit, and never rounded into a lie.

use std::time::Duration;

/// `1,234,567`.
pub(super) fn whole(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `16,667/s`, `3.3/s`.
pub(super) fn per_second(rate: f64) -> String {
    if rate > 0.0 && rate < 9.95 {
        format!("{rate:.1}/s")
    } else {
        format!("{}/s", whole(round(rate)))
    }
}

/// Three digits of a time: `412 µs`, `1.21 ms`, `40.2 ms`, `1.20 s`, `2:03`.
pub(super) fn time(ms: f64) -> String {
    match ms {
        ms if ms < 0.9995 => format!("{:.0} µs", ms * 1e3),
        ms if ms < 999.5 => format!("{} ms", three_digits(ms)),
        ms if ms < 60e3 => format!("{} s", three_digits(ms / 1e3)),
        ms => clock(Duration::from_secs_f64(ms / 1e3)),
    }
}

/// The same, or a dash when nothing was measured.
pub(super) fn time_or_dash(ms: Option<f64>) -> String {
    ms.map_or_else(|| "–".to_owned(), time)
}

fn three_digits(number: f64) -> String {
    match number {
        n if n < 9.995 => format!("{n:.2}"),
        n if n < 99.95 => format!("{n:.1}"),
        n => format!("{n:.0}"),
    }
}

/// How far a run is: `12.0 s`, `2:03`, `1:02:03`.
pub(super) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    match (hours, minutes) {
        // Cut, not rounded: 59.96 s is no minute yet.
        (0, 0) => format!("{seconds}.{} s", time.subsec_millis() / 100),
        (0, minutes) => format!("{minutes}:{:02}", seconds % 60),
        (hours, minutes) => format!("{hours}:{minutes:02}:{:02}", seconds % 60),
    }
}

/// How far a run is of how long, in one unit: `12.0 s` and `60.0 s`, `2:03` and `10:00`.
pub(super) fn clocks(at: Duration, planned: Duration) -> (String, String) {
    if at.max(planned) >= Duration::from_secs(100) {
        let clock = |time: Duration| match time.as_secs() {
            seconds if seconds < 60 => format!("0:{seconds:02}"),
            _ => clock(time),
        };
        (clock(at), clock(planned))
    } else {
        let seconds =
            |time: Duration| format!("{}.{} s", time.as_secs(), time.subsec_millis() / 100);
        (seconds(at), seconds(planned))
    }
}

/// `0.3%` of something. Only nothing is `0%`, and only all of it is `100%`.
#[expect(clippy::cast_precision_loss, reason = "a share, for people")]
pub(super) fn share(part: u64, of: u64) -> String {
    if part == 0 || of == 0 {
        return "0%".to_owned();
    }
    if part >= of {
        return "100%".to_owned();
    }
    match part as f64 * 100.0 / of as f64 {
        percent if percent < 0.01 => "<0.01%".to_owned(),
        percent if percent > 99.99 => ">99.99%".to_owned(),
        percent => format!("{percent:.2}%"),
    }
}

/// For axes: `0`, `250`, `1.5k`, `20k`, `3M`.
pub(super) fn short(number: f64) -> String {
    let (number, unit) = match number {
        n if n < 1e3 => (n, ""),
        n if n < 1e6 => (n / 1e3, "k"),
        n => (n / 1e6, "M"),
    };
    if (number - number.round()).abs() < 0.05 || number >= 100.0 {
        format!("{number:.0}{unit}")
    } else {
        format!("{number:.1}{unit}")
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not below zero")]
fn round(number: f64) -> u64 {
    number.max(0.0).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(whole(number), text);
        }
        for (rate, text) in
            [(0.0, "0/s"), (0.34, "0.3/s"), (9.94, "9.9/s"), (9.96, "10/s"), (16_666.7, "16,667/s")]
        {
            assert_eq!(per_second(rate), text);
        }
        for (number, text) in [
            (0.0, "0"),
            (2.5, "2.5"),
            (999.0, "999"),
            (1_500.0, "1.5k"),
            (20_000.0, "20k"),
            (3e6, "3M"),
        ] {
            assert_eq!(short(number), text);
        }
    }

    #[test]
    fn times() {
        for (ms, text) in [
            (0.0, "0 µs"),
            (0.412, "412 µs"),
            (0.9996, "1.00 ms"),
            (1.214, "1.21 ms"),
            (9.996, "10.0 ms"),
            (40.23, "40.2 ms"),
            (402.0, "402 ms"),
            (999.7, "1.00 s"),
            (12_340.0, "12.3 s"),
            (123_000.0, "2:03"),
        ] {
            assert_eq!(time(ms), text);
        }
        for (ms, text) in
            [(0, "0.0 s"), (59_960, "59.9 s"), (60_000, "1:00"), (3_723_000, "1:02:03")]
        {
            assert_eq!(clock(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn two_times_have_one_unit() {
        for (at_s, planned_s, at, planned) in
            [(12, 60, "12.0 s", "60.0 s"), (12, 600, "0:12", "10:00"), (61, 90, "61.0 s", "90.0 s")]
        {
            let got = clocks(Duration::from_secs(at_s), Duration::from_secs(planned_s));
            assert_eq!(got, (at.to_owned(), planned.to_owned()));
        }
    }

    #[test]
    fn a_share_is_not_rounded_to_none_or_all() {
        for (part, of, text) in [
            (0, 0, "0%"),
            (0, 9, "0%"),
            (9, 9, "100%"),
            (1, 8, "12.50%"),
            (1, 1_000_000, "<0.01%"),
            (999_999, 1_000_000, ">99.99%"),
        ] {
            assert_eq!(share(part, of), text);
        }
    }
}
