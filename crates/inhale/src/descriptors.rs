//! File descriptors: how many this process may have, and how many of them connections may take.

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
