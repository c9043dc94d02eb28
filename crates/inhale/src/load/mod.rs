//! `inhale load`: from what was typed to a plan, and from there to whoever carries it out.

mod agent;
mod flags;
mod running;
mod show;
mod stopping;
mod telling;
mod typed;
mod verifying;
mod watching;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use load::outcome::exit;
use load::plan::Options;

use flags::{AgentFlags, LoadFlags, VerifyFlags};

/// `inhale load`, with what may stand in the place of a URL.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(override_usage = "inhale load [OPTIONS] URL\n       inhale load <COMMAND>")]
#[command(after_help = EXAMPLES, after_long_help = LONG_EXAMPLES)]
pub(crate) struct LoadCommand {
    #[command(subcommand)]
    command: Option<LoadSubcommand>,
    #[command(flatten)]
    flags: LoadFlags,
}

#[derive(Subcommand)]
enum LoadSubcommand {
    /// Ask a server for every usage that it acknowledged, from the file that --receipts wrote
    Verify(VerifyFlags),
    /// Run a part of a load that is coordinated elsewhere (`inhale load --agents`)
    Agent(AgentFlags),
}

const EXAMPLES: &str = "Examples:
  inhale load http://localhost:3000/api/usages
  inhale load http://localhost:3000/api/usages --rate 1M/m -d 60s -t 'http_req_duration: p(95)<5ms'
  inhale load http://localhost:3000/api/usages -u 100 -d 30s --think 1s..3s

`inhale load --help` says more: templates, checks, thresholds, exit codes.";

const LONG_EXAMPLES: &str = r#"Examples:
  See how a server does, at 100 requests a second for 10 seconds:
    inhale load http://localhost:3000/api/usages
  A million different patients in a minute, and the answer whether that was well:
    inhale load http://localhost:3000/api/usages --rate 1M/m -d 60s \
        -t 'http_req_duration: p(95)<5ms' -t 'check_failure_rate: rate<0.01' --html report.html
  The same with a new connection for everyone:
    inhale load http://localhost:3000/api/usages --rate 1M/m -d 60s --connection-per-user
  As k6 would: 100 users who think, then a ramp of users, then a ramp of the rate:
    inhale load http://localhost:3000/api/usages -u 100 -d 30s --think 1s..3s
    inhale load http://localhost:3000/api/usages -s 30s:100 -s 1m:100 -s 10s:0
    inhale load http://localhost:3000/api/usages -s 30s:5k/s -s 1m:5k/s
  Any other service, and a look at the plan without sending anything:
    inhale load http://localhost:8080/orders/{{seq}} -X PUT --check 'status is 204' \
        -H 'Authorization: Bearer {{data.token}}' -b '{"n": {{pick 1 2 3}}}' --data users.csv --plan
  Two scenarios side by side, from a file:
    inhale load -f morning.toml

Templates, in the URL's path and query, in headers and in the body:
  {{patient}}      a number from 100 up, --patients of them in turn
  {{seq}}          the request's number, from 0
  {{uuid}}         a UUID, the same wherever it stands in one request
  {{now}}          2016-11-01T14:11:51.123Z
  {{now_js}}       Tue Nov 01 2016 14:11:51 GMT+0000 (Coordinated Universal Time)
  {{medication}}   a medication's name
  {{pick a b c}}   one of the words
  {{data.COLUMN}}  from the row of --data whose turn it is
Everything but the time follows from --seed and the request's number. In a JSON body, values of
--data are escaped to stand between quotes; in a path, they are percent-encoded.

Latency counts from the instant a request was due, so that a server which stalls is charged for
those who had to wait; http_req_duration{from:sent} counts from sending, as k6 does.

A scenario file holds the same by the same names, what all scenarios share at the top:
  url = "http://localhost:3000/api/usages"
  thresholds = ["http_req_duration{scenario:day}: p(99)<20ms"]
  [scenarios.day]
  rate = "1M/m"
  duration = "60s"
  shape = "daily"
  [scenarios.readers]
  url = "http://localhost:3000/api/usages?patientId={{patient}}"
  method = "GET"
  vus = 10
  duration = "60s"

Exit codes: 0 all thresholds hold, 1 they do but a file or the report could not be written, 99 one
does not, 104 bad configuration (nothing was sent), 105 interrupted, 120 the generator itself was
too slow, 121 an agent was lost or its part broke off, 122 the server's counters or its usages
disagree with what it acknowledged, 123 this agent lost its coordinator."#;

/// Carries the command out. Whatever comes of it is an exit code.
pub(crate) fn run(command: &LoadCommand) -> ExitCode {
    let wrong = |words| (words, exit::CONFIGURATION);
    let done = match &command.command {
        Some(LoadSubcommand::Verify(flags)) => verifying::run(flags).map_err(wrong),
        Some(LoadSubcommand::Agent(flags)) => agent::run(flags),
        None => options(&command.flags)
            .map_err(wrong)
            .and_then(|options| running::run(&command.flags, &options)),
    };
    done.unwrap_or_else(|(words, code)| {
        for line in words.lines() {
            errln!("inhale load: {line}");
        }
        ExitCode::from(code)
    })
}

/// What flags and file say together. A run whose seed nobody chose gets one of its own, so that its
/// ids are new to a server that has seen the last run's.
fn options(flags: &LoadFlags) -> Result<Options, String> {
    let typed = flags.options()?;
    let mut options = match &flags.file {
        None => typed,
        Some(path) => Options::read(path).map_err(|error| error.to_string())?.overlaid(&typed),
    };
    // Short enough to be typed again.
    options.seed.get_or_insert_with(|| load::clock::wall_ns() / 1_000 % 1_000_000_000);
    Ok(options)
}
