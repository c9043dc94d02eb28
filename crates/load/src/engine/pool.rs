//! The connections of one scenario in one worker: how many there may be, which are free, and where
//! the next goes.

use std::net::{IpAddr, SocketAddr};

use crate::plan::{Connections, Keeping, Lane, LocalAddresses, Target};

use super::poller::Token;

/// One scenario's connections.
#[derive(Debug)]
pub(super) struct Pool {
    keeping: Keeping,
    /// Open at once in this worker.
    max: usize,
    open: usize,
    /// Connections that are free, the latest used on top, so that few are kept warm. One that has
    /// gone is found out when it is taken. A new one is made only when all here are taken, so there
    /// are never more than `max`.
    free: Vec<Token>,
    targets: Vec<SocketAddr>,
    locals: LocalAddresses,
    made: usize,
}

impl Pool {
    /// Those of one worker: its lane's part of all there may be.
    pub(super) fn new(connections: &Connections, target: &Target, lane: Lane) -> Self {
        let share = lane.share(connections.keeping.max() as u64);
        Self {
            keeping: connections.keeping,
            max: usize::try_from(share).expect("it is at most what it is a share of"),
            open: 0,
            free: Vec::new(),
            targets: target.addresses.clone(),
            locals: connections.local.clone(),
            // Workers begin at different addresses.
            made: usize::try_from(lane.index).expect("there are few workers"),
        }
    }

    /// The connection that was used last of those that are free.
    pub(super) fn take_free(&mut self) -> Option<Token> {
        self.free.pop()
    }

    /// A connection is free.
    pub(super) fn put_free(&mut self, token: Token) {
        self.free.push(token);
    }

    /// Whether one more may be made.
    pub(super) fn has_room(&self) -> bool {
        self.open < self.max
    }

    /// Where the next goes, and whence.
    pub(super) fn next(&mut self) -> (SocketAddr, Option<IpAddr>) {
        let to = self.targets[self.made % self.targets.len()];
        let from = match &self.locals {
            LocalAddresses::Kernel => None,
            LocalAddresses::Of(locals) => {
                // Each address in turn for each target in turn.
                let first = self.made / self.targets.len();
                let in_turn = (0..locals.len()).map(|n| locals[(first + n) % locals.len()]);
                in_turn.into_iter().find(|local| local.is_ipv4() == to.is_ipv4())
            }
        };
        self.made = self.made.wrapping_add(1);
        (to, from)
    }

    pub(super) fn opened(&mut self) {
        self.open += 1;
    }

    pub(super) fn closed(&mut self) {
        self.open -= 1;
    }

    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// Whether connections outlive a request.
    pub(super) fn keeps_alive(&self) -> bool {
        matches!(self.keeping, Keeping::Alive { .. })
    }

    /// Whether the server is to close them.
    pub(super) fn server_closes(&self) -> bool {
        matches!(self.keeping, Keeping::PerRequest { server_closes: true, .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Protocol, Tls};

    fn pool(targets: &[&str], locals: &[&str], max: usize, lane: Lane) -> Pool {
        let target = Target {
            https: false,
            host: "x".into(),
            authority: "x".into(),
            addresses: targets.iter().map(|t| t.parse().unwrap()).collect(),
        };
        let local = match locals {
            [] => LocalAddresses::Kernel,
            locals => LocalAddresses::Of(locals.iter().map(|l| l.parse().unwrap()).collect()),
        };
        let keeping = Keeping::Alive { max };
        let protocol = Protocol::Http1;
        Pool::new(&Connections { keeping, protocol, tls: Tls::default(), local }, &target, lane)
    }

    const ALONE: Lane = Lane { index: 0, of: 1 };

    #[test]
    fn addresses_come_in_turn_and_fit_each_other() {
        let mut pool =
            pool(&["127.0.0.1:1", "[::1]:1"], &["127.0.0.2", "127.0.0.3", "::1"], 9, ALONE);
        let found: Vec<String> = (0..6)
            .map(|_| pool.next())
            .map(|(to, from)| format!("{} {}", to.ip(), from.unwrap()))
            .collect();
        let expected = [
            "127.0.0.1 127.0.0.2",
            "::1 ::1",
            "127.0.0.1 127.0.0.3",
            "::1 ::1",
            // The third is not of this family, so it is the first one's turn.
            "127.0.0.1 127.0.0.2",
            "::1 ::1",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn workers_share_the_connections() {
        let max = |index, max| pool(&["127.0.0.1:1"], &[], max, Lane { index, of: 3 }).max;
        assert_eq!([max(0, 7), max(1, 7), max(2, 7)], [3, 2, 2]);
        assert_eq!(pool(&["127.0.0.1:1"], &[], 1, ALONE).next().1, None);
    }
}
