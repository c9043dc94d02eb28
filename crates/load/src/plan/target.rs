//! Where requests go.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

/// A server, found before the first request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Whether TLS is spoken.
    pub https: bool,
    /// The URL's host, without brackets: the name that a certificate must have.
    pub host: String,
    /// `host:port` as the `Host` header has it.
    pub authority: String,
    /// Where connections go, in turn; not empty.
    pub addresses: Vec<SocketAddr>,
}

/// A URL in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url<'a> {
    pub(super) https: bool,
    pub(super) host: &'a str,
    pub(super) port: u16,
    /// As it was written.
    pub(super) authority: &'a str,
    /// Path and query, a template.
    pub(super) path: &'a str,
}

/// Takes a URL apart. Its path may hold templates, so what may stand there is for others to say.
///
/// # Errors
/// In words.
pub(super) fn parse(text: &str) -> Result<Url<'_>, String> {
    let text = text.trim();
    let (scheme, rest) = text.split_once("://").ok_or_else(|| {
        format!("`{text}` is no URL; write it like http://localhost:3000/api/usages")
    })?;
    let https = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        other => return Err(format!("`{other}://` is not spoken; http:// and https:// are")),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let wrong = |why: &str| format!("`{authority}` in `{text}` {why}");
    if authority.contains('@') {
        let instead = "send it with --header 'Authorization: …'";
        return Err(format!("a URL holds no user name and no password here; {instead}"));
    }
    let (host, port) = split_port(authority).ok_or_else(|| wrong("is no HOST or HOST:PORT"))?;
    let is_host = if authority.starts_with('[') {
        host.parse::<Ipv6Addr>().is_ok()
    } else {
        host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    if !is_host {
        return Err(wrong("is no HOST or HOST:PORT in ASCII"));
    }
    let port = match port {
        None if https => 443,
        None => 80,
        Some(port) => port
            .parse()
            .ok()
            .filter(|p| *p > 0)
            .ok_or_else(|| wrong("has no port from 1 to 65535"))?,
    };
    Ok(Url { https, host, port, authority, path })
}

/// The host, without brackets, and the port behind it.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    let (host, behind) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = if behind.is_empty() { None } else { Some(behind.strip_prefix(':')?) };
    (!host.is_empty()).then_some((host, port))
}

impl Url<'_> {
    /// Asks for the host's addresses. Returns what should be known about the choice beside them.
    ///
    /// # Errors
    /// In words.
    pub(super) fn resolve(&self) -> Result<(Vec<SocketAddr>, Option<String>), String> {
        let found: Vec<SocketAddr> = (self.host, self.port)
            .to_socket_addrs()
            .map_err(|error| format!("`{}` has no address: {error}", self.host))?
            .collect();
        choose(self.host, found, listens).ok_or_else(|| format!("`{}` has no address", self.host))
    }
}

/// Whether anybody listens on an address of this machine, which answers at once.
fn listens(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
}

