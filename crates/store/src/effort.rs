//! How much a summary may read: rows by number, or for as long as somebody waits for it.

/// Rows between two looks at whether the answer is still wanted.
const ROWS_PER_LOOK: u64 = 4096;

/// What a summary may still read of the index.
pub struct Effort<'a> {
    rows: u64,
    rows_max: u64,
    wanted: &'a dyn Fn() -> bool,
    spent: bool,
}

impl<'a> Effort<'a> {
    /// At most so many rows.
    #[must_use]
    pub fn rows(rows_max: u64) -> Self {
        Self { rows: 0, rows_max, wanted: &|| true, spent: false }
    }

    /// For as long as `wanted` says so, which is asked every few thousand rows.
    #[must_use]
    pub fn while_wanted(wanted: &'a dyn Fn() -> bool) -> Self {
        Self { rows: 0, rows_max: u64::MAX, wanted, spent: false }
    }

    /// Counts a row; returns whether it may be read.
    pub fn row(&mut self) -> bool {
        if self.rows >= self.rows_max || self.rows.is_multiple_of(ROWS_PER_LOOK) && !(self.wanted)()
        {
            self.spent = true;
        }
        self.rows += 1;
        !self.spent
    }

    /// Whether a row was refused, so that what was read is not all.
    pub fn is_spent(&self) -> bool {
        self.spent
    }

    /// Rows read so far.
    pub fn rows_read(&self) -> u64 {
        self.rows - u64::from(self.spent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn rows_run_out() {
        let mut effort = Effort::rows(3);
        assert_eq!([0; 5].map(|_| effort.row()), [true, true, true, false, false]);
        assert!(effort.is_spent());
        assert!(!Effort::rows(0).row());
    }

    #[test]
    fn it_ends_soon_after_nobody_waits() {
        let asked = Cell::new(0);
        let wanted = || {
            asked.set(asked.get() + 1);
            asked.get() < 3
        };
        let mut effort = Effort::while_wanted(&wanted);
        let read = (0..100_000).filter(|_| effort.row()).count() as u64;
        assert_eq!(read, 2 * ROWS_PER_LOOK);
        assert!(effort.is_spent());
    }
}
