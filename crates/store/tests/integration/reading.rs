//! Reads see everything acknowledged before they began, and show it in order.

use std::sync::atomic::{AtomicBool, Ordering};

use store::{Effort, HistoryQuery, Rest, SummaryBy, SummaryQuery};
use usage::{Instant, UsageId};

use crate::harness::*;
use crate::model::{Model, answers};

#[test]
fn a_read_sees_what_was_acknowledged_before_it_while_others_append() {
    let dir = folder();
    let store = start(config(dir.path()));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let noise = scope.spawn(|| {
            let mut n = 0;
            while !done.load(Ordering::Relaxed) && n < 20_000 {
                match post(&store, &nth(n)) {
                    Ok(_) => n += 1,
                    // A full buffer is the noise at its loudest.
                    Err(_) => std::thread::yield_now(),
                }
            }
            n
        });
        let readers: Vec<_> = (0..3)
            .map(|reader| {
                let store = &store;
                scope.spawn(move || {
                    let patient_id = format!("reader-{reader}");
                    for n in 0..150i64 {
                        let sent = Sent::new(&patient_id, START_MS as i64 + n % 13, "Albuterol");
                        let accepted = loop {
                            match post(store, &sent) {
                                Ok(accepted) => break accepted,
                                Err(_) => std::thread::yield_now(),
                            }
                        };
                        store.journal().wait_durable(accepted.seq, DEADLINE).expect("it works");
                        let seen = whole_history(store, history_of(&patient_id));
                        assert_eq!(seen.len() as i64, n + 1, "after {n} others");
                        let receipt = store.receipt(&accepted.id).expect("served");
                        assert_eq!(receipt.expect("durable").seq, accepted.seq);
                    }
                })
            })
            .collect();
        for reader in readers {
            reader.join().expect("reads saw everything");
        }
        done.store(true, Ordering::Relaxed);
        assert!(noise.join().expect("it appends") > 0);
    });
    assert!(store.status().index_runs > 3, "reads have crossed from tail to index");
    store.close().expect("closes");
}

/// A store of `n` usages of which the index holds about the first `indexed`.
fn half_indexed(dir: &std::path::Path, n: u64, indexed: u64) -> (store::Store, Model) {
    let mut config = config(dir);
    config.run.usages_max = 10;
    let store = open(config);
    let mut model = Model::default();
    for i in 0..n {
        let accepted = post(&store, &nth(i)).expect("room");
        model.usages.insert(accepted.seq, nth(i));
        if i % 4 == 3 {
            store.journal().commit_once().expect("commits");
        }
        if i == indexed {
            while store.index_once() {}
        }
    }
    store.journal().commit_once().expect("commits");
    (store, model)
}

#[test]
fn answers_are_the_same_from_tail_and_index_in_any_proportion() {
    for indexed in [0, 31, 60, 119] {
        let dir = folder();
        let (store, model) = half_indexed(dir.path(), 120, indexed);
        model.compare(&store);
        let before = answers(&store);
        while store.index_once() {}
        assert_eq!(store.status().index_lag, 0);
        assert_eq!(answers(&store), before, "{indexed} were indexed");
    }
}

#[test]
fn a_history_can_be_filtered() {
    let dir = folder();
    let (store, model) = half_indexed(dir.path(), 150, 70);
    let check = |change: &dyn Fn(&mut HistoryQuery)| {
        let mut query = history_of("patient-2");
        change(&mut query);
        let found: Vec<u64> =
            whole_history(&store, query.clone()).iter().map(|usage| usage.seq).collect();
        let expected = model.history(&query, u64::MAX);
        assert_eq!(found, expected, "{query:?}");
        expected.len()
    };
    let instant = |ms: i64| Instant::from_millis(START_MS as i64 + ms);
    assert_eq!(check(&|_| {}), 30);
    assert_eq!(check(&|query| query.limit = 1), 30);
    assert!(check(&|query| query.from = instant(40_000_000)) > 0);
    assert!(check(&|query| query.to = instant(40_000_000)) > 0);
    assert!(check(&|query| query.medication = Some("Albuterol".into())) > 0);
    assert_eq!(check(&|query| query.medication = Some("Nothing".into())), 0);
    let first = nth(2).instant_ms - START_MS as i64;
    let inclusive = check(&|query| (query.from, query.to) = (instant(first), instant(first + 1)));
    assert_eq!(inclusive, 1);
    assert_eq!(check(&|query| (query.from, query.to) = (instant(first), instant(first))), 0);
}

#[test]
fn pages_show_the_journal_as_the_first_page_saw_it() {
    let dir = folder();
    let (store, model) = half_indexed(dir.path(), 100, 50);
    let mut query = history_of("patient-1");
    let expected = model.history(&query, u64::MAX);
    let first = store.history(&query).expect("served");
    query.cursor = first.next;
    // New usages of the same patient, everywhere in time, partly indexed.
    for i in 100..200 {
        post(&store, &nth(i)).expect("room");
        store.journal().commit_once().expect("commits");
    }
    store.index_once();
    let rest = whole_history(&store, query.clone());
    let found: Vec<u64> = first.usages.iter().chain(&rest).map(|usage| usage.seq).collect();
    assert_eq!(found, expected);

    // The cursor is bound to its query, and to this store.
    let text = query.cursor.expect("there was more").to_string();
    let mut other = history_of("patient-2");
    other.cursor = Some(text.parse().expect("a cursor"));
    let refused = store.history(&other).expect_err("another patient's cursor");
    assert!(matches!(refused, store::ReadError::Cursor), "{refused}");
}

