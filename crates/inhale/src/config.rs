//! Where a setting comes from: a flag, else the environment, else the configuration file, else the
//! default. One pass over clap's own argument table serves all four, so that no list is kept twice.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::environment;

/// A configuration file: a table for each subcommand, holding values as they would be typed.
#[derive(Default)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    tables: BTreeMap<String, BTreeMap<String, Vec<String>>>,
}

impl ConfigFile {
    /// Whether there is one.
    pub(crate) fn is_given(&self) -> bool {
        !self.path.as_os_str().is_empty()
    }

    /// Whether it holds a setting of the server.
    pub(crate) fn sets(&self, name: &str) -> bool {
        self.tables.get("serve").is_some_and(|keys| keys.contains_key(name))
    }

    /// Reads and parses `path`. Errors name the file and the line.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!("cannot read the configuration file {} (--config)", path.display())
        })?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self> {
        let whole: toml::Table =
            text.parse().with_context(|| format!("{} is not valid TOML", path.display()))?;
        let mut tables = BTreeMap::new();
        for (name, value) in whole {
            let toml::Value::Table(table) = value else {
                bail!(
                    "{}: `{name}` stands outside a table; settings of the server go under [serve]",
                    path.display()
                );
            };
            let mut keys = BTreeMap::new();
            for (key, value) in table {
                let typed = typed_values(&value)
                    .with_context(|| format!("{}: [{name}] {key}", path.display()))?;
                keys.insert(key, typed);
            }
            tables.insert(name, keys);
        }
        Ok(Self { path: path.to_owned(), tables })
    }

    /// Refuses tables and keys that are no settings of the server, and values that are none.
    fn check(&self, root: &Command) -> Result<()> {
        for (table, keys) in &self.tables {
            let command = root.find_subcommand(table).filter(|_| table == "serve");
            let Some(command) = command else {
                bail!(
                    "{}: there is no [{table}] table; the one there is: [serve]",
                    self.path.display()
                );
            };
            for (key, values) in keys {
                if !command
                    .get_arguments()
                    .any(|arg| is_setting(arg) && arg.get_long() == Some(key))
                {
                    bail!(
                        "{}: [{table}] has no setting `{key}`; `inhale {table} --help` lists them",
                        self.path.display()
                    );
                }
                self.check_values(root, table, key, values)?;
            }
        }
        Ok(())
    }

    /// Tries the values as flags, so that a refusal may say where they stand.
    fn check_values(
        &self,
        root: &Command,
        table: &str,
        key: &str,
        values: &[String],
    ) -> Result<()> {
        let typed = values.iter().map(|value| format!("--{key}={value}"));
        let words = ["inhale", table].map(str::to_owned).into_iter().chain(typed);
        if let Err(error) = root.clone().try_get_matches_from(words) {
            let text = error.render().to_string();
            let why = text.lines().next().unwrap_or_default();
            bail!("{}: {}", self.path.display(), why.trim_start_matches("error: "));
        }
        Ok(())
    }
}

/// A TOML value as the strings somebody would type on the command line.
fn typed_values(value: &toml::Value) -> Result<Vec<String>> {
    Ok(match value {
        toml::Value::String(text) => vec![text.clone()],
        toml::Value::Integer(number) => vec![number.to_string()],
        toml::Value::Boolean(truth) => vec![truth.to_string()],
        toml::Value::Array(items) => {
            let mut all = Vec::with_capacity(items.len());
            for item in items {
                all.extend(typed_values(item)?);
            }
            all
        }
        _ => bail!("is neither text, a whole number, true or false, nor a list of those"),
    })
}

/// Whether an argument is a setting, that is: may also come from the environment and the file.
fn is_setting(arg: &Arg) -> bool {
    arg.get_long().is_some()
        && !matches!(
            arg.get_action(),
            ArgAction::Help | ArgAction::HelpLong | ArgAction::HelpShort | ArgAction::Version
        )
        && !["help", "version", "config", "json"].contains(&arg.get_id().as_str())
}

/// The variable that stands for a flag: `--drain-grace` is `INHALE_DRAIN_GRACE`.
fn variable_of(flag: &str) -> String {
    format!("{}{}", environment::PREFIX, flag.replace('-', "_").to_uppercase())
}

