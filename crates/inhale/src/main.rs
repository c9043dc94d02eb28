//! The one binary: subcommands, each in a file of its own.

/// Prints a line to standard output.
macro_rules! outln {
    ($($part:tt)*) => {{
        use std::io::Write as _;
        // A reader that went away (`inhale … | head`) is no error of ours.
        let _ = writeln!(std::io::stdout(), $($part)*);
    }};
}

/// Prints a line to standard error.
macro_rules! errln {
    ($($part:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($part)*);
    }};
}

mod checks;
mod clock;
mod config;
mod descriptors;
mod doctor;
mod environment;
mod flags;
mod journal_commands;
mod load;
mod prove;
mod reload;
mod serve;
mod signals;
mod takeover;
mod units;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use serde_json::json;

use config::{Parsed, Setting};
use flags::ServeFlags;
use signals::Harmless;

/// Every request allocates some seven times and frees as often, next to buffers of whole batches,
/// which is what glibc's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Takes in medication usages from connected inhalers, and answers only once each is safe on disk.
#[derive(Parser)]
#[command(name = "inhale", version, arg_required_else_help = true, max_term_width = 100)]
#[command(
    after_help = "Start with `inhale serve`, then:\n  curl -i http://localhost:3000/api/usages -H 'Content-Type: application/json' \\\n    -d '{\"patientId\":\"100\",\"timestamp\":\"Tue Nov 01 2016 09:11:51 GMT-0500 (CDT)\",\"medication\":\"Albuterol\"}'"
)]
struct CommandLine {
    #[command(subcommand)]
    command: Commands,
}

#[derive(Subcommand)]
enum Commands {
    /// Take usages in over HTTP and keep them
    Serve(Layered),
    /// Print the settings `inhale serve` would run with, and where each comes from
    Config(ConfigFlags),
    /// Check, repair or index a journal while no server runs on it
    #[command(subcommand)]
    Journal(journal_commands::JournalCommand),
    /// Crash a server under load again and again, and show that nothing acknowledged is lost
    Prove(prove::ProveFlags),
    /// Send requests at a rate or from users, and tell how the server did
    Load(Box<load::LoadCommand>),
    /// Check what a rate needs of this machine, and print the command that mends each shortage
    Doctor(doctor::DoctorFlags),
}

/// The server's settings, and the file that may hold some of them.
#[derive(Args)]
#[command(
    after_help = "Each setting may also stand in the environment (--drain-grace: INHALE_DRAIN_GRACE) or in the\nfile given by --config, under [serve]. A flag stands over the environment, that over the file.\nNames that are misspelt are refused; another variable that begins with INHALE_ is warned of.\n\nSIGHUP reads the file again. log-level, log-sample, log-slow, drain-grace, shutdown-delay and\nshutdown-timeout take effect at once; the log names changed settings that need a restart, and those\nthat a flag or variable overrides. SIGUSR1 and SIGUSR2 are logged and ignored."
)]
struct Layered {
    /// TOML file with a [serve] table of settings named as the flags are
    #[arg(long, value_name = "FILE", env = "INHALE_CONFIG", hide_env = true)]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: ServeFlags,
}

#[derive(Args)]
struct ConfigFlags {
    /// Print one JSON object instead of TOML
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    layered: Layered,
}

/// Subcommands whose settings may also stand in the environment and the configuration file.
const LAYERED: [&str; 2] = ["serve", "config"];

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    // First of all, for until then they kill.
    let harmless = args.get(1).filter(|word| *word == "serve").map(|_| Harmless::listen());
    let outcome = config::parse(CommandLine::command(), &LAYERED, args)
        .and_then(|parsed| run(parsed, harmless));
    match outcome {
        Ok(code) => code,
        Err(error) => {
            errln!("inhale: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs the subcommand: failure when what it looked at is not well. Errors exit with 2.
fn run(parsed: Parsed, harmless: Option<Result<Harmless>>) -> Result<ExitCode> {
    let is_well = match CommandLine::from_arg_matches(&parsed.matches)?.command {
        Commands::Serve(flags) => {
            let harmless = harmless.unwrap_or_else(Harmless::listen)?;
            serve::run(&flags.settings, parsed, &harmless).map(|()| true)
        }
        Commands::Config(flags) => {
            for name in &parsed.strangers {
                errln!("warning: the variable {name} stands for no setting; it is passed over");
            }
            print_config(&flags, &parsed);
            Ok(true)
        }
        Commands::Journal(command) => journal_commands::run(&command),
        Commands::Prove(flags) => prove::run(&flags),
        Commands::Doctor(flags) => doctor::run(&flags),
        // Its exit codes are k6's.
        Commands::Load(command) => return Ok(load::run(&command)),
    };
    is_well.map(|is_well| if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every setting of the subcommand that is being run.
fn settings_of(parsed: &Parsed) -> Vec<Setting> {
    let root = CommandLine::command();
    let (name, own) = parsed.matches.subcommand().expect("one is being run");
    let command = root.find_subcommand(name).expect("it is being run");
    config::in_force(command, own, &parsed.file)
}

fn print_config(flags: &ConfigFlags, parsed: &Parsed) {
    let settings = settings_of(parsed);
    if flags.json {
        let all: serde_json::Map<_, _> = settings
            .into_iter()
            .map(|setting| {
                (setting.name, json!({ "values": setting.values, "source": setting.source }))
            })
            .collect();
        outln!("{}", serde_json::Value::Object(all));
        return;
    }
    outln!("[serve]");
    for setting in settings {
        let values: Vec<_> = setting.values.iter().map(|value| format!("{value:?}")).collect();
        let line = match values.as_slice() {
            [] => format!("# {} is not set", setting.name),
            [one] => format!("{} = {one}", setting.name),
            many => format!("{} = [{}]", setting.name, many.join(", ")),
        };
        outln!("{line:<44} # {}", setting.source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        CommandLine::command().debug_assert();
    }
}
