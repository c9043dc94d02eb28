//! What was committed is read again: at once, after a close, after a kill, across rotations.

use journal::{Committed, ReadError};

use crate::helpers::{append, commit, open, usages};
use crate::memory::MemoryDisk;

#[test]
fn nothing_is_durable_before_its_commit() {
    let (journal, recovery) = open(&MemoryDisk::new());
    assert!(recovery.created);
    assert_eq!(append(&journal, &[b"one"]), 1);
    assert_eq!(journal.durable(), 1);
    assert!(matches!(journal.read(1), Err(ReadError::NotYet)));
    assert_eq!(journal.commit_once(), Ok(Committed::Batch { frames: 1, durable: 2 }));
    assert_eq!(journal.commit_once(), Ok(Committed::Nothing));
    assert_eq!(journal.durable(), 2);
    assert_eq!(journal.read(1).expect("durable").payload, b"one");
}

#[test]
fn everything_committed_is_there_after_a_kill() {
    let disk = MemoryDisk::new();
    let mut expected = Vec::new();
    for session in 0..5u64 {
        let (journal, recovery) = open(&disk);
        assert_eq!(recovery.durable, expected.len() as u64 + 1);
        assert_eq!(usages(&journal, 1), expected);
        for n in 0..40 * session {
            let payload = vec![u8::try_from(n % 251).expect("small"); 300];
            let seq = commit(&journal, &[&payload, &payload]);
            expected.push((seq, payload.clone()));
            expected.push((seq + 1, payload));
            if n % 7 == 0 {
                journal.housekeep_once();
            }
        }
        // What is pending when the process dies was never acknowledged.
        append(&journal, &[b"lost"]);
    }
    let (journal, _) = open(&disk);
    for (seq, payload) in &expected {
        assert_eq!(&journal.read(*seq).expect("durable").payload, payload);
        assert_eq!(usages(&journal, *seq)[0].0, *seq);
    }
}

#[test]
fn a_close_is_seen_and_restarts_do_not_pile_up_segments() {
    let disk = MemoryDisk::new();
    let (journal, _) = open(&disk);
    commit(&journal, &[b"one", b"two"]);
    journal.close().expect("closed");
    journal.close().expect("closed twice");
    for _ in 0..10 {
        let (journal, recovery) = open(&disk);
        assert!(recovery.clean);
        assert!(recovery.segments <= 2, "{recovery:?}");
        assert_eq!(usages(&journal, 1), [(1, b"one".to_vec()), (2, b"two".to_vec())]);
        journal.close().expect("closed");
    }
}
