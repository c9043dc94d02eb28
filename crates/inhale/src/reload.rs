//! Reading the configuration file again, on SIGHUP, while the server runs.

use anyhow::{Result, bail};
use clap::{CommandFactory as _, FromArgMatches as _};

use crate::config::{Parsed, Setting};
use crate::flags::ServeFlags;
use crate::{CommandLine, Commands, LAYERED, settings_of};

/// Settings that take effect at once. Every other one needs a restart, or `--takeover`.
pub(crate) const AT_ONCE: [&str; 6] =
    ["log-level", "log-sample", "log-slow", "drain-grace", "shutdown-delay", "shutdown-timeout"];

/// The settings in force, and where they came from.
pub(crate) struct Reloader {
    parsed: Parsed,
    in_force: Vec<Setting>,
}

/// What reading the file again has come to.
pub(crate) struct Reread {
    /// All settings as a start would have them now.
    pub(crate) flags: ServeFlags,
    /// Those that have changed and take effect at once.
    pub(crate) applied: Vec<String>,
    /// Those that have changed and need a restart.
    pub(crate) need_restart: Vec<String>,
    /// Those in the file that a flag or variable, which is named, stands over.
    pub(crate) overridden: Vec<String>,
}

impl Reloader {
    pub(crate) fn new(parsed: Parsed) -> Self {
        let in_force = settings_of(&parsed);
        Self { parsed, in_force }
    }

    /// Reads the file again. After an error, of which `check` may find some as well, every setting is as
    /// before.
    pub(crate) fn reread(
        &mut self,
        check: impl FnOnce(&ServeFlags) -> Result<()>,
    ) -> Result<Reread> {
        if !self.parsed.file.is_given() {
            bail!("there is no configuration file; name one with --config or INHALE_CONFIG");
        }
        let parsed = self.parsed.again(CommandLine::command(), &LAYERED)?;
        let Commands::Serve(layered) = CommandLine::from_arg_matches(&parsed.matches)?.command
        else {
            bail!("the command line is not that of a server");
        };
        let flags = layered.settings;
        check(&flags)?;
        let (mut applied, mut need_restart, mut overridden) = (vec![], vec![], vec![]);
        for (old, new) in self.in_force.iter_mut().zip(settings_of(&parsed)) {
            if parsed.file.sets(&new.name) && !new.source.starts_with("file ") {
                overridden.push(format!("{} (by {})", new.name, new.source));
            }
            if old.value == new.value {
                continue;
            }
            if AT_ONCE.contains(&new.name.as_str()) {
                applied.push(new.name.clone());
                *old = new;
            } else {
                need_restart.push(new.name);
            }
        }
        Ok(Reread { flags, applied, need_restart, overridden })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_effect_at_once_is_a_setting() {
        let root = CommandLine::command();
        let serve = root.find_subcommand("serve").expect("there is one");
        let names: Vec<_> = serve.get_arguments().filter_map(|arg| arg.get_long()).collect();
        assert!(AT_ONCE.iter().all(|name| names.contains(name)), "{names:?}");
    }
}
