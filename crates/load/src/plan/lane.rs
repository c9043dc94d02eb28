//! How a plan is divided: by arithmetic, so that no request is lost or doubled in the division.

/// One worker's part of a plan: of everything that is numbered, each `of`th from `index` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lane {
    /// 0 to `of - 1`; one beyond has no part.
    pub index: u64,
    /// How many lanes there are, over all machines.
    pub of: u64,
}

impl Lane {
    /// The lanes of machine `machine` out of `machines`, each with `threads` workers.
    pub fn of_machine(machine: u64, machines: u64, threads: u64) -> impl Iterator<Item = Self> {
        let of = machines * threads;
        (0..threads).map(move |thread| Self { index: machine * threads + thread, of })
    }

    /// The same where only so many lanes have a part: the first ones. The others have nothing.
    pub fn among(self, lanes: u64) -> Self {
        Self { index: self.index, of: self.of.min(lanes) }
    }

    /// How many of `total` things are this lane's.
    pub fn share(self, total: u64) -> u64 {
        if self.index >= self.of {
            return 0;
        }
        (total + self.of - 1 - self.index) / self.of
    }

    /// The number, among all, of this lane's `nth`.
    pub fn number(self, nth: u64) -> u64 {
        nth * self.of + self.index
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_is_lost_or_doubled(
            machines in 1u64..5, threads in 1u64..5, among in 1u64..20, total in 0u64..200,
        ) {
            let lanes = (0..machines).flat_map(|m| Lane::of_machine(m, machines, threads));
            let lanes = lanes.map(|lane| lane.among(among));
            let mut all: Vec<u64> =
                lanes.flat_map(|lane| (0..lane.share(total)).map(move |nth| lane.number(nth))).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..total).collect::<Vec<_>>());
        }
    }
}
