//! Whether anybody serves on a socket, as a client would find out.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Whether a request for the head of `path` is answered over HTTP within about `patience`, with whatever
/// status.
pub(super) fn is_answered(address: SocketAddr, path: &str, patience: Duration) -> bool {
    ask(reachable(address), path, patience).is_ok_and(|begin| begin == *b"HTTP/1.1 ")
}

fn ask(address: SocketAddr, path: &str, patience: Duration) -> io::Result<[u8; 9]> {
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    let head = format!("HEAD {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut begin = [0; 9];
    stream.read_exact(&mut begin)?;
    Ok(begin)
}

/// From this machine, a socket on every address is reached over loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn only_who_answers_http_serves() {
        const SHORT: Duration = Duration::from_millis(100);
        let check = |answer: &'static [u8], expected: bool| {
            let listener = TcpListener::bind("0.0.0.0:0").expect("a free port");
            let address = listener.local_addr().expect("it is bound");
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().expect("the probe connects");
                stream.write_all(answer).expect("it is there");
                let _ = stream.read_to_end(&mut Vec::new());
            });
            let patience = if expected { SHORT * 100 } else { SHORT };
            assert_eq!(is_answered(address, "/docs", patience), expected, "{answer:?}");
            server.join().expect("no panic");
        };
        check(b"HTTP/1.1 404 Not Found\r\n\r\n", true);
        check(b"HTTP/1.1 503 Service Unavailable\r\n\r\n", true);
        check(b"SSH-2.0-OpenSSH\r\n", false);
        check(b"", false);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        assert!(!is_answered(address, "/docs", SHORT), "who only waits in the queue is not served");
        drop(listener);
        assert!(!is_answered(address, "/docs", SHORT), "nobody listens");
    }
}
