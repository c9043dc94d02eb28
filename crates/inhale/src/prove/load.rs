//! Clients that post usages one after another, each on its own connection, until the server is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, bail};

use super::ledger::{Ledger, Sent};
use crate::clock::monotonic;

/// Time in which a server must take in the first usage after a start.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a client heard of one usage.
enum Heard {
    /// 201 with this id.
    Kept(String),
    /// A refusal: it is not kept and nobody was told that it is.
    Refused,
    /// No answer, or one that leaves it open.
    Unknown,
}

/// Clients at work.
pub(crate) struct Load {
    clients: Vec<JoinHandle<Vec<(Sent, Heard)>>>,
    acknowledged: Arc<AtomicU64>,
    next: Arc<AtomicU64>,
}

impl Load {
    /// Starts `connections` clients. Every second usage carries an idempotency key.
    pub(crate) fn start(url: &str, connections: u32, ledger: &mut Ledger) -> Self {
        let next = Arc::new(AtomicU64::new(ledger.next()));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let clients = (0..connections)
            .map(|_| {
                let (url, next, acknowledged) =
                    (url.to_owned(), Arc::clone(&next), Arc::clone(&acknowledged));
                std::thread::spawn(move || post_until_gone(&url, &next, &acknowledged))
            })
            .collect();
        Self { clients, acknowledged, next }
    }

    /// Waits until the first usage is acknowledged and then for `time`.
    pub(crate) fn run_for(&self, time: Duration) -> Result<()> {
        let start = monotonic();
        while self.acknowledged.load(Relaxed) == 0 {
            if monotonic() - start > PATIENCE {
                bail!("no usage was acknowledged within {PATIENCE:?} of the server's start");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(time);
        Ok(())
    }

    /// Waits for the clients, which end by themselves once the server is gone, and writes down what
    /// they heard.
    pub(crate) fn finish(self, ledger: &mut Ledger) {
        for client in self.clients {
            for (sent, heard) in client.join().expect("a client does not panic") {
                match heard {
                    Heard::Kept(id) => ledger.acknowledge(sent, id),
                    Heard::Refused => {}
                    Heard::Unknown => ledger.leave_unknown(sent),
                }
            }
        }
        ledger.advance(self.next.load(Relaxed));
    }
}

fn post_until_gone(url: &str, next: &AtomicU64, acknowledged: &AtomicU64) -> Vec<(Sent, Heard)> {
    let agent = agent();
    let mut all = Vec::new();
    loop {
        let number = next.fetch_add(1, Relaxed);
        let sent = Sent { number, keyed: number.is_multiple_of(2) };
        let heard = post(&agent, url, &sent);
        let gone = matches!(heard, Heard::Unknown);
        if matches!(heard, Heard::Kept(_)) {
            acknowledged.fetch_add(1, Relaxed);
        }
        all.push((sent, heard));
        if gone {
            return all;
        }
    }
}

/// An HTTP client of one connection that takes any status for an answer.
pub(crate) fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .max_idle_connections(1)
        .build()
        .into()
}

fn post(agent: &ureq::Agent, url: &str, sent: &Sent) -> Heard {
    let body = format!(
        r#"{{"patientId":"{}","timestamp":"Tue Nov 01 2016 09:11:51 GMT-0500 (CDT)","medication":"Albuterol"}}"#,
        sent.number
    );
    let mut request = agent.post(url).header("Content-Type", "application/json");
    if sent.keyed {
        request = request.header("Idempotency-Key", format!("\"prove-{}\"", sent.number));
    }
    let Ok(mut response) = request.send(body) else { return Heard::Unknown };
    let status = response.status().as_u16();
    let Ok(text) = response.body_mut().read_to_string() else { return Heard::Unknown };
    match status {
        201 => match id_in(&text) {
            Some(id) => Heard::Kept(id),
            None => Heard::Unknown,
        },
        400..=499 | 503 | 507 => Heard::Refused,
        _ => Heard::Unknown,
    }
}

fn id_in(text: &str) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_str(text).ok()?;
    answer.get("id")?.as_str().map(str::to_owned)
}

/// Sends every keyed usage whose answer never came once more, with its key: now it is kept, once.
pub(crate) fn settle_unknown(url: &str, ledger: &mut Ledger) -> Result<()> {
    let agent = agent();
    let start = monotonic();
    for sent in ledger.take_unknown_keyed() {
        loop {
            match post(&agent, url, &sent) {
                Heard::Kept(id) => break ledger.acknowledge(sent, id),
                _ if monotonic() - start > PATIENCE => {
                    bail!(
                        "a usage that was sent again with its key was not taken in within {PATIENCE:?}"
                    );
                }
                // The index may still be catching up, which the server answers with 503.
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
    Ok(())
}
