//! What a running process and its successor say to each other over a Unix socket (unix(7)): lines of
//! text, and descriptors (SCM_RIGHTS), so that listening sockets change hands with every connection
//! that waits in their queues.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// Descriptors in one message: fewer than the kernel's SCM_MAX_FD, 253.
const MESSAGE_DESCRIPTORS_MAX: usize = 240;

/// Bytes of a line, without its end.
pub const LINE_BYTES_MAX: usize = 1024;

/// Stands for the descriptors of one message: a message without any byte carries none.
const CARRIER: &[u8] = b"+";

/// Sends a line of text.
///
/// # Errors
/// `InvalidInput` when it is longer than [`LINE_BYTES_MAX`] or is more than one line.
pub fn send_line(stream: impl AsFd, line: &str) -> io::Result<()> {
    if line.len() > LINE_BYTES_MAX || line.contains('\n') {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let bytes = format!("{line}\n").into_bytes();
    let sent = rustix::net::send(stream, &bytes, SendFlags::NOSIGNAL)?;
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// A line that arrives piece by piece.
#[derive(Debug, Default)]
pub struct Line {
    bytes: Vec<u8>,
}

impl Line {
    /// Reads up to the end of a line, and returns it without its end. What was read before an error is
    /// kept for the next call, so that a stream with a timeout, or one that does not block, may be read
    /// again. Nothing behind the line is read: descriptors may follow.
    ///
    /// # Errors
    /// `UnexpectedEof` when the other side has closed, `InvalidData` when a line is too long.
    pub fn receive(&mut self, stream: impl AsFd) -> io::Result<String> {
        loop {
            let mut byte = [0];
            let (read, _) = rustix::net::recv(stream.as_fd(), &mut byte, RecvFlags::empty())?;
            match (read, byte[0]) {
                (0, _) => return Err(io::ErrorKind::UnexpectedEof.into()),
                (_, b'\n') => {
                    let bytes = std::mem::take(&mut self.bytes);
                    return String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into());
                }
                _ if self.bytes.len() == LINE_BYTES_MAX => {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                (_, byte) => self.bytes.push(byte),
            }
        }
    }
}

/// Sends any number of `descriptors`, in as many messages as they need.
///
/// # Errors
/// `WouldBlock` when the other side does not take them in time.
pub fn send_descriptors(stream: impl AsFd, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let room = rustix::cmsg_space!(ScmRights(MESSAGE_DESCRIPTORS_MAX));
    for message in descriptors.chunks(MESSAGE_DESCRIPTORS_MAX) {
        let mut space = vec![MaybeUninit::uninit(); room];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(message)), "the room is for as many");
        let carrier = [IoSlice::new(CARRIER)];
        rustix::net::sendmsg(stream.as_fd(), &carrier, &mut control, SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

/// Receives `count` descriptors, which [`send_descriptors`] has sent. They are closed on exec.
///
/// # Errors
/// `UnexpectedEof` when the other side has closed, EMFILE when this process may not have as many, and
/// `InvalidData` when something else arrives.
pub fn receive_descriptors(stream: impl AsFd, count: usize) -> io::Result<Vec<OwnedFd>> {
    let mut descriptors = Vec::new();
    while descriptors.len() < count {
        let mut space =
            vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MESSAGE_DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut carrier = [0];
        let received = rustix::net::recvmsg(
            stream.as_fd(),
            &mut [IoSliceMut::new(&mut carrier)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        let before = descriptors.len();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(some) = message {
                descriptors.extend(some);
            }
        }
        // The kernel leaves out those for which the process has no room.
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(rustix::io::Errno::MFILE.into());
        }
        if received.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if carrier != CARRIER || descriptors.len() == before || descriptors.len() > count {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(descriptors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    fn pair() -> (UnixStream, UnixStream) {
        UnixStream::pair().expect("a pair of sockets")
    }

    #[test]
    fn a_connection_that_waits_survives_the_handover() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let waiting = TcpStream::connect(address).expect("it waits in the backlog");
        let (old, new) = pair();
        send_line(&old, "sockets 1").expect("it is sent");
        send_descriptors(&old, &[listener.as_fd()]).expect("it is sent");
        send_line(&old, "wait").expect("it is sent");
        drop(listener);
        let mut line = Line::default();
        assert_eq!(line.receive(&new).expect("it is received"), "sockets 1");
        let sockets = receive_descriptors(&new, 1).expect("it is received");
        assert_eq!(line.receive(&new).expect("it is received"), "wait");
        let inherited = TcpListener::from(sockets.into_iter().next().expect("one socket"));
        let (_, peer) = inherited.accept().expect("the waiting connection is there");
        assert_eq!(peer, waiting.local_addr().expect("it is connected"));
    }

    #[test]
    fn repro_more_sockets_than_one_message_carries() {
        // As many as 120 cores have for `localhost`, what one message carries, and one more.
        for count in [1, 240, 241, 253, 254, 2 * 120 + 2, 900] {
            let (old, new) = pair();
            let all = vec![old.as_fd(); count];
            send_descriptors(&old, &all).expect("they are sent");
            let received = receive_descriptors(&new, count).expect("they are received");
            assert_eq!(received.len(), count);
        }
    }

    #[test]
    fn what_was_not_announced_is_refused() {
        let (old, new) = pair();
        send_descriptors(&old, &[old.as_fd(), old.as_fd()]).expect("they are sent");
        let refused = receive_descriptors(&new, 1).expect_err("one too many");
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
        let (old, new) = pair();
        send_line(&old, "no").expect("it is sent");
        let refused = receive_descriptors(&new, 1).expect_err("a line is no descriptor");
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn lines_arrive_piece_by_piece_and_are_bounded() {
        let (old, new) = pair();
        new.set_nonblocking(true).expect("it can be");
        let mut line = Line::default();
        for piece in [&b"rea"[..], b"dy"] {
            rustix::io::write(&old, piece).expect("there is room");
            let more = line.receive(&new).expect_err("the line has no end");
            assert_eq!(more.kind(), io::ErrorKind::WouldBlock);
        }
        rustix::io::write(&old, b"\nnext\n").expect("there is room");
        assert_eq!(line.receive(&new).expect("it is whole"), "ready");
        assert_eq!(line.receive(&new).expect("it is whole"), "next");
        rustix::io::write(&old, &[b'a'; LINE_BYTES_MAX + 1]).expect("there is room");
        let refused = line.receive(&new).expect_err("it is too long");
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
        assert!(send_line(&old, &"a".repeat(LINE_BYTES_MAX + 1)).is_err());
        assert!(send_line(&old, "a\nb").is_err());
    }

    #[test]
    fn silence_is_an_error() {
        let (old, new) = pair();
        drop(old);
        let kind = |error: io::Error| error.kind();
        let eof = io::ErrorKind::UnexpectedEof;
        assert_eq!(kind(receive_descriptors(&new, 1).expect_err("nothing came")), eof);
        assert_eq!(kind(Line::default().receive(&new).expect_err("nothing came")), eof);
    }
}