/// Gives the settings of `layered` subcommands their environment variables, and what the file says
/// as their default.
fn layer(root: Command, layered: &[&str], file: &ConfigFile) -> Command {
    let mut root = root;
    for name in layered {
        // `inhale config` shows what `inhale serve` would use, so it reads the same table.
        let table = file.tables.get("serve");
        root = root.mut_subcommand(*name, |command| {
            let settings: Vec<_> = command
                .get_arguments()
                .filter(|arg| is_setting(arg))
                .map(|arg| (arg.get_id().clone(), arg.get_long().unwrap_or_default().to_owned()))
                .collect();
            settings.into_iter().fold(command, |command, (id, long)| {
                let from_file = table.and_then(|keys| keys.get(&long)).cloned();
                command.mut_arg(id, |arg| {
                    let arg = arg.env(variable_of(&long)).hide_env(true);
                    match from_file {
                        Some(values) => arg.default_values(values),
                        None => arg,
                    }
                })
            })
        });
    }
    root
}

/// What was said on the command line and around it.
pub(crate) struct Parsed {
    pub(crate) matches: ArgMatches,
    pub(crate) file: ConfigFile,
    /// Variables that begin as settings do, and are none.
    pub(crate) strangers: Vec<String>,
    args: Vec<OsString>,
}

/// Parses the command line as [`read`] does. clap's own errors end the process.
pub(crate) fn parse(root: Command, layered: &[&str], args: Vec<OsString>) -> Result<Parsed> {
    let (layered_root, file, known) = read(root, layered, &args)?;
    let matches = layered_root.try_get_matches_from(&args);
    let matches = matches.unwrap_or_else(|error| exit(&error, &args));
    let mut strangers = Vec::new();
    if matches.subcommand_name().is_some_and(|name| layered.contains(&name)) {
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        strangers = environment::strangers(names, &known)?;
    }
    Ok(Parsed { matches, file, strangers, args })
}

impl Parsed {
    /// The same command line with the configuration file as it is now.
    pub(crate) fn again(&self, root: Command, layered: &[&str]) -> Result<Self> {
        let (layered_root, file, _) = read(root, layered, &self.args)?;
        // What clap says of it may take several lines; the first one names what is wrong.
        let matches = layered_root.try_get_matches_from(&self.args).map_err(|error| {
            let text = error.render().to_string();
            anyhow!(
                text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
            )
        })?;
        let (strangers, args) = (self.strangers.clone(), self.args.clone());
        Ok(Self { matches, file, strangers, args })
    }
}

/// Reads the command line in two passes: the first finds `--config`, the second lets the file's values
/// stand where neither a flag nor a variable does. Returns the command for the second pass, the file,
/// and every variable that stands for a setting.
fn read(
    root: Command,
    layered: &[&str],
    args: &[OsString],
) -> Result<(Command, ConfigFile, Vec<String>)> {
    let first = root.clone().ignore_errors(true).try_get_matches_from(args);
    let path = first.ok().and_then(|matches| {
        let from =
            |matches: &ArgMatches| matches.try_get_one::<PathBuf>("config").ok().flatten().cloned();
        from(&matches).or_else(|| matches.subcommand().and_then(|(_, sub)| from(sub)))
    });
    let file = match path {
        Some(path) => ConfigFile::read(&path)?,
        None => ConfigFile::default(),
    };
    file.check(&root)?;
    let known = variables(&root, layered);
    Ok((layer(root, layered, &file), file, known))
}

