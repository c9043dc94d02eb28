//! Looks for what was acknowledged: by its receipt from the running server, and at the end in the
//! whole journal, past every index.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use anyhow::{Context as _, Result};
use journal::disk::RealDisk;
use journal::{FrameKind, Journal, SystemClock};

use super::ledger::{Ledger, Sent};
use super::load::agent;

/// Asks for the receipt of everything acknowledged since position `from` and counts those that say
/// what was sent.
pub(crate) fn receipts(url: &str, ledger: &Ledger, from: usize, connections: u32) -> Result<u64> {
    let wanted = ledger.since(from);
    let next = AtomicUsize::new(0);
    let found = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..connections)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    let agent = agent();
                    while let Some((sent, id)) = wanted.get(next.fetch_add(1, Relaxed)) {
                        if receipt_matches(&agent, url, sent, id)? {
                            found.fetch_add(1, Relaxed);
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a reader does not panic"))
    })?;
    Ok(found.into_inner())
}

fn receipt_matches(agent: &ureq::Agent, url: &str, sent: &Sent, id: &str) -> Result<bool> {
    let mut response = agent.get(format!("{url}/{id}")).call().context("asking for a receipt")?;
    if response.status() != 200 {
        return Ok(false);
    }
    let text = response.body_mut().read_to_string().context("reading a receipt")?;
    let receipt: serde_json::Value = serde_json::from_str(&text).context("parsing a receipt")?;
    let says = |field: &str, text: &str| receipt[field].as_str() == Some(text);
    Ok(says("patientId", &sent.number.to_string()) && says("id", id))
}

/// What the journal holds of what was acknowledged.
pub(crate) struct Audit {
    /// Acknowledged usages that are there.
    pub(crate) found: u64,
    /// Keyed usages that are there more than once.
    pub(crate) duplicated: u64,
}

/// Reads the journal of a stopped store from its first frame to its last, past every index.
pub(crate) fn whole_journal(store: &Path, ledger: &Ledger) -> Result<Audit> {
    let disk = RealDisk::open(store::Config::new(store).journal_dir())
        .context("opening the journal's directory")?;
    let clock = Arc::new(SystemClock::new());
    let (journal, _) =
        Journal::open(Arc::new(disk), clock, server_options()).context("opening the journal")?;
    let mut reader = journal.reader(journal.first_seq());
    let mut found = HashSet::new();
    let mut keyed_seen = HashSet::new();
    let mut duplicated = 0;
    while let Some(batch) = reader.next_batch().context("reading the whole journal")? {
        for frame in batch.frames().filter(|frame| frame.kind == FrameKind::Usage) {
            let record = usage::record::decode(frame.payload).context("decoding a record")?;
            let Ok(number) = record.usage.patient_id.parse::<u64>() else { continue };
            if let Some((position, _, _)) = ledger.find(number) {
                found.insert(position);
            }
            if record.key.is_some() && !keyed_seen.insert(number) {
                duplicated += 1;
            }
        }
    }
    journal.close().context("closing the journal")?;
    Ok(Audit { found: found.len() as u64, duplicated })
}

/// The journal's settings that the server under test runs with.
fn server_options() -> journal::Options {
    journal::Options {
        segment_bytes: 4 << 20,
        pending_bytes_max: 1 << 20,
        reserve_bytes: 16 << 20,
        ..Default::default()
    }
}
