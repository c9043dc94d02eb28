//! When the committer takes what is pending: at once for a lone waiter, otherwise no sooner than
//! the spacing after the last one. Pure, so that it can be tested without time passing.

use std::time::Duration;

/// What the committer sees when it looks at the pending buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Guards that have appended since the last batch was taken: each is one waiter.
    pub(crate) appends: u32,
    /// How many the last batch had.
    pub(crate) appends_before: u32,
    /// Whether the buffer is so full that waiting would soon refuse appends.
    pub(crate) half_full: bool,
    /// Time since the last batch was taken; `None` before the first.
    pub(crate) since_last: Option<Duration>,
}

/// What the committer should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Sleep until something is appended.
    Idle,
    /// Gather for so long, unless the buffer becomes half full.
    Gather(Duration),
    /// Take the batch.
    Now,
}

/// Decides. A waiter is lone when nobody else waits with it and nobody did last time: then there
/// is nobody to gather, and it is not delayed. One of many is, by at most the spacing, because a
/// few more frames in its batch cost next to nothing and another sync costs a lot.
pub(crate) fn pace(load: Load, spacing: Duration) -> Pace {
    if load.appends == 0 {
        return Pace::Idle;
    }
    let lone = load.appends == 1 && load.appends_before <= 1;
    let rest = match load.since_last {
        Some(since) => spacing.saturating_sub(since),
        None => Duration::ZERO,
    };
    if lone || load.half_full || rest.is_zero() { Pace::Now } else { Pace::Gather(rest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACING: Duration = Duration::from_micros(1000);

    #[test]
    fn only_company_waits() {
        fn check(appends: u32, appends_before: u32, since_us: u64, expected: Pace) {
            let since_last = Some(Duration::from_micros(since_us));
            let load = Load { appends, appends_before, half_full: false, since_last };
            assert_eq!(pace(load, SPACING), expected, "{load:?}");
        }
        let rest = |us| Pace::Gather(Duration::from_micros(us));
        check(0, 0, 0, Pace::Idle);
        check(0, 9, 5000, Pace::Idle);
        // A lone waiter goes at once, however short ago the last sync was.
        check(1, 0, 0, Pace::Now);
        check(1, 1, 1, Pace::Now);
        // Company waits for the rest of the spacing, and no longer.
        check(2, 1, 100, rest(900));
        check(1, 2, 100, rest(900));
        check(50, 50, 999, rest(1));
        check(50, 50, 1000, Pace::Now);
        check(50, 50, 9999, Pace::Now);
    }

    #[test]
    fn a_half_full_buffer_a_first_batch_and_no_spacing_do_not_wait() {
        let load = Load { appends: 9, appends_before: 9, half_full: true, since_last: None };
        assert_eq!(pace(Load { since_last: Some(Duration::ZERO), ..load }, SPACING), Pace::Now);
        assert_eq!(pace(Load { half_full: false, ..load }, SPACING), Pace::Now);
        let load = Load { half_full: false, since_last: Some(Duration::ZERO), ..load };
        assert_eq!(pace(load, Duration::ZERO), Pace::Now);
        // The control: the same load with a spacing does wait.
        assert_eq!(pace(load, SPACING), Pace::Gather(SPACING));
    }
}
