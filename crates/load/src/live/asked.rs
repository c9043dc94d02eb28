//! What a plan asks for within a stretch of time, computed from the plan alone: a generator that falls
//! behind cannot lower what it is compared with.

use std::time::Duration;

use crate::plan::{Executor, Plan, Scenario};

/// Requests that are asked for from one instant to another after the run's start, in nanoseconds;
/// `None` when a scenario's requests are not due at times but follow the answers.
pub(super) fn asked_between(plan: &Plan, from_ns: u64, until_ns: u64) -> Option<f64> {
    plan.scenarios.iter().map(|scenario| asked_of(scenario, from_ns, until_ns)).sum()
}

/// The same of one scenario.
pub(super) fn asked_of(scenario: &Scenario, from_ns: u64, until_ns: u64) -> Option<f64> {
    let Executor::Arrivals(arrivals) = &scenario.executor else { return None };
    let asked = |at_ns: u64| {
        arrivals.asked_before(Duration::from_nanos(at_ns).saturating_sub(scenario.start))
    };
    Some((asked(until_ns) - asked(from_ns)).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn what_is_due_counts_from_each_scenario_s_start() {
        const SECOND: u64 = 1_000 * fixture::MS;
        let mut plan = fixture::plan();
        plan.scenarios.push(fixture::scenario("later"));
        plan.scenarios[1].start = Duration::from_secs(2);
        for (from_s, until_s, asked) in
            [(0, 1, 100.0), (1, 3, 300.0), (9, 20, 400.0), (20, 30, 0.0)]
        {
            let got = asked_between(&plan, from_s * SECOND, until_s * SECOND);
            let is_close = got.is_some_and(|got| (got - asked).abs() < 1e-6);
            assert!(is_close, "{from_s} to {until_s} s: {got:?}");
        }
        plan.scenarios[0].executor = fixture::users(10, 5);
        assert_eq!(asked_between(&plan, 0, SECOND), None, "users ask when they are answered");
        let asked = asked_of(&plan.scenarios[1], 0, 3 * SECOND);
        assert!(asked.is_some_and(|asked| (asked - 100.0).abs() < 1e-6), "{asked:?}");
    }
}
