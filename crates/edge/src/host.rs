//! Hosts, authorities and origins as they stand in a request (RFC 3986, section 3.2; RFC 6454).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Longest name of a host that DNS knows.
const NAME_BYTES_MAX: usize = 255;

/// A host without its port: an IP address, or a name in lower case without a dot at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An IP address.
    Ip(IpAddr),
    /// A name.
    Name(String),
}

/// Why a text is no host or no origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// It has more than a host.
    #[error("is a URL; write only the host, such as inhale.example")]
    Url,
    /// It has a port.
    #[error("has a port; ports are ignored, so write only the host, such as inhale.example")]
    Port,
    /// No host at all.
    #[error(
        "is not a host; write one name in ASCII or an IP address, such as inhale.example or 10.0.0.7"
    )]
    Host,
    /// Not `SCHEME://HOST[:PORT]`.
    #[error("is not an origin; write SCHEME://HOST[:PORT], such as https://app.example")]
    Origin,
}

impl Host {
    /// Reads a host as an authority has it: IPv6 addresses stand in brackets.
    fn parse(text: &str) -> Option<Self> {
        if let Some(address) = text.strip_prefix('[') {
            let address = address.strip_suffix(']')?;
            // A zone means something on the sender's machine alone (RFC 6874).
            let address = address.split('%').next().unwrap_or_default();
            let address = address.parse::<Ipv6Addr>().ok()?;
            return Some(Self::Ip(address.to_canonical()));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Self::Ip(address.into()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let fits = (1..=NAME_BYTES_MAX).contains(&name.len());
        (fits && is_name(name.as_bytes())).then(|| Self::Name(name.to_ascii_lowercase()))
    }

    /// Whether it is an address or a name of letters, digits, dots, hyphens and underscores, as DNS
    /// has them: not `*`, nor two names.
    fn is_plain(&self) -> bool {
        let Self::Name(name) = self else { return true };
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
    }
}

/// For settings: a host without a port.
impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Ip(address.to_canonical()));
        }
        if text.contains('/') {
            return Err(HostError::Url);
        }
        match Authority::parse(text.as_bytes()) {
            Some(Authority { host, .. }) if !host.is_plain() => Err(HostError::Host),
            Some(Authority { host, port: None }) if !text.ends_with(':') => Ok(host),
            Some(_) => Err(HostError::Port),
            None => Err(HostError::Host),
        }
    }
}

/// Characters of a name (RFC 3986, `reg-name`).
fn is_name(name: &[u8]) -> bool {
    let is_hex = |at: usize| name.get(at).is_some_and(u8::is_ascii_hexdigit);
    name.iter().enumerate().all(|(at, byte)| match byte {
        b'%' => is_hex(at + 1) && is_hex(at + 2),
        byte => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte),
    })
}

/// A host and its port, as in a Host header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authority {
    pub(crate) host: Host,
    pub(crate) port: Option<u16>,
}

impl Authority {
    /// Reads `HOST[:PORT]`, whose port may be empty. `None` for anything else, also with a user.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (host, port) = match text.rsplit_once(':') {
            // Within brackets it belongs to an IPv6 address.
            Some((host, port)) if !port.ends_with(']') => (host, port),
            _ => (text, ""),
        };
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = match port {
            "" => None,
            port if digits => Some(port.parse().ok()?),
            _ => return None,
        };
        Some(Self { host: Host::parse(host)?, port })
    }
}

/// Where a web page comes from: `https://app.example` or `http://localhost:8080`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    secure: bool,
    authority: Authority,
}

impl Origin {
    /// Whether it has this host and port. An authority knows no scheme: a proxy may add TLS.
    pub(crate) fn is_at(&self, authority: &Authority) -> bool {
        self.authority.host == authority.host && self.port(&self.authority) == self.port(authority)
    }

    /// A port that is left out is the scheme's own.
    fn port(&self, authority: &Authority) -> u16 {
        authority.port.unwrap_or(if self.secure { 443 } else { 80 })
    }
}

