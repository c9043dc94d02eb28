//! The driver.

use anyhow::Result;
use clap::Args;
use std::process::ExitCode;

/// Options of `inhale-bench run`.
#[derive(Args, Debug, Clone)]
pub(crate) struct RunFlags {}

pub(crate) fn run(_flags: &RunFlags) -> Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
