//! Rates and sizes as people write them.

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

/// Parses `1M/m`, `16700/s`, `5k/h`: a number, perhaps with `k` or `M`, over a second, minute or hour.
pub(crate) fn parse_rate(text: &str) -> Result<Rate, String> {
    let wrong = || format!("`{text}` is not a rate; write it like 1M/m, 16700/s or 5k/h");
    let (amount, unit) = text.split_once('/').ok_or_else(wrong)?;
    let (digits, scale) = match amount.strip_suffix(['k', 'K', 'M']) {
        Some(digits) if amount.ends_with('M') => (digits, 1e6),
        Some(digits) => (digits, 1e3),
        None => (amount, 1.0),
    };
    let seconds = match unit {
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    if !number.is_finite() || number <= 0.0 {
        return Err(wrong());
    }
    Ok(Rate(number * scale / seconds))
}

/// Bytes for people: `1.5 GiB`.
pub(crate) fn size_text(bytes: u64) -> String {
    ByteSize(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for wrong in ["", "1M", "/s", "x/s", "-1/s", "0/s", "inf/s", "NaN/s", "1/d", "1G/s"] {
            check(wrong, None);
        }
    }
}
