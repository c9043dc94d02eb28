//! Which Host and Origin a request may carry. A page of another site must not write or read here
//! with its visitor's browser, whether it asks across origins or has its own name resolve to this
//! machine (DNS rebinding). Devices and tools, which send one Host and neither `Origin` nor
//! `Sec-Fetch-*`, pay for a comparison with the Host of their connection's request before.

use std::cell::RefCell;
use std::net::IpAddr;

use http::header::{HOST, HeaderName, ORIGIN};
use http::request::Parts;
use http::{Method, Version};

use crate::host::{Authority, Host, Origin};
use crate::problem::{Problem, ProblemKind};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Names of this machine for itself, accepted where only it can connect.
const LOOPBACK_NAMES: [&str; 3] = ["localhost", "ip6-localhost", "ip6-loopback"];

/// What a request may name. The local address of a connection is always accepted as its host.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Hosts accepted on every address.
    pub hosts: Vec<Host>,
    /// Origins of other servers whose pages may send requests.
    pub origins: Vec<Origin>,
    /// Paths that may be asked for under any well-formed host.
    pub any_host_paths: &'static [&'static str],
    /// Paths that pages of other sites may link to.
    pub linked_paths: &'static [&'static str],
}

/// What a connection knows for the check: its local address, and the Host header accepted last.
pub(crate) struct Visitor {
    local: IpAddr,
    host: RefCell<Box<[u8]>>,
}

impl Visitor {
    pub(crate) fn new(local: IpAddr) -> Self {
        Self { local: local.to_canonical(), host: RefCell::default() }
    }
}

impl Access {
    /// Refuses a request whose Host or Origin this server does not serve.
    pub(crate) fn check(&self, head: &Parts, visitor: &Visitor) -> Result<(), Problem> {
        let named = authority(head)?;
        self.check_host(head, named, visitor)?;
        if head.headers.contains_key(SEC_FETCH_SITE) || head.headers.contains_key(ORIGIN) {
            self.check_origin(head, named)?;
        }
        Ok(())
    }

    fn check_host(
        &self,
        head: &Parts,
        named: Option<&[u8]>,
        visitor: &Visitor,
    ) -> Result<(), Problem> {
        let Some(named) = named else { return Ok(()) };
        if !named.is_empty() && *named == **visitor.host.borrow() {
            return Ok(());
        }
        let Authority { host, .. } = Authority::parse(named).ok_or_else(malformed_host)?;
        if self.any_host_paths.contains(&head.uri.path()) {
            return Ok(());
        }
        if !self.serves(&host, visitor.local) {
            return Err(Problem::from(ProblemKind::MISDIRECTED).detail(
                "the server does not serve the host in `Host`; its operator adds hosts with --host",
            ));
        }
        *visitor.host.borrow_mut() = named.into();
        Ok(())
    }

    fn serves(&self, host: &Host, local: IpAddr) -> bool {
        let by_itself = match host {
            Host::Ip(address) => *address == local || address.is_loopback() && local.is_loopback(),
            Host::Name(name) => local.is_loopback() && LOOPBACK_NAMES.contains(&name.as_str()),
        };
        by_itself || self.hosts.contains(host)
    }

    #[cold]
    fn check_origin(&self, head: &Parts, named: Option<&[u8]>) -> Result<(), Problem> {
        let authority = named.and_then(Authority::parse);
        let mut listed = false;
        for origin in head.headers.get_all(ORIGIN) {
            // `null`, which stands for no origin in particular, is none either.
            let origin: Option<Origin> = origin.to_str().ok().and_then(|text| text.parse().ok());
            let is_listed = origin.as_ref().is_some_and(|origin| self.origins.contains(origin));
            let is_own =
                origin.zip(authority.as_ref()).is_some_and(|(origin, own)| origin.is_at(own));
            if !is_listed && !is_own {
                return Err(cross_origin());
            }
            listed = is_listed;
        }
        // Whatever is not known to be harmless counts as cross-site.
        let mut sites = head.headers.get_all(SEC_FETCH_SITE).iter();
        let cross_site = sites
            .any(|site| !["same-origin", "same-site", "none"].iter().any(|known| site == known));
        let mode = head.headers.get(SEC_FETCH_MODE).map(|mode| mode.as_bytes());
        let follows_link = head.method == Method::GET
            && mode == Some(b"navigate")
            && self.linked_paths.contains(&head.uri.path());
        if cross_site && !listed && !follows_link {
            return Err(cross_origin());
        }
        Ok(())
    }
}

