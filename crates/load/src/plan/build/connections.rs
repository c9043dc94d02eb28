//! What carries requests, from options.

use std::net::{IpAddr, Ipv4Addr};

use super::Builder;
use crate::limits::CONNECTIONS_MAX;
use crate::plan::{
    Connections, Executor, Keeping, LocalAddresses, Pem, Protocol, ScenarioOptions, Target, Tls,
    addresses,
};

/// Connections that are kept, of an open model: with answers within 30 ms enough for 16,000 requests
/// a second, and with a few other files within the 1,024 that a process may commonly open.
const KEPT: usize = 512;
/// Connections open at once when each request has a new one.
const NEW: usize = 4_096;
/// With so many scenarios they have fewer each, so that together they take no more files and ports than
/// there commonly are.
const SCENARIOS_FULL: usize = 4;
/// Requests at once on a connection of HTTP/2: what servers commonly allow.
const STREAMS: usize = 100;
const STREAMS_MAX: u64 = 10_000;

/// How long the kernel keeps the port of a connection that was closed (TIME_WAIT).
const TIME_WAIT_SECONDS: f64 = 60.0;
/// Ports that it hands out by default for each pair of addresses: 32768 to 60999.
const PORTS: f64 = 28_232.0;
/// 127.0.0.2 to 127.0.0.254.
const LOOPBACK_MAX: f64 = 253.0;

impl Builder {
    pub(super) fn connections(
        &mut self,
        options: &ScenarioOptions,
        executor: Option<&Executor>,
        target: Option<&Target>,
    ) -> Option<Connections> {
        let protocol = self.protocol(options);
        let keeping = self.keeping(options, executor?, protocol)?;
        let tls = self.tls(options, target);
        let local = self.local(options, executor?, target, keeping)?;
        Some(Connections { keeping, protocol, tls, local })
    }

    fn protocol(&mut self, options: &ScenarioOptions) -> Protocol {
        let streams = self.count("streams", options.streams.as_deref(), STREAMS_MAX);
        if options.http2 == Some(true) {
            let streams = streams.and_then(|streams| usize::try_from(streams).ok());
            return Protocol::Http2 { streams_max: streams.unwrap_or(STREAMS) };
        }
        if options.streams.is_some() {
            self.faults.add("streams", "HTTP/1.1 has none; it needs --http2");
        }
        Protocol::Http1
    }

    fn keeping(
        &mut self,
        options: &ScenarioOptions,
        executor: &Executor,
        protocol: Protocol,
    ) -> Option<Keeping> {
        let is_new = options.connection_per_user == Some(true);
        let users = executor.users_max();
        let asked =
            self.count("connections", options.connections.as_deref(), CONNECTIONS_MAX as u64);
        if users.is_some() && options.connections.is_some() {
            let words = "each user of a closed model has one of its own; it needs --rate";
            self.faults.add("connections", words);
        }
        let default = if is_new { NEW } else { KEPT };
        let default = (default * SCENARIOS_FULL / self.scenarios.max(SCENARIOS_FULL)).max(1);
        let max = users.or(asked).and_then(|max| usize::try_from(max).ok());
        let max = max.unwrap_or(default);
        if !is_new {
            if options.close.is_some() {
                self.faults.add("close", "connections are kept; it needs --connection-per-user");
            }
            return Some(Keeping::Alive { max });
        }
        let is_http2 = matches!(protocol, Protocol::Http2 { .. });
        let server_closes = match options.close.as_deref() {
            None => !is_http2,
            Some("client") => false,
            Some("server") if !is_http2 => true,
            Some("server") => {
                self.faults.add("close", "HTTP/2 cannot ask the server to close; use client");
                return None;
            }
            Some(other) => {
                self.faults.add("close", format!("`{other}` is neither client nor server"));
                return None;
            }
        };
        let who = if server_closes { "server" } else { "client" };
        let beside =
            if server_closes { "it keeps the port for TIME_WAIT" } else { "it keeps its own" };
        self.note(format!(
            "each request has a new connection; the {who} closes it first: {beside}"
        ));
        Some(Keeping::PerRequest { max, server_closes })
    }

