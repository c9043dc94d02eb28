//! The index's part of `inhale journal check`.

use std::path::Path;

use journal::check::CheckReport;
use serde_json::json;
use store::IndexReport;

/// What a look at the index gave: `None` where there is none, an error where it could not be read.
pub(crate) struct IndexCheck(Result<Option<IndexReport>, String>);

/// Counts the index of the store in `data` and compares it with the journal.
pub(crate) fn check(data: &Path, journal: &CheckReport) -> IndexCheck {
    let config = store::Config::new(data);
    let counted = store::check_index(&config, journal.first_seq());
    let compared = counted.map(|index| index.map(|index| compare(index, journal)));
    IndexCheck(compared.map_err(|error| error.to_string()))
}

/// An index that has reached the end of a journal without losses has exactly its usages.
fn compare(mut index: IndexReport, journal: &CheckReport) -> IndexReport {
    let comparable = journal.is_sound() && journal.lost_before() == 0;
    let reaches_end = index.cursor >= journal.end_seq();
    if index.faults.is_empty() && comparable && reaches_end && index.usages != journal.usages() {
        let (found, expected) = (index.usages, journal.usages());
        index.faults.push(format!("it has {found} usages, the journal has {expected}"));
    }
    index
}

impl IndexCheck {
    /// Whether nothing is wrong with the index. Having none is not wrong.
    pub(crate) fn is_sound(&self) -> bool {
        match &self.0 {
            Ok(index) => index.as_ref().is_none_or(|index| index.faults.is_empty()),
            Err(_) => false,
        }
    }

    /// `null` where there is no index.
    pub(crate) fn json(&self) -> serde_json::Value {
        match &self.0 {
            Ok(None) => serde_json::Value::Null,
            Ok(Some(index)) => json!({
                "sound": index.faults.is_empty(),
                "usages": index.usages,
                "keys": index.keys,
                "cursor": index.cursor,
                "faults": index.faults,
            }),
            Err(why) => json!({ "sound": false, "error": why }),
        }
    }

    pub(crate) fn print(&self) {
        match &self.0 {
            Ok(None) => outln!("there is no index; the next start makes it from the journal"),
            Ok(Some(index)) if index.faults.is_empty() => outln!(
                "the index is complete up to sequence {}: {} usages, {} keys",
                index.cursor.saturating_sub(1),
                index.usages,
                index.keys
            ),
            Ok(Some(index)) => {
                for fault in &index.faults {
                    outln!("INDEX DAMAGED: {fault}");
                }
                outln!("`inhale journal rebuild` makes the index again; no usage is lost by this");
            }
            Err(why) => outln!("INDEX NOT CHECKED: {why}"),
        }
    }
}
