//! Looks for what was acknowledged: by its receipt from the running server, and at the end in the
//! whole journal, past every index.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context as _, Result};
use journal::disk::RealDisk;
use journal::{FrameKind, Journal, SystemClock};

use super::ledger::{Ledger, Sent};
use super::load::agent;
use crate::clock::monotonic;

/// Time in which a server must be able to show what it acknowledged before its last crash.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a server says when it is asked for a receipt.
#[derive(Debug, PartialEq, Eq)]
enum Shown {
    /// What was sent.
    Right,
    /// Something else, or that there is no such usage.
    Wrong,
    /// That it cannot say now.
    NotNow,
}

/// Asks for the receipt of everything acknowledged since position `from`, and gives back the numbers
/// of the usages that the server cannot show as they were sent.
pub(crate) fn receipts(
    url: &str,
    ledger: &Ledger,
    from: usize,
    connections: u32,
) -> Result<Vec<u64>> {
    let wanted = ledger.since(from);
    let next = AtomicUsize::new(0);
    let deadline = monotonic() + PATIENCE;
    let ask = || -> Result<Vec<u64>> {
        let agent = agent();
        let mut missing = Vec::new();
        while let Some((sent, id)) = wanted.get(next.fetch_add(1, Relaxed)) {
            let mut shown = receipt(&agent, url, sent, id)?;
            // The index may still be catching up, which the server answers with 503.
            while shown == Shown::NotNow && monotonic() < deadline {
                std::thread::sleep(Duration::from_millis(20));
                shown = receipt(&agent, url, sent, id)?;
            }
            if shown != Shown::Right {
                missing.push(sent.number);
            }
        }
        Ok(missing)
    };
    let missing: Result<Vec<_>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..connections).map(|_| scope.spawn(ask)).collect();
        workers.into_iter().map(|worker| worker.join().expect("a reader does not panic")).collect()
    });
    Ok(missing?.concat())
}

fn receipt(agent: &ureq::Agent, url: &str, sent: &Sent, id: &str) -> Result<Shown> {
    let mut response = agent.get(format!("{url}/{id}")).call().context("asking for a receipt")?;
    let text = response.body_mut().read_to_string().context("reading a receipt")?;
    match response.status().as_u16() {
        200 => {}
        503 => return Ok(Shown::NotNow),
        _ => return Ok(Shown::Wrong),
    }
    let receipt: serde_json::Value = serde_json::from_str(&text).context("parsing a receipt")?;
    let says = |field: &str, text: &str| receipt[field].as_str() == Some(text);
    let right = says("patientId", &sent.number.to_string()) && says("id", id);
    Ok(if right { Shown::Right } else { Shown::Wrong })
}

/// What the journal holds of what was acknowledged.
pub(crate) struct Audit {
    /// Acknowledged usages that are there, and that the server has shown.
    pub(crate) found: u64,
    /// Keyed usages that are there more than once.
    pub(crate) duplicated: u64,
}

/// Reads the journal of a stopped store from its first frame to its last, past every index. What the
/// running server could not show is not `found`: who asks the server has lost it.
pub(crate) fn whole_journal(
    store: &Path,
    ledger: &Ledger,
    not_shown: &HashSet<u64>,
) -> Result<Audit> {
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
            if let Some((position, _, _)) = ledger.find(number)
                && !not_shown.contains(&number)
            {
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

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// Asks a server that gives these answers, one on each connection, for the receipt of usage 7.
    fn check(answers: &'static [(u16, &'static str)], expected: &[u64]) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let mut ledger = Ledger::new();
        ledger.acknowledge(Sent { number: 7, keyed: false }, "an-id".to_owned());
        // Not waited for: who asks too seldom is to fail, not to hang.
        std::thread::spawn(move || {
            for (status, body) in answers {
                let (mut stream, _) = listener.accept().expect("it is asked");
                let lines = BufReader::new(&stream).lines();
                lines.map_while(Result::ok).find(|line| line.is_empty()).expect("a head");
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
                );
                stream.write_all(answer.as_bytes()).expect("it is read");
            }
        });
        assert_eq!(receipts(&url, &ledger, 0, 1).expect("it answers"), expected, "{answers:?}");
    }

    #[test]
    fn what_the_server_does_not_show_is_missing() {
        const RIGHT: &str = r#"{"id":"an-id","patientId":"7"}"#;
        check(&[(200, RIGHT)], &[]);
        check(&[(503, ""), (503, ""), (200, RIGHT)], &[]);
        check(&[(200, r#"{"id":"an-id","patientId":"8"}"#)], &[7]);
        check(&[(404, "")], &[7]);
        check(&[(503, ""), (404, "")], &[7]);
    }
}