#[test]
fn an_instant_far_from_its_receipt_is_flagged() {
    let dir = folder();
    let store = start(config(dir.path()));
    let flags = |ms: i64| {
        let id = post_durably(&store, &Sent::new("p", START_MS as i64 + ms, "m")).id;
        let stored = store.receipt(&id).expect("served").expect("durable");
        (stored.future, stored.past)
    };
    let (hour, five_years) = (3_600_000, 5 * 31_557_600_000_i64);
    assert_eq!(flags(hour), (false, false));
    assert_eq!(flags(hour + 1), (true, false));
    assert_eq!(flags(-five_years), (false, false));
    assert_eq!(flags(-five_years - 1), (false, true));
    assert_eq!(flags(-(START_MS as i64)), (false, true), "1970");
}

#[test]
fn repro_a_summary_of_more_medications_than_rows_lists_the_largest() {
    let dir = folder();
    let mut config = config(dir.path());
    config.journal.segment_bytes = 8 << 20;
    config.journal.pending_bytes_max = 1 << 20;
    config.tail_bytes_max = 64 << 20;
    config.run.usages_max = 10_000;
    let store = open(config);
    let ms = START_MS as i64;
    // Half of the names are in the index and half in the tail; every tenth has two usages.
    for half in 0..2 {
        for batch in 0..30 {
            let names = (0..1000).map(|number| half * 30_000 + batch * 1000 + number);
            let sent: Vec<_> =
                names.map(|name| Sent::new("p", ms, &format!("m{name:05}"))).collect();
            let again: Vec<_> = sent.iter().step_by(10).cloned().collect();
            for accepted in post_batch(&store, &sent).into_iter().chain(post_batch(&store, &again))
            {
                accepted.expect("room");
            }
            store.journal().commit_once().expect("commits");
        }
        if half == 0 {
            while store.index_once() {}
        }
    }
    let query = SummaryQuery {
        by: SummaryBy::Medication,
        from: None,
        to: None,
        tz: jiff::tz::TimeZone::UTC,
    };
    let summary = store.summary_within(&query, &mut Effort::rows(u64::MAX)).expect("served");
    assert_eq!(summary.rows.len(), 50_000);
    assert_eq!(summary.other, Some(Rest { medications: 10_000, usages: 10_000 }));
    assert_eq!(summary.rows.iter().filter(|row| row.count == 2).count(), 6000);
    assert!(summary.rows.is_sorted());
    let spent = store.summary_within(&query, &mut Effort::rows(1000));
    assert!(matches!(spent, Err(store::ReadError::TooSlow)), "{spent:?}");
}

#[test]
fn a_receipt_needs_the_whole_id() {
    let dir = folder();
    let store = open(config(dir.path()));
    let accepted = post(&store, &nth(1)).expect("room");
    assert_eq!(store.receipt(&accepted.id).expect("served"), None, "not durable yet");
    store.journal().commit_once().expect("commits");
    let stored = store.receipt(&accepted.id).expect("served").expect("durable");
    assert_eq!((stored.id, stored.received_ms, stored.future), (accepted.id, START_MS, true));
    for bit in 0..128 {
        let flipped = u128::from_be_bytes(accepted.id.to_bytes()) ^ (1 << bit);
        let id = UsageId::from_bytes(flipped.to_be_bytes());
        assert_eq!(store.receipt(&id).expect("served"), None, "bit {bit}");
    }
}

#[test]
fn receipts_come_from_compressed_segments_too() {
    let dir = folder();
    let store = open(config(dir.path()));
    let mut accepted = Vec::new();
    for n in 0..3000 {
        let sent = if n % 3 == 0 { nth(n).keyed(&n.to_string()) } else { nth(n) };
        accepted.push((sent.clone(), post(&store, &sent).expect("room")));
        if n % 20 == 19 {
            store.journal().commit_once().expect("commits");
            store.index_once();
            store.journal().housekeep_once();
        }
    }
    store.journal().commit_once().expect("commits");
    while store.index_once() {}
    while store.journal().housekeep_once().compressed.is_some() {}
    assert!(store.journal().status().segments_compressed > 0, "something was compressed");
    for (sent, accepted) in accepted {
        let stored = store.receipt(&accepted.id).expect("served").expect("durable");
        assert_eq!((stored.seq, stored.patient_id), (accepted.seq, sent.patient_id));
    }
}

#[test]
fn a_page_that_had_to_pass_over_much_is_short_and_leads_on() {
    let dir = folder();
    let mut config = config(dir.path());
    (config.tail_bytes_max, config.run.usages_max) = (16 << 20, 5_000);
    let store = open(config);
    for n in 0..21_000 {
        let medication = if n == 5 { "Rare" } else { "Albuterol" };
        post(&store, &Sent::new("many", START_MS as i64 + n, medication)).expect("room");
        if n % 100 == 99 {
            store.journal().commit_once().expect("commits");
        }
        if n == 15_000 {
            store.index_once();
        }
    }
    let mut query = history_of("many");
    query.medication = Some("Rare".into());
    let first = store.history(&query).expect("served");
    assert!(first.usages.is_empty() && first.next.is_some());
    query.cursor = first.next;
    assert_eq!(whole_history(&store, query).len(), 1);
}
