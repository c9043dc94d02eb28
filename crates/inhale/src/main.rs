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
mod index_check;
mod journal_commands;
mod load;
mod lock_holder;
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

/// clap wraps what it is given as `after_help`, also within the JSON of an example. A template's own text it
/// prints as it stands; a shell takes these lines at any width.
const HELP_TEMPLATE: &str = r#"{about-with-newline}
{usage-heading} {usage}

{all-args}

Start with `inhale serve`, then:
  curl -i http://localhost:3000/api/usages -H 'Content-Type: application/json' \
    -d '{"patientId":"100","timestamp":"Tue Nov 01 2016 09:11:51 GMT-0500 (CDT)","medication":"Albuterol"}'
"#;

/// Stores medication usages from connected inhalers, and acknowledges each only once it is safe on disk.
#[derive(Parser)]
#[command(name = "inhale", version, arg_required_else_help = true, max_term_width = 100)]
#[command(help_template = HELP_TEMPLATE)]
struct CommandLine {
    #[command(subcommand)]
    command: Commands,
}

#[derive(Subcommand)]
enum Commands {
    /// Accept usages over HTTP and store them
    Serve(Layered),
    /// Print the settings that `inhale serve` would use, and where each comes from
    Config(ConfigFlags),
    /// Check or repair a journal, discard files set aside, or rebuild its index, while no server runs on it
    #[command(subcommand)]
    Journal(journal_commands::JournalCommand),
    /// Crash a server under load repeatedly, and verify that no acknowledged usage is lost
    Prove(prove::ProveFlags),
    /// Send requests at a rate or from virtual users, and report how the server performed
    Load(Box<load::LoadCommand>),
    /// Check whether this machine can sustain a rate, and print the command that fixes each shortage
    Doctor(doctor::DoctorFlags),
}

/// The server's settings, and the file that may hold some of them.
#[derive(Args)]
#[command(
    after_help = "Each setting can also come from the environment (--drain-grace: INHALE_DRAIN_GRACE; a list separated by commas) or from the [serve] table of the file given by --config. Flags override environment variables, which override the file. Misspelt names are refused; other variables that begin with INHALE_ cause a warning.\n\nSIGHUP rereads the file. log-level, log-sample, log-slow, drain-grace, shutdown-delay and shutdown-timeout take effect at once; the log names changed settings that need a restart, and those that a flag or variable overrides. SIGUSR1 and SIGUSR2 are logged and ignored."
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
            errln!("inhale: {}", message(&error));
            ExitCode::from(2)
        }
    }
}

/// The error with its causes. One that its effect already states, as errors of libraries do, is not repeated.
fn message(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain().map(ToString::to_string) {
        if parts.last().is_none_or(|stated| !stated.ends_with(&cause)) {
            parts.push(cause);
        }
    }
    parts.join(": ")
}

/// Runs the subcommand: failure when what it looked at is not well. Errors exit with 2.
fn run(parsed: Parsed, harmless: Option<Result<Harmless>>) -> Result<ExitCode> {
    let is_well = match CommandLine::from_arg_matches(&parsed.matches)?.command {
        Commands::Serve(flags) => {
            let harmless = harmless.unwrap_or_else(Harmless::listen)?;
            serve::run(&flags.settings, parsed, &harmless)
                .map(|()| true)
                .map_err(|error| lock_holder::named(error, &flags.settings.data))
        }
        Commands::Config(flags) => {
            for name in &parsed.strangers {
                errln!("warning: no setting belongs to the variable {name}; ignoring it");
            }
            print_config(&flags, &parsed);
            Ok(true)
        }
        Commands::Journal(command) => journal_commands::run(&command)
            .map_err(|error| lock_holder::named(error, command.data())),
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
                (setting.name, json!({ "value": setting.value, "source": setting.source }))
            })
            .collect();
        outln!("{}", serde_json::Value::Object(all));
        return;
    }
    outln!("[serve]");
    for Setting { name, value, source } in settings {
        let line = match value {
            Some(value) => format!("{name} = {value}"),
            None => format!("# {name} is not set"),
        };
        outln!("{line:<44} # {source}");
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
