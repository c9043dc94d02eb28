//! What carries requests.

use std::fmt;
use std::net::IpAddr;

/// How requests are carried to a target.
#[derive(Debug, Clone)]
pub struct Connections {
    /// Kept or made anew.
    pub keeping: Keeping,
    /// The version of HTTP.
    pub protocol: Protocol,
    /// How TLS is spoken; of no use to a target of `http://`.
    pub tls: Tls,
    /// Where connections come from.
    pub local: LocalAddresses,
}

/// Whether connections outlive a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    /// They do. An open model has `max` of them, which its workers share, made as they are needed, and a due
    /// request that finds none free waits; each user of a closed model has one of its own.
    Alive {
        /// At least 1; over all workers of all machines.
        max: usize,
    },
    /// Each request has a new one (`--connection-per-user`).
    PerRequest {
        /// Connections open at once, over all machines; a request beyond waits.
        max: usize,
        /// Who closes: with `true` the request says `Connection: close` and the server closes first,
        /// so that TIME_WAIT stays with it; with `false` the generator closes first and has it.
        server_closes: bool,
    },
}

impl Keeping {
    /// Connections open at once, over all workers of all machines.
    pub fn max(self) -> usize {
        match self {
            Self::Alive { max } | Self::PerRequest { max, .. } => max,
        }
    }
}

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, one request in flight on each connection.
    Http1,
    /// HTTP/2 with so many requests in flight on each connection, or fewer if the server says so.
    Http2 {
        /// At least 1.
        streams_max: usize,
    },
}

/// How TLS is spoken.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Authorities to trust instead of the system's (PEM).
    pub ca: Option<Pem>,
    /// A certificate of our own and its key.
    pub client: Option<(Pem, Pem)>,
    /// Trust whatever certificate is shown.
    pub insecure: bool,
    /// Resume sessions on new connections.
    pub resume: bool,
}

/// Certificates or a key as a PEM file has them (RFC 7468).
#[derive(Clone, PartialEq, Eq)]
pub struct Pem(pub String);

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It may be a key.
        f.write_str("Pem(…)")
    }
}

/// The source addresses of connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalAddresses {
    /// The kernel chooses.
    Kernel,
    /// These in turn; not empty.
    Of(Vec<IpAddr>),
}
