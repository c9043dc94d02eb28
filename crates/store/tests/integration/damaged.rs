//! Damage in the journal under an index that is whole: it is reported as damage, and everything
//! beside it is served.

use std::path::{Path, PathBuf};

use store::{AppendRefused, Config, ReadError, Store};
use usage::UsageId;

use crate::harness::*;

const USAGES: u64 = 400;

/// A store of several segments that is closed, with every usage in the index. Usage `n` has the key
/// `n` and the sequence `n + 1`.
fn filled(dir: &Path) -> Config {
    let mut config = config(dir);
    config.journal.compress_level = None;
    let store = open(config.clone());
    for n in 0..USAGES {
        let accepted = post(&store, &sent(n)).expect("room");
        assert_eq!(accepted.seq, n + 1);
        if n % 10 == 9 {
            store.journal().commit_once().expect("commits");
            store.journal().housekeep_once();
            while store.index_once() {}
        }
    }
    store.close().expect("closes");
    while store.index_once() {}
    config
}

/// Long enough that a few hundred fill segments.
fn sent(n: u64) -> Sent {
    let medication = format!("{} {}", "Albuterol".repeat(18), nth(n).medication);
    Sent { medication, ..nth(n) }.keyed(&n.to_string())
}

/// Flips a bit of the record of usage `n`, and says in which segment.
fn damage_journal(config: &Config, n: u64) -> PathBuf {
    let needle = sent(n).medication;
    // The first batch of the first segment has the first ten.
    assert!(n < 10);
    let segment = config.journal_dir().join("00000000000000000001.seg");
    let mut bytes = std::fs::read(&segment).expect("the first segment");
    let at = bytes.windows(needle.len()).position(|bytes| bytes == needle.as_bytes());
    bytes[at.expect("the record is there")] ^= 1;
    std::fs::write(&segment, bytes).expect("written");
    segment
}

fn places(store: &Store) -> usize {
    store.status().damage.map_or(0, |damage| damage.places)
}

#[test]
fn repro_a_keyed_retry_of_a_damaged_usage_was_to_be_sent_again_for_ever() {
    let dir = folder();
    let config = filled(dir.path());
    damage_journal(&config, 3);
    let store = open(config.clone());
    assert_eq!(places(&store), 0, "nothing was read yet");
    let again = post(&store, &sent(3)).expect("the index has the whole usage");
    assert!(again.replayed && again.seq == 4);
    let other = Sent { medication: "Budesonide".into(), ..sent(3) };
    assert_eq!(post(&store, &other), Err(AppendRefused::KeyReused));
    let other = Sent { patient_id: "another".into(), ..sent(3) };
    assert_eq!(post(&store, &other), Err(AppendRefused::KeyReused));
    let other = Sent { instant_ms: sent(3).instant_ms + 1, ..sent(3) };
    assert_eq!(post(&store, &other), Err(AppendRefused::KeyReused));
    let batch = post_batch(&store, &[sent(2), other, sent(USAGES), sent(200)]);
    assert!(batch[0].expect("as for one").replayed);
    assert_eq!(batch[1], Err(AppendRefused::KeyReused));
    assert!(!batch[2].expect("new").replayed);
    assert!(batch[3].expect("intact").replayed);
    assert_eq!(places(&store), 1, "one place, however often it was read");
    // All ten of the damaged batch, and no other.
    for n in 0..USAGES {
        let accepted = post(&store, &sent(n)).expect("known");
        assert!(accepted.replayed);
        match store.receipt(&accepted.id) {
            Ok(receipt) => assert!(n >= 10 && receipt.is_some(), "{n}"),
            Err(ReadError::Damaged(place)) => assert!(n < 10 && place.contains("segment 1 ")),
            Err(error) => panic!("{n}: {error}"),
        }
    }
    assert_eq!(places(&store), 1);
    let history = whole_history(&store, history_of("patient-1"));
    assert_eq!(history.len() as u64, USAGES / 5, "histories are the index's");
}

#[test]
fn a_keyed_retry_that_neither_journal_nor_index_can_answer_says_that_data_is_damaged() {
    for damaged in [false, true] {
        let dir = folder();
        let config = filled(dir.path());
        if damaged {
            damage_journal(&config, 3);
        }
        let store = open(config.clone());
        // Behind the store's back: the rows of usages, whose keys hold patients.
        let mut hit = 0;
        for table in files(&config.index_dir()) {
            let mut bytes = std::fs::read(&table).expect("readable");
            let holds = bytes.windows(8).any(|bytes| bytes == b"patient-");
            if holds && table.parent().is_some_and(|dir| dir.ends_with("tables")) {
                let rows = bytes.len() / 2;
                bytes[..rows].iter_mut().for_each(|byte| *byte ^= 0x55);
                std::fs::write(&table, bytes).expect("written");
                hit += 1;
            }
        }
        assert!(hit > 0, "there are usages in the index");
        let again = post(&store, &sent(3));
        if damaged {
            assert_eq!(again, Err(AppendRefused::Damaged(UsageId::keyed("default", "3"))));
            assert_eq!(places(&store), 1);
        } else {
            assert!(again.expect("the control: the journal has it").replayed);
        }
    }
}

/// All files below `dir`.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries =
        std::fs::read_dir(dir).expect("listed").map(|entry| entry.expect("listed").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn repro_bytes_behind_a_sealed_segment_hid_all_its_receipts() {
    let dir = folder();
    let mut config = filled(dir.path());
    config.journal.compress_level = Some(3);
    let store = open(config.clone());
    while store.journal().housekeep_once().compressed.is_some() {}
    let segment = config.journal_dir().join("00000000000000000001.seg");
    store.close().expect("closes");
    drop(store);
    let mut bytes = std::fs::read(&segment).expect("the first segment");
    bytes.extend_from_slice(b"appended");
    std::fs::write(&segment, bytes).expect("written");
    let store = open(config);
    for n in 0..USAGES {
        let accepted = post(&store, &sent(n)).expect("known");
        assert!(accepted.replayed);
        assert!(store.receipt(&accepted.id).expect("intact").is_some(), "{n}");
    }
    assert_eq!(places(&store), 0);
}
