//! `inhale-bench`: the floor that every figure is quoted against, the load client, and the driver
//! that measures a server beside them and writes the result down.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool's answer")]

mod answer;
mod calendar;
mod client;
mod clock;
mod floor;
mod latency;
mod patients;
mod requests;
mod run;
mod schedule;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Measures inhale against the least that any HTTP server could cost on this machine.
#[derive(Parser, Debug)]
#[command(name = "inhale-bench", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Answer every request with a fixed 201 from one bare epoll loop
    Floor(floor::FloorFlags),
    /// Post usages from one thread, as fast as the server answers or at a rate
    Client(client::PostFlags),
    /// Ask for the usages of patients at a rate
    Reads(client::ReadFlags),
    /// Measure a whole table: floor, nginx and inhale in turn
    Run(run::RunFlags),
}

fn main() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Floor(flags) => floor::serve(&flags).map(|()| ExitCode::SUCCESS),
        Command::Client(flags) => client::post(&flags),
        Command::Reads(flags) => client::read(&flags),
        Command::Run(flags) => run::run(&flags),
    }
}
