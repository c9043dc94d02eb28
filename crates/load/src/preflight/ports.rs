//! Ports. A connection is told from others by its two addresses and two ports, so one source address
//! has as many connections to one destination as there are ports in the range. Whoever closes first
//! keeps the connection in TIME_WAIT for 60 s, in which late segments of it may still arrive:
//!
//! - closed first by the **server**, the port is free at once here, and the server has a small record
//!   of it, by which it refuses nobody;
//! - closed first by the **generator**, the port is taken for those 60 s, unless the kernel lets new
//!   connections have it again after a second (`net.ipv4.tcp_tw_reuse`, by default on loopback only).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{Division, Findings, Machine, grouped, is_loopback};
use crate::plan::{Executor, Keeping, LocalAddresses, Plan, Scenario};

/// Linux's `TCP_TIMEWAIT_LEN`, which no setting changes.
const TIME_WAIT: Duration = Duration::from_secs(60);
/// Of the ports that there are, a plan that takes more is told that it is close: finding one of the
/// last takes the kernel long.
const SHARE_HIGH: f64 = 0.7;
/// In how many places a plan's due times are looked at for where they are densest.
const LOOKS: u32 = 1_000;
/// The widest range, that of the command which mends a narrow one.
const RANGE_WIDE: (u16, u16) = (1_024, 65_535);

pub(super) fn check(plan: &Plan, division: Division, machine: &Machine, findings: &mut Findings) {
    let mut seen: Vec<&Scenario> = Vec::new();
    for scenario in &plan.scenarios {
        // Scenarios of one way share its ports.
        if seen.iter().any(|other| same_way(other, scenario)) {
            continue;
        }
        seen.push(scenario);
        let all: Vec<_> = plan.scenarios.iter().filter(|s| same_way(s, scenario)).collect();
        Way { scenarios: &all, division, machine, pairs: pairs(scenario) }.check(findings);
    }
}

fn same_way(one: &Scenario, other: &Scenario) -> bool {
    one.target.addresses == other.target.addresses
        && one.connections.local == other.connections.local
}

/// Pairs of a source address and a destination.
fn pairs(scenario: &Scenario) -> u64 {
    let sources = |to: &SocketAddr| match &scenario.connections.local {
        LocalAddresses::Kernel => 1,
        LocalAddresses::Of(list) => list.iter().filter(|ip| ip.is_ipv4() == to.is_ipv4()).count(),
    };
    scenario.target.addresses.iter().map(|address| sources(address) as u64).sum()
}

/// All scenarios that connect from the same addresses to the same ones.
struct Way<'a> {
    scenarios: &'a [&'a Scenario],
    division: Division,
    machine: &'a Machine,
    pairs: u64,
}

