//! Negative controls: with a protection switched off, the same histories must show a loss.

use journal::disk::sim::Lie;

use super::run;
use super::world::Settings;

/// The first seed below `seeds` whose history fails, with what it says.
fn first_failure(settings: &Settings, seeds: u64) -> Option<(u64, String)> {
    (0..seeds).find_map(|seed| run(seed, settings).err().map(|why| (seed, why)))
}

#[test]
fn syncs_that_do_nothing_are_found_out() {
    let settings = Settings { lie: Lie::Data, ..Settings::default() };
    assert!(first_failure(&settings, 50).is_some(), "skipped data syncs went unnoticed");
}

#[test]
fn directory_syncs_that_do_nothing_are_found_out() {
    let settings = Settings { lie: Lie::Directory, ..Settings::default() };
    assert!(first_failure(&settings, 50).is_some(), "skipped directory syncs went unnoticed");
}
