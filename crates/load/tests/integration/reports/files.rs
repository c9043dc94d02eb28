//! Files that tests compare with: `tests/snapshots`. `INHALE_BLESS=1` writes them instead.

use std::path::PathBuf;

/// Compares a text with the file of that name.
pub(crate) fn check_snapshot(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    if std::env::var_os("INHALE_BLESS").is_some() {
        std::fs::write(&path, text).expect("the folder of snapshots is there");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (got, expected)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(got, expected, "{name}, line {}", number + 1);
    }
    assert_eq!(text.lines().count(), expected.lines().count(), "{name}: the number of lines");
}
