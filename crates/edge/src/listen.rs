//! Binding: a listener for each core on each address, so that the kernel spreads connections.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs as _};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted. At 16,667 new ones a second the usual 128 overflow
/// within 8 ms. The kernel caps it at net.core.somaxconn.
const BACKLOG: i32 = 65_535;

/// Bytes of an answer that the kernel keeps for a receiver who does not take them, and as many again
/// for keeping them. By itself it goes up to 4 MiB for each connection, which nobody would count.
const SEND_BUFFER_BYTES: usize = 256 << 10;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// It is not HOST:PORT; what it is instead, and what to write.
    #[error("`{0}` {1}")]
    Address(String, String),
    /// It is given more than once.
    #[error("{0} is given twice; remove one of them")]
    Twice(SocketAddr),
    /// The host is unknown.
    #[error("the host of `{0}` cannot be resolved ({1}); write a name or address of this machine")]
    Unknown(String, io::Error),
    /// Another process listens there.
    #[error("{0} is in use by another process; choose another port, or end that process")]
    InUse(SocketAddr),
    /// The kernel refused.
    #[error("cannot listen on {0}: {1}")]
    Refused(SocketAddr, #[source] io::Error),
}

/// The addresses that `text` stands for: `localhost` is 127.0.0.1 and ::1, since Node resolves it to
/// the latter first.
pub fn resolve(text: &str) -> Result<Vec<SocketAddr>, BindError> {
    let wrong = || BindError::Address(text.to_owned(), mistake(text));
    if text.starts_with(':') || text.contains("://") {
        return Err(wrong());
    }
    if let Some(port) = text.strip_prefix("localhost:") {
        let port = port.parse().map_err(|_| wrong())?;
        return Ok(vec![
            SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
            SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), port),
        ]);
    }
    let found = text.to_socket_addrs().map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => wrong(),
        _ => BindError::Unknown(text.to_owned(), error),
    })?;
    let addresses: Vec<_> = found.collect();
    if addresses.is_empty() { Err(wrong()) } else { Ok(addresses) }
}

/// What is wrong with an address that is not HOST:PORT, and one that works.
fn mistake(text: &str) -> String {
    if let Some((_, rest)) = text.split_once("://") {
        let authority = rest.split('/').next().unwrap_or_default();
        return format!("is a URL; write HOST:PORT alone: {authority}");
    }
    match text.rsplit_once(':') {
        Some(("", port)) => {
            format!("has no host; write localhost:{port}, or 0.0.0.0:{port} for every interface")
        }
        Some((host, port)) if port.parse::<u16>().is_err() => {
            format!("has no port from 0 to 65535; write HOST:PORT, such as {host}:3000")
        }
        _ => "is not an address; write HOST:PORT, such as localhost:3000".to_owned(),
    }
}

/// Listens on every address that `texts` stand for, `cores` times each. Port 0 becomes one free port
/// for all. Returns a list of listeners for each core.
pub fn bind(texts: &[String], cores: usize) -> Result<Vec<Vec<TcpListener>>, BindError> {
    let mut by_core: Vec<Vec<TcpListener>> = (0..cores).map(|_| Vec::new()).collect();
    let mut bound = HashSet::new();
    for text in texts {
        let addresses = resolve(text)?;
        let mut port = 0;
        for (place, mut address) in addresses.iter().copied().enumerate() {
            if address.port() != 0 && !bound.insert(address) {
                return Err(BindError::Twice(address));
            }
            if address.port() == 0 {
                address.set_port(port);
            }
            let listeners = match bind_address(address, cores) {
                Ok(listeners) => listeners,
                // A machine without IPv6 has a localhost all the same.
                Err(BindError::Refused(..)) if place > 0 && text.starts_with("localhost:") => {
                    continue;
                }
                Err(error) => return Err(error),
            };
            port = listeners[0]
                .local_addr()
                .map_err(|error| BindError::Refused(address, error))?
                .port();
            for (core, listener) in by_core.iter_mut().zip(listeners) {
                core.push(listener);
            }
        }
    }
    Ok(by_core)
}

