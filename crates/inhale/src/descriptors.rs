//! File descriptors: how many this process may have, and how many of them connections may take.

use std::fs::File;
use std::io;

use anyhow::{Context as _, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is open beside the connections of those who send usages: tables of the index, of which fjall
/// keeps 900, 256 connections of operators, 128 that are being refused, and some hundreds of files,
/// listeners and runtimes.
pub(crate) const BESIDE_CONNECTIONS: u64 = 1500;

/// How many `inhale serve` may have, once it has raised its limit.
pub(crate) fn allowed() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// Raises the limit as far as it goes and returns it: each connection takes a descriptor, and the
/// usual soft limit is for interactive shells.
pub(crate) fn raise_limit() -> u64 {
    let maximum = getrlimit(Resource::Nofile).maximum;
    // When it cannot be raised, what there is has to do.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Open at once by the store, its index, the logs and the first operators at the very least.
const STORE_MIN: usize = 64;
/// A core's runtime, and some connections.
const CORE_MIN: usize = 8;

/// Descriptors without which a server of `cores` cores that keeps duplicates of `sockets` cannot serve.
pub(crate) fn wanted(cores: usize, sockets: usize) -> usize {
    STORE_MIN + CORE_MIN * (cores + 1) + 2 * sockets
}

/// Fails unless `count` more can be opened now.
pub(crate) fn prove(count: usize) -> Result<()> {
    let all = || {
        let first = File::open("/dev/null")?;
        (1..count).map(|_| first.try_clone()).collect::<io::Result<Vec<_>>>()
    };
    let opened = all().map(drop);
    opened.with_context(|| {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        format!(
            "this process may have {limit} files open and needs room for {count} more to serve; raise \
             the limit (`ulimit -n {}`) or lower --cores",
            (count + STORE_MIN).next_power_of_two()
        )
    })
}

/// How many of `asked` connections leave the store its files: without a descriptor the journal cannot
/// begin its next one. Where the limit is tiny, half of it has to do.
pub(crate) fn connections_within(limit: u64, asked: usize) -> usize {
    let room = limit.saturating_sub(BESIDE_CONNECTIONS).max(limit / 2);
    asked.min(usize::try_from(room).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_opened_is_noticed() {
        prove(wanted(1, 2)).expect("a test may open as many");
        let refused = prove(1 << 30).expect_err("nobody may");
        assert!(format!("{refused:#}").contains("ulimit -n"), "{refused:#}");
    }

    #[test]
    fn connections_leave_the_store_its_files() {
        let check = |limit, asked, expected| {
            assert_eq!(connections_within(limit, asked), expected, "{asked} within {limit}");
        };
        check(u64::MAX, 20_000, 20_000);
        check(524_288, 20_000, 20_000);
        check(21_499, 20_000, 19_999);
        check(4096, 20_000, 2596);
        check(1024, 20_000, 512);
        check(1024, 100, 100);
    }
}
