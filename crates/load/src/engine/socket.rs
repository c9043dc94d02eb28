//! Sockets that do not block, from a source of choice.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, connect, getpeername, ipproto, socket_with,
    sockopt,
};

use crate::measure::Failure;

/// A socket that is being connected, and whether it is connected already.
#[derive(Debug)]
pub(super) struct Connecting {
    pub(super) socket: OwnedFd,
    pub(super) connected: bool,
}

/// Begins to connect.
///
/// # Errors
/// What a request that needed the connection failed of.
pub(super) fn begin(to: SocketAddr, from: Option<IpAddr>) -> Result<Connecting, Failure> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let tcp = Some(ipproto::TCP);
    let socket = socket_with(family, SocketType::STREAM, flags, tcp).map_err(failure)?;
    // A request that is written in parts must not wait for the acknowledgement of the first.
    sockopt::set_tcp_nodelay(&socket, true).map_err(failure)?;
    if let Some(from) = from {
        bind_address_only(&socket).map_err(failure)?;
        bind(&socket, &SocketAddr::new(from, 0)).map_err(failure)?;
    }
    match connect(&socket, &to) {
        Ok(()) => Ok(Connecting { socket, connected: true }),
        Err(Errno::INPROGRESS) => {
            // Over loopback the other side has answered by the time that the call returns, though
            // it does not say so. Asking is cheaper than waiting for the event.
            let connected = to.ip().is_loopback() && getpeername(&socket).is_ok();
            Ok(Connecting { socket, connected })
        }
        Err(error) => Err(failure(error)),
    }
}

/// What became of a socket that was being connected.
///
/// # Errors
/// See [`begin`].
pub(super) fn connected(socket: &OwnedFd) -> Result<(), Failure> {
    match sockopt::socket_error(socket) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) | Err(error) => Err(failure(error)),
    }
}

/// What an error while connecting is called.
fn failure(error: Errno) -> Failure {
    match error {
        Errno::CONNREFUSED => Failure::Refused,
        Errno::TIMEDOUT => Failure::ConnectTimeout,
        Errno::CONNRESET => Failure::Reset,
        // `connect` says AGAIN when it finds no port.
        Errno::ADDRNOTAVAIL
        | Errno::ADDRINUSE
        | Errno::AGAIN
        | Errno::MFILE
        | Errno::NFILE
        | Errno::NOBUFS
        | Errno::NOMEM => Failure::NoSocket,
        _ => Failure::Unreachable,
    }
}

/// Lets `connect` choose the port, which knows the destination, so that one port serves once for each
/// destination and not once altogether.
fn bind_address_only(socket: &OwnedFd) -> Result<(), Errno> {
    let on: libc::c_int = 1;
    let size = libc::socklen_t::try_from(size_of_val(&on)).expect("an int is small");
    // SAFETY: the descriptor is open, and the value is an int that outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size,
        )
    };
    if result == 0 {
        return Ok(());
    }
    let error = std::io::Error::last_os_error();
    Err(Errno::from_io_error(&error).unwrap_or(Errno::INVAL))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn a_connection_comes_from_where_it_was_told_to() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let from = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 5));
        let begun = begin(listener.local_addr().unwrap(), Some(from)).unwrap();
        let (_accepted, peer) = listener.accept().unwrap();
        assert_eq!(peer.ip(), from);
        connected(&begun.socket).expect("it was accepted");
    }

    #[test]
    fn nobody_there_is_a_refusal_at_once_or_later() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let failure = begin(address, None).map(|begun| connected(&begun.socket));
        assert!(
            matches!(failure, Err(Failure::Refused) | Ok(Err(Failure::Refused))),
            "{failure:?}"
        );
    }

    #[test]
    fn an_address_that_is_not_ours_is_our_own_want() {
        // 192.0.2.0/24 is kept for documentation (RFC 5737).
        let from = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let begun = begin("127.0.0.1:9".parse().unwrap(), Some(from));
        assert_eq!(begun.err(), Some(Failure::NoSocket));
    }
}