/// The authority that a request is for: its target's, if that has one, else its Host header's
/// (RFC 9112, sections 3.2 and 3.2.2). Only HTTP/1.0 may leave it out.
fn authority(head: &Parts) -> Result<Option<&[u8]>, Problem> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = hosts.next().map(|host| host.as_bytes());
    if hosts.next().is_some() || host.is_none() && head.version >= Version::HTTP_11 {
        return Err(malformed_host());
    }
    let Some(target) = head.uri.authority() else { return Ok(host) };
    if host.is_some_and(|host| Authority::parse(host).is_none()) {
        return Err(malformed_host());
    }
    Ok(Some(target.as_str().as_bytes()))
}

#[cold]
fn malformed_host() -> Problem {
    Problem::from(ProblemKind::MALFORMED)
        .detail("send one Host header with a host and its port, such as `Host: localhost:3000`")
}

fn cross_origin() -> Problem {
    Problem::from(ProblemKind::CROSS_ORIGIN).detail(
        "the page's origin is not this server's; its operator adds origins with --allow-origin",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: Option<u16> = None;
    const BAD: Option<u16> = Some(400);
    const MISDIRECTED: Option<u16> = Some(421);
    const CROSS: Option<u16> = Some(403);

    fn access() -> Access {
        Access {
            hosts: vec!["inhale.example".parse().expect("a host")],
            origins: vec!["https://app.example".parse().expect("an origin")],
            any_host_paths: &["/healthz"],
            linked_paths: &["/docs"],
        }
    }

    /// The status with which a request is refused: `request` is a method, a target and, where it is
    /// not 1.1, the version; `headers` are lines.
    fn status(local: &str, request: &str, headers: &[&str]) -> Option<u16> {
        let mut words = request.split(' ');
        let mut builder = http::Request::builder()
            .method(words.next().expect("a method"))
            .uri(words.next().expect("a target"));
        if words.next() == Some("HTTP/1.0") {
            builder = builder.version(Version::HTTP_10);
        }
        for line in headers {
            let (name, value) = line.split_once(": ").expect("a line");
            builder = builder.header(name, value);
        }
        let (head, ()) = builder.body(()).expect("a request").into_parts();
        let visitor = Visitor::new(local.parse().expect("an address"));
        let first = access().check(&head, &visitor).err().map(|problem| problem.kind.status);
        let again = access().check(&head, &visitor).err().map(|problem| problem.kind.status);
        assert_eq!(first, again, "a refused host is not remembered");
        first
    }

    #[test]
    fn hosts() {
        let check = |local: &str, host: &str, expected: Option<u16>| {
            let found = status(local, "POST /api/usages", &[&format!("Host: {host}")]);
            assert_eq!(found, expected, "{host} at {local}");
        };
        for host in ["localhost:3000", "LOCALHOST", "localhost.", "127.0.0.1", "[::1]:1"] {
            check("127.0.0.1", host, OK);
            check("::1", host, OK);
            check("10.0.0.7", host, MISDIRECTED);
        }
        check("10.0.0.7", "10.0.0.7:3000", OK);
        check("10.0.0.7", "10.0.0.8:3000", MISDIRECTED);
        check("::ffff:10.0.0.7", "10.0.0.7", OK);
        check("fe80::1", "[fe80::1%25eth0]:3000", OK);
        for local in ["127.0.0.1", "10.0.0.7"] {
            check(local, "Inhale.Example:443", OK);
            check(local, "evil.example", MISDIRECTED);
            check(local, "localhost.evil.example", MISDIRECTED);
            check(local, "0.0.0.0:3000", MISDIRECTED);
            check(local, "", BAD);
            check(local, "a b", BAD);
            check(local, "localhost:x", BAD);
            check(local, "me@localhost", BAD);
        }
    }

    #[test]
    fn one_host_and_only_one() {
        let check = |request: &str, headers: &[&str], expected: Option<u16>| {
            assert_eq!(status("127.0.0.1", request, headers), expected, "{request} {headers:?}");
        };
        check("GET /x", &[], BAD);
        check("GET /x HTTP/1.0", &[], OK);
        check("GET /x HTTP/1.0", &["Host: evil.example"], MISDIRECTED);
        check("GET /x", &["Host: localhost", "Host: localhost"], BAD);
        check("GET /x", &["Host: localhost", "Host: evil.example"], BAD);
        check("GET /healthz", &["Host: evil.example"], OK);
        check("GET /healthz", &["Host: evil example"], BAD);
        check("GET /healthz", &[], BAD);
        check("GET /healthz", &["Host: a", "Host: a"], BAD);
        check("GET http://localhost:3000/x", &["Host: evil.example"], OK);
        check("GET http://evil.example/x", &["Host: localhost"], MISDIRECTED);
        check("GET http://localhost/x", &["Host: a b"], BAD);
        check("GET http://localhost/x", &[], BAD);
        check("GET http://me@localhost/x", &["Host: localhost"], BAD);
    }

    #[test]
    fn origins() {
        let check = |request: &str, headers: &[&str], expected: Option<u16>| {
            let headers = [&["Host: localhost:3000"], headers].concat();
            assert_eq!(status("127.0.0.1", request, &headers), expected, "{request} {headers:?}");
        };
        let post = "POST /api/usages";
        check(post, &[], OK);
        check(post, &["Origin: http://localhost:3000"], OK);
        check(post, &["Origin: https://localhost:3000"], OK);
        check(post, &["Origin: http://localhost:3001"], CROSS);
        check(post, &["Origin: http://localhost"], CROSS);
        check(post, &["Origin: http://127.0.0.1:3000"], CROSS);
        check(post, &["Origin: null"], CROSS);
        check(post, &["Origin: "], CROSS);
        check(post, &["Origin: https://app.example"], OK);
        check(post, &["Origin: http://app.example"], CROSS);
        check(post, &["Origin: https://app.example", "Origin: https://evil.example"], CROSS);
        check(post, &["Origin: https://evil.example", "Origin: https://app.example"], CROSS);
        check("GET /healthz", &["Origin: https://evil.example"], CROSS);
        check("GET /docs", &["Origin: https://evil.example"], CROSS);
    }

    #[test]
    fn sites() {
        let check = |request: &str, headers: &[&str], expected: Option<u16>| {
            let headers = [&["Host: localhost:3000"], headers].concat();
            assert_eq!(status("127.0.0.1", request, &headers), expected, "{request} {headers:?}");
        };
        let (cross, link) = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate");
        check("GET /x", &["Sec-Fetch-Site: none", link], OK);
        check("GET /x", &["Sec-Fetch-Site: same-origin"], OK);
        check("GET /x", &["Sec-Fetch-Site: same-site"], OK);
        check("GET /x", &["Sec-Fetch-Site: CROSS-SITE"], CROSS);
        check("GET /x", &["Sec-Fetch-Site: none, cross-site"], CROSS);
        check("GET /x", &["Sec-Fetch-Site: none", cross], CROSS);
        check("GET /x", &[cross, link], CROSS);
        check("GET /docs", &[cross, link], OK);
        check("GET /docs", &[cross], CROSS);
        check("GET /docs", &[cross, "Sec-Fetch-Mode: no-cors"], CROSS);
        check("POST /docs", &[cross, link], CROSS);
        check("POST /x", &[cross, "Origin: https://app.example"], OK);
        check("POST /x", &[cross, "Origin: http://localhost:3000"], CROSS);
    }
}