impl Way<'_> {
    fn check(&self, findings: &mut Findings) {
        // Without a pair there is nothing to count; the addresses' own check says so.
        if self.pairs == 0 {
            return;
        }
        let ports = self.pairs * self.machine.ports();
        let (mut kept, mut open, mut held, mut held_for) = (0, 0, 0, Duration::ZERO);
        for scenario in self.scenarios {
            let total = scenario.executor.requests_total().unwrap_or(u64::MAX);
            let connections = self.division.connections(scenario).min(total);
            match scenario.connections.keeping {
                Keeping::Alive { .. } => kept += connections,
                Keeping::PerRequest { server_closes, .. } => {
                    open += connections;
                    let hold = if server_closes { Duration::ZERO } else { self.hold() };
                    held_for = held_for.max(hold);
                    held += self.division.most(scenario, densest(scenario, hold));
                }
            }
        }
        // How many are open beside those that are held, the server decides.
        let held = held.min(self.machine.tw_max);
        if open > held {
            held_for = Duration::ZERO;
        }
        let needed = kept + open.max(held);
        if needed > ports {
            findings.errors.push(self.error(needed, ports, held_for));
            return;
        }
        findings.notes.extend(self.ports_kept());
        if needed as f64 > ports as f64 * SHARE_HIGH {
            findings.notes.push(format!(
                "The plan takes up to {} of {} ports at once, of which the last are slow to find. To \
                 have more: {}.",
                grouped(needed),
                grouped(ports),
                self.mends(needed, Duration::ZERO).join(", or ")
            ));
        }
    }

    /// For how long a port is taken after the generator closed its connection.
    fn hold(&self) -> Duration {
        let reused = self.machine.timestamps
            && match self.machine.tw_reuse {
                0 => false,
                2 => self.is_loopback(),
                _ => true,
            };
        if reused { self.machine.tw_reuse_delay } else { TIME_WAIT }
    }

    fn is_loopback(&self) -> bool {
        self.scenarios[0].target.addresses.iter().all(is_loopback)
    }

    fn error(&self, needed: u64, ports: u64, held_for: Duration) -> String {
        let (first, last) = self.machine.port_range;
        let why = if held_for.is_zero() {
            "so many connections are open at once".to_owned()
        } else {
            format!(
                "with a new connection for each request, which the generator closes first, a port is \
                 taken for {} s after it (TIME_WAIT)",
                held_for.as_secs_f64()
            )
        };
        let enough = if held_for.is_zero() {
            String::new()
        } else {
            format!(
                ", enough for {:.0} connections a second",
                ports as f64 / held_for.as_secs_f64()
            )
        };
        format!(
            "The plan takes {} ports at once: {why}. This machine has {} ({}, {first} to \
             {last}){enough}. Mend it by any of: {}.",
            grouped(needed),
            grouped(ports),
            match self.pairs {
                1 => "one source address to one destination".to_owned(),
                pairs => format!("{pairs} pairs of source address and destination"),
            },
            self.mends(needed, held_for).join(", or ")
        )
    }

    /// What gives so many ports, the cheapest first.
    fn mends(&self, needed: u64, held_for: Duration) -> Vec<String> {
        let mut mends = Vec::new();
        let destinations = self.scenarios[0].target.addresses.len().max(1) as u64;
        let each = destinations * self.machine.ports();
        let sources = (needed as f64 / (each as f64 * SHARE_HIGH)).ceil();
        let first = self.scenarios[0].target.addresses.first();
        mends.push(match first.map(|address| address.ip().to_canonical()) {
            Some(IpAddr::V4(ip)) if ip.is_loopback() && sources < 255.0 => {
                format!("`--local-ips 127.0.0.1-127.0.0.{}`", sources.max(2.0))
            }
            Some(IpAddr::V6(ip)) if ip.is_loopback() => format!(
                "a target of 127.0.0.1 (::1 is the only address of its kind) and \
                 `--local-ips 127.0.0.1-127.0.0.{}`",
                sources.clamp(2.0, 254.0)
            ),
            _ => format!("{sources} source addresses of this machine in --local-ips"),
        });
        if !held_for.is_zero() {
            mends.push("`--close server`".to_owned());
        }
        if held_for >= TIME_WAIT && self.machine.timestamps && self.machine.tw_reuse != 1 {
            mends.push("`sudo sysctl -w net.ipv4.tcp_tw_reuse=1`".to_owned());
        }
        let (from, to) = RANGE_WIDE;
        if self.machine.port_range != RANGE_WIDE {
            mends.push(format!("`sudo sysctl -w net.ipv4.ip_local_port_range='{from} {to}'`"));
        }
        mends
    }

    /// What a port that the generator keeps for a while comes to. (That the server closes first, and
    /// so nothing is kept here, is the plan's to tell.)
    fn ports_kept(&self) -> Option<String> {
        let closes_here = |scenario: &&Scenario| {
            matches!(scenario.connections.keeping, Keeping::PerRequest { server_closes: false, .. })
        };
        if !self.scenarios.iter().any(closes_here) {
            return None;
        }
        let hold_s = self.hold().as_secs_f64().max(f64::MIN_POSITIVE);
        Some(format!(
            "The generator, which closes connections first, has a port again {hold_s} s later: this \
             allows {:.0} connections a second.",
            (self.pairs * self.machine.ports()) as f64 / hold_s
        ))
    }
}

