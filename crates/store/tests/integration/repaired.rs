//! A store whose journal was repaired: what survived is found everywhere, what was cut nowhere.

use std::path::{Path, PathBuf};

use journal::disk::RealDisk;
use journal::repair::{RepairPlan, plan, repair};
use store::{Accepted, Config, IndexState, Store};

use crate::harness::*;
use crate::model::Model;

const USAGES: u64 = 1500;

struct Damaged {
    config: Config,
    model: Model,
    accepted: Vec<Accepted>,
    /// The damaged segments' files, as they were when the repair began.
    before: Vec<(PathBuf, Vec<u8>)>,
}

/// A closed store of some usages, a third of them keyed, all indexed, with damage in the middle of
/// a compressed segment, in a raw one, and one segment missing.
fn damaged(dir: &Path) -> Damaged {
    let mut config = config(dir);
    config.journal.segment_bytes = 16 << 10;
    config.journal.pending_bytes_max = 2 << 10;
    let store = open(config.clone());
    let (mut model, mut accepted) = (Model::default(), Vec::new());
    for n in 0..USAGES {
        let sent = if n % 3 == 0 { nth(n).keyed(&n.to_string()) } else { nth(n) };
        accepted.push(post(&store, &sent).expect("there is room"));
        model.usages.insert(accepted[accepted.len() - 1].seq, sent);
        if n % 5 == 4 {
            store.journal().commit_once().expect("commits");
        }
        if n == USAGES / 3 {
            while store.journal().housekeep_once().compressed.is_some() {}
        }
    }
    while store.index_once() {}
    model.compare(&store);
    store.close().expect("closes");
    drop(store);
    let file = |number: u64| config.journal_dir().join(format!("{number:020}.seg"));
    let mut before = Vec::new();
    for (number, is_compressed, at) in [(1, true, 4096 + 300), (5, false, 9000)] {
        let mut bytes = std::fs::read(file(number)).expect("a segment");
        assert_eq!(bytes[12] == 2, is_compressed, "segment {number}");
        bytes[at] ^= 1;
        std::fs::write(file(number), &bytes).expect("written");
        before.push((file(number), bytes));
    }
    std::fs::remove_file(file(7)).expect("there is a seventh");
    Damaged { config, model, accepted, before }
}

impl Damaged {
    /// Repairs; returns the sequences that are lost.
    fn repair(&self) -> Vec<u64> {
        let disk = RealDisk::open(self.config.journal_dir()).expect("there");
        let plan: RepairPlan = plan(&disk).expect("a plan");
        repair(&disk, &plan).expect("repaired");
        let report = journal::check::check(&disk, &mut |_, _| {}).expect("checkable");
        assert!(report.is_sound(), "{:?}", report.damages);
        let lost: Vec<u64> =
            plan.steps.iter().flat_map(|step| step.lost.clone()).flatten().collect();
        assert_eq!(report.lost_before(), lost.len() as u64, "a check counts what is lost");
        // The segments as they were are set aside.
        for (file, bytes) in &self.before {
            let folder = self.config.journal_dir().join("set-aside");
            let kept = folder.join(file.file_name().expect("a file"));
            assert!(std::fs::read(&kept).expect("kept") == *bytes, "{}", kept.display());
        }
        lost
    }

    /// Holds every answer against the model without what is lost.
    fn check(&self, store: &Store, lost: &[u64]) {
        while store.index_once() {}
        let mut kept = self.model.clone();
        kept.usages.retain(|seq, _| !lost.contains(seq));
        kept.compare(store);
        for accepted in &self.accepted {
            let receipt = store.receipt(&accepted.id).expect("served");
            let found = receipt.map(|usage| usage.seq);
            let expected = (!lost.contains(&accepted.seq)).then_some(accepted.seq);
            assert_eq!(found, expected, "the receipt of {}", accepted.seq);
        }
    }
}

#[test]
fn after_a_repair_every_answer_has_what_survived_and_nothing_else() {
    let dir = folder();
    let damaged = damaged(dir.path());
    let lost = damaged.repair();
    assert!((20..500).contains(&lost.len()), "{}", lost.len());
    let store = open(damaged.config.clone());
    damaged.check(&store, &lost);
    store.close().expect("closes");
    drop(store);
    // The index was made again once, not at every start.
    let store = open(damaged.config.clone());
    assert_eq!(store.index_state(), IndexState::Ready);
    assert!(store.status().index_lag <= 2);
    damaged.check(&store, &lost);
    // Keys of what survived are known; those of what was lost are free again.
    for (seq, sent) in damaged.model.usages.iter().filter(|(_, sent)| sent.key.is_some()) {
        let again = post(&store, sent).expect("answered");
        assert_eq!(again.replayed, !lost.contains(seq), "{seq}");
        assert_eq!(again.seq == *seq, again.replayed, "{seq}");
        store.journal().commit_once().expect("commits");
    }
    store.close().expect("closes");
}

#[test]
fn control_an_index_from_before_the_repair_shows_what_was_lost() {
    let dir = folder();
    let damaged = damaged(dir.path());
    let mark = damaged.config.journal_dir().join("mark");
    let before = std::fs::read(&mark).expect("there");
    let lost = damaged.repair();
    std::fs::write(&mark, before).expect("written");
    std::fs::remove_file(damaged.config.journal_dir().join("repairs")).expect("counted");
    let store = open(damaged.config.clone());
    let check = std::panic::AssertUnwindSafe(|| damaged.check(&store, &lost));
    assert!(std::panic::catch_unwind(check).is_err(), "the check sees nothing");
}

#[test]
fn padding_in_what_the_index_has_not_taken_is_passed_over() {
    let dir = folder();
    let mut damaged = damaged(dir.path());
    let lost = damaged.repair();
    // All fits into the tail, which is read before the index has taken a thing; once it does not.
    for tail_bytes_max in [4 << 20, 64 << 10] {
        damaged.config.tail_bytes_max = tail_bytes_max;
        std::fs::remove_dir_all(damaged.config.index_dir()).expect("removed");
        let store = open(damaged.config.clone());
        if tail_bytes_max == 4 << 20 {
            assert_eq!(store.index_state(), IndexState::Ready);
            let mut kept = damaged.model.clone();
            kept.usages.retain(|seq, _| !lost.contains(seq));
            kept.compare(&store);
        }
        damaged.check(&store, &lost);
        store.close().expect("closes");
    }
}
