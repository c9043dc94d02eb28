//! `inhale load agent`: this machine does its part of a load that is coordinated elsewhere.

use std::process::ExitCode;

use ::load::agents::{AgentError, AgentNews, Joining, Secret, ThisMachine, agent};
use ::load::outcome::exit;

use super::flags::AgentFlags;
use super::stopping;

/// Joins, serves a run or, with `--keep`, one after the other, and tells on standard error how it goes.
pub(super) fn run(flags: &AgentFlags) -> Result<ExitCode, (String, u8)> {
    let wrong = |words: String| (words, exit::CONFIGURATION);
    let secret = Secret::find(flags.agents_secret_file.as_deref())
        .map_err(|error| wrong(error.to_string()))?;
    let stop = stopping::on_signals().map_err(wrong)?;
    let own_name = rustix::system::uname();
    let name = flags.name.clone();
    let name = name.unwrap_or_else(|| own_name.nodename().to_string_lossy().into_owned());
    let joining = Joining { address: &flags.join, secret: &secret, name: &name, keep: flags.keep };
    let workshop = ThisMachine { receipts: flags.receipts.clone() };
    let served = agent(&joining, &workshop, &|| stop.presses() > 0, &mut tell);
    served.map(|()| ExitCode::SUCCESS).map_err(|error: AgentError| {
        let code = error.exit_code();
        (error.to_string(), code)
    })
}

fn tell(news: &AgentNews<'_>) {
    match news {
        AgentNews::Trying { why } => errln!("trying to reach the coordinator: {why}"),
        AgentNews::Joined => errln!("joined; waiting for the run"),
        AgentNews::Preparing(part) => {
            errln!("preparing part {} of {}", part.machine + 1, part.machines);
        }
        AgentNews::Starting { within } => errln!("starting in {} ms", within.as_millis()),
        AgentNews::Ended => errln!("done"),
        AgentNews::Failed(error) => errln!("the run failed: {error}; waiting for the next"),
    }
}
