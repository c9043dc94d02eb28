//! Where a setting comes from: a flag, else the environment, else the configuration file, else the
//! default. One pass over clap's own argument table serves all four, so that no list is kept twice.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::error::{ContextKind, ErrorKind};
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
                    "{}: `{name}` is outside a table; put the server's settings under [serve]",
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
                    "{}: unknown table [{table}]; the only table is [serve]",
                    self.path.display()
                );
            };
            for (key, values) in keys {
                let settings = command.get_arguments().filter(|arg| is_setting(arg));
                let names: Vec<&str> = settings.filter_map(Arg::get_long).collect();
                if !names.contains(&key.as_str()) {
                    let dashed = key.replace('_', "-").to_lowercase();
                    let hint = environment::nearest(&dashed, &names)
                        .map_or(String::new(), |name| format!("; did you mean `{name}`?"));
                    bail!(
                        "{}: [{table}] has no setting `{key}`{hint}; `inhale {table} --help` lists the settings",
                        self.path.display()
                    );
                }
                check_values(root, key, values)
                    .with_context(|| format!("{}: [{table}] {key}", self.path.display()))?;
            }
        }
        Ok(())
    }
}

/// Tries the values of the server's setting `key` as flags: where they come from, clap does not know.
fn check_values(root: &Command, key: &str, values: &[String]) -> Result<()> {
    let typed = values.iter().map(|value| format!("--{key}={value}"));
    let words = ["inhale", "serve"].map(str::to_owned).into_iter().chain(typed);
    let Err(error) = root.clone().try_get_matches_from(words) else { return Ok(()) };
    let text = error.render().to_string();
    // Without the lines about usage and help, which are about flags.
    let said = text.lines().map(str::trim).take_while(|line| !line.starts_with("For more"));
    let said: Vec<_> = said.filter(|line| !line.is_empty()).collect();
    bail!("{}", said.join(" ").trim_start_matches("error: "))
}

/// Refuses a value in the environment by the name of its variable, if one is at fault.
fn check_variables(root: &Command, layered: &[&str]) -> Result<()> {
    for name in layered.iter().filter_map(|name| root.find_subcommand(name)) {
        for key in name.get_arguments().filter(|arg| is_setting(arg)).filter_map(Arg::get_long) {
            let variable = variable_of(key);
            let Ok(value) = std::env::var(&variable) else { continue };
            let is_list = |arg: &&Arg| arg.get_long() == Some(key) && is_list(arg);
            let values: Vec<_> = match name.get_arguments().any(|arg| is_list(&arg)) {
                true => value.split(LIST_SEPARATOR).map(str::to_owned).collect(),
                false => vec![value],
            };
            check_values(root, key, &values).context(variable)?;
        }
    }
    Ok(())
}

/// Whether a setting may have several values: repeated as a flag, an array in the file.
fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

/// What separates the values of a list in a variable, and in a flag that is given once.
const LIST_SEPARATOR: char = ',';

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
                    let arg = if is_list(&arg) { arg.value_delimiter(LIST_SEPARATOR) } else { arg };
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
    /// Variables that begin as settings do, but do not belong to one.
    pub(crate) strangers: Vec<String>,
    args: Vec<OsString>,
}

/// Parses the command line as [`read`] does. clap's own errors end the process.
pub(crate) fn parse(root: Command, layered: &[&str], args: Vec<OsString>) -> Result<Parsed> {
    let (layered_root, file, known) = read(root.clone(), layered, &args)?;
    let matches = match layered_root.try_get_matches_from(&args) {
        Ok(matches) => matches,
        Err(error) => {
            if error.use_stderr()
                && args.get(1).is_some_and(|word| layered.iter().any(|l| word == l))
            {
                check_variables(&root, layered)?;
            }
            exit(&error, &args)
        }
    };
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

/// Prints what clap reports and exits: with 2 for an error, as everywhere, but for `load` with k6's code.
fn exit(error: &clap::Error, args: &[OsString]) -> ! {
    // Nothing can be reported when even that fails.
    let _ = error.print();
    let word = error.get(ContextKind::InvalidArg).map(ToString::to_string);
    if error.kind() == ErrorKind::UnknownArgument
        && word.is_some_and(|word| !word.starts_with('-'))
        && args.get(1).is_some_and(|command| command != "load" && command != "prove")
    {
        errln!("\n  tip: name the store's directory with `--data DIR`");
    }
    if let Some(tip) = habit(args) {
        errln!("\n  tip: {tip}");
    }
    let is_load = args.get(1).is_some_and(|word| word == "load");
    let code = if error.use_stderr() && is_load {
        i32::from(load::outcome::exit::CONFIGURATION)
    } else {
        error.exit_code()
    };
    std::process::exit(code)
}

/// What `inhale load` calls an option that other load generators have.
fn habit(args: &[OsString]) -> Option<&'static str> {
    const HABITS: [(&str, &str); 8] = [
        ("-z", "for how long requests are started, use `-d` (--duration)"),
        ("-n", "for a number of requests, use `-i` (--iterations)"),
        ("-m", "for the method, use `-X` (--method)"),
        ("-T", "for the media type, use `-H 'Content-Type: …'`"),
        ("-P", "for the body, use `-b` (--body)"),
        ("-p", "for a file with the body, use `--body-file`"),
        ("-C", "for cookies, use `-H 'Cookie: …'`"),
        ("-w", "for the connections, use `-c` (--connections)"),
    ];
    let is_load = args.get(1).is_some_and(|word| word == "load");
    let typed = args.iter().filter_map(|arg| arg.to_str());
    let known =
        |arg: &str| HABITS.iter().find(|(flag, _)| arg.starts_with(flag) && !arg.starts_with("--"));
    typed.filter_map(known).map(|(_, tip)| *tip).next().filter(|_| is_load)
}

/// One setting in force.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Setting {
    /// The flag's name without dashes, which is also the file's key.
    pub name: String,
    /// As the file would have it; `None` when it is not set.
    pub value: Option<toml::Value>,
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
            let typed = |raw: &std::ffi::OsStr| typed_value(arg, &raw.to_string_lossy());
            let values: Vec<_> = matches.get_raw(id).unwrap_or_default().map(typed).collect();
            let value = match is_list(arg) {
                true => Some(toml::Value::Array(values)),
                false => values.into_iter().next(),
            };
            let source = match matches.value_source(id) {
                Some(ValueSource::CommandLine) => format!("flag --{long}"),
                Some(ValueSource::EnvVariable) => format!("environment {}", variable_of(&long)),
                _ if table.is_some_and(|keys| keys.contains_key(&long)) => {
                    format!("file {}", file.path.display())
                }
                _ => "default".to_owned(),
            };
            Setting { name: long, value, source }
        })
        .collect()
}

/// A value in the type that the file would have it in.
fn typed_value(arg: &Arg, text: &str) -> toml::Value {
    let parsed = arg.get_value_parser().type_id();
    let is = |kind: TypeId| parsed == kind;
    let whole =
        [TypeId::of::<usize>(), TypeId::of::<u64>(), TypeId::of::<u32>(), TypeId::of::<u16>()];
    let typed = if is(TypeId::of::<bool>()) {
        text.parse().ok().map(toml::Value::Boolean)
    } else if whole.into_iter().any(is) {
        text.parse().ok().map(toml::Value::Integer)
    } else {
        None
    };
    typed.unwrap_or_else(|| toml::Value::String(text.to_owned()))
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
                value: Some(match values {
                    [one] if *name != "many" => (*one).into(),
                    _ => values.to_vec().into(),
                }),
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
