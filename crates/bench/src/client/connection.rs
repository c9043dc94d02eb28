//! Sockets as the benchmark wants them: not blocking, without Nagle's delay, and from a source of
//! choice.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 65_535;
/// Sources that connections come from in turn, so that ports do not run out.
const SOURCES: u8 = 8;
/// A server that does not take a connection for so long is not there.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// A listener that does not block; what it accepts has no Nagle's delay either.
pub(crate) fn listen(address: &str) -> Result<TcpListener> {
    let address: SocketAddr =
        address.parse().with_context(|| format!("`{address}` is no IP:PORT"))?;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into()).with_context(|| format!("listening on {address}"))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A connection that is made.
///
/// # Errors
/// When the server refuses or does not answer.
pub(super) fn connect(address: SocketAddr) -> Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    socket
        .connect_timeout(&address.into(), CONNECT_TIME_MAX)
        .with_context(|| format!("connecting to {address}"))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Connection number `count`, which is about to be made: over loopback it is by the time that the
/// call returns, and a refusal shows with the first read.
pub(super) fn connect_soon(address: SocketAddr, count: u64) -> Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    // Only a server on 127.0.0.1 can be reached from several sources.
    if address.ip() == Ipv4Addr::LOCALHOST {
        let last = u8::try_from(count % u64::from(SOURCES)).expect("below the number of sources");
        bind_address_only(&socket)?;
        socket.bind(
            &SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 1 + last), 0)).into(),
        )?;
    }
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error).with_context(|| format!("connecting to {address}")),
    }
    Ok(socket.into())
}

/// Lets `connect` choose the port, who knows the destination, so that a port may serve once for each.
fn bind_address_only(socket: &Socket) -> Result<()> {
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
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error().into()) }
}
