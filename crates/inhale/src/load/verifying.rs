//! `inhale load verify`: each usage that was acknowledged is asked for.

use std::process::ExitCode;

use ::load::verify::{Progress, VerifyOptions, verify};
use indicatif::{ProgressBar, ProgressStyle};

use super::flags::VerifyFlags;

/// Asks, with a progress bar on a terminal, and tells in one last line.
pub(super) fn run(flags: &VerifyFlags) -> Result<ExitCode, String> {
    let options = VerifyOptions {
        connections: usize::from(flags.connections),
        patience: flags.patience,
        request: flags.request(),
    };
    let style = ProgressStyle::with_template("{bar:30} {percent:>3}%  {msg}")
        .expect("the template is well formed");
    let bar = ProgressBar::new(0).with_style(style);
    let mut progress = |progress: Progress| {
        bar.set_length(progress.bytes_total);
        bar.set_position(progress.bytes);
        bar.set_message(format!("{} asked for", progress.asked));
    };
    let verified = verify(&flags.file, &flags.url, &options, &mut progress);
    bar.finish_and_clear();
    let verified = verified.map_err(|error| format!("{}: {error}", flags.file.display()))?;
    verified.lines().iter().for_each(|line| outln!("{line}"));
    Ok(ExitCode::from(verified.exit_code()))
}