    fn tls(&mut self, options: &ScenarioOptions, target: Option<&Target>) -> Tls {
        let is_https = target.is_some_and(|target| target.https);
        for (key, is_set) in [
            ("ca", options.ca.is_some()),
            ("cert", options.cert.is_some()),
            ("key", options.key.is_some()),
            ("insecure-skip-tls-verify", options.insecure_skip_tls_verify == Some(true)),
            ("no-tls-resume", options.no_tls_resume == Some(true)),
        ] {
            if is_set {
                self.has(key, is_https, "the URL is not https://");
            }
        }
        let pem = |text: &String| Pem(text.clone());
        let client = match (&options.cert, &options.key) {
            (Some(cert), Some(key)) => Some((pem(cert), pem(key))),
            (Some(_), None) => {
                self.faults.add("key", "a certificate needs its key");
                None
            }
            (None, Some(_)) => {
                self.faults.add("cert", "a key needs its certificate");
                None
            }
            (None, None) => None,
        };
        Tls {
            ca: options.ca.as_ref().map(pem),
            client,
            insecure: options.insecure_skip_tls_verify == Some(true),
            resume: options.no_tls_resume != Some(true),
        }
    }

    fn local(
        &mut self,
        options: &ScenarioOptions,
        executor: &Executor,
        target: Option<&Target>,
        keeping: Keeping,
    ) -> Option<LocalAddresses> {
        if options.local_ips.is_empty() {
            return Some(self.default_local(executor, target?, keeping));
        }
        let text = options.local_ips.join(",");
        let local = self.faults.take("local-ips", addresses::parse(&text))?;
        let target = target?.addresses.first()?;
        if local.iter().any(|ip| ip.is_ipv4() != target.is_ipv4()) {
            let (own, theirs) = if target.is_ipv4() { ("IPv6", "IPv4") } else { ("IPv4", "IPv6") };
            let words = format!("an {own} address reaches no target of {theirs} ({})", target.ip());
            self.faults.add("local-ips", words);
            return None;
        }
        Some(LocalAddresses::Of(local))
    }

    /// New connections to a loopback address come from as many addresses as their rate needs. The
    /// whole of 127.0.0.0/8 is this machine's, so that nothing has to be set up for it.
    fn default_local(
        &mut self,
        executor: &Executor,
        target: &Target,
        keeping: Keeping,
    ) -> LocalAddresses {
        let is_loopback = |ip: IpAddr| matches!(ip, IpAddr::V4(ip) if ip.is_loopback());
        let is_new = matches!(keeping, Keeping::PerRequest { .. });
        if !is_new || !target.addresses.iter().all(|address| is_loopback(address.ip())) {
            return LocalAddresses::Kernel;
        }
        // How fast users come depends on the server.
        const USERS_RATE: f64 = 50_000.0;
        let (rate, total) = match executor {
            // Also of a short run: another may follow it, and ports are slow to find among those that
            // the last one has left in TIME_WAIT.
            Executor::Arrivals(arrivals) => (arrivals.rate_max(), None),
            users => (USERS_RATE, users.iterations_total()),
        };
        #[expect(clippy::cast_precision_loss, reason = "rounded up far above it")]
        let total = total.map_or(f64::MAX, |total| total as f64);
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let open = keeping.max() as f64;
        let held = (rate * TIME_WAIT_SECONDS).min(total) * 1.5;
        let needed = (held.max(open.min(total)) / PORTS).ceil();
        if needed <= 1.0 {
            return LocalAddresses::Kernel;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "from 2 to what a byte holds"
        )]
        let count = needed.min(LOOPBACK_MAX) as u8;
        let all: Vec<IpAddr> =
            (2..2 + count).map(|last| IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))).collect();
        self.note(format!(
            "connections come from {count} addresses, 127.0.0.2 to {}, for want of ports on one \
             (--local-ips chooses others)",
            all[all.len() - 1]
        ));
        LocalAddresses::Of(all)
    }
}
