//! A store whose index is switched off keeps usages all the same, more than the tail holds.

use store::{AppendRefused, IndexState, ReadError};

use crate::harness::*;

#[test]
fn usages_are_kept_without_an_index_and_found_once_there_is_one() {
    let dir = folder();
    let mut config = config(dir.path());
    config.tail_bytes_max = 4 * config.journal.pending_bytes_max;
    config.index_enabled = false;
    let store = open(config.clone());
    assert_eq!(store.index_state(), IndexState::Off);
    let mut last = None;
    for n in 0..2000 {
        last = Some(post(&store, &nth(n)).expect("nothing is refused"));
        store.journal().commit_once().expect("commits");
        assert!(store.status().tail_bytes <= config.tail_bytes_max, "bounded");
    }
    let last = last.expect("some were posted");
    assert_eq!(post(&store, &nth(1).keyed("a")), Err(AppendRefused::IndexUnavailable));
    assert!(matches!(store.history(&history_of("patient-1")), Err(ReadError::IndexUnavailable)));
    assert!(store.receipt(&last.id).expect("it is read").is_some());
    store.close().expect("closes");
    drop(store);

    config.index_enabled = true;
    let store = open(config);
    while store.index_once() {}
    assert_eq!(store.index_state(), IndexState::Ready);
    let page = store.history(&history_of("patient-1")).expect("it is read");
    assert_eq!(page.usages.len(), 7);
    assert_eq!(store.status().index_usages, 2000);
    store.close().expect("closes");
}
