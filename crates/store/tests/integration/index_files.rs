//! Every file of the index damaged, one by one: what is answered is right, or refused until the index is
//! made again. Nothing is hidden, and no keyed usage is stored twice.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use store::{AppendRefused, Config, IndexState, ReadError, Store, SummaryBy, SummaryQuery};

use crate::harness::*;
use crate::model::{Answers, PATIENTS, answers};
use crate::restart::{copy_dir, files_below};

const USAGES: u64 = 500;

fn sent(n: u64) -> Sent {
    if n.is_multiple_of(2) { nth(n).keyed(&n.to_string()) } else { nth(n) }
}

/// A closed store of three parts, and the index as it was when half of that was there.
fn filled(dir: &Path, older: &Path) -> (Config, Answers) {
    let mut config = config(dir);
    config.index.part_usages_max = 200;
    // So little that what the index lacks does not fit.
    config.tail_bytes_max = 4 * config.journal.pending_bytes_max;
    let fill = |numbers: std::ops::Range<u64>| {
        let store = open(config.clone());
        for n in numbers {
            post(&store, &sent(n)).expect("there is room");
            if n % 50 == 49 {
                store.journal().commit_once().expect("commits");
                while store.index_once() {}
            }
        }
        let answers = answers(&store);
        close(&store);
        answers
    };
    fill(0..USAGES / 2);
    copy_dir(&config.index_dir(), older);
    let answers = fill(USAGES / 2..USAGES);
    assert_eq!(answers.receipts.len() as u64, USAGES);
    (config, answers)
}

/// Closes a store that has no threads.
fn close(store: &Store) {
    store.close().expect("closes");
    while store.index_once() {}
}

/// Asks everything. Each answer has to be the expected one or a refusal; returns whether none was
/// refused.
fn is_served(store: &Store, expected: &Answers, what: &str) -> bool {
    let refused = |error: ReadError| match error {
        ReadError::IndexUnavailable => false,
        error => panic!("{what}: {error}"),
    };
    let mut served = true;
    for patient in 0..PATIENTS {
        let patient_id = format!("patient-{patient}");
        let limit = usize::try_from(USAGES).expect("small");
        let query = store::HistoryQuery { limit, ..history_of(&patient_id) };
        served &= store.history(&query).map_or_else(refused, |page| {
            assert_eq!(page.usages, expected.histories[&patient_id], "{what}");
            true
        });
    }
    for by in [SummaryBy::Hour, SummaryBy::Day, SummaryBy::Medication] {
        let query = SummaryQuery { by, from: None, to: None, tz: jiff::tz::TimeZone::UTC };
        served &= store.summary(&query).map_or_else(refused, |rows| {
            assert_eq!(rows, expected.summaries[&format!("{by:?}")], "{what}");
            true
        });
    }
    for n in (0..USAGES).step_by(2) {
        served &= match post(store, &sent(n)) {
            Ok(accepted) => {
                assert!(accepted.replayed, "{what}: {n} is stored twice");
                true
            }
            Err(AppendRefused::IndexUnavailable) => false,
            Err(error) => panic!("{what}: {error}"),
        };
    }
    served
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    Removed,
    Emptied,
    Cut,
    Zeroed,
    SetBack,
    Swapped,
    Duplicated,
}

/// Does it to the file at `path`, if that changes anything. `nth` stands for chance.
fn damage(damage: Damage, path: &Path, older: &Path, nth: usize) -> bool {
    let len = std::fs::metadata(path).expect("it is there").len();
    // In front of the first hole, where files have their content.
    let at = len.min(8192) * (nth as u64 * 7 % 10) / 10;
    let file = || File::options().write(true).open(path).expect("opened");
    match damage {
        Damage::Removed => std::fs::remove_file(path).expect("removed"),
        Damage::Emptied => file().set_len(0).expect("emptied"),
        Damage::Cut => file().set_len(at).expect("cut"),
        Damage::Zeroed => {
            let bytes = vec![0; usize::try_from((len - at).min(512)).expect("small")];
            file().write_all_at(&bytes, at).expect("zeroed");
        }
        Damage::SetBack if older.exists() => drop(std::fs::copy(older, path).expect("copied")),
        Damage::SetBack => return false,
        Damage::Duplicated => {
            let name = path.file_name().expect("it has one").to_string_lossy();
            let copy = path.with_file_name(format!("9{name}"));
            std::fs::copy(path, copy).expect("copied");
        }
        Damage::Swapped => {
            let siblings = std::fs::read_dir(path.parent().expect("a folder")).expect("listed");
            let siblings = siblings.map(|entry| entry.expect("listed").path());
            let other = siblings.filter(|other| other.is_file() && other != path).max();
            let Some(other) = other else { return false };
            let aside = path.with_file_name("aside");
            std::fs::rename(path, &aside).expect("renamed");
            std::fs::rename(&other, path).expect("renamed");
            std::fs::rename(&aside, &other).expect("renamed");
        }
    }
    true
}

#[test]
fn repro_a_damaged_file_of_the_index_hides_nothing() {
    let dir = folder();
    let older = folder();
    let (config, expected) = filled(dir.path(), older.path());
    let index = config.index_dir();
    let whole = dir.path().join("whole");
    copy_dir(&index, &whole);
    let files = files_below(&whole);
    assert!(files.len() > 40, "{}", files.len());
    let all = [
        Damage::Removed,
        Damage::Emptied,
        Damage::Cut,
        Damage::Zeroed,
        Damage::SetBack,
        Damage::Swapped,
        Damage::Duplicated,
    ];
    let mut rebuilt = 0;
    for (nth, file) in files.iter().enumerate() {
        let below = file.strip_prefix(&whole).expect("below it");
        // Each is removed, and damaged in one more way.
        for kind in [Damage::Removed, all[1 + nth % (all.len() - 1)]] {
            std::fs::remove_dir_all(&index).expect("removed");
            copy_dir(&whole, &index);
            if !damage(kind, &index.join(below), &older.path().join(below), nth) {
                continue;
            }
            let what = format!("{kind:?} {}", below.display());
            let store = open(config.clone());
            is_served(&store, &expected, &what);
            wait_until(&what, || {
                store.index_once();
                store.index_state() == IndexState::Ready && is_served(&store, &expected, &what)
            });
            assert_eq!(answers(&store), expected, "{what}");
            rebuilt += store.status().index_rebuilds;
            close(&store);
            drop(store);
            let counted = store::check_index(&config, 1).expect("nobody has it open");
            let counted = counted.expect("there is one");
            assert_eq!((counted.usages, counted.faults), (USAGES, vec![]), "{what}");
        }
    }
    assert!(rebuilt > files.len() as u64 / 2, "{rebuilt}: most files are needed");
}
