//! File descriptors: each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Division, Findings, Machine, grouped};
use crate::plan::Plan;

/// What a worker has beside its connections: its poller, timer and what wakes it, rounded up.
const EACH_WORKER: u64 = 8;
/// The standard streams, reports, receipts, certificates and what the program itself has open.
const BESIDE: u64 = 64;

/// Raises the soft limit to the hard one, which needs no right. That it stays low is found by
/// [`check`], with what the plan needs.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

pub(super) fn check(plan: &Plan, division: Division, machine: &Machine, findings: &mut Findings) {
    let connections: u64 = plan.scenarios.iter().map(|s| division.connections(s)).sum();
    let needed = connections + plan.threads as u64 * EACH_WORKER + BESIDE;
    if needed > machine.descriptors {
        let room = machine.descriptors.saturating_sub(needed - connections);
        findings.errors.push(format!(
            "The plan may have {} connections open at once, and this process may have {} file \
             descriptors: raise the limit with `ulimit -Hn {needed}` as root (for good: a line \
             `* - nofile {needed}` in /etc/security/limits.conf), or have at most {} connections \
             (--connections; in a closed model --vus).",
            grouped(connections),
            grouped(machine.descriptors),
            grouped(room)
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::plan::Keeping;

    fn check_with(max: usize, descriptors: u64) -> Findings {
        let mut plan = fixture::plan();
        plan.scenarios[0].connections.keeping = Keeping::Alive { max };
        let mut findings = Findings::default();
        check(
            &plan,
            Division { machines: 1, threads: 1 },
            &Machine { descriptors, ..Machine::usual() },
            &mut findings,
        );
        findings
    }

    #[test]
    fn each_connection_is_one() {
        assert_eq!(check_with(1_000, 1_072), Findings::default());
        let [error] = &check_with(1_001, 1_072).errors[..] else { panic!("one more is too many") };
        for words in ["1,001 connections", "1,072 file", "ulimit -Hn 1073", "at most 1,000 con"] {
            assert!(error.contains(words), "no `{words}` in {error}");
        }
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        raise_limit();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
