//! What coordinator and agents say to each other. The greeting keeps its form for ever, so that two
//! versions which do not understand each other can at least say so; everything behind it belongs to
//! one version of the protocol.

use serde::{Deserialize, Serialize};

use crate::limits::{LINES_MAX, WORDS_MAX};
use crate::measure::WireInterval;
use crate::outcome::KernelCounters;
use crate::plan::Options;
use crate::report::format::printable;

/// The version of the protocol. Another number is another protocol.
pub(super) const PROTOCOL: u32 = 2;

/// An agent's first words.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) protocol: u32,
    /// That the agent knows the secret.
    #[serde(default)]
    pub(super) proof: String,
}

/// The coordinator's answer: a proof, or what it refuses.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Reply {
    pub(super) protocol: u32,
    /// That the coordinator knows the secret; empty when it refuses.
    #[serde(default)]
    pub(super) proof: String,
}

/// From the coordinator, after the greeting.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ToAgent {
    /// Nothing, but still there.
    Alive,
    /// Which part of the plan, which follows, is the agent's.
    Part(Part),
    /// The plan: to be understood, prepared and answered.
    Plan(Box<Options>),
    /// To be answered at once.
    Ping { number: u32 },
    /// The run starts so long after this message came.
    Begin { in_ns: u64 },
    /// No new requests; `now` cuts off those in flight too.
    Stop { now: bool },
    /// Everything that the agent measured has come.
    Done,
    /// Go, for this reason.
    Leave { why: String },
}

/// An agent's part of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The agent's number, from 0 on.
    pub machine: u64,
    /// How many there are.
    pub machines: u64,
    /// Whether the agent is to keep a file of receipts.
    pub receipts: bool,
}

/// From an agent, after the greeting.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ToCoordinator {
    /// Nothing, but still there.
    Alive,
    /// What the agent runs on.
    Here { name: String, cores: usize },
    /// The plan is understood and can be done.
    Ready(Readiness),
    /// It cannot, or no longer.
    Failed { why: String },
    /// Answers `Ping`.
    Pong { number: u32, wall_ns: u64 },
    /// What a worker measured.
    Interval(Box<WireInterval>),
    /// Everything was sent.
    Ended(Closing),
}

/// What an agent has to say before the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// What it takes its part to be.
    pub share: Share,
    /// What its preflight has found, worth knowing.
    pub notes: Vec<String>,
}

/// What an agent takes its part to be; held against what the coordinator takes it to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Checks of each scenario.
    pub checks: Vec<usize>,
    /// Workers.
    pub threads: usize,
    /// For each scenario, the requests that the machine will send; `None` where nobody knows.
    pub requests: Vec<Option<u64>>,
}

/// What an agent knows at the end that no interval says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// What it ran on, in a line for people.
    pub machine: String,
    /// What tells its kernel's counters from those of others: agents on one machine count the same.
    pub host: String,
    /// What its kernel counted meanwhile, if it shows it.
    pub kernel: Option<KernelCounters>,
    /// What is missing in its figures, a sentence each.
    pub missing: Vec<String>,
}

impl Readiness {
    /// With its words fit to travel and to be shown.
    pub(super) fn in_words(mut self) -> Self {
        lines_in_words(&mut self.notes);
        self
    }
}

impl Closing {
    /// With its words fit to travel and to be shown.
    pub(super) fn in_words(mut self) -> Self {
        self.machine = words(&self.machine);
        self.host = words(&self.host);
        lines_in_words(&mut self.missing);
        self
    }
}

fn lines_in_words(lines: &mut Vec<String>) {
    lines.truncate(LINES_MAX);
    lines.iter_mut().for_each(|line| *line = words(line));
}

/// Words of another machine, fit to be shown here, and not endless.
pub(super) fn words(text: &str) -> String {
    printable(&text.chars().take(WORDS_MAX).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_cannot_steer_a_terminal() {
        assert_eq!(words("a\x1b[2Jb\nc\u{202e}"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}");
        assert_eq!(words(&"é".repeat(2 * WORDS_MAX)).chars().count(), WORDS_MAX);
        let closing = Closing { missing: vec!["\x07".into(); 99], ..Closing::default() };
        assert_eq!(closing.in_words().missing, ["\u{fffd}"; LINES_MAX]);
    }

    #[test]
    fn the_greeting_is_understood_from_later_versions() {
        let hello: Hello = serde_json::from_str(r#"{"protocol":9,"kind":"pake"}"#).unwrap();
        assert_eq!((hello.protocol, hello.proof.as_str()), (9, ""));
        let reply: Reply = serde_json::from_str(r#"{"protocol":9,"why":[]}"#).unwrap();
        assert_eq!((reply.protocol, reply.proof.as_str()), (9, ""));
    }
}