fn bind_address(mut address: SocketAddr, cores: usize) -> Result<Vec<TcpListener>, BindError> {
    let refused = |address, error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse(address),
        _ => BindError::Refused(address, error),
    };
    // With SO_REUSEPORT a second server of the same user would share the port in silence. A socket
    // without it cannot be bound where anybody listens, so that is tried first.
    let probe = socket(address, false).map_err(|error| refused(address, error))?;
    if let Some(bound) = probe.local_addr().ok().and_then(|bound| bound.as_socket()) {
        address = bound;
    }
    drop(probe);
    (0..cores)
        .map(|_| {
            socket(address, true).map(TcpListener::from).map_err(|error| refused(address, error))
        })
        .collect()
}

fn socket(address: SocketAddr, share: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // 127.0.0.1 is listened on by itself.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    if share {
        socket.set_reuse_port(true)?;
    }
    // Accepted sockets inherit both on Linux, which saves system calls for each.
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Whether every address is reachable from this machine alone.
pub fn all_loopback(texts: &[String]) -> Result<bool, BindError> {
    for text in texts {
        if !resolve(text)?.iter().all(|address| address.ip().is_loopback()) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_is_both_loopbacks() {
        let addresses = resolve("localhost:3000").expect("it resolves");
        assert_eq!(addresses.len(), 2);
        assert!(
            all_loopback(&["localhost:1".to_owned(), "127.0.0.1:2".to_owned()])
                .expect("they resolve")
        );
        assert!(!all_loopback(&["0.0.0.0:1".to_owned()]).expect("it resolves"));
        for wrong in ["", "localhost", "localhost:x", "a.invalid:x"] {
            assert!(matches!(resolve(wrong), Err(BindError::Address(..))), "{wrong}");
        }
        for unknown in ["300.1.1.1:1", "no.such.host.invalid:1"] {
            let refused = resolve(unknown).expect_err("there is no such host");
            assert!(matches!(refused, BindError::Unknown(..)), "{refused}");
            assert!(refused.to_string().contains(unknown), "{refused}");
        }
    }

    #[test]
    fn repro_a_mistake_in_an_address_is_answered_with_one_that_works() {
        fn check(text: &str, expected: &str) {
            let said = resolve(text).expect_err("it is not an address").to_string();
            assert!(said.contains(text) && said.contains(expected), "{said}");
        }
        check("http://localhost:3000", "write HOST:PORT alone: localhost:3000");
        check("https://10.0.0.1:443/api/usages", "write HOST:PORT alone: 10.0.0.1:443");
        check(":4510", "write localhost:4510, or 0.0.0.0:4510");
        check("localhost:80000", "has no port from 0 to 65535");
        check("127.0.0.1:80000", "such as 127.0.0.1:3000");
        check("localhost:", "such as localhost:3000");
        check("4510", "write HOST:PORT, such as localhost:3000");
        let twice = ["localhost:4510", "127.0.0.1:4510"].map(str::to_owned);
        assert!(matches!(bind(&twice, 1), Err(BindError::Twice(_) | BindError::InUse(_))));
    }

    #[test]
    fn cores_share_a_port_and_others_are_refused() {
        let first = bind(&["127.0.0.1:0".to_owned()], 2).expect("a free port");
        assert_eq!((first.len(), first[0].len()), (2, 1));
        let address = first[0][0].local_addr().expect("it is bound");
        assert_eq!(first[1][0].local_addr().expect("it is bound"), address);
        let second = bind(&[address.to_string()], 2);
        assert!(matches!(second, Err(BindError::InUse(_))), "{second:?}");
        drop(first);
        bind(&[address.to_string()], 1).expect("it is free again");
    }
}
