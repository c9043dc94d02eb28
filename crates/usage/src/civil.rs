//! The proleptic Gregorian calendar as arithmetic on days since 1970-01-01, for the timestamps'
//! fixed layouts. Eras of 400 years begin on 1 March, so that the leap day ends a year.

pub(crate) const SECONDS_PER_DAY: i64 = 86_400;
pub(crate) const WEEKDAYS: [&[u8; 3]; 7] = [b"Sun", b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat"];
pub(crate) const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

const DAYS_PER_ERA: i64 = 146_097;
/// From 0000-03-01 to 1970-01-01.
const DAYS_TO_EPOCH: i64 = 719_468;

/// A date and a time of day without an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Civil {
    pub(crate) year: i64,
    pub(crate) month: u32,
    pub(crate) day: u32,
    pub(crate) hour: u32,
    pub(crate) minute: u32,
    pub(crate) second: u32,
}

impl Civil {
    /// Seconds since 1970-01-01T00:00:00 on this civil clock.
    pub(crate) fn seconds(&self) -> i64 {
        self.days() * SECONDS_PER_DAY + i64::from(self.hour * 3600 + self.minute * 60 + self.second)
    }

    /// Days since 1970-01-01.
    pub(crate) fn days(&self) -> i64 {
        // January and February belong to the year before, which began in March.
        let late = i64::from(self.month <= 2);
        let year = self.year - late;
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let month_from_march = i64::from(self.month) + 12 * late - 3;
        // Months from March have 31,30,31,30,31 days, repeating: 153 days in five.
        let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * DAYS_PER_ERA + day_of_era - DAYS_TO_EPOCH
    }

    /// The civil clock's reading `seconds` after 1970-01-01T00:00:00.
    #[expect(clippy::cast_possible_truncation, reason = "each part is below 100 by construction")]
    #[expect(clippy::cast_sign_loss, reason = "remainders of euclidean division")]
    pub(crate) fn from_seconds(seconds: i64) -> Civil {
        let days = seconds.div_euclid(SECONDS_PER_DAY) + DAYS_TO_EPOCH;
        let time = seconds.rem_euclid(SECONDS_PER_DAY);
        let era = days.div_euclid(DAYS_PER_ERA);
        let day_of_era = days.rem_euclid(DAYS_PER_ERA);
        // Take away the leap days before the day, then years are 365 days each.
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        Civil {
            year: era * 400 + year_of_era + i64::from(month <= 2),
            month: month as u32,
            day: day as u32,
            hour: (time / 3600) as u32,
            minute: (time / 60 % 60) as u32,
            second: (time % 60) as u32,
        }
    }
}

/// Index into [`WEEKDAYS`] of the day `days` after 1970-01-01, a Thursday.
#[expect(clippy::cast_possible_truncation, reason = "0 to 6")]
pub(crate) fn weekday(days: i64) -> usize {
    (days + 4).rem_euclid(7) as usize
}

/// Days in a month from 1 to 12.
pub(crate) fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_the_range_agrees_with_its_neighbour() {
        let mut previous: Option<Civil> = None;
        for days in -25_567..2_932_532 {
            let date = Civil::from_seconds(days * SECONDS_PER_DAY);
            assert_eq!(date.days(), days);
            assert!(date.day >= 1 && date.day <= days_in_month(date.year, date.month));
            if let Some(before) = previous {
                let next_day = before.day + 1;
                let expected = if next_day <= days_in_month(before.year, before.month) {
                    (before.year, before.month, next_day)
                } else if before.month < 12 {
                    (before.year, before.month + 1, 1)
                } else {
                    (before.year + 1, 1, 1)
                };
                assert_eq!((date.year, date.month, date.day), expected);
            }
            previous = Some(date);
        }
    }

    #[test]
    fn known_weekdays() {
        assert_eq!(WEEKDAYS[weekday(0)], b"Thu");
        assert_eq!(WEEKDAYS[weekday(17_106)], b"Tue");
        assert_eq!(WEEKDAYS[weekday(-1)], b"Wed");
    }
}
