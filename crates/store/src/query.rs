//! Questions about many usages, and their answers.

use jiff::tz::TimeZone;
use usage::Instant;

use crate::cursor::HistoryCursor;
use crate::stored::StoredUsage;

/// Asks for a patient's usages, newest first.
#[derive(Clone, Debug)]
pub struct HistoryQuery {
    /// Whose.
    pub patient_id: String,
    /// Not before.
    pub from: Option<Instant>,
    /// Before, exclusive.
    pub to: Option<Instant>,
    /// Of exactly this medication only.
    pub medication: Option<String>,
    /// How many at most; 0 is answered with an empty page.
    pub limit: usize,
    /// Where the page before ended. The other fields, but for the limit, have to be as they were.
    pub cursor: Option<HistoryCursor>,
}

/// A page of a patient's usages, newest first by (instant, sequence).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryPage {
    /// The usages.
    pub usages: Vec<StoredUsage>,
    /// Leads to the next page, if there is more.
    pub next: Option<HistoryCursor>,
}

/// Asks for counts of usages.
#[derive(Clone, Debug)]
pub struct SummaryQuery {
    /// What a row counts.
    pub by: SummaryBy,
    /// Not before.
    pub from: Option<Instant>,
    /// Before, exclusive.
    pub to: Option<Instant>,
    /// Where hours and days begin, to the quarter of an hour: of what a zone had otherwise, before
    /// 1980 or when it changed its clocks at a minute past, a quarter counts as it begins.
    pub tz: TimeZone,
}

/// What a row of a summary counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SummaryBy {
    /// An hour of local time.
    Hour,
    /// A day of local time.
    Day,
    /// A medication.
    Medication,
}

/// Counts of usages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// In order of their time or their name.
    pub rows: Vec<SummaryRow>,
    /// What has no row: there are more medications than rows, and those with the most usages have
    /// one.
    pub other: Option<Rest>,
}

/// What has no row of its own in a summary by medication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// How many medications.
    pub medications: u64,
    /// How many usages of them.
    pub usages: u64,
}

/// A row of a summary. Rows with a count of zero are left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SummaryRow {
    /// What was counted.
    pub group: SummaryGroup,
    /// How many usages.
    pub count: u64,
}

/// What a row of a summary stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SummaryGroup {
    /// The hour or day that begins at this instant, at this offset from UTC.
    Bucket {
        /// Its beginning.
        start: Instant,
        /// The zone's offset there, in seconds.
        offset_seconds: i32,
    },
    /// All usages of this medication.
    Medication(String),
}
