//! What the kernel counted of TCP while a run went on: connections that a full queue turned away, and
//! segments sent again. The counters are of all programs on this machine together.

use crate::outcome::KernelCounters;

/// The counters as they stand; `None` where the kernel does not show them.
pub fn read() -> Option<KernelCounters> {
    let netstat = std::fs::read_to_string("/proc/net/netstat").ok()?;
    let snmp = std::fs::read_to_string("/proc/net/snmp").ok()?;
    parse(&netstat, &snmp)
}

/// From the text of `/proc/net/netstat` and of `/proc/net/snmp`.
fn parse(netstat: &str, snmp: &str) -> Option<KernelCounters> {
    Some(KernelCounters {
        listen_overflows: counter(netstat, "TcpExt:", "ListenOverflows")?,
        listen_drops: counter(netstat, "TcpExt:", "ListenDrops")?,
        retransmits: counter(snmp, "Tcp:", "RetransSegs")?,
    })
}

/// Both files have lines in pairs that begin alike: names in the first, values in the second.
fn counter(text: &str, group: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.split(' ').next() == Some(group));
    let column = lines.next()?.split(' ').position(|word| word == name)?;
    lines.next()?.split(' ').nth(column)?.parse().ok()
}

impl KernelCounters {
    /// What was counted since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            listen_overflows: self.listen_overflows.saturating_sub(before.listen_overflows),
            listen_drops: self.listen_drops.saturating_sub(before.listen_drops),
            retransmits: self.retransmits.saturating_sub(before.retransmits),
        }
    }

    /// Those of two machines.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            listen_overflows: self.listen_overflows + other.listen_overflows,
            listen_drops: self.listen_drops + other.listen_drops,
            retransmits: self.retransmits + other.retransmits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETSTAT: &str = "TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPHPHits\n\
                           TcpExt: 0 12 15 9000\nIpExt: InNoRoutes ListenDrops\nIpExt: 1 2\n";
    const SNMP: &str = "Ip: Forwarding RetransSegs\nIp: 1 5\n\
                        Tcp: RtoMin MaxConn InSegs RetransSegs\nTcp: 200 -1 4711 42\n";

    #[test]
    fn counters_are_found_by_name_in_their_group() {
        let counters = KernelCounters { listen_overflows: 12, listen_drops: 15, retransmits: 42 };
        assert_eq!(parse(NETSTAT, SNMP), Some(counters));
    }

    #[test]
    fn what_is_not_there_is_not_made_up() {
        for (netstat, snmp) in [
            ("", SNMP),
            (NETSTAT, ""),
            ("TcpExt: ListenOverflows ListenDrops\n", SNMP),
            ("TcpExt: ListenOverflows ListenDrops\nTcpExt: 1\n", SNMP),
            (NETSTAT, "Tcp: RetransSegs\nTcp: many\n"),
        ] {
            assert_eq!(parse(netstat, snmp), None, "{netstat}{snmp}");
        }
    }

    #[test]
    fn this_kernel_shows_them() {
        let before = read().expect("Linux shows them");
        let after = read().expect("Linux shows them");
        assert!(after.retransmits >= before.retransmits);
    }

    #[test]
    fn differences_and_sums() {
        let of =
            |n| KernelCounters { listen_overflows: n, listen_drops: 2 * n, retransmits: 3 * n };
        assert_eq!(of(5).since(of(3)), of(2));
        assert_eq!(of(3).since(of(5)), of(0), "counters that were reset count nothing");
        assert_eq!(of(5).plus(of(3)), of(8));
    }
}
