//! The closed sets that labels are taken from, so that no sender can make a series.

/// Declares an enum whose variants each have a label's text, and a table of them all.
macro_rules! closed_set {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// All of them, in the order of their indices.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The label's text.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

closed_set! {
    /// The calls a server answers, by their templates: never a raw path.
    Route {
        /// One usage, or a batch of them.
        Usages = "/api/usages",
        /// The same with the filter in the body.
        Search = "/api/usages/search",
        /// Counts.
        Summary = "/api/usages/summary",
        /// A receipt.
        Receipt = "/api/usages/{id}",
        /// The contract.
        Openapi = "/openapi.json",
        /// The contract for people.
        Docs = "/docs",
        /// What a problem means.
        Problem = "/problems/{slug}",
        /// Whether the process lives.
        Healthz = "/healthz",
        /// Whether it takes usages.
        Readyz = "/readyz",
        /// These figures.
        Metrics = "/metrics",
        /// The status page.
        Status = "/status",
        /// Anything else, which is not there.
        Other = "other",
    }
}

closed_set! {
    /// Methods, those that are not answered in one.
    Method {
        /// GET.
        Get = "GET",
        /// HEAD.
        Head = "HEAD",
        /// POST.
        Post = "POST",
        /// Any other.
        Other = "other",
    }
}

closed_set! {
    /// Why a usage was not taken in.
    Refusal {
        /// Its content is wrong.
        Invalid = "invalid",
        /// Its key was used with other content.
        KeyReused = "key_reused",
        /// Bodies in memory, or frames waiting for the disk, are at their bound.
        Overload = "overload",
        /// The index is too far behind.
        TailFull = "tail_full",
        /// A keyed usage while the index is away.
        IndexUnavailable = "index_unavailable",
        /// A keyed usage whose key was used by a usage that is damaged.
        DataDamaged = "data_damaged",
        /// The disk is at its reserve.
        NoSpace = "no_space",
        /// The disk failed: outcome unknown.
        Poisoned = "poisoned",
        /// The disk does not complete its writes: refused before the body was read.
        Stuck = "stuck",
        /// The disk did not complete the write in time: outcome unknown.
        CommitTimeout = "commit_timeout",
        /// The server is stopping.
        Stopping = "stopping",
    }
}

/// The statuses that are counted one by one; any other counts as the last of its hundred.
pub const STATUSES: [u16; 25] = [
    200, 201, 207, 299, 302, 304, 399, 400, 403, 404, 405, 408, 410, 413, 415, 421, 422, 429, 431,
    499, 500, 503, 505, 507, 599,
];

/// The place of `status` in [`STATUSES`].
pub fn status_index(status: u16) -> usize {
    STATUSES.iter().position(|known| *known == status).unwrap_or_else(|| {
        let last_of_its_hundred = status / 100 * 100 + 99;
        STATUSES
            .iter()
            .position(|known| *known == last_of_its_hundred)
            .unwrap_or(STATUSES.len() - 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_places_in_the_table() {
        for (index, route) in Route::ALL.iter().enumerate() {
            assert_eq!(*route as usize, index);
        }
        for (index, refusal) in Refusal::ALL.iter().enumerate() {
            assert_eq!(*refusal as usize, index);
        }
    }

    #[test]
    fn unknown_statuses_count_in_their_hundred() {
        let check = |status: u16, expected: u16| {
            assert_eq!(STATUSES[status_index(status)], expected, "{status}")
        };
        check(201, 201);
        check(202, 299);
        check(418, 499);
        check(502, 599);
        check(700, 599);
    }
}
