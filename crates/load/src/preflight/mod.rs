//! What is looked at before the first request: whether the target can be reached, and whether this
//! machine has the ports, descriptors and queues that the plan takes. What cannot work ends here,
//! with the flag or command that mends it, and nothing was sent.

mod descriptors;
mod machine;
mod ports;
mod queues;
mod reach;

use std::net::SocketAddr;

pub use descriptors::raise_limit;
pub use machine::Machine;

use crate::plan::{Plan, Scenario};

/// What was found, in sentences.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Worth knowing.
    pub notes: Vec<String>,
    /// Nothing must be sent.
    pub errors: Vec<String>,
}

/// Looks at everything for this machine's part, one of `machines`, of a plan. Raises the soft limit
/// of file descriptors to the hard one on the way. `tls` makes a handshake with each target that
/// wants one.
pub fn preflight(plan: &Plan, machines: u64) -> Findings {
    let mut findings = Findings::default();
    raise_limit();
    findings.notes.extend(proxy(|name| std::env::var_os(name).is_some()));
    check(plan, machines, &Machine::read(), &mut findings);
    findings.errors.extend(reach::local_addresses(plan));
    findings.errors.extend(reach::targets(plan));
    findings
}

/// Other clients would obey a proxy in the environment.
fn proxy(is_set: impl Fn(&str) -> bool) -> Option<String> {
    let names =
        ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
    let name = names.into_iter().find(|name| is_set(name))?;
    Some(format!("{name} is set and not used: requests go straight to the target"))
}

/// The part that is arithmetic.
fn check(plan: &Plan, machines: u64, machine: &Machine, findings: &mut Findings) {
    let division = Division { machines, threads: plan.threads };
    descriptors::check(plan, division, machine, findings);
    ports::check(plan, division, machine, findings);
    queues::check(plan, division, machine, findings);
}

/// What a plan is divided among.
#[derive(Debug, Clone, Copy)]
struct Division {
    machines: u64,
    /// Workers on each.
    threads: usize,
}

impl Division {
    /// The most that one machine has of `total` requests, users or connections of a scenario.
    fn most(self, scenario: &Scenario, total: u64) -> u64 {
        scenario.share(total, 0, self.machines, self.threads)
    }

    /// The most connections of a scenario that one machine has open at once.
    fn connections(self, scenario: &Scenario) -> u64 {
        self.most(scenario, scenario.connections_max())
    }
}

fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// `1,000,000`: large numbers for people.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::plan::{Executor, Think, UserStage};
    use std::time::Duration;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (28_232_001, "28,232,001")]
        {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn open_models_share_connections_and_users_have_their_own() {
        let mut scenario = fixture::scenario("default");
        let one_of_three = |threads| Division { machines: 3, threads };
        assert_eq!(one_of_three(1).connections(&scenario), 4, "the limit is that of all machines");
        assert_eq!(one_of_three(8).connections(&scenario), 8, "the first workers have one each");
        let stage = |from, to| UserStage { duration: Duration::from_secs(1), from, to };
        let stages = vec![stage(0, 5), stage(5, 100), stage(100, 1)];
        scenario.executor = Executor::Users { stages, think: Think::default() };
        assert_eq!(one_of_three(1).connections(&scenario), 34);
    }

    #[test]
    fn this_machine_is_looked_at() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut plan = fixture::plan();
        plan.scenarios[0].target.addresses = vec![listener.local_addr().expect("it is bound")];
        assert_eq!(preflight(&plan, 1).errors, Vec::<String>::new());
        drop(listener);
        assert_eq!(preflight(&plan, 1).errors.len(), 1, "nobody listens there now");
    }
}
