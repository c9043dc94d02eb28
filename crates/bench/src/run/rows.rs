//! The rows of the table, each a function that gives its figures.

mod alone;
mod cost;
mod generator;
mod restart;
mod steady;
mod stored;

use anyhow::Result;

use super::Bench;
use super::figure::Figure;

/// A row that can be asked for by name.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) measure: fn(&Bench) -> Result<Vec<Figure>>,
}

/// All rows, in the order in which they are measured.
pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "bare",
        what: "CPU per usage against the floor, without the index",
        measure: cost::bare,
    },
    Row {
        name: "indexed",
        what: "CPU per usage and sustained rate with the index keeping up",
        measure: cost::indexed,
    },
    Row {
        name: "alone",
        what: "one request at a time, over a bare fdatasync",
        measure: alone::alone,
    },
    Row {
        name: "steady",
        what: "16,667 usages a second over the commit spacing",
        measure: steady::steady,
    },
    Row {
        name: "connections",
        what: "a new connection for every usage",
        measure: cost::connections,
    },
    Row { name: "ndjson", what: "NDJSON in batches of 1000", measure: cost::ndjson },
    Row { name: "disk", what: "disk bytes of a usage once compacted", measure: stored::disk },
    Row {
        name: "growth",
        what: "CPU per usage with many stored against few",
        measure: stored::growth,
    },
    Row { name: "keyed", what: "every usage keyed, with many keys stored", measure: stored::keyed },
    Row {
        name: "history",
        what: "a patient's last 100 usages, and memory, while 16,667 a second are written",
        measure: stored::history,
    },
    Row {
        name: "restart",
        what: "restart after a kill, and rebuilding the index",
        measure: restart::restart,
    },
    Row {
        name: "generators",
        what: "CPU per request of inhale load, wrk, oha and k6",
        measure: generator::generators,
    },
    Row {
        name: "arrivals",
        what: "how late inhale load is at a million a minute",
        measure: generator::arrivals,
    },
    Row {
        name: "memory",
        what: "memory of inhale load over ten minutes",
        measure: generator::memory,
    },
];