/// The addresses of one family: that of the first, which the system thinks best, but IPv4 for
/// loopback, unless a server listens on `::1` alone. Many listen on 127.0.0.1 alone, and `::1` is a single
/// source address, so that new connections to it soon run out of ports.
fn choose(
    host: &str,
    found: Vec<SocketAddr>,
    listens: impl Fn(SocketAddr) -> bool,
) -> Option<(Vec<SocketAddr>, Option<String>)> {
    let first = *found.first()?;
    let loopback = |ip: IpAddr| found.iter().find(|address| address.ip() == ip);
    let loopback_v4 = loopback(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let loopback_v6 = loopback(IpAddr::V6(Ipv6Addr::LOCALHOST));
    let (family_of, note) = match (loopback_v4, loopback_v6) {
        (Some(v4), Some(v6)) if !listens(*v4) && listens(*v6) => {
            (*v6, Some(format!("nobody listens on {v4}; requests go to {v6}")))
        }
        (Some(v4), _) if found.iter().any(|address| address.is_ipv6()) => {
            let note = format!(
                "{host} is 127.0.0.1 and ::1; requests go to 127.0.0.1, from which more \
                 connections can be made (write [::1] for the other)"
            );
            (*v4, Some(note))
        }
        _ => (first, None),
    };
    let mut addresses = Vec::new();
    for address in found {
        if address.is_ipv4() == family_of.is_ipv4() && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Some((addresses, note))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let check =
            |text: &str, https: bool, host: &str, port: u16, authority: &str, path: &str| {
                let expected = Url { https, host, port, authority, path };
                assert_eq!(parse(text), Ok(expected), "{text}");
            };
        check("http://localhost:3000/api", false, "localhost", 3000, "localhost:3000", "/api");
        check("HTTPS://a.example", true, "a.example", 443, "a.example", "");
        check("http://h", false, "h", 80, "h", "");
        check("http://[::1]:8/x?y=1", false, "::1", 8, "[::1]:8", "/x?y=1");
        check("http://127.0.0.1?{{seq}}", false, "127.0.0.1", 80, "127.0.0.1", "?{{seq}}");
        check("http://a/{{data.x/y}}", false, "a", 80, "a", "/{{data.x/y}}");
        check(" http://p:1/p ", false, "p", 1, "p:1", "/p");
    }

    #[test]
    fn what_is_no_url_is_refused() {
        let check = |text: &str, expected: &str| {
            let error = parse(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        };
        check("localhost:3000/api", "write it like http://");
        check("", "is no URL");
        check("ftp://a/", "`ftp://` is not spoken");
        check("http://", "is no HOST");
        check("http://:80/", "is no HOST");
        check("http://a:b/", "no port");
        check("http://a:0/", "has no port");
        check("http://a:99999/", "has no port");
        check("http://u:p@a/", "no password here");
        check("http://{{seq}}/", "is no HOST");
        check("http://ü.de/", "is no HOST");
        check("http://[::1/", "is no HOST");
        check("http://[a]/", "is no HOST");
        check("http://::1/", "is no HOST");
    }

    #[test]
    fn one_family_is_chosen() {
        let check = |found: &[&str], expected: &[&str], noted: bool| {
            let found = found.iter().map(|text| text.parse().expect("an address")).collect();
            let v4_listens = |address: SocketAddr| address.is_ipv4();
            let (addresses, note) = choose("host", found, v4_listens).expect("there are some");
            let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
            assert_eq!(addresses, expected);
            assert_eq!(note.is_some(), noted);
        };
        check(&["[::1]:3", "127.0.0.1:3"], &["127.0.0.1:3"], true);
        check(&["127.0.0.1:3", "127.0.0.1:3"], &["127.0.0.1:3"], false);
        check(&["[::1]:3"], &["[::1]:3"], false);
        check(
            &["[fd00::1]:3", "10.0.0.1:3", "[fd00::2]:3"],
            &["[fd00::1]:3", "[fd00::2]:3"],
            false,
        );
        check(&["10.0.0.1:3", "10.0.0.2:3"], &["10.0.0.1:3", "10.0.0.2:3"], false);
        assert_eq!(choose("host", Vec::new(), |_| true), None);
        // A server on one of the two alone; where neither listens, the usual one is named in the error.
        let both: Vec<SocketAddr> =
            ["127.0.0.1:1", "[::1]:1"].map(|a| a.parse().expect("one")).into();
        let (only_v6, note) =
            choose("host", both.clone(), |a| a.is_ipv6()).expect("there are some");
        assert_eq!(only_v6, both[1..]);
        assert!(note.expect("it is unusual").contains("nobody listens on 127.0.0.1:1"));
        assert_eq!(choose("host", both.clone(), |_| false).expect("there are some").0, both[..1]);
    }

    #[test]
    fn hosts_are_looked_up() {
        let (addresses, _) = parse("http://127.0.0.1:81/").unwrap().resolve().expect("itself");
        assert_eq!(addresses, ["127.0.0.1:81".parse().unwrap()]);
        let error = parse("http://nowhere.invalid/").unwrap().resolve().expect_err("reserved");
        assert!(error.contains("`nowhere.invalid` has no address"), "{error}");
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "(https?://)?[a-z0-9:@\\[\\]{}/?#é. -]{0,30}") {
            let _ = parse(&text);
        }
    }
}
