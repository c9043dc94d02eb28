//! Handing listening sockets from a running process to its successor over a Unix socket
//! (unix(7), SCM_RIGHTS), so that not one waiting connection is reset.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// Sockets in one message: fewer than the kernel's SCM_MAX_FD, 253.
pub const SOCKETS_MAX: usize = 240;
/// Bytes of the message beside them.
const NOTE_BYTES_MAX: usize = 4096;

/// Sends `sockets` with a note that says what they are.
///
/// # Errors
/// `InvalidInput` when there are more than [`SOCKETS_MAX`] or the note is too long.
pub fn send(stream: impl AsFd, note: &[u8], sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    if sockets.len() > SOCKETS_MAX || note.is_empty() || note.len() > NOTE_BYTES_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(sockets)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    rustix::net::sendmsg(stream, &[IoSlice::new(note)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives what [`send`] sent: the note and the sockets. They are closed on exec.
///
/// # Errors
/// `UnexpectedEof` when the other side closed without sending.
pub fn receive(stream: impl AsFd) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut note = vec![0; NOTE_BYTES_MAX];
    let received = rustix::net::recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut note)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    note.truncate(received.bytes);
    let sockets = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
            _ => None,
        })
        .flatten()
        .collect();
    Ok((note, sockets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_connection_that_waits_survives_the_handover() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let waiting = TcpStream::connect(address).expect("it waits in the backlog");
        let (old, new) = UnixStream::pair().expect("a pair of sockets");
        send(&old, b"listeners", &[listener.as_fd()]).expect("it is sent");
        drop(listener);
        let (note, sockets) = receive(&new).expect("it is received");
        assert_eq!(note, b"listeners");
        let inherited = TcpListener::from(sockets.into_iter().next().expect("one socket"));
        let (_, peer) = inherited.accept().expect("the waiting connection is there");
        assert_eq!(peer, waiting.local_addr().expect("it is connected"));
    }

    #[test]
    fn silence_is_an_error() {
        let (old, new) = UnixStream::pair().expect("a pair of sockets");
        drop(old);
        assert_eq!(receive(&new).expect_err("nothing came").kind(), io::ErrorKind::UnexpectedEof);
        let (old, _new) = UnixStream::pair().expect("a pair of sockets");
        assert!(send(&old, b"", &[]).is_err());
    }
}
