//! Whether the target is there at all, and lets us in.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};

use crate::engine::handshake;
use crate::plan::{LocalAddresses, Plan, Scenario};

/// Connects once to each address of each target, and makes a handshake of TLS or of HTTP/2 where one
/// is wanted. Says what is wrong.
pub(super) fn targets(plan: &Plan) -> Vec<String> {
    let mut seen = Vec::new();
    let mut errors = Vec::new();
    for scenario in &plan.scenarios {
        for address in &scenario.target.addresses {
            let Scenario { target, connections, .. } = scenario;
            let what = (address, target.https, &target.host, connections.protocol);
            if seen.contains(&what) {
                continue;
            }
            seen.push(what);
            let found = connect(scenario, *address).and_then(|()| handshake(scenario, *address));
            errors.extend(found.err());
        }
    }
    errors
}

fn connect(scenario: &Scenario, address: SocketAddr) -> Result<(), String> {
    let Err(error) = TcpStream::connect_timeout(&address, scenario.connect_timeout) else {
        return Ok(());
    };
    let target = &scenario.target.authority;
    let others = if scenario.target.addresses.len() > 1 {
        format!(
            " ({target} has {} addresses; one alone may stand in the URL)",
            scenario.target.addresses.len()
        )
    } else {
        String::new()
    };
    Err(match error.kind() {
        ErrorKind::ConnectionRefused => format!(
            "Nobody listens on {address}: start the server, or change the URL of scenario \
             `{}`{others}.",
            scenario.name
        ),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => format!(
            "{address} did not answer within {:.1} s: check the URL of scenario `{}` and what lies \
             between, or allow more time with --connect-timeout{others}.",
            scenario.connect_timeout.as_secs_f64(),
            scenario.name
        ),
        _ => format!(
            "{address} cannot be reached ({error}): check the URL of scenario `{}`{others}.",
            scenario.name
        ),
    })
}

/// Whether the source addresses asked for are this machine's, and of the targets' kind.
pub(super) fn local_addresses(plan: &Plan) -> Vec<String> {
    let mut errors = Vec::new();
    for scenario in &plan.scenarios {
        let LocalAddresses::Of(list) = &scenario.connections.local else { continue };
        for ip in list {
            if let Err(error) = TcpListener::bind((*ip, 0)) {
                errors.push(format!(
                    "--local-ips: {ip} is no address that connections of this machine may come from \
                     ({error})."
                ));
            }
        }
        for address in &scenario.target.addresses {
            if !list.iter().any(|ip| ip.is_ipv4() == address.is_ipv4()) {
                errors.push(format!(
                    "--local-ips has no address of the kind of {address}, IPv{}.",
                    if address.is_ipv4() { 4 } else { 6 }
                ));
            }
        }
    }
    errors.sort();
    errors.dedup();
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn plan(addresses: &[SocketAddr]) -> Plan {
        let mut plan = fixture::plan();
        plan.scenarios[0].target.addresses = addresses.to_vec();
        plan
    }

    #[test]
    fn each_address_is_tried() {
        let there = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let there_address = there.local_addr().expect("it is bound");
        let gone = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let gone_address = gone.local_addr().expect("it is bound");
        drop(gone);
        assert_eq!(targets(&plan(&[there_address])), Vec::<String>::new());
        let errors = targets(&plan(&[there_address, gone_address]));
        let [error] = &errors[..] else { panic!("{errors:?}") };
        for word in [gone_address.to_string().as_str(), "Nobody listens", "URL", "2 addresses"] {
            assert!(error.contains(word), "no `{word}` in {error}");
        }
        let mut twice = plan(&[gone_address]);
        twice.scenarios.extend(plan(&[gone_address]).scenarios);
        assert_eq!(targets(&twice).len(), 1, "the same is not tried twice");
    }

    #[test]
    fn source_addresses_must_be_ours() {
        let with = |ips: &[&str]| {
            let mut plan = fixture::plan();
            let ips = ips.iter().map(|ip| ip.parse().expect("an address")).collect();
            plan.scenarios[0].connections.local = LocalAddresses::Of(ips);
            local_addresses(&plan)
        };
        assert_eq!(with(&["127.0.0.1", "127.9.8.7"]), Vec::<String>::new());
        let foreign = with(&["127.0.0.1", "192.0.2.77"]);
        assert!(
            foreign.len() == 1 && foreign[0].contains("--local-ips: 192.0.2.77"),
            "{foreign:?}"
        );
        let other_kind = with(&["::1"]);
        assert!(other_kind.iter().any(|error| error.contains("IPv4")), "{other_kind:?}");
    }
}
