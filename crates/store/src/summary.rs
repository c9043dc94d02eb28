//! Counts of usages by hour, day or medication.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use journal::FrameKind;
use usage::{Instant, record};

use crate::effort::Effort;
use crate::error::ReadError;
use crate::medications::Medications;
use crate::query::{Summary, SummaryBy, SummaryGroup, SummaryQuery, SummaryRow};
use crate::store::Store;

/// Rows of a summary at most; five years of hours are fewer. Of more medications the largest have one.
const ROWS_MAX: usize = 50_000;

/// The index counts by quarters of an hour: see the head of `crate::index`'s counts for what they
/// cannot tell apart.
const QUARTER_SECONDS: i64 = 900;

impl Store {
    /// The rows of [`Store::summary_within`] without a limit on its effort.
    pub fn summary(&self, query: &SummaryQuery) -> Result<Vec<SummaryRow>, ReadError> {
        self.summary_within(query, &mut Effort::rows(u64::MAX)).map(|summary| summary.rows)
    }

    /// Counts usages, each exactly, also where `from` and `to` lie within an hour, or [`ReadError::TooSlow`] when it takes more than `effort`. It takes little where
    /// the bounds lie on whole quarters of an hour; where one does not, each part of the index that
    /// has usages in its quarter is read from end to end.
    pub fn summary_within(
        &self,
        query: &SummaryQuery,
        effort: &mut Effort<'_>,
    ) -> Result<Summary, ReadError> {
        let shared = &*self.shared;
        // The order matters: see the argument at the head of `crate::read`.
        let durable = shared.journal.durable();
        let view = shared.tail.view();
        let snapshot = shared.slot.snapshot(view.first_seq)?;
        // Parts of the index expire whole, long after their first usages.
        let snapshot = snapshot.kept_from(shared.journal.first_seq());
        let mut counts = Counts::new(query);
        loop {
            snapshot
                .counts(query.from, query.to, effort, &mut |instant, medication, count| {
                    counts.add(instant, medication, count)
                })
                .map_err(|error| shared.index_failed(&error))?;
            if effort.is_spent() {
                return Err(ReadError::TooSlow);
            }
            // The counts may be ahead of the rest of the index; each usage is counted once.
            for (_, frame) in view.frames(snapshot.cursor(), durable) {
                if frame.kind != FrameKind::Usage || counts.too_many() {
                    continue;
                }
                let peek = record::peek(frame.payload);
                let peek = peek.map_err(|error| shared.damaged(frame.seq, &error))?;
                let counted = frame.seq < snapshot.counts_cursor() && !query.cuts(peek.instant);
                let within = !counted
                    && query.from.is_none_or(|from| peek.instant >= from)
                    && query.to.is_none_or(|to| peek.instant < to);
                if within {
                    counts.add(peek.instant, peek.medication, 1);
                }
            }
            if !counts.medications.end_pass() {
                return counts.finish();
            }
        }
    }
}

impl SummaryQuery {
    /// Whether a bound lies within the quarter of an hour that holds `instant`, so that the index
    /// answers for it from its usages and not from its counts.
    fn cuts(&self, instant: Instant) -> bool {
        let quarter = |instant: Instant| instant.seconds().div_euclid(QUARTER_SECONDS);
        [self.from, self.to].into_iter().flatten().any(|bound| {
            let begins = bound.nanos() == 0 && bound.seconds() % QUARTER_SECONDS == 0;
            !begins && quarter(bound) == quarter(instant)
        })
    }
}

/// The sums as they grow.
struct Counts<'a> {
    by: SummaryBy,
    zone: &'a TimeZone,
    buckets: BTreeMap<(Instant, i32), u64>,
    medications: Medications,
    /// The bucket of the quarter that was added last: neighbours often share one.
    last: Option<(i64, (Instant, i32))>,
}

impl<'a> Counts<'a> {
    fn new(query: &'a SummaryQuery) -> Self {
        Self {
            by: query.by,
            zone: &query.tz,
            buckets: BTreeMap::new(),
            medications: Medications::new(ROWS_MAX),
            last: None,
        }
    }

    fn too_many(&self) -> bool {
        self.buckets.len() > ROWS_MAX
    }

    /// Adds `count` usages of the quarter of an hour that holds `instant`; returns whether there
    /// is room for more rows.
    fn add(&mut self, instant: Instant, medication: &[u8], count: u64) -> bool {
        if self.by == SummaryBy::Medication {
            self.medications.add(medication, count);
            return true;
        }
        let quarter = instant.seconds().div_euclid(QUARTER_SECONDS);
        let bucket = match self.last {
            Some((last, bucket)) if last == quarter => bucket,
            _ => bucket(self.by, self.zone, quarter * QUARTER_SECONDS),
        };
        self.last = Some((quarter, bucket));
        *self.buckets.entry(bucket).or_default() += count;
        !self.too_many()
    }

    fn finish(self) -> Result<Summary, ReadError> {
        if self.too_many() {
            return Err(ReadError::TooManyRows { rows_max: ROWS_MAX });
        }
        let buckets = self.buckets.into_iter().map(|((start, offset_seconds), count)| SummaryRow {
            group: SummaryGroup::Bucket { start, offset_seconds },
            count,
        });
        let (medications, other) = self.medications.finish();
        let medications = medications.into_iter().map(|(name, count)| {
            let name = String::from_utf8_lossy(&name).into_owned();
            SummaryRow { group: SummaryGroup::Medication(name), count }
        });
        Ok(Summary { rows: buckets.chain(medications).collect(), other })
    }
}

