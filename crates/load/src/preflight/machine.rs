//! What this machine allows, as far as connections go.

use std::time::Duration;

/// Readings of the kernel. What cannot be read is taken to be Linux's default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// `net.ipv4.ip_local_port_range`, both ends included; of IPv6 too.
    pub port_range: (u16, u16),
    /// `net.ipv4.tcp_tw_reuse`: whether a new connection may have the port of one in TIME_WAIT: 0
    /// never, 1 always, 2 on loopback.
    pub tw_reuse: u64,
    /// How long after it closed (`net.ipv4.tcp_tw_reuse_delay`).
    pub tw_reuse_delay: Duration,
    /// `net.ipv4.tcp_timestamps`, without which no port is had again early.
    pub timestamps: bool,
    /// `net.ipv4.tcp_max_tw_buckets`: connections beyond it forgo TIME_WAIT.
    pub tw_max: u64,
    /// `net.core.somaxconn`: the longest queue of connections that a listener may have.
    pub somaxconn: u64,
    /// `net.netfilter.nf_conntrack_max`, where the firewall follows connections.
    pub conntrack_max: Option<u64>,
    /// File descriptors that this process may have.
    pub descriptors: u64,
}

impl Machine {
    /// As things are.
    pub fn read() -> Self {
        let number = |name| numbers(name).and_then(|all| all.first().copied());
        let port_range = numbers("net/ipv4/ip_local_port_range").and_then(|all| match all[..] {
            [first, last] => Some((u16::try_from(first).ok()?, u16::try_from(last).ok()?)),
            _ => None,
        });
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        Self {
            port_range: port_range.unwrap_or((32_768, 60_999)),
            tw_reuse: number("net/ipv4/tcp_tw_reuse").unwrap_or(2),
            tw_reuse_delay: Duration::from_millis(
                number("net/ipv4/tcp_tw_reuse_delay").unwrap_or(1_000),
            ),
            timestamps: number("net/ipv4/tcp_timestamps").unwrap_or(1) != 0,
            tw_max: number("net/ipv4/tcp_max_tw_buckets").unwrap_or(16_384),
            somaxconn: number("net/core/somaxconn").unwrap_or(4_096),
            conntrack_max: number("net/netfilter/nf_conntrack_max"),
            descriptors: limit.current.unwrap_or(u64::MAX),
        }
    }

    /// Ports of one source address towards one destination.
    pub fn ports(&self) -> u64 {
        let (first, last) = self.port_range;
        u64::from(last.saturating_sub(first)) + 1
    }
}

fn numbers(name: &str) -> Option<Vec<u64>> {
    let text = std::fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
    text.split_whitespace().map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
impl Machine {
    /// Linux as it comes, with descriptors enough.
    pub(super) fn usual() -> Self {
        Self {
            port_range: (32_768, 60_999),
            tw_reuse: 2,
            tw_reuse_delay: Duration::from_secs(1),
            timestamps: true,
            tw_max: 2_000_000,
            somaxconn: 65_535,
            conntrack_max: None,
            descriptors: 1_000_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_can_be_read() {
        let machine = Machine::read();
        assert!(
            machine.ports() > 1 && machine.somaxconn > 0 && machine.descriptors > 2,
            "{machine:?}"
        );
        assert_eq!(Machine::usual().ports(), 28_232);
    }
}
