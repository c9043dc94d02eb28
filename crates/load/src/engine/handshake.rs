//! One handshake before the run, of TLS or of HTTP/2 without it, so that a certificate which nobody
//! trusts, or a server that speaks another protocol, is told of before the first request and not once
//! for each.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, ClientConnection, Error};

use crate::clock::now_ns;
use crate::plan::{Protocol, Scenario};

use super::course::ns;
use super::tls::is_refusal;
use super::trust;

/// How long a server that has made its part of a handshake has to refuse ours.
const REFUSED_WITHIN: Duration = Duration::from_millis(200);

/// Makes a handshake with one address of a scenario's target, as its requests will.
///
/// # Errors
/// What is wrong, with the flag to change. Of HTTP/1.1 without TLS nothing is.
pub(crate) fn handshake(scenario: &Scenario, address: SocketAddr) -> Result<(), String> {
    let opening = trust::opening(scenario).map_err(|error| error.to_string())?;
    let is_http2 = matches!(scenario.connections.protocol, Protocol::Http2 { .. });
    let Some(opening) = opening else {
        return if is_http2 { prior_knowledge(scenario, address) } else { Ok(()) };
    };
    let shown = scenario.connections.tls.client.is_some();
    let failed = |why: &str| format!("{address} makes no handshake of TLS: {why}.");
    let in_words = |error: &io::Error| in_words(error, is_http2, shown);
    let mut tls = ClientConnection::new(opening.config, opening.name)
        .map_err(|error| failed(&error.to_string()))?;
    let timeout = scenario.connect_timeout;
    let mut socket = connect(scenario, address).map_err(|error| failed(&error.to_string()))?;
    while tls.is_handshaking() {
        tls.complete_io(&mut socket).map_err(|error| failed(&in_words(&error)))?;
    }
    let speaks_http2 = tls.alpn_protocol() == Some(b"h2");
    if is_http2 && !speaks_http2 {
        return Err(format!("{address} does not speak HTTP/2: leave --http2 out."));
    }
    // With TLS 1.3 a server that wants another certificate finds out after its own part is done. Some
    // say so, others just go.
    let until_ns = now_ns() + ns(timeout.min(REFUSED_WITHIN));
    while let left_ns @ 1.. = until_ns.saturating_sub(now_ns()) {
        let _ = socket.set_read_timeout(Some(Duration::from_nanos(left_ns)));
        match tls.complete_io(&mut socket) {
            Err(error) if of_rustls(&error).is_some() => return Err(failed(&in_words(&error))),
            Err(error) if is_timeout(&error) => break,
            Ok(_) | Err(_) => match tls.reader().read(&mut [0]) {
                // It speaks with us, as with the settings of HTTP/2.
                Ok(1..) => break,
                // Tickets to resume the session by are nothing to be read.
                Err(error) if is_timeout(&error) => {}
                Ok(0) | Err(_) => return Err(failed(&refused("it goes right after it", shown))),
            },
        }
    }
    Ok(())
}

/// Begins HTTP/2 as with a server that is known to speak it without TLS (RFC 9113, section 3.3): what
/// it says first must be a frame of SETTINGS, of the connection as a whole.
fn prior_knowledge(scenario: &Scenario, address: SocketAddr) -> Result<(), String> {
    const PREFACE_AND_SETTINGS: &[u8] =
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    const SETTINGS: u8 = 4;
    let answer = connect(scenario, address).and_then(|mut socket| {
        socket.write_all(PREFACE_AND_SETTINGS)?;
        // Length, type, flags and stream of the first frame.
        let mut head = [0; 9];
        socket.read_exact(&mut head).map(|()| head)
    });
    match answer {
        Ok([_, _, _, SETTINGS, _, 0, 0, 0, 0]) => Ok(()),
        Err(error) if is_timeout(&error) => Err(format!(
            "{address} said nothing of HTTP/2 within {:.1} s: leave --http2 out, write https:// if \
             that is meant, or allow more time with --connect-timeout.",
            scenario.connect_timeout.as_secs_f64()
        )),
        _ => Err(format!(
            "{address} does not speak HTTP/2 without TLS: leave --http2 out, or write https:// if that \
             is meant."
        )),
    }
}

fn connect(scenario: &Scenario, address: SocketAddr) -> io::Result<TcpStream> {
    let timeout = scenario.connect_timeout;
    let socket = TcpStream::connect_timeout(&address, timeout)?;
    socket.set_read_timeout(Some(timeout))?;
    socket.set_write_timeout(Some(timeout))?;
    Ok(socket)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock)
}

fn of_rustls(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn refused(what: &str, shown: bool) -> String {
    let certificate = if shown { "another certificate" } else { "a certificate" };
    format!("{what}; maybe it wants {certificate} (--cert FILE and --key FILE)")
}

fn in_words(error: &io::Error, is_http2: bool, shown: bool) -> String {
    match of_rustls(error) {
        Some(Error::InvalidCertificate(CertificateError::Other(why)))
            if why.to_string().contains("CaUsedAsEndEntity") =>
        {
            "its certificate is one of an authority (CA:TRUE), which no server may use as its own, as \
             `openssl req -x509` makes it; make it with -addext basicConstraints=critical,CA:FALSE and name \
             it with --ca, or trust anybody with --insecure-skip-tls-verify"
                .to_owned()
        }
        Some(Error::InvalidCertificate(why)) => format!(
            "its certificate is not trusted ({why}); name who vouches for it with --ca FILE, or trust \
             anybody with --insecure-skip-tls-verify"
        ),
        Some(Error::AlertReceived(alert)) if is_refusal(*alert) => {
            refused(&format!("it refuses us ({error})"), shown)
        }
        Some(Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
            let speaks =
                if is_http2 { "no HTTP/2; leave --http2 out" } else { "HTTP/2 alone; say --http2" };
            format!("it speaks {speaks}")
        }
        None if is_timeout(error) => "it said nothing in time; write http:// if that is meant, or \
             allow more time with --connect-timeout"
            .to_owned(),
        Some(Error::InvalidMessage(_)) => {
            "what answers there is not TLS; write http:// if that is meant".to_owned()
        }
        _ => error.to_string(),
    }
}
