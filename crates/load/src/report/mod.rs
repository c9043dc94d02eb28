//! What people and programs are told of a run: k6's report and ours in text, a summary and points
//! over time in JSON or CSV, and a page to look at. Each is a pure function of the plan, the totals
//! and the outcome; only [`out`] writes, while the run goes on.

pub mod format;
pub mod html;
pub mod out;
pub mod summary;
pub mod text;
mod verdict;
mod views;
mod words;

pub use verdict::{Verdict, VerdictKind};
pub use views::{Columns, ColumnsError};
