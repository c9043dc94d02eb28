//! The client's own record of what was acknowledged, kept outside the store under test.

use std::collections::HashMap;

/// Usages that one run of `prove` may send; what it remembers of each is some forty bytes.
const USAGES_MAX: usize = 20_000_000;

/// One usage as the client knows it. Its number is also its patient's id, so every usage differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) number: u64,
    /// Whether it carried the idempotency key `prove-{number}`.
    pub(crate) keyed: bool,
}

/// What the clients of all cycles sent and heard.
pub(crate) struct Ledger {
    next: u64,
    acknowledged: Vec<(Sent, String)>,
    by_number: HashMap<u64, usize>,
    /// Sent, and neither acknowledged nor refused: they may or may not be kept.
    unknown: Vec<Sent>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self { next: 1, acknowledged: Vec::new(), by_number: HashMap::new(), unknown: Vec::new() }
    }

    /// The number that the next usage gets; the caller reports with `advance` how many it used.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn advance(&mut self, next: u64) {
        self.next = self.next.max(next);
    }

    pub(crate) fn acknowledge(&mut self, sent: Sent, id: String) {
        assert!(
            self.acknowledged.len() < USAGES_MAX,
            "a run of prove sends a bounded number of usages"
        );
        self.by_number.insert(sent.number, self.acknowledged.len());
        self.acknowledged.push((sent, id));
    }

    pub(crate) fn leave_unknown(&mut self, sent: Sent) {
        self.unknown.push(sent);
    }

    /// The keyed usages whose answer never came; each is to be sent again with its key.
    pub(crate) fn take_unknown_keyed(&mut self) -> Vec<Sent> {
        let (keyed, plain) =
            std::mem::take(&mut self.unknown).into_iter().partition(|sent| sent.keyed);
        // Without a key nobody can know whether they are kept: they prove nothing, either way.
        drop::<Vec<_>>(plain);
        keyed
    }

    /// How many usages were acknowledged so far.
    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged.len()
    }

    /// Those acknowledged from position `from` on, with their ids.
    pub(crate) fn since(&self, from: usize) -> &[(Sent, String)] {
        &self.acknowledged[from..]
    }

    /// The position and id of an acknowledged usage, found by its number.
    pub(crate) fn find(&self, number: u64) -> Option<(usize, &Sent, &str)> {
        let position = *self.by_number.get(&number)?;
        let (sent, id) = &self.acknowledged[position];
        Some((position, sent, id))
    }
}
