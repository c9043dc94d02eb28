//! Clients that remember, outside the store under test, each usage that was acknowledged, and look
//! for it later.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;

use crate::http::{Answer, try_call};
use crate::needs::until;

/// Every usage of a run of the tests is another patient's.
static PATIENTS: AtomicU64 = AtomicU64::new(1);

/// What clients heard.
#[derive(Default)]
pub(crate) struct Heard {
    /// The id and the patient of each 201.
    pub(crate) acknowledged: Vec<(String, String)>,
    /// Answers of 503 that said when to come back.
    pub(crate) refused: usize,
    /// What ended a client: an answer that is neither of these, or `None` for no whole answer.
    pub(crate) endings: Vec<Option<Answer>>,
}

impl Heard {
    /// Clients whose usage may or may not be stored, as they were told.
    pub(crate) fn unknown(&self) -> usize {
        let told = |ending: &&Option<Answer>| {
            ending.as_ref().is_some_and(|answer| {
                answer.status == 500 && answer.json()["type"] == "/problems/outcome-unknown"
            })
        };
        self.endings.iter().filter(told).count()
    }

    /// The acknowledged usages that the server at `address` does not give back.
    pub(crate) fn lost(&self, address: SocketAddr) -> usize {
        let lost = |(id, patient): &&(String, String)| {
            let place = format!("/api/usages/{id}");
            let answer = try_call(address, "GET", &place, "", b"").expect("it answers");
            answer.status != 200 || answer.json()["patientId"] != patient.as_str()
        };
        self.acknowledged.iter().filter(lost).count()
    }

    pub(crate) fn add(&mut self, more: Self) {
        self.acknowledged.extend(more.acknowledged);
        self.refused += more.refused;
        self.endings.extend(more.endings);
    }
}

/// Clients at work, each of which posts one usage after another until it is told otherwise.
pub(crate) struct Posting {
    threads: Vec<JoinHandle<Heard>>,
    acknowledged: Arc<AtomicUsize>,
}

impl Posting {
    /// Starts `clients` that post `each` usages at most, with so many bytes of attributes.
    pub(crate) fn start(address: SocketAddr, clients: usize, each: usize, bytes: usize) -> Self {
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let threads = (0..clients).map(|_| {
            let acknowledged = Arc::clone(&acknowledged);
            std::thread::spawn(move || post(address, each, bytes, &acknowledged))
        });
        Self { threads: threads.collect(), acknowledged }
    }

    /// Waits for so many 201.
    pub(crate) fn wait_for(&self, count: usize) {
        until("usages are acknowledged", || self.acknowledged.load(Relaxed) >= count);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits for the clients to end.
    pub(crate) fn finish(self) -> Heard {
        let mut heard = Heard::default();
        for thread in self.threads {
            heard.add(thread.join().expect("a client notes what it hears"));
        }
        heard
    }
}

fn post(address: SocketAddr, each: usize, bytes: usize, acknowledged: &AtomicUsize) -> Heard {
    let mut heard = Heard::default();
    for _ in 0..each {
        let number = PATIENTS.fetch_add(1, Relaxed);
        let patient = format!("patient-{number}");
        let body = format!(
            r#"{{"patientId":"{patient}","timestamp":"2016-11-01T09:11:51-05:00","medication":"Albuterol","attributes":{{"a":"{}"}}}}"#,
            noise(number, bytes)
        );
        let json = "Content-Type: application/json\r\n";
        match try_call(address, "POST", "/api/usages", json, body.as_bytes()).ok() {
            Some(answer) if answer.status == 201 => {
                heard.acknowledged.push((answer.id(), patient));
                acknowledged.fetch_add(1, Relaxed);
            }
            Some(answer) if answer.status == 503 && answer.header("retry-after").is_some() => {
                heard.refused += 1;
            }
            ending => {
                heard.endings.push(ending);
                break;
            }
        }
    }
    heard
}

/// Text that does not compress to nothing.
fn noise(seed: u64, bytes: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let letters = (0..bytes).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + state.to_le_bytes()[4] % 26)
    });
    letters.collect()
}