/// Every variable that stands for a setting of `layered` subcommands, or for the file.
fn variables(root: &Command, layered: &[&str]) -> Vec<String> {
    let commands = layered.iter().filter_map(|name| root.find_subcommand(name));
    let settings = commands.flat_map(Command::get_arguments).filter(|arg| is_setting(arg));
    let names = settings.filter_map(|arg| arg.get_long().map(variable_of));
    let mut names: Vec<_> = names.chain([variable_of("config")]).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Tells what clap has to say and ends: with 2 when it is an error, as everywhere, but for `load`
/// with k6's code for it.
fn exit(error: &clap::Error, args: &[OsString]) -> ! {
    // Nobody is left to tell when even that fails.
    let _ = error.print();
    let is_load = args.get(1).is_some_and(|word| word == "load");
    let code = if error.use_stderr() && is_load {
        i32::from(load::outcome::exit::CONFIGURATION)
    } else {
        error.exit_code()
    };
    std::process::exit(code)
}

/// One setting in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The flag's name without dashes, which is also the file's key.
    pub name: String,
    /// As it would be typed; several when the flag may be repeated.
    pub values: Vec<String>,
    /// `default`, `flag --x`, `environment INHALE_X` or `file PATH`.
    pub source: String,
}

/// Every setting of `command` with its value and where that came from, in the order of `--help`.
pub(crate) fn in_force(command: &Command, matches: &ArgMatches, file: &ConfigFile) -> Vec<Setting> {
    let table = file.tables.get("serve");
    command
        .get_arguments()
        .filter(|arg| is_setting(arg))
        .map(|arg| {
            let long = arg.get_long().unwrap_or_default().to_owned();
            let id = arg.get_id().as_str();
            let values = matches
                .get_raw(id)
                .map(|raw| raw.map(|value| value.to_string_lossy().into_owned()).collect())
                .unwrap_or_default();
            let source = match matches.value_source(id) {
                Some(ValueSource::CommandLine) => format!("flag --{long}"),
                Some(ValueSource::EnvVariable) => format!("environment {}", variable_of(&long)),
                _ if table.is_some_and(|keys| keys.contains_key(&long)) => {
                    format!("file {}", file.path.display())
                }
                _ => "default".to_owned(),
            };
            Setting { name: long, values, source }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory as _, Parser};

    #[derive(Parser)]
    #[command(name = "inhale")]
    struct Sample {
        #[command(subcommand)]
        command: SampleCommand,
    }

    #[derive(clap::Subcommand)]
    enum SampleCommand {
        Serve {
            #[arg(long)]
            config: Option<PathBuf>,
            #[arg(long, default_value = "a")]
            one: String,
            #[arg(long, default_values = ["x", "y"])]
            many: Vec<String>,
        },
    }

    fn check(toml: &str, args: &[&str], expected: &[(&str, &[&str], &str)]) {
        let file = ConfigFile::parse(Path::new("c.toml"), toml).expect("the sample parses");
        let root = Sample::command();
        file.check(&root).expect("the sample's names are known");
        let command = layer(root, &["serve"], &file);
        let matches = command.clone().try_get_matches_from(args).expect("the arguments parse");
        let (_, serve) = matches.subcommand().expect("serve was given");
        let found = in_force(command.find_subcommand("serve").expect("it is there"), serve, &file);
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, values, source)| Setting {
                name: (*name).to_owned(),
                values: values.iter().map(|value| (*value).to_owned()).collect(),
                source: (*source).to_owned(),
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn flags_stand_over_the_file_and_the_file_over_defaults() {
        check(
            "",
            &["inhale", "serve"],
            &[("one", &["a"], "default"), ("many", &["x", "y"], "default")],
        );
        check(
            "[serve]\none = 'b'\nmany = ['z']",
            &["inhale", "serve"],
            &[("one", &["b"], "file c.toml"), ("many", &["z"], "file c.toml")],
        );
        check(
            "[serve]\none = 'b'",
            &["inhale", "serve", "--one", "c"],
            &[("one", &["c"], "flag --one"), ("many", &["x", "y"], "default")],
        );
    }

    #[test]
    fn unknown_names_are_refused() {
        for (toml, word) in [
            ("[serve]\nlisen = 'x'", "lisen"),
            ("[sevre]\none = 'x'", "sevre"),
            ("one = 'x'", "one"),
            ("[serve]\none = { a = 1 }", "one"),
            ("[serve\n", "TOML"),
            ("[serve]\none = ['x', 'y']", "--one"),
        ] {
            let refused = ConfigFile::parse(Path::new("c.toml"), toml)
                .and_then(|file| file.check(&Sample::command()))
                .expect_err("the name is unknown");
            assert!(format!("{refused:#}").contains(word), "{refused:#}");
        }
    }
}
