//! A store whose journal has lost its end by a disk that lies, while its index still knows better.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use journal::accept::accept_loss;
use journal::disk::RealDisk;
use journal::scan::{RawSegment, read_header, read_whole};
use journal::{OpenError as JournalError, disk::Disk as _};
use store::{Config, OpenError, Store, SystemClock, index_witness};

use crate::harness::*;
use crate::model::Model;

const USAGES: u64 = 2000;
const KEPT: u64 = 1000;

/// A killed store of [`USAGES`] usages in as many batches, all in the first segment, all indexed.
fn killed(dir: &Path, marked: bool) -> (Config, Model, Vec<store::Accepted>) {
    let mut config = config(dir);
    config.journal.segment_bytes = 32 << 20;
    config.journal.mark_ahead = 5000;
    let store = open(config.clone());
    let (mut model, mut accepted) = (Model::default(), Vec::new());
    for n in 0..USAGES {
        let sent = if n % 3 == 0 { nth(n).keyed(&n.to_string()) } else { nth(n) };
        accepted.push(post(&store, &sent).expect("there is room"));
        store.journal().commit_once().expect("commits");
        model.usages.insert(accepted[accepted.len() - 1].seq, sent);
        if n % 100 == 99 {
            while store.index_once() {}
        }
    }
    assert!(!marked || store.journal().mark_once());
    (config, model, accepted)
}

/// Zeroes all batches from the sequence `seq` on, in the first segment.
fn lose_from(config: &Config, seq: u64) {
    let disk = RealDisk::open(config.journal_dir()).expect("there");
    let name = format!("{:020}.seg", 1);
    let file = disk.open(&name).expect("there");
    let header = read_header(&*file).expect("read").expect("whole");
    let bytes = read_whole(&*file).expect("read");
    let segment = RawSegment::new(&header, &bytes);
    let (mut offset, mut found) = (0, 0);
    while found < seq {
        let batch = segment.find_batch(offset + 8).expect("it is there");
        (offset, found) = (batch.offset, batch.header.first_seq);
    }
    let file = std::fs::OpenOptions::new().write(true).open(config.journal_dir().join(&name));
    let zeros = vec![0; bytes.len() - usize::try_from(offset).expect("small")];
    file.expect("opened").write_all_at(&zeros, offset).expect("written");
}

/// By the index alone, and by the mark too.
#[test]
fn repro_receipts_of_a_zeroed_half_returned_404_and_their_sequences_were_assigned_again() {
    for marked in [false, true] {
        let dir = folder();
        let (config, mut model, accepted) = killed(dir.path(), marked);
        lose_from(&config, KEPT + 1);
        let reopen = || Store::open(config.clone(), Arc::new(SystemClock::new())).map(drop);
        let opened = reopen();
        let Err(OpenError::Journal(JournalError::EndsEarly(missing))) = opened else {
            panic!("half of it is gone: {opened:?}");
        };
        assert_eq!(missing.at_least(), USAGES - KEPT);
        assert_eq!(missing.witness, if marked { "its file `mark`" } else { "the index" });
        let witness = index_witness(&config).expect("the index was not touched");
        let disk = RealDisk::open(config.journal_dir()).expect("there");
        let loss = accept_loss(&disk, std::slice::from_ref(&witness), 7).expect("accepted");
        let resume = loss.expect("something was missing").resume_seq;
        assert!(resume > USAGES, "{resume}");

        let store = open(config.clone());
        while store.index_once() {}
        let lost = |seq: &u64| *seq > KEPT;
        model.usages.retain(|seq, _| !lost(seq));
        model.compare(&store);
        for accepted in &accepted {
            let found = store.receipt(&accepted.id).expect("served").map(|usage| usage.seq);
            assert_eq!(found, (!lost(&accepted.seq)).then_some(accepted.seq));
        }
        // A key of what survived is known; one of what was lost is free again, under a new sequence.
        let again = |n: u64| post(&store, &nth(n).keyed(&n.to_string())).expect("answered");
        assert!(again(0).replayed);
        let stored = again(1500);
        assert!(!stored.replayed && stored.seq >= resume, "{}", stored.seq);
        store.close().expect("closes");
    }
}
