//! Damage that reads meet in what was once durable: each place is logged once, however often it is
//! read, and all of them are counted.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::error::ReadError;

/// Places that are remembered. Of more, the log and the count have only the first of these.
const PLACES_MAX: usize = 1000;

/// The damaged places met since the store was opened.
#[derive(Default)]
pub(crate) struct Damages(Mutex<Places>);

#[derive(Default)]
struct Places {
    all: BTreeSet<String>,
    first: Option<String>,
}

/// Damaged places in the journal, for reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// How many were met since the store was opened; 1,000 stands for as many or more.
    pub places: usize,
    /// The first of them: numbers and the operating system's answer only, so that it may be logged.
    pub first: String,
}

impl Damages {
    /// Notes a place, which names no patient, and says that it cannot be read.
    pub(crate) fn found(&self, place: String) -> ReadError {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if places.all.len() < PLACES_MAX && places.all.insert(place.clone()) {
            tracing::error!(place, "stored data is damaged; what is intact is still served");
            places.first.get_or_insert_with(|| place.clone());
        }
        ReadError::Damaged(place)
    }

    /// What was met so far, if anything.
    pub(crate) fn report(&self) -> Option<Damage> {
        let places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = places.first.clone()?;
        Some(Damage { places: places.all.len(), first })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_once_and_places_are_bounded() {
        let damages = Damages::default();
        assert_eq!(damages.report(), None);
        for place in ["a", "b", "a"] {
            assert!(
                matches!(damages.found(place.to_owned()), ReadError::Damaged(at) if at == place)
            );
        }
        assert_eq!(damages.report(), Some(Damage { places: 2, first: "a".to_owned() }));
        (0..2 * PLACES_MAX).for_each(|n| drop(damages.found(n.to_string())));
        assert_eq!(damages.report().map(|damage| damage.places), Some(PLACES_MAX));
    }
}
