//! The load client: one thread, one epoll, many connections; what it is asked and what it tells.

mod connection;
mod engine;
mod report;

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::clock::wall_seconds;
use crate::patients::{Patients, Zipf, id_digits};
use crate::requests::{Gets, PostShape, Posts, Requests};

pub(crate) use connection::listen;
pub(crate) use engine::{Load, Pace, run};
pub(crate) use report::Report;

/// How long and how hard, for any kind of request.
#[derive(Args, Debug, Clone)]
struct LoadFlags {
    /// Where the server listens
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:3000/api/usages")]
    url: String,

    /// Connections, each with one request in flight at most
    #[arg(short, long, value_name = "N", default_value = "64")]
    connections: usize,

    /// Requests a second, due at even spaces; latency counts from when each was due. Without it
    /// every connection sends its next request as soon as it has an answer
    #[arg(short, long, value_name = "N", value_parser = parse_rate)]
    rate: Option<f64>,

    /// For how long
    #[arg(short, long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    duration: Duration,

    /// Requests of this first time are sent, but not told of in rate and latency
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    warmup: Duration,

    /// Stop after so many requests
    #[arg(long, value_name = "N")]
    requests: Option<u64>,

    /// Patients
    #[arg(long, value_name = "N", default_value = "1000000")]
    patients: u64,

    /// Tell the result as JSON
    #[arg(long)]
    json: bool,
}

/// Options of `inhale-bench client`.
#[derive(Args, Debug, Clone)]
pub(crate) struct PostFlags {
    #[command(flatten)]
    load: LoadFlags,

    /// An Idempotency-Key for every request, each another
    #[arg(long)]
    keyed: bool,

    /// The start of the keys; without it, one that no other run has
    #[arg(long, value_name = "TEXT", requires = "keyed")]
    key_prefix: Option<String>,

    /// A time of its own for every usage
    #[arg(long)]
    distinct_times: bool,

    /// How many medications there are, 1 to 20
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u8).range(1..=20))]
    medications: u8,

    /// Choose patients by Zipf's law with this exponent, instead of everyone in turn
    #[arg(long, value_name = "EXPONENT")]
    zipf: Option<f64>,

    /// A new connection for every request, from 127.0.0.1 to 127.0.0.8 in turn; the request says
    /// `Connection: close`, and the server closes first
    #[arg(long)]
    connection_per_request: bool,

    /// Usages a request, sent as NDJSON
    #[arg(long, value_name = "N", default_value = "1")]
    ndjson: usize,

    /// One connection: one request at a time
    #[arg(long, conflicts_with_all = ["connections", "rate"])]
    one_at_a_time: bool,

    /// The number of the first usage, from which patient, time and key follow
    #[arg(long, value_name = "N", default_value = "0")]
    first: u64,

    /// Rest a connection for so long after a 503, and send on
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    back_off: Option<Duration>,
}

/// Options of `inhale-bench reads`.
#[derive(Args, Debug, Clone)]
pub(crate) struct ReadFlags {
    #[command(flatten)]
    load: LoadFlags,

    /// The exponent of Zipf's law by which patients are chosen
    #[arg(long, value_name = "EXPONENT", default_value = "1")]
    zipf: f64,

    /// Digits that the posts' patient ids have; those of --patients unless told
    #[arg(long, value_name = "N")]
    id_digits: Option<usize>,

    /// Usages a page
    #[arg(long, value_name = "N", default_value = "100")]
    limit: u32,
}

/// Posts usages as asked; fails when any answer was not 201.
pub(crate) fn post(flags: &PostFlags) -> Result<ExitCode> {
    let (address, path) = parse_url(&flags.load.url)?;
    let key_prefix = flags.keyed.then(|| {
        let unique = || format!("{:x}-{:x}-", wall_seconds(), std::process::id());
        flags.key_prefix.clone().unwrap_or_else(unique)
    });
    let shape = PostShape {
        path,
        patients: flags.load.patients,
        zipf: flags.zipf,
        medications: usize::from(flags.medications),
        distinct_times: flags.distinct_times,
        key_prefix,
        batch: flags.ndjson,
        first: flags.first,
        close: flags.connection_per_request,
    };
    let mut load = flags.load.load(address);
    load.connection_per_request = flags.connection_per_request;
    load.back_off = flags.back_off;
    if flags.one_at_a_time {
        load.connections = 1;
    }
    tell(&run(&load, Requests::Posts(Posts::new(&shape)))?, flags.load.json)
}

/// Asks for patients' usages; fails when any answer was not 200.
pub(crate) fn read(flags: &ReadFlags) -> Result<ExitCode> {
    let (address, path) = parse_url(&flags.load.url)?;
    let count = flags.load.patients;
    let patients = Patients::Zipf(Zipf::new(
        u32::try_from(count).context("too many patients")?,
        flags.zipf,
        1,
    ));
    let digits = flags.id_digits.unwrap_or_else(|| id_digits(count));
    let gets = Gets::new(&path, patients, digits, flags.limit);
    tell(&run(&flags.load.load(address), Requests::Gets(gets))?, flags.load.json)
}

fn tell(report: &Report, json: bool) -> Result<ExitCode> {
    if json {
        println!("{}", serde_json::to_string(report)?);
    } else {
        print!("{report}");
    }
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl LoadFlags {
    fn load(&self, address: SocketAddr) -> Load {
        Load {
            address,
            connections: self.connections.max(1),
            pace: self.rate.map_or(Pace::Closed, Pace::PerSecond),
            duration: self.duration,
            warmup: self.warmup,
            requests_max: self.requests,
            connection_per_request: false,
            back_off: None,
        }
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 1e7 => Ok(rate),
        _ => Err("a number of requests a second, above 0".to_owned()),
    }
}

/// The address and the path of an `http://` URL.
fn parse_url(url: &str) -> Result<(SocketAddr, String)> {
    let rest = url.strip_prefix("http://").context("the URL must start with http://")?;
    let (host, path) = match rest.find('/') {
        Some(at) => (&rest[..at], &rest[at..]),
        None => (rest, "/"),
    };
    if path.contains([' ', '\r', '\n']) {
        bail!("the URL's path holds a space");
    }
    let with_port = if host.rsplit(']').next().is_some_and(|end| end.contains(':')) {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let address = with_port
        .to_socket_addrs()
        .with_context(|| format!("finding {host}"))?
        .next()
        .with_context(|| format!("{host} has no address"))?;
    Ok((address, path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expected: Option<(&str, &str)>) {
        let got = parse_url(url).ok().map(|(address, path)| (address.to_string(), path));
        let expected = expected.map(|(address, path)| (address.to_owned(), path.to_owned()));
        assert_eq!(got, expected, "{url}");
    }

    #[test]
    fn urls() {
        check("http://127.0.0.1:3000/api/usages", Some(("127.0.0.1:3000", "/api/usages")));
        check("http://127.0.0.1:3000", Some(("127.0.0.1:3000", "/")));
        check("http://127.0.0.1/x", Some(("127.0.0.1:80", "/x")));
        check("http://[::1]:81/x", Some(("[::1]:81", "/x")));
        check("https://127.0.0.1/x", None);
        check("http://127.0.0.1/x y", None);
    }

    #[test]
    fn rates() {
        assert_eq!(parse_rate("16667"), Ok(16_667.0));
        assert_eq!(parse_rate("0.5"), Ok(0.5));
        for bad in ["0", "-1", "nan", "inf", "x", ""] {
            parse_rate(bad).expect_err(bad);
        }
    }
}
