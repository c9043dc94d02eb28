//! What a store should answer, worked out the simple way, and what it does answer.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use store::{HistoryQuery, Store, StoredUsage, SummaryBy, SummaryGroup, SummaryQuery, SummaryRow};
use usage::Instant;

use crate::harness::{Sent, history_of, whole_history};

/// Every answer of a store about some patients, for comparison as a whole.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answers {
    pub(crate) histories: BTreeMap<String, Vec<StoredUsage>>,
    pub(crate) summaries: BTreeMap<String, Vec<SummaryRow>>,
    pub(crate) receipts: Vec<Option<StoredUsage>>,
}

pub(crate) const PATIENTS: u64 = 5;

fn summary(
    store: &Store,
    by: SummaryBy,
    from: Option<Instant>,
    to: Option<Instant>,
) -> Vec<SummaryRow> {
    let query = SummaryQuery { by, from, to, tz: TimeZone::UTC };
    store.summary(&query).expect("summaries are served")
}

/// Asks `store` everything, and for the receipts of all usages that its histories show.
pub(crate) fn answers(store: &Store) -> Answers {
    let mut answers = Answers::default();
    for patient in 0..PATIENTS {
        let patient_id = format!("patient-{patient}");
        let history = whole_history(store, history_of(&patient_id));
        for usage in &history {
            let receipt = store.receipt(&usage.id).expect("receipts are served");
            // A key that was used again, after its window, leads to its latest usage.
            let newer = receipt.as_ref().is_some_and(|r| r.id == usage.id && r.seq > usage.seq);
            assert!(newer || receipt.as_ref() == Some(usage), "{receipt:?} instead of {usage:?}");
            answers.receipts.push(receipt);
        }
        answers.histories.insert(patient_id, history);
    }
    let some = |seconds| Instant::from_parts(seconds, 0);
    let start = crate::harness::START_MS as i64 / 1000;
    for by in [SummaryBy::Hour, SummaryBy::Day, SummaryBy::Medication] {
        answers.summaries.insert(format!("{by:?}"), summary(store, by, None, None));
        let (from, to) = (some(start + 12_345), some(start + 54_321));
        answers.summaries.insert(format!("{by:?} within"), summary(store, by, from, to));
    }
    answers
}

/// Which usages a store has to hold, by sequence.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) usages: BTreeMap<u64, Sent>,
}

impl Model {
    /// Sequences of a patient's usages below `end` that pass the query, newest first.
    pub(crate) fn history(&self, query: &HistoryQuery, end: u64) -> Vec<u64> {
        let ms = |ms: i64| Instant::from_millis(ms).expect("in range");
        let mut found: Vec<(i64, u64)> = self
            .usages
            .range(..end)
            .filter(|(_, sent)| sent.patient_id == query.patient_id)
            .filter(|(_, sent)| query.from.is_none_or(|from| ms(sent.instant_ms) >= from))
            .filter(|(_, sent)| query.to.is_none_or(|to| ms(sent.instant_ms) < to))
            .filter(|(_, sent)| query.medication.as_ref().is_none_or(|m| sent.medication == *m))
            .map(|(seq, sent)| (sent.instant_ms, *seq))
            .collect();
        found.sort_unstable();
        found.into_iter().rev().map(|(_, seq)| seq).collect()
    }

    /// Counts by hour in UTC and by medication.
    pub(crate) fn counts(&self, by: SummaryBy) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for sent in self.usages.values() {
            let span_ms = if by == SummaryBy::Day { 86_400_000 } else { 3_600_000 };
            let name = match by {
                SummaryBy::Medication => sent.medication.clone(),
                _ => (sent.instant_ms.div_euclid(span_ms) * span_ms / 1000).to_string(),
            };
            *counts.entry(name).or_default() += 1;
        }
        counts
    }

    /// Compares all that can be asked with what is stored.
    pub(crate) fn compare(&self, store: &Store) {
        let answers = answers(store);
        let mut held = 0;
        for (patient_id, history) in &answers.histories {
            let expected = self.history(&history_of(patient_id), u64::MAX);
            let found: Vec<u64> = history.iter().map(|usage| usage.seq).collect();
            assert_eq!(found, expected, "the history of {patient_id}");
            for usage in history {
                let sent = &self.usages[&usage.seq];
                assert_eq!(
                    (&usage.patient_id, &usage.medication, usage.instant.millis()),
                    (&sent.patient_id, &sent.medication, sent.instant_ms)
                );
            }
            held += history.len();
        }
        assert_eq!(held, self.usages.len(), "no usage belongs to anybody else");
        for by in [SummaryBy::Hour, SummaryBy::Day, SummaryBy::Medication] {
            let found: BTreeMap<String, u64> = answers.summaries[&format!("{by:?}")]
                .iter()
                .map(|row| match &row.group {
                    SummaryGroup::Bucket { start, .. } => (start.seconds().to_string(), row.count),
                    SummaryGroup::Medication(name) => (name.clone(), row.count),
                })
                .collect();
            assert_eq!(found, self.counts(by), "counts by {by:?}");
        }
    }
}