/// The most requests that are due within any stretch of the length `hold`; of a closed model, whose
/// requests come as they please, none.
fn densest(scenario: &Scenario, hold: Duration) -> u64 {
    let Executor::Arrivals(arrivals) = &scenario.executor else { return 0 };
    if hold.is_zero() {
        return 0;
    }
    let step = arrivals.duration() / LOOKS;
    let within = |n: u32| {
        let from = step * n;
        arrivals.due_before(from + hold) - arrivals.due_before(from)
    };
    (0..=LOOKS).map(within).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::plan::Arrivals;

    /// A new connection for each request, at so many a second for so long.
    fn plan(address: &str, per_second: f64, seconds: u64, server_closes: bool) -> Plan {
        let mut plan = fixture::plan();
        let scenario = &mut plan.scenarios[0];
        scenario.executor = fixture::arrivals(seconds, per_second);
        scenario.target.addresses = vec![address.parse().expect("an address")];
        scenario.connections.keeping = Keeping::PerRequest { max: 1_000, server_closes };
        plan
    }

    fn found(plan: &Plan, machine: &Machine) -> Findings {
        let mut findings = Findings::default();
        check(plan, Division { machines: 1, threads: 1 }, machine, &mut findings);
        findings
    }

    #[track_caller]
    fn expect(text: Option<&String>, words: &[&str]) {
        let text = text.expect("something is said");
        for word in words {
            assert!(text.contains(word), "no `{word}` in {text}");
        }
    }

    const REMOTE: &str = "192.0.2.1:80";
    const LOOPBACK: &str = "127.0.0.1:3000";

    #[test]
    fn what_ports_and_time_wait_allow() {
        let usual = Machine::usual();
        let set = |tw_reuse| Machine { tw_reuse, ..Machine::usual() };
        let no_timestamps = Machine { timestamps: false, ..Machine::usual() };
        let wide = Machine { port_range: RANGE_WIDE, ..set(0) };
        let forgets = Machine { tw_max: 10_000, ..Machine::usual() };
        // 28,232 ports are 470 connections a second when each is held for 60 s.
        for (address, per_second, server_closes, machine, allowed) in [
            (REMOTE, 470.0, false, &usual, true),
            (REMOTE, 471.0, false, &usual, false),
            (REMOTE, 100_000.0, true, &usual, true),
            (REMOTE, 16_667.0, false, &set(1), true),
            (REMOTE, 28_300.0, false, &set(1), false),
            (REMOTE, 1_000.0, false, &wide, true),
            (REMOTE, 1_080.0, false, &wide, false),
            (REMOTE, 16_667.0, false, &forgets, true),
            (LOOPBACK, 16_667.0, false, &usual, true),
            ("[::1]:3000", 16_667.0, false, &usual, true),
            (LOOPBACK, 16_667.0, false, &set(0), false),
            (LOOPBACK, 16_667.0, false, &no_timestamps, false),
        ] {
            let findings = found(&plan(address, per_second, 120, server_closes), machine);
            let why = format!("{address} {per_second} {server_closes} {machine:?}: {findings:?}");
            assert_eq!(findings.errors.is_empty(), allowed, "{why}");
        }
    }

    #[test]
    fn a_shortage_names_what_mends_it() {
        let error = found(&plan(REMOTE, 1_000.0, 120, false), &Machine::usual()).errors;
        expect(
            error.first(),
            &[
                "takes 60,001 ports",
                "for 60 s",
                "has 28,232 (one source address to one destination, 32768 to 60999)",
                "enough for 471 connections a second",
                "4 source addresses of this machine in --local-ips",
                "--close server",
                "`sudo sysctl -w net.ipv4.tcp_tw_reuse=1`",
                "`sudo sysctl -w net.ipv4.ip_local_port_range='1024 65535'`",
            ],
        );
        let off = Machine { tw_reuse: 0, ..Machine::usual() };
        let error = found(&plan(LOOPBACK, 1_000.0, 120, false), &off).errors;
        expect(error.first(), &["`--local-ips 127.0.0.1-127.0.0.4`"]);
        let error = found(&plan("[::1]:3000", 1_000.0, 120, false), &off).errors;
        expect(error.first(), &["a target of 127.0.0.1", "127.0.0.1-127.0.0.4`"]);
    }

    #[test]
    fn what_mends_it_does() {
        let mut short = plan(LOOPBACK, 16_667.0, 120, false);
        let off = Machine { tw_reuse: 0, ..Machine::usual() };
        assert_eq!(found(&short, &off).errors.len(), 1);
        let sources = (1..=51).map(|n| IpAddr::from([127, 0, 0, n]));
        short.scenarios[0].connections.local = LocalAddresses::Of(sources.collect());
        assert_eq!(found(&short, &off).errors, Vec::<String>::new());
        // Addresses of the other kind are of no use.
        let others = vec!["::1".parse().expect("an address"); 51];
        short.scenarios[0].connections.local = LocalAddresses::Of(others);
        assert_eq!(found(&short, &off), Findings::default(), "no pair: another check's");
    }

    #[test]
    fn a_short_run_takes_no_more_than_it_sends() {
        let usual = Machine::usual();
        assert!(found(&plan(REMOTE, 2_500.0, 10, false), &usual).errors.is_empty());
        assert_eq!(found(&plan(REMOTE, 2_500.0, 20, false), &usual).errors.len(), 1);
        let close = found(&plan(REMOTE, 2_500.0, 10, false), &usual).notes;
        expect(close.get(1), &["25,000 of 28,232 ports", "--local-ips"]);
    }

    #[test]
    fn a_ramp_counts_where_it_is_densest() {
        let mut ramp = plan(REMOTE, 1.0, 1, false);
        let stage = (Duration::from_secs(600), 0.0, 480.0);
        let arrivals = Arrivals::new([stage]).expect("some are due");
        ramp.scenarios[0].executor = Executor::Arrivals(arrivals);
        // The last minute has (432 + 480) / 2 · 60 = 27,360 of them.
        assert_eq!(densest(&ramp.scenarios[0], TIME_WAIT).abs_diff(27_360), 0);
        assert_eq!(found(&ramp, &Machine::usual()).errors, Vec::<String>::new());
    }

    #[test]
    fn scenarios_of_one_way_share_its_ports() {
        let mut both = plan(REMOTE, 300.0, 120, false);
        assert!(found(&both, &Machine::usual()).errors.is_empty());
        both.scenarios.extend(plan(REMOTE, 300.0, 120, false).scenarios);
        assert_eq!(found(&both, &Machine::usual()).errors.len(), 1);
        both.scenarios[1].target.addresses = vec!["192.0.2.2:80".parse().expect("an address")];
        assert!(found(&both, &Machine::usual()).errors.is_empty());
    }

    #[test]
    fn machines_divide_what_is_asked() {
        let mut findings = Findings::default();
        let two = Division { machines: 2, threads: 1 };
        check(&plan(REMOTE, 900.0, 120, false), two, &Machine::usual(), &mut findings);
        assert_eq!(findings.errors, Vec::<String>::new());
    }

    #[test]
    fn kept_connections_take_a_port_each() {
        let mut kept = plan(REMOTE, 1_000.0, 60, true);
        kept.scenarios[0].connections.keeping = Keeping::Alive { max: 28_232 };
        assert!(found(&kept, &Machine::usual()).errors.is_empty());
        kept.scenarios[0].connections.keeping = Keeping::Alive { max: 28_233 };
        expect(
            found(&kept, &Machine::usual()).errors.first(),
            &["28,233 ports", "open at once", "--local-ips"],
        );
        kept.scenarios[0].executor = fixture::arrivals(10, 100.0);
        assert!(found(&kept, &Machine::usual()).errors.is_empty(), "a thousand requests");
    }

    #[test]
    fn repro_new_connections_take_a_port_each_while_they_are_open() {
        for server_closes in [true, false] {
            let mut new = plan(REMOTE, 400.0, 120, server_closes);
            let of = |max| Keeping::PerRequest { max, server_closes };
            new.scenarios[0].connections.keeping = of(28_232);
            assert!(found(&new, &Machine::usual()).errors.is_empty());
            new.scenarios[0].connections.keeping = of(28_233);
            let words = ["28,233 ports", "open at once"];
            expect(found(&new, &Machine::usual()).errors.first(), &words);
        }
    }

    #[test]
    fn what_is_kept_here_is_said() {
        let said = |plan: &Plan| found(plan, &Machine::usual()).notes;
        expect(
            said(&plan(LOOPBACK, 10.0, 10, false)).first(),
            &["closes connections first", "1 s later", "28232 connections a second"],
        );
        expect(said(&plan(REMOTE, 10.0, 10, false)).first(), &["60 s later", "471 connections"]);
        assert_eq!(said(&plan(REMOTE, 10.0, 10, true)), Vec::<String>::new());
        assert_eq!(said(&fixture::plan()), Vec::<String>::new());
    }
}