impl FromStr for Origin {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let (scheme, authority) = text.split_once("://").ok_or(HostError::Origin)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(HostError::Origin),
        };
        let authority = Authority::parse(authority.as_bytes());
        let authority =
            authority.filter(|authority| authority.host.is_plain()).ok_or(HostError::Origin)?;
        // One spelling for each origin, so that they can be compared.
        let own_port = if secure { 443 } else { 80 };
        let port = authority.port.filter(|port| *port != own_port);
        Ok(Self { secure, authority: Authority { port, ..authority } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        let check = |text: &str, host: Option<&str>, port: Option<u16>| {
            let host = host.map(|host| host.parse::<Host>().expect("a host"));
            let expected = host.map(|host| Authority { host, port });
            assert_eq!(Authority::parse(text.as_bytes()), expected, "{text}");
        };
        check("localhost:3000", Some("localhost"), Some(3000));
        check("LocalHost.", Some("localhost"), None);
        check("a:", Some("a"), None);
        check("127.0.0.1:80", Some("127.0.0.1"), Some(80));
        check("[::1]:3000", Some("::1"), Some(3000));
        check("[::1]", Some("::1"), None);
        check("[::ffff:10.0.0.7]", Some("10.0.0.7"), None);
        check("[fe80::1%25eth0]:1", Some("fe80::1"), Some(1));
        let odd = Authority::parse(b"a!b%20").expect("RFC 3986 allows it");
        assert_eq!(odd.host, Host::Name("a!b%20".to_owned()));
        for wrong in [
            "",
            ":",
            ":80",
            ".",
            "a b",
            "a:b",
            "a:80:80",
            "a:99999",
            "a:-1",
            "u@a",
            "a/b",
            "[::1",
            "::1",
            "[a]",
            "a,b c",
            "a%zz",
            "a%2",
            "é",
            "[127.0.0.1]",
            "a\"",
            "<a>",
        ] {
            check(wrong, None, None);
        }
        check(&"a".repeat(255), Some(&"a".repeat(255)), None);
        check(&"a".repeat(256), None, None);
    }

    #[test]
    fn hosts_of_settings_have_no_port() {
        let check = |text: &str, expected| assert_eq!(text.parse::<Host>(), expected, "{text}");
        check("Inhale.Example", Ok(Host::Name("inhale.example".to_owned())));
        check("::1", Ok(Host::Ip(Ipv6Addr::LOCALHOST.into())));
        check("[::1]", Ok(Host::Ip(Ipv6Addr::LOCALHOST.into())));
        check("inhale.example:3000", Err(HostError::Port));
        check("inhale.example:", Err(HostError::Port));
        check("https://inhale.example", Err(HostError::Url));
        check("*.example", Err(HostError::Host));
        check("a,b", Err(HostError::Host));
        check("", Err(HostError::Host));
        check("bücher.example", Err(HostError::Host));
    }

    #[test]
    fn origins() {
        let check = |origin: &str, authority: &str, expected: bool| {
            let origin: Origin = origin.parse().expect("an origin");
            let authority = Authority::parse(authority.as_bytes()).expect("an authority");
            assert_eq!(origin.is_at(&authority), expected, "{origin:?} {authority:?}");
        };
        check("http://localhost:3000", "localhost:3000", true);
        check("https://localhost:3000", "LOCALHOST:3000", true);
        check("http://localhost:3001", "localhost:3000", false);
        check("http://a.example", "a.example", true);
        check("https://a.example", "a.example", true);
        check("https://a.example", "a.example:443", true);
        check("http://a.example", "a.example:443", false);
        check("http://[::1]:3000", "[::1]:3000", true);
        check("http://127.0.0.1:3000", "localhost:3000", false);
        assert_eq!("http://a:80".parse::<Origin>(), "HTTP://A".parse());
        assert_ne!("http://a".parse::<Origin>(), "https://a".parse());
        for wrong in [
            "null",
            "*",
            "",
            "a.example",
            "file://",
            "ftp://a",
            "http://a/",
            "http://a b",
            "https://a,b",
        ] {
            assert_eq!(wrong.parse::<Origin>(), Err(HostError::Origin), "{wrong}");
        }
    }
}
