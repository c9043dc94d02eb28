//! The names of time zones that JavaScript writes most often, each kept as one byte. A name's
//! place is part of the format: append, never reorder.

/// Stands before a name that is not in the table.
pub(super) const NAME_INLINE: u8 = 255;

const NAMES: [&str; 49] = [
    "CDT",
    "CST",
    "EDT",
    "EST",
    "MDT",
    "MST",
    "PDT",
    "PST",
    "AKDT",
    "AKST",
    "HST",
    "UTC",
    "GMT",
    "BST",
    "IST",
    "WET",
    "WEST",
    "CET",
    "CEST",
    "EET",
    "EEST",
    "MSK",
    "JST",
    "KST",
    "AEST",
    "AEDT",
    "ACST",
    "ACDT",
    "AWST",
    "NZST",
    "NZDT",
    "Coordinated Universal Time",
    "Greenwich Mean Time",
    "British Summer Time",
    "Central Daylight Time",
    "Central Standard Time",
    "Eastern Daylight Time",
    "Eastern Standard Time",
    "Mountain Daylight Time",
    "Mountain Standard Time",
    "Pacific Daylight Time",
    "Pacific Standard Time",
    "Central European Standard Time",
    "Central European Summer Time",
    "Eastern European Standard Time",
    "Eastern European Summer Time",
    "India Standard Time",
    "Japan Standard Time",
    "China Standard Time",
];

const _: () = assert!(NAMES.len() < NAME_INLINE as usize);

/// The byte that stands for a name.
#[inline]
pub(super) fn code(name: &str) -> Option<u8> {
    NAMES.iter().zip(0..).find(|(known, _)| **known == name).map(|(_, code)| code)
}

/// The name that a byte stands for.
pub(super) fn name(code: u8) -> Option<&'static str> {
    NAMES.get(usize::from(code)).copied()
}
