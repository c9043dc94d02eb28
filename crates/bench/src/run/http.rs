//! The driver's own few requests: metrics, readiness, and the first post after a restart.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::answer::{parse_head, parse_status};

const TIME_MAX: Duration = Duration::from_secs(30);

/// Status and body of one request over a connection of its own.
pub(crate) fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, TIME_MAX)?;
    stream.set_read_timeout(Some(TIME_MAX))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let head = parse_head(&bytes).ok().flatten().context("the answer is no HTTP/1.1")?;
    let status = parse_status(head.first_line).context("the answer has no status")?;
    Ok((status, String::from_utf8_lossy(&bytes[head.head_bytes..]).into_owned()))
}

/// Whether a server reads bodies: a post whose body comes in a packet of its own, and another behind
/// it on the same connection, are two answers 201.
pub(crate) fn reads_bodies(address: SocketAddr) -> Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, TIME_MAX)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIME_MAX))?;
    // Were it not read as a body, this would be a request too, and a bad one.
    let body = "{\"patientId\":\r\n\r\n";
    let head = |last: &str| {
        format!(
            "POST /api/usages HTTP/1.1\r\nHost: localhost\r\n{last}Content-Length: {}\r\n\r\n",
            body.len()
        )
    };
    stream.write_all(head("").as_bytes())?;
    stream.write_all(body.as_bytes())?;
    stream.write_all(head("Connection: close\r\n").as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.matches("HTTP/1.1 ").count() == 2 && text.matches("HTTP/1.1 201 ").count() == 2)
}

/// The value of a metric without labels.
pub(crate) fn parse_metric(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<f64>) {
        assert_eq!(parse_metric(text, "inhale_index_lag_usages"), expected, "{text:?}");
    }

    #[test]
    fn metrics_are_found_by_their_whole_name() {
        check("# TYPE inhale_index_lag_usages gauge\ninhale_index_lag_usages 12\n", Some(12.0));
        check("inhale_index_lag_usages_max 3\ninhale_index_lag_usages 1.5e3", Some(1_500.0));
        check("inhale_index_lag_usages{core=\"0\"} 3\n", None);
        check("", None);
    }
}
