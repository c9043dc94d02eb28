//! Days and times of day as text: the start of JavaScript's `Date.toString()`, and a date for file
//! names.

/// Bytes of `Tue Nov 01 2016 09:11:51`.
pub(crate) const LOCAL_TEXT_BYTES: usize = 24;

const SECONDS_PER_DAY: u64 = 86_400;
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Year, month from 1 and day from 1 of a number of days since 1970-01-01, by counting the
/// leap-year cycle of 400 years from a 1 March, so that the leap day comes last.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let cycle = shifted / 146_097;
    let day_of_cycle = shifted % 146_097;
    let year_of_cycle = (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524
        - day_of_cycle / 146_096)
        / 365;
    let day_of_year =
        day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (cycle * 400 + year_of_cycle + u64::from(month <= 2), month, day)
}

/// `2026-11-23` for seconds since 1970.
pub(crate) fn iso_date(seconds: u64) -> String {
    let (year, month, day) = civil(seconds / SECONDS_PER_DAY);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Writes local times as `Tue Nov 01 2016 09:11:51`; keeps the day's part, which rarely changes.
#[derive(Debug, Clone)]
pub(crate) struct LocalText {
    day: u64,
    text: [u8; LOCAL_TEXT_BYTES],
}

impl LocalText {
    pub(crate) fn new() -> Self {
        let mut text = Self { day: 0, text: *b"Www Mmm dd yyyy hh:mm:ss" };
        text.set_day(0);
        text
    }

    /// The text of a local time, given as if its clock ran in UTC.
    pub(crate) fn at(&mut self, seconds: u64) -> &[u8; LOCAL_TEXT_BYTES] {
        let day = seconds / SECONDS_PER_DAY;
        if day != self.day {
            self.set_day(day);
        }
        let second = seconds % SECONDS_PER_DAY;
        write_digits(&mut self.text[16..18], second / 3_600);
        write_digits(&mut self.text[19..21], second / 60 % 60);
        write_digits(&mut self.text[22..24], second % 60);
        &self.text
    }

    fn set_day(&mut self, day: u64) {
        let (year, month, of_month) = civil(day);
        let name = |names: &[&'static str], index: u64| {
            names[usize::try_from(index).expect("a weekday or a month is small")].as_bytes()
        };
        self.day = day;
        self.text[0..3].copy_from_slice(name(&WEEKDAYS, day % 7));
        self.text[4..7].copy_from_slice(name(&MONTHS, month - 1));
        write_digits(&mut self.text[8..10], of_month);
        write_digits(&mut self.text[11..15], year);
    }
}

/// Fills `places` with the last digits of `number`, zeros first.
pub(crate) fn write_digits(places: &mut [u8], mut number: u64) {
    for place in places.iter_mut().rev() {
        *place = b'0' + u8::try_from(number % 10).expect("a digit is below 10");
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(seconds: u64, expected: &str) {
        let mut text = LocalText::new();
        assert_eq!(std::str::from_utf8(text.at(seconds)).unwrap(), expected);
    }

    #[test]
    fn local_times_carry_the_right_weekday() {
        check(0, "Thu Jan 01 1970 00:00:00");
        check(1_478_009_511 - 5 * 3_600, "Tue Nov 01 2016 09:11:51");
        check(951_782_400, "Tue Feb 29 2000 00:00:00");
        check(1_709_251_199, "Thu Feb 29 2024 23:59:59");
        check(4_107_542_399, "Sun Feb 28 2100 23:59:59");
        check(4_107_542_400, "Mon Mar 01 2100 00:00:00");
    }

    #[test]
    fn a_change_of_day_is_noticed() {
        let mut text = LocalText::new();
        text.at(1_478_009_511);
        assert_eq!(text.at(86_399), b"Thu Jan 01 1970 23:59:59");
        assert_eq!(text.at(86_400), b"Fri Jan 02 1970 00:00:00");
    }

    #[test]
    fn dates_for_file_names() {
        assert_eq!(iso_date(1_478_009_511), "2016-11-01");
        assert_eq!(iso_date(1_735_689_599), "2024-12-31");
    }

    #[test]
    fn digits_fill_their_places() {
        let mut places = *b"-----";
        write_digits(&mut places, 42);
        assert_eq!(&places, b"00042");
        write_digits(&mut places, 1_234_567);
        assert_eq!(&places, b"34567");
    }
}
