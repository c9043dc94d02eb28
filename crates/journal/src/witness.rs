//! Witnesses of how far the journal was durable. What follows the journal knows how far it was; a
//! journal that ends before one of them has lost frames.

use std::fmt;

use crate::clock::utc_text;
use crate::mark::Mark;

/// Something that knows that the journal was durable up to a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// What it is, for the operator: `the index`.
    pub name: String,
    /// The store that it belongs to.
    pub store_id: [u8; 16],
    /// The repair number of the journal that it saw.
    pub repairs: u64,
    /// Every sequence below this was durable.
    pub durable: u64,
}

/// What is missing at the end of a journal, as far as its witnesses know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingEnd {
    /// One past the last sequence that can be read.
    pub end_seq: u64,
    /// Every sequence below this was durable.
    pub durable: u64,
    /// No sequence from here on was ever written; `None` when nobody knows.
    pub limit: Option<u64>,
    /// Which witness reaches furthest.
    pub witness: String,
    /// When the last batch that is there was committed, milliseconds since the Unix epoch.
    pub since_ms: Option<u64>,
    /// When the witness was written, if it says so.
    pub until_ms: Option<u64>,
}

/// The journal that witnesses are held against.
pub(crate) struct Held<'a> {
    pub(crate) store_id: &'a [u8; 16],
    pub(crate) repairs: u64,
    pub(crate) end_seq: u64,
    /// When its last batch was committed.
    pub(crate) last_ms: Option<u64>,
    /// Its mark, if it has one.
    pub(crate) mark: Option<&'a Mark>,
}

impl Held<'_> {
    /// Everything below was durable, as far as its mark and `witnesses` know.
    pub(crate) fn durable(&self, witnesses: &[Witness]) -> u64 {
        let mark = self.mark.filter(|mark| mark.repairs >= self.repairs);
        let own = |witness: &&Witness| {
            witness.store_id == *self.store_id && witness.repairs >= self.repairs
        };
        let witnessed = witnesses.iter().filter(own).map(|witness| witness.durable);
        witnessed.chain(mark.map(|mark| mark.durable)).max().unwrap_or(0)
    }

    /// What is missing by the witness that reaches furthest. One of another store, or of this store
    /// before a repair, says nothing about this journal.
    pub(crate) fn missing(&self, witnesses: &[Witness]) -> Option<MissingEnd> {
        let mark = self.mark.filter(|mark| mark.repairs >= self.repairs);
        let mut missing = MissingEnd {
            end_seq: self.end_seq,
            durable: mark.map_or(0, |mark| mark.durable),
            limit: mark.map(|mark| mark.limit),
            witness: "its file `mark`".to_owned(),
            since_ms: self.last_ms,
            until_ms: mark.map(|mark| mark.written_ms),
        };
        for witness in witnesses {
            let own = witness.store_id == *self.store_id && witness.repairs >= self.repairs;
            if own && witness.durable > missing.durable {
                missing.witness.clone_from(&witness.name);
                (missing.durable, missing.until_ms) = (witness.durable, None);
                missing.limit = missing.limit.map(|limit| limit.max(witness.durable));
            }
        }
        (missing.durable > self.end_seq).then_some(missing)
    }
}

impl MissingEnd {
    /// How many frames are missing at least.
    #[must_use]
    pub fn at_least(&self) -> u64 {
        self.durable - self.end_seq
    }

    /// How many are missing at most, if anybody knows.
    #[must_use]
    pub fn at_most(&self) -> Option<u64> {
        self.limit.map(|limit| limit - self.end_seq)
    }

    /// How many are missing, in words.
    #[must_use]
    pub fn count_text(&self) -> String {
        let least = self.at_least();
        let are = if least == 1 { "frame is" } else { "frames are" };
        match self.at_most() {
            Some(most) if most == least => format!("{least} {are} missing"),
            Some(most) => format!("at least {least} and at most {most} frames are missing"),
            None => format!("at least {least} {are} missing"),
        }
    }
}

impl fmt::Display for MissingEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the journal ends before sequence {}", self.end_seq)?;
        if let Some(ms) = self.since_ms {
            write!(f, " (last commit {})", utc_text(ms))?;
        }
        write!(f, ", but {} shows that it reached sequence {}", self.witness, self.durable - 1)?;
        if let Some(ms) = self.until_ms {
            write!(f, " by {}", utc_text(ms))?;
        }
        write!(f, ": {}", self.count_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held<'a>(mark: Option<&'a Mark>) -> Held<'a> {
        Held { store_id: &[1; 16], repairs: 3, end_seq: 5, last_ms: Some(1_000), mark }
    }

    #[test]
    fn witnesses_of_another_store_or_an_older_repair_are_ignored() {
        fn check(store_id: [u8; 16], repairs: u64, expected: Option<u64>) {
            let name = "the index".to_owned();
            let of = |durable| Witness { name: name.clone(), store_id, repairs, durable };
            let witnesses = [of(7), of(9), of(8)];
            let found = held(None).missing(&witnesses).map(|missing| missing.durable);
            assert_eq!(found, expected, "{store_id:?} {repairs}");
        }
        check([1; 16], 3, Some(9));
        check([1; 16], 4, Some(9));
        check([1; 16], 2, None);
        check([2; 16], 3, None);
    }

    #[test]
    fn the_loss_is_exact_after_a_clean_stop_and_a_bound_otherwise() {
        fn check(mark: Option<(u64, u64)>, index: Option<u64>, expected: &str) {
            let store_id = [1; 16];
            let mark = mark.map(|(durable, limit)| Mark {
                store_id,
                repairs: 3,
                durable,
                limit,
                written_ms: 61_000,
            });
            let name = "the index".to_owned();
            let witness = |durable| Witness { name, store_id, repairs: 3, durable };
            let witnesses: Vec<_> = index.map(witness).into_iter().collect();
            let found = held(mark.as_ref()).missing(&witnesses);
            assert_eq!(found.map_or(String::new(), |missing| missing.to_string()), expected);
        }
        check(None, None, "");
        check(Some((5, 9)), Some(5), "");
        let mark = "the journal ends before sequence 5 (last commit 1970-01-01 00:00:01 UTC), but \
                    its file `mark` shows that it reached sequence 7 by 1970-01-01 00:01:01 UTC: ";
        check(Some((8, 8)), None, &format!("{mark}3 frames are missing"));
        let bound = "at least 3 and at most 15 frames are missing";
        check(Some((8, 20)), Some(7), &format!("{mark}{bound}"));
        let index = "the journal ends before sequence 5 (last commit 1970-01-01 00:00:01 UTC), but \
                     the index shows that it reached sequence 8: ";
        check(
            Some((8, 20)),
            Some(9),
            &format!("{index}at least 4 and at most 15 frames are missing"),
        );
        check(None, Some(9), &format!("{index}at least 4 frames are missing"));
    }
}
