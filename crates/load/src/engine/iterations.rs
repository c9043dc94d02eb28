//! Which requests users of a closed model send, and how many: numbers that no other lane or machine
//! gives to another request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::plan::Lane;

/// The requests of one lane.
#[derive(Debug)]
pub(super) enum Iterations {
    /// As many as the time allows.
    Endless { lane: Lane, begun: u64 },
    /// What is left in the machine's heap, which its workers share.
    Shared(Arc<Heap>),
    /// So many for each user. User `nth` of the lane is number `lane.number(nth)` of `users`.
    Each { lane: Lane, users: u64, iterations: u64, left: u64 },
}

/// The part of shared iterations that one machine has.
#[derive(Debug)]
pub(super) struct Heap {
    machine: Lane,
    share: u64,
    taken: AtomicU64,
}

impl Heap {
    /// The part of `iterations` for machine `machine` out of those that have any of `users`.
    pub(super) fn new(
        iterations: u64,
        users: u64,
        machine: u64,
        machines: u64,
        threads: u64,
    ) -> Self {
        // The first lanes have the users, and a machine without any could do nothing.
        let of = machines.min(users.div_ceil(threads)).max(1);
        let machine_lane = Lane { index: machine, of };
        let share = if machine < of { machine_lane.share(iterations) } else { 0 };
        Self { machine: machine_lane, share, taken: AtomicU64::new(0) }
    }

    /// How many they are.
    pub(super) fn share(&self) -> u64 {
        self.share
    }

    fn take(&self) -> Option<u64> {
        // Beyond the end it is only read, so that it cannot run over.
        if self.taken.load(Ordering::Relaxed) >= self.share {
            return None;
        }
        let nth = self.taken.fetch_add(1, Ordering::Relaxed);
        (nth < self.share).then(|| self.machine.number(nth))
    }

    fn give_up(&self) -> u64 {
        self.share.saturating_sub(self.taken.swap(self.share, Ordering::Relaxed))
    }
}

impl Iterations {
    /// The number of the next request of the lane's user `user`, who has begun so many; nothing when
    /// none is left for it.
    pub(super) fn take(&mut self, user: u32, begun_by_user: u64) -> Option<u64> {
        match self {
            Self::Endless { lane, begun } => {
                let number = lane.number(*begun);
                *begun += 1;
                Some(number)
            }
            Self::Shared(heap) => heap.take(),
            Self::Each { lane, users, iterations, left } => {
                if begun_by_user >= *iterations {
                    return None;
                }
                *left -= 1;
                Some(begun_by_user * *users + lane.number(u64::from(user)))
            }
        }
    }

    /// Gives up what nobody has taken; how many it was.
    pub(super) fn give_up(&mut self) -> u64 {
        match self {
            Self::Endless { .. } => 0,
            Self::Shared(heap) => heap.give_up(),
            Self::Each { left, .. } => std::mem::take(left),
        }
    }

    /// Whether none is left.
    pub(super) fn are_over(&self) -> bool {
        match self {
            Self::Endless { .. } => false,
            Self::Shared(heap) => heap.taken.load(Ordering::Relaxed) >= heap.share,
            Self::Each { left, .. } => *left == 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_request_is_sent_once(
            machines in 1u64..4, threads in 1u64..4, users in 1u64..10, iterations in 1u64..20,
        ) {
            let (mut shared, mut each) = (Vec::new(), Vec::new());
            for machine in 0..machines {
                let heap = Arc::new(Heap::new(iterations, users, machine, machines, threads));
                for lane in Lane::of_machine(machine, machines, threads) {
                    let mine = lane.share(users);
                    if mine > 0 {
                        let mut all = Iterations::Shared(heap.clone());
                        shared.extend(std::iter::from_fn(|| all.take(0, 0)).take(7));
                    }
                    let mut own = Iterations::Each { lane, users, iterations, left: mine * iterations };
                    for user in 0..mine {
                        let user = u32::try_from(user).expect("few");
                        each.extend((0..=iterations).filter_map(|begun| own.take(user, begun)));
                    }
                    prop_assert!(own.are_over());
                }
                // The last worker of a machine to have users takes the rest.
                if machine * threads < users {
                    let mut all = Iterations::Shared(heap.clone());
                    shared.extend(std::iter::from_fn(|| all.take(0, 0)));
                }
                prop_assert!(Iterations::Shared(heap).are_over());
            }
            shared.sort_unstable();
            each.sort_unstable();
            prop_assert_eq!(shared, (0..iterations).collect::<Vec<_>>());
            prop_assert_eq!(each, (0..iterations * users).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_given_up_is_counted_once() {
        let heap = Arc::new(Heap::new(10, 2, 0, 1, 2));
        let (mut one, mut two) = (Iterations::Shared(heap.clone()), Iterations::Shared(heap));
        assert_eq!((one.take(0, 0), two.take(0, 0)), (Some(0), Some(1)));
        assert_eq!((one.give_up(), two.give_up()), (8, 0));
        assert!(one.take(0, 0).is_none() && two.are_over());
        let mut each =
            Iterations::Each { lane: Lane { index: 0, of: 1 }, users: 2, iterations: 3, left: 6 };
        each.take(1, 0);
        assert_eq!((each.give_up(), each.give_up()), (5, 0));
    }
}