/// The beginning of the local hour or day that holds the second `seconds`, and the offset there.
///
/// An hour that a change of the clocks repeats is two buckets, told apart by their offsets; a day
/// has 23 or 25 hours then.
fn bucket(by: SummaryBy, zone: &TimeZone, seconds: i64) -> (Instant, i32) {
    let at = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    let offset_seconds = zone.to_offset(at).seconds();
    let start = match by {
        SummaryBy::Day => {
            let day = at.to_zoned_datetime(zone.clone()).start_of_day();
            let start = day.map_or(seconds, |start| start.timestamp().as_second());
            let offset = zone.to_offset(Timestamp::from_second(start).unwrap_or(at));
            return (instant(start), offset.seconds());
        }
        SummaryBy::Hour | SummaryBy::Medication => {
            let local = seconds + i64::from(offset_seconds);
            local.div_euclid(3600) * 3600 - i64::from(offset_seconds)
        }
    };
    (instant(start), offset_seconds)
}

/// The instant `seconds` after 1970; a zone's day or hour may begin a little before the first one.
fn instant(seconds: i64) -> Instant {
    Instant::from_parts(seconds, 0).unwrap_or(Instant::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(by: SummaryBy, zone: &str, at: &str, expected: &str) {
        let zone = TimeZone::get(zone).expect("a zone's name");
        let at: Timestamp = at.parse().expect("a time");
        let quarter = at.as_second().div_euclid(QUARTER_SECONDS) * QUARTER_SECONDS;
        let (start, offset_seconds) = bucket(by, &zone, quarter);
        let found = format!("{start} {}", usage::offset_text(offset_seconds));
        assert_eq!(found, expected, "{by:?} of {at}");
    }

    #[test]
    fn buckets_begin_where_the_zone_says() {
        use SummaryBy::{Day, Hour};
        check(Hour, "UTC", "2016-11-01T14:11:51Z", "2016-11-01T14:00:00Z +00:00");
        check(Day, "UTC", "2016-11-01T14:11:51Z", "2016-11-01T00:00:00Z +00:00");
        check(Hour, "Asia/Kathmandu", "2016-11-01T14:11:51Z", "2016-11-01T13:15:00Z +05:45");
        check(Hour, "Asia/Kathmandu", "2016-11-01T14:15:00Z", "2016-11-01T14:15:00Z +05:45");
        check(Day, "America/Chicago", "2016-11-01T04:59:59Z", "2016-10-31T05:00:00Z -05:00");
        check(Day, "America/Chicago", "2016-11-01T05:00:00Z", "2016-11-01T05:00:00Z -05:00");
        check(Hour, "UTC", "1969-12-31T23:59:59Z", "1969-12-31T23:00:00Z +00:00");
    }

    #[test]
    fn repro_zones_are_known_on_a_machine_that_has_none() {
        let bundled = jiff::tz::TimeZoneDatabase::bundled();
        assert!(bundled.get("America/Chicago").is_ok());
        assert!(bundled.get("Mars/Olympus").is_err());
    }

    #[test]
    fn a_change_of_the_clocks_repeats_an_hour_and_lengthens_a_day() {
        use SummaryBy::{Day, Hour};
        let zone = "America/Chicago";
        check(Hour, zone, "2016-11-06T06:30:00Z", "2016-11-06T06:00:00Z -05:00");
        check(Hour, zone, "2016-11-06T07:30:00Z", "2016-11-06T07:00:00Z -06:00");
        check(Day, zone, "2016-11-06T06:30:00Z", "2016-11-06T05:00:00Z -05:00");
        check(Day, zone, "2016-11-07T05:59:59Z", "2016-11-06T05:00:00Z -05:00");
        check(Day, zone, "2016-11-07T06:00:00Z", "2016-11-07T06:00:00Z -06:00");
    }

    #[test]
    fn a_change_of_the_clocks_within_a_quarter_leaves_it_whole() {
        use SummaryBy::{Day, Hour};
        // At 00:01 it became 23:01 of the day before.
        let zone = "America/St_Johns";
        check(Hour, zone, "2010-11-07T02:29:59Z", "2010-11-07T01:30:00Z -02:30");
        check(Hour, zone, "2010-11-07T02:31:00Z", "2010-11-07T02:30:00Z -02:30");
        check(Day, zone, "2010-11-07T02:31:00Z", "2010-11-07T02:30:00Z -02:30");
        check(Hour, zone, "2010-11-07T02:45:00Z", "2010-11-07T02:30:00Z -03:30");
        check(Day, zone, "2010-11-07T02:45:00Z", "2010-11-06T02:30:00Z -02:30");
    }

    #[test]
    fn every_zone_is_whole_quarters_from_utc_and_changes_on_one() {
        let time = |text: &str| text.parse::<Timestamp>().expect("a time");
        let is_whole = |seconds: i64| seconds % QUARTER_SECONDS == 0;
        for name in jiff::tz::db().available() {
            let zone = TimeZone::get(name.as_str()).expect("it is available");
            let begun = time("1980-01-01T00:00:00Z");
            let mut offset = zone.to_offset(begun);
            assert!(is_whole(offset.seconds().into()), "{} in 1980", name.as_str());
            let until = time("2037-01-01T00:00:00Z");
            for change in zone.following(begun).take_while(|change| change.timestamp() < until) {
                let at = change.timestamp();
                assert!(is_whole(change.offset().seconds().into()), "{} at {at}", name.as_str());
                let moved = std::mem::replace(&mut offset, change.offset()) != change.offset();
                // Those of before are past; of each later one the comments have to tell.
                let within = moved && at > time("2023-01-01T00:00:00Z");
                assert!(!within || is_whole(at.as_second()), "{} at {at}", name.as_str());
            }
        }
    }
}
