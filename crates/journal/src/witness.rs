//! Witnesses of how far the journal was durable. Whatever follows the journal knows that it got
//! there; a journal that ends before one of them has lost frames.

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

/// The witness that reaches furthest. One of another store, or of this store before a repair, says
/// nothing about this journal.
pub(crate) fn latest<'a>(
    witnesses: &'a [Witness],
    store_id: &[u8; 16],
    repairs: u64,
) -> Option<&'a Witness> {
    let own = |found: &&Witness| found.store_id == *store_id && found.repairs >= repairs;
    witnesses.iter().filter(own).max_by_key(|found| found.durable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn witnesses_of_another_store_or_an_older_repair_are_ignored() {
        fn check(store_id: [u8; 16], repairs: u64, expected: Option<u64>) {
            let name = "the index".to_owned();
            let of = |durable| Witness { name: name.clone(), store_id, repairs, durable };
            let witnesses = [of(7), of(9), of(8)];
            let found = latest(&witnesses, &[1; 16], 3).map(|witness| witness.durable);
            assert_eq!(found, expected, "{store_id:?} {repairs}");
        }
        check([1; 16], 3, Some(9));
        check([1; 16], 4, Some(9));
        check([1; 16], 2, None);
        check([2; 16], 3, None);
    }
}
