//! Stores that are filled before something is measured on them, and kept for the next run.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::Bench;
use super::disk::allocated_bytes;
use super::measure::report;

/// Usages a request while filling.
const BATCH: u64 = 1_000;
/// Patients of a filled store.
pub(crate) const PATIENTS: u64 = 100_000;
/// What the usages of a filled store are like, as the client's options.
pub(crate) const SHAPE: &str = "--distinct-times --medications 20 --patients 100000 --zipf 1";
/// Loads that go on with a filled store number their usages from here.
pub(crate) const FIRST_BEYOND: &str = "--first 100000000";

/// A store with what filling it took.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Filled {
    pub(crate) folder: PathBuf,
    pub(crate) usages: u64,
    pub(crate) keyed: bool,
    /// When background work had come to rest.
    pub(crate) journal_bytes: u64,
    pub(crate) index_bytes: u64,
    pub(crate) other_bytes: u64,
}

impl Bench {
    /// A store of so many usages; filled now unless an earlier run did.
    pub(crate) fn filled(&self, usages: u64, keyed: bool) -> Result<Filled> {
        let kind = if keyed { "keyed" } else { "keyless" };
        let folder = self.starter.folder.join(format!("{kind}-{usages}"));
        let marker = folder.join("filled.json");
        if let Ok(text) = fs::read_to_string(&marker) {
            return serde_json::from_str(&text).with_context(|| format!("{}", marker.display()));
        }
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let data = folder.join("store");
        let server = self.starter.inhale(&data, &[])?;
        let step = (usages / 20).max(BATCH);
        let (mut accepted, mut sent) = (0, 0);
        while accepted < usages {
            self.say(&format!("filling a {kind} store: {accepted} of {usages}"));
            let requests = (usages - accepted).min(step).div_ceil(BATCH);
            let keys = if keyed { "--keyed --key-prefix filled-" } else { "" };
            let words = format!(
                "{SHAPE} {keys} --ndjson {BATCH} --connections 4 --back-off 20ms --first {sent} \
                 --requests {requests} --duration 10h"
            );
            let found = report(self.starter.client("client", &server, &words)?)?;
            if found.usages == 0 && found.backed_off == 0 || !found.other.is_empty() {
                bail!("the store could not be filled: {found}");
            }
            accepted += found.usages;
            sent += found.sent * BATCH;
        }
        self.say("waiting for background work to come to rest");
        server.settle()?;
        server.stop()?;
        let whole = allocated_bytes(&data)?;
        let journal_bytes = allocated_bytes(&data.join("journal"))?;
        let index_bytes = allocated_bytes(&data.join("index"))?;
        let other_bytes = whole - journal_bytes - index_bytes;
        let filled = Filled {
            folder: data,
            usages: accepted,
            keyed,
            journal_bytes,
            index_bytes,
            other_bytes,
        };
        fs::write(&marker, serde_json::to_string(&filled)?)?;
        Ok(filled)
    }

    /// A folder for a store that starts empty and is gone afterwards.
    pub(crate) fn fresh(&self, name: &str) -> Result<PathBuf> {
        let folder = self.starter.folder.join(format!("fresh-{name}"));
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}
