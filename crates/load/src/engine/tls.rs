//! TLS without a runtime: rustls does the talking, on a socket that does not block.

use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustls::client::ClientConfig;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConnection};

use crate::measure::Failure;

use super::wire::Read;

/// What sessions of one scenario in one worker have in common.
#[derive(Debug, Clone)]
pub(super) struct Opening {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
}

/// TLS on one connection.
#[derive(Debug)]
pub(super) struct Session {
    tls: ClientConnection,
    sent_bytes: u64,
    received_bytes: u64,
}

/// How far a handshake is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handshake {
    Done,
    /// The other side has to say something.
    Waits,
    Failed,
}

impl Session {
    /// A session whose handshake is still to be made.
    pub(super) fn open(opening: &Opening) -> Result<Self, Failure> {
        let (config, name) = (Arc::clone(&opening.config), opening.name.clone());
        let mut tls = ClientConnection::new(config, name).map_err(|_| Failure::Tls)?;
        // A request is given as a whole, and has a bound of its own.
        tls.set_buffer_limit(None);
        Ok(Self { tls, sent_bytes: 0, received_bytes: 0 })
    }

    /// Takes the handshake as far as it goes.
    pub(super) fn shake_hands(&mut self, socket: &OwnedFd) -> Handshake {
        while self.tls.is_handshaking() {
            self.flush(socket);
            match self.receive(socket) {
                Ok(true) => {}
                Ok(false) => return Handshake::Waits,
                Err(_) => return Handshake::Failed,
            }
        }
        self.flush(socket);
        Handshake::Done
    }

    /// The protocol that both sides agreed on.
    pub(super) fn protocol(&self) -> Option<&[u8]> {
        self.tls.alpn_protocol()
    }

    /// Encrypts `bytes` and writes what there is room for.
    pub(super) fn write(&mut self, bytes: &[u8], socket: &OwnedFd) {
        self.tls.writer().write_all(bytes).expect("the buffer has no limit");
        self.flush(socket);
    }

    /// Whether something is left to write.
    pub(super) fn has_unsent(&self) -> bool {
        self.tls.wants_write()
    }

    /// Writes what is left; whether the socket took all, or is broken, which reading tells better.
    pub(super) fn flush(&mut self, socket: &OwnedFd) -> bool {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Raw(socket)) {
                Ok(bytes) => self.sent_bytes += bytes as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(_) => return true,
            }
        }
        true
    }

    /// Reads what was encrypted into `buffer`.
    pub(super) fn read(&mut self, buffer: &mut [u8], socket: &OwnedFd) -> Read {
        loop {
            match self.tls.reader().read(buffer) {
                Ok(0) => return Read::End,
                Ok(bytes) => return Read::Bytes(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Read::Cut,
                Err(_) => return Read::Failed(Failure::Garbage),
            }
            match self.receive(socket) {
                Ok(true) => {}
                Ok(false) => return Read::Nothing,
                Err(failure) => return Read::Failed(failure),
            }
        }
    }

    /// Tells the other side that nothing more will come.
    pub(super) fn say_goodbye(&mut self, socket: &OwnedFd) {
        self.tls.send_close_notify();
        self.flush(socket);
    }

    /// Bytes on the wire since this was asked last.
    pub(super) fn take_bytes(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.sent_bytes), std::mem::take(&mut self.received_bytes))
    }

    /// Takes in what has come; whether anything has.
    fn receive(&mut self, socket: &OwnedFd) -> Result<bool, Failure> {
        match self.tls.read_tls(&mut Raw(socket)) {
            Ok(0) if self.tls.is_handshaking() => Err(Failure::Tls),
            Ok(bytes) => {
                self.received_bytes += bytes as u64;
                let shaking = self.tls.is_handshaking();
                let processed = self.tls.process_new_packets();
                // What is to be said in return: a part of the handshake, or what the fault was.
                self.flush(socket);
                processed.map(|_| true).map_err(|error| match error {
                    // A server may find out only after the handshake that it wants a certificate.
                    rustls::Error::AlertReceived(alert) if is_refusal(alert) => Failure::Tls,
                    _ if shaking => Failure::Tls,
                    _ => Failure::Garbage,
                })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(_) => Err(Failure::Reset),
        }
    }
}

/// Whether an alert says that the server does not let us in, which it does before it reads a request.
pub(super) fn is_refusal(alert: AlertDescription) -> bool {
    use AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked,
        CertificateUnknown, DecryptError, HandshakeFailure, UnknownCA, UnsupportedCertificate,
    };
    matches!(
        alert,
        AccessDenied
            | BadCertificate
            | CertificateExpired
            | CertificateRequired
            | CertificateRevoked
            | CertificateUnknown
            | DecryptError
            | HandshakeFailure
            | UnknownCA
            | UnsupportedCertificate
    )
}

/// A socket as the standard library's traits have it.
struct Raw<'a>(&'a OwnedFd);

impl io::Read for Raw<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match recv(self.0, buffer, RecvFlags::empty()) {
            Ok((_, bytes)) => Ok(bytes),
            Err(Errno::INTR) => Err(Errno::AGAIN.into()),
            Err(error) => Err(error.into()),
        }
    }
}

impl io::Write for Raw<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match send(self.0, bytes, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => Err(Errno::AGAIN.into()),
            sent => Ok(sent?),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
