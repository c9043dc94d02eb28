//! Queues that new connections pass through: the listener's, where the target is this machine, and
//! the firewall's table.

use std::time::Duration;

use super::{Division, Findings, Machine, grouped, is_loopback};
use crate::plan::{Executor, Keeping, Plan, Scenario};

/// How long a server may pause without that what arrives meanwhile meets a full queue.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a firewall remembers a connection that is over (`nf_conntrack_tcp_timeout_time_wait`).
const REMEMBERED: Duration = Duration::from_secs(120);

pub(super) fn check(plan: &Plan, division: Division, machine: &Machine, findings: &mut Findings) {
    let on_loopback = plan.scenarios.iter().filter(|s| s.target.addresses.iter().any(is_loopback));
    let at_once: u64 = on_loopback.map(|s| burst(s, division)).sum();
    if at_once > machine.somaxconn {
        findings.notes.push(format!(
            "Up to {} connections arrive within {} ms, and a listener of this machine lets {} wait: \
             the rest tries again a second later. `sudo sysctl -w net.core.somaxconn=65535`, and a \
             server started after it, mend that.",
            grouped(at_once),
            PAUSE.as_millis(),
            grouped(machine.somaxconn)
        ));
    }
    let Some(max) = machine.conntrack_max else { return };
    let followed: u64 = plan.scenarios.iter().map(|s| remembered(s, division)).sum();
    if followed > max {
        findings.notes.push(format!(
            "If this machine's firewall follows connections, its table of {} may be full before the \
             {} that the plan makes within {} s, and further ones are dropped: \
             `sudo sysctl -w net.netfilter.nf_conntrack_max={:.0}`.",
            grouped(max),
            grouped(followed),
            REMEMBERED.as_secs(),
            followed as f64 * 1.5
        ));
    }
}

/// Connections that arrive within a pause of the server.
fn burst(scenario: &Scenario, division: Division) -> u64 {
    let most = division.connections(scenario);
    match &scenario.executor {
        // Kept or not, connections are made no faster than requests are due.
        Executor::Arrivals(arrivals) => {
            let due = whole(arrivals.rate_max() * PAUSE.as_secs_f64());
            most.min(division.most(scenario, due))
        }
        // Users come all at once.
        _ => most,
    }
}

/// Connections made while the first of them is still remembered.
fn remembered(scenario: &Scenario, division: Division) -> u64 {
    match (scenario.connections.keeping, &scenario.executor) {
        (Keeping::PerRequest { .. }, Executor::Arrivals(arrivals)) => {
            let within = whole(arrivals.rate_max() * REMEMBERED.as_secs_f64());
            division.most(scenario, within.min(arrivals.count()))
        }
        _ => division.connections(scenario),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rates are bounded")]
fn whole(number: f64) -> u64 {
    number.ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn plan(address: &str, per_second: f64) -> Plan {
        let mut plan = fixture::plan();
        let scenario = &mut plan.scenarios[0];
        scenario.executor = fixture::arrivals(60, per_second);
        scenario.target.addresses = vec![address.parse().expect("an address")];
        scenario.connections.keeping = Keeping::PerRequest { max: 10_000, server_closes: true };
        plan
    }

    fn notes(plan: &Plan, machine: &Machine) -> Vec<String> {
        let mut findings = Findings::default();
        check(plan, Division { machines: 1, threads: 1 }, machine, &mut findings);
        assert_eq!(findings.errors, Vec::<String>::new());
        findings.notes
    }

    #[test]
    fn a_listener_of_this_machine_has_a_queue() {
        let short = Machine { somaxconn: 128, ..Machine::usual() };
        let usual = Machine { somaxconn: 4_096, ..Machine::usual() };
        assert_eq!(notes(&plan("127.0.0.1:3000", 512.0), &short), Vec::<String>::new());
        let said = notes(&plan("127.0.0.1:3000", 520.0), &short);
        assert!(
            said[0].contains("130 connections") && said[0].contains("somaxconn=65535"),
            "{said:?}"
        );
        assert_eq!(notes(&plan("127.0.0.1:3000", 16_000.0), &usual), Vec::<String>::new());
        assert_eq!(notes(&plan("127.0.0.1:3000", 17_000.0), &usual).len(), 1);
        assert_eq!(notes(&plan("192.0.2.1:80", 17_000.0), &usual), Vec::<String>::new());
    }

    #[test]
    fn users_come_all_at_once() {
        let mut users = fixture::plan();
        users.scenarios[0].executor = fixture::users(10, 5_000);
        assert_eq!(notes(&users, &Machine { somaxconn: 4_096, ..Machine::usual() }).len(), 1);
        assert_eq!(notes(&users, &Machine::usual()), Vec::<String>::new());
    }

    #[test]
    fn a_firewall_remembers() {
        let table = |max| Machine { conntrack_max: Some(max), ..Machine::usual() };
        let said = notes(&plan("192.0.2.1:80", 10_000.0), &table(65_536));
        assert!(said[0].contains("nf_conntrack_max=900000"), "{said:?}");
        assert_eq!(notes(&plan("192.0.2.1:80", 1_000.0), &table(65_536)), Vec::<String>::new());
    }
}
