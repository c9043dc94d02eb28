//! Usages and timestamps made at random, with jiff to write the times.

use jiff::tz::{Offset, TimeZone};
use proptest::prelude::*;
use usage::{Instant, Timestamp, Usage};

/// An instant of the whole range, one near now, or one at an edge.
pub(crate) fn instant() -> impl Strategy<Value = Instant> {
    let (min, max) = (Instant::MIN.seconds(), Instant::MAX.seconds());
    let seconds = prop_oneof![
        min..=max,
        1_400_000_000_i64..1_900_000_000,
        -86_400_i64..86_400,
        min..min + 90_000,
        max - 90_000..=max,
    ];
    let nanos =
        prop_oneof![Just(0), (0_u32..1000).prop_map(|ms| ms * 1_000_000), 0_u32..1_000_000_000,];
    (seconds, nanos).prop_map(|(seconds, nanos)| Instant::from_parts(seconds, nanos).unwrap())
}

/// Minutes ahead of UTC, most often a real zone's.
pub(crate) fn offset_minutes() -> impl Strategy<Value = i32> {
    prop_oneof![Just(0), (-48_i32..=56).prop_map(|quarters| quarters * 15), -1439_i32..=1439]
}

/// The instant on a clock `minutes` ahead of UTC, written by jiff.
pub(crate) fn written(instant: Instant, minutes: i32, format: &str) -> String {
    let nanos = i32::try_from(instant.nanos()).unwrap();
    let zone = TimeZone::fixed(Offset::from_seconds(minutes * 60).unwrap());
    let zoned = jiff::Timestamp::new(instant.seconds(), nanos).unwrap().to_zoned_datetime(zone);
    zoned.strftime(format).to_string()
}

/// The name of a time zone as JavaScript may write it.
pub(crate) fn zone_name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("CDT".to_owned()),
        Just("China Standard Time".to_owned()),
        Just("Mitteleuropäische Sommerzeit".to_owned()),
        Just("中国标准时间".to_owned()),
        "[ -~]{0,20}",
        "\\PC{0,20}",
    ]
}

/// A timestamp of any form, as text or, where that is how it is sent, as a number.
pub(crate) fn timestamp() -> impl Strategy<Value = Timestamp<'static>> {
    let text = (instant(), offset_minutes(), zone_name(), 0_usize..9).prop_map(
        |(instant, minutes, name, form)| match form {
            0 => written(instant, minutes, "%a %b %d %Y %H:%M:%S GMT%z"),
            1 | 2 => {
                written(instant, minutes, "%a %b %d %Y %H:%M:%S GMT%z") + &format!(" ({name})")
            }
            3 => written(instant, 0, "%Y-%m-%dT%H:%M:%SZ"),
            4 => written(instant, 0, "%Y-%m-%dT%H:%M:%S.%3fZ"),
            5 => written(instant, minutes, "%Y-%m-%dT%H:%M:%S.%6f%:z"),
            6 => written(instant, minutes, "%Y-%m-%d %H:%M:%S.%9f000%:z"),
            7 => written(instant, minutes, "%Y%m%dT%H%M%S%z"),
            _ => written(instant, 0, "%a, %d %b %Y %H:%M:%S GMT"),
        },
    );
    let text = text.prop_map(|text| Timestamp::parse(&text).expect(&text).into_owned());
    let number = instant().prop_map(|instant| Timestamp::from_epoch_ms(instant.millis()).unwrap());
    prop_oneof![9 => text, 1 => number]
}

/// A usage within the limits.
pub(crate) fn usage() -> impl Strategy<Value = Usage<'static>> {
    let event_id = prop::option::of("\\PC{1,20}");
    let attributes = prop::option::of(Just("{\"dose\": 2, \"lot\": \"é\"}".to_owned()));
    ("\\PC{1,128}", timestamp(), "\\PC{1,20}", event_id, attributes).prop_map(
        |(patient_id, timestamp, medication, event_id, attributes)| Usage {
            patient_id: patient_id.into(),
            timestamp,
            medication: medication.into(),
            event_id: event_id.map(Into::into),
            attributes: attributes.map(Into::into),
        },
    )
}
