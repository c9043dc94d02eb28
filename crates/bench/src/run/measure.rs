//! One measurement: the load's report beside the CPU that the server used for it.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::process::Process;
use super::servers::{Server, Starter};
use crate::client::Report;

/// How often the index's lag is asked for.
const LAG_INTERVAL: Duration = Duration::from_millis(500);

/// What one run of the client cost the server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Microseconds of CPU for each usage that got its 201.
    pub(crate) cpu_us: f64,
    /// CPU over time, from the first request to the last answer.
    pub(crate) share: f64,
    /// Samples of the index's lag, twice a second.
    pub(crate) lag: Vec<f64>,
    pub(crate) report: Report,
}

impl Starter {
    /// Starts a client in the background; `words` are its options but for the URL.
    pub(crate) fn client(&self, command: &str, server: &Server, words: &str) -> Result<Process> {
        let mut client = Command::new(&self.own);
        client.arg(command).args(["--json", "--url", &server.url()]);
        client.args(words.split_whitespace()).stdout(Stdio::piped());
        Process::start("client", &mut client, self.cores.client, self.cores.client)
    }

    /// Loads a server and counts its CPU until its index has caught up.
    pub(crate) fn measure(&self, server: &Server, words: &str) -> Result<Sample> {
        let before = server.process.cpu_seconds()?;
        let mut client = self.client("client", server, words)?;
        let mut lag = Vec::new();
        while client.is_running()? {
            std::thread::sleep(LAG_INTERVAL);
            // A server at its limit answers late; it is then no error not to know.
            lag.extend(server.lag().ok().flatten());
        }
        let report = report(client)?;
        let at_end = server.process.cpu_seconds()?;
        server.catch_up()?;
        let after = server.process.cpu_seconds()?;
        #[expect(clippy::cast_precision_loss, reason = "a count of a run is far below 2^53")]
        let usages = report.usages as f64;
        Ok(Sample {
            cpu_us: (after - before) * 1e6 / usages.max(1.0),
            share: (at_end - before) / report.whole_seconds.max(1e-9),
            lag,
            report,
        })
    }
}

/// What a client that has ended found.
pub(crate) fn report(client: Process) -> Result<Report> {
    let text = client.output()?;
    serde_json::from_str(&text).with_context(|| format!("the client's report: {text}"))
}
