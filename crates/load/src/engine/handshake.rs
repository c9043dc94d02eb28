//! One handshake of TLS before the run, so that a certificate which nobody trusts is told of before
//! the first request and not once for each.

use std::io;
use std::net::{SocketAddr, TcpStream};

use rustls::{AlertDescription, ClientConnection, Error};

use crate::plan::{Protocol, Scenario};

use super::trust;

/// Makes a handshake with one address of a scenario's target, as its requests will.
///
/// # Errors
/// What is wrong, with the flag to change. Of a target of `http://` nothing is.
pub(crate) fn handshake(scenario: &Scenario, address: SocketAddr) -> Result<(), String> {
    let opening = trust::opening(scenario).map_err(|error| error.to_string())?;
    let Some(opening) = opening else { return Ok(()) };
    let failed = |why: &str| format!("{address} makes no handshake of TLS: {why}.");
    let mut tls = ClientConnection::new(opening.config, opening.name)
        .map_err(|error| failed(&error.to_string()))?;
    let timeout = scenario.connect_timeout;
    let mut socket = TcpStream::connect_timeout(&address, timeout)
        .and_then(|socket| {
            socket.set_read_timeout(Some(timeout))?;
            socket.set_write_timeout(Some(timeout))?;
            Ok(socket)
        })
        .map_err(|error| failed(&error.to_string()))?;
    while tls.is_handshaking() {
        tls.complete_io(&mut socket).map_err(|error| failed(&in_words(&error)))?;
    }
    // With TLS 1.3 a server that wants another certificate says so after its own part is done, in
    // place of the session tickets that it has for whom it lets in.
    let _ = socket.set_read_timeout(Some(timeout.min(std::time::Duration::from_millis(200))));
    if let Err(error) = tls.complete_io(&mut socket)
        && of_rustls(&error).is_some()
    {
        return Err(failed(&in_words(&error)));
    }
    let speaks_http2 = tls.alpn_protocol() == Some(b"h2");
    if matches!(scenario.connections.protocol, Protocol::Http2 { .. }) && !speaks_http2 {
        return Err(format!("{address} does not speak HTTP/2: leave --http2 out."));
    }
    Ok(())
}

fn of_rustls(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn in_words(error: &io::Error) -> String {
    match of_rustls(error) {
        Some(Error::InvalidCertificate(why)) => format!(
            "its certificate is not trusted ({why}); name who vouches for it with --ca FILE, or trust \
             anybody with --insecure-skip-tls-verify"
        ),
        Some(Error::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::HandshakeFailure,
        )) => format!(
            "it refuses us ({error}); show it a certificate with --cert FILE and --key FILE"
        ),
        Some(Error::InvalidMessage(_)) => {
            "what answers there is not TLS; write http:// if that is meant".to_owned()
        }
        _ => error.to_string(),
    }
}
