//! What is measured: a [`Sample`] for each request, gathered in a worker's [`Recorder`], handed over
//! as an [`Interval`] at each tick, and added up in [`Totals`]. Memory does not grow with the run.

mod counts;
mod histogram;
mod interval;
mod metric;
mod recorder;
mod sample;
mod timeline;
mod totals;

pub use counts::Counts;
pub use histogram::{Times, TotalTimes, WireError};
pub use interval::{Gauges, Interval, ScenarioInterval, WireInterval};
pub use metric::Trend;
pub use recorder::Recorder;
pub use sample::{Ended, Failure, Sample};
pub use timeline::{Point, Timeline};
pub use totals::{ScenarioTotals, Totals};
