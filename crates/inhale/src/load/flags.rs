//! The options of `inhale load`. Most are handed on as they were typed: what they mean is for
//! [`Options::build`] to find out, which tells everything that is wrong at once.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{ArgAction, Args};
use load::plan::{Options, ScenarioOptions};

/// What `inhale load` is told.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct LoadFlags {
    /// Where requests go, such as http://localhost:3000/api/usages; path and query may hold templates
    #[arg(value_name = "URL")]
    pub url: Option<String>,

    /// Scenario file (TOML): keys are named as these flags, lists by their plural. Flags stand over it
    #[arg(short = 'f', long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    #[command(flatten)]
    arrivals: ArrivalFlags,
    #[command(flatten)]
    content: ContentFlags,
    #[command(flatten)]
    connections: ConnectionFlags,
    #[command(flatten)]
    tls: TlsFlags,
    #[command(flatten)]
    pub(crate) verdict: VerdictFlags,
    #[command(flatten)]
    pub(crate) output: OutputFlags,
    #[command(flatten)]
    pub(crate) machines: MachineFlags,
}

/// Who comes when.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Who comes when")]
struct ArrivalFlags {
    /// Requests at a rate, whatever the server does (open model): 1M/m, 16700/s, 100 [default: 100/s]
    #[arg(long, value_name = "RATE", allow_hyphen_values = true)]
    rate: Option<String>,

    /// How long requests begin: 30s, 1m30s [default: 10s]
    #[arg(short = 'd', long, value_name = "DURATION", allow_hyphen_values = true)]
    duration: Option<String>,

    /// Users, each of whom sends its next request after its last answer (closed model)
    #[arg(short = 'u', long, value_name = "N", allow_hyphen_values = true)]
    vus: Option<String>,

    /// So many requests altogether, shared by the users; with --rate, the run ends after them
    #[arg(short = 'i', long, value_name = "N", allow_hyphen_values = true)]
    iterations: Option<String>,

    /// Go to a number of users (30s:100) or to a rate (30s:5k/s) in this time. May be repeated
    #[arg(short = 's', long, value_name = "TIME:TARGET")]
    stage: Vec<String>,

    /// The most requests a second that all users of a scenario begin together, as in k6 (closed model);
    /// iteration_duration leaves out the time that they are held back
    #[arg(long, value_name = "N")]
    rps: Option<String>,

    /// k6's name of what comes, where the flags leave it open: per-vu-iterations, ramping-arrival-rate
    #[arg(long, value_name = "NAME")]
    executor: Option<String>,

    /// Time between an answer and its user's next request: 1s, or 1s..3s at random
    #[arg(long, value_name = "TIME[..TIME]", allow_hyphen_values = true)]
    think: Option<String>,

    /// The rate over time: `daily` has a day's morning and evening peak in --duration [default: flat]
    #[arg(long, value_name = "flat|daily")]
    shape: Option<String>,

    /// Begin so long after the run's start; for the scenarios of a file
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    start: Option<String>,

    /// Drop requests that are later than this, instead of sending each however late
    #[arg(long, value_name = "DURATION")]
    late_max: Option<String>,
}

/// What requests say.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "What requests say")]
struct ContentFlags {
    /// Method [default: POST]
    #[arg(short = 'X', long, value_name = "METHOD")]
    method: Option<String>,

    /// Header; its value may hold templates. May be repeated
    #[arg(short = 'H', long, value_name = "NAME: VALUE")]
    header: Vec<String>,

    /// Body, a template [default: a usage of patient load-{{patient}} at {{now_js}} with {{medication}}]
    #[arg(short = 'b', long, value_name = "TEXT")]
    body: Option<String>,

    /// File that holds the body, sent byte for byte
    #[arg(long, value_name = "FILE", conflicts_with = "body")]
    body_file: Option<String>,

    /// Rows for {{data.COLUMN}}: CSV with a line of names, or NDJSON; one for each request, in turn
    #[arg(long, value_name = "FILE")]
    data: Option<String>,

    /// Different patients, who come in turn [default: 1M]
    #[arg(long, value_name = "N")]
    patients: Option<String>,

    /// Usages in a request: the body so often, as lines of NDJSON [default: 1]
    #[arg(long, value_name = "N")]
    batch: Option<String>,

    /// Send an Idempotency-Key with each request: a UUID, or what TEMPLATE says
    #[arg(long, alias = "idempotency-keys", value_name = "TEMPLATE", num_args = 0..=1, require_equals = true, default_missing_value = "{{uuid}}")]
    idempotency_key: Option<String>,

    /// Number that {{uuid}}, {{medication}} and {{pick}} follow from [default: another in each run]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// What carries them.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Connections")]
struct ConnectionFlags {
    /// Connections at once, over all machines [default: 512; 4096 with --connection-per-user; of more
    /// than four scenarios fewer each; one for each of --vus]
    #[arg(short = 'c', long, value_name = "N")]
    connections: Option<String>,

    /// A new connection for each request, as if each came from another device
    #[arg(long, visible_alias = "no-connection-reuse")]
    connection_per_user: bool,

    /// Who closes such a connection first, and so keeps its port for a minute [default: server; client
    /// with --http2]
    #[arg(long, value_name = "client|server")]
    close: Option<String>,

    /// Speak HTTP/2; without TLS, with prior knowledge
    #[arg(long)]
    http2: bool,

    /// Requests at once on a connection of HTTP/2 [default: 100]
    #[arg(long, value_name = "N")]
    streams: Option<String>,

    /// Source addresses: 127.0.0.2-127.0.0.9, 10.0.0.0/28 [default: the system's; on
    /// loopback as many as --connection-per-user needs]
    #[arg(long, value_name = "IP[-IP|/BITS]")]
    local_ips: Vec<String>,

    /// Time for an answer to be whole [default: 60s]
    #[arg(long, value_name = "DURATION")]
    timeout: Option<String>,

    /// Time for a connection, and TLS on it, to stand [default: 10s]
    #[arg(long, value_name = "DURATION")]
    connect_timeout: Option<String>,
}

/// How they are kept secret.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "TLS")]
struct TlsFlags {
    /// Authorities to trust instead of the system's (PEM)
    #[arg(long, value_name = "FILE")]
    ca: Option<String>,

    /// Certificate to show (PEM)
    #[arg(long, value_name = "FILE")]
    cert: Option<String>,

    /// Its private key (PEM)
    #[arg(long, value_name = "FILE")]
    key: Option<String>,

    /// Trust any certificate
    #[arg(short = 'k', long)]
    insecure_skip_tls_verify: bool,

    /// Make a full handshake for each new connection instead of resuming
    #[arg(long)]
    no_tls_resume: bool,
}

/// What must hold.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Verdict")]
pub(crate) struct VerdictFlags {
    /// What each answer must be: 'header durability is fsync', 'json /id exists', 'body contains ok',
    /// or none. May be repeated [default: status is 201; 200 if not a POST]
    #[arg(long, value_name = "CHECK")]
    check: Vec<String>,

    /// What must hold for exit code 0: 'http_req_duration: p(95)<5ms', 'checks: rate>0.99'. May be
    /// repeated
    #[arg(short = 't', long, value_name = "METRIC: CONDITION")]
    threshold: Vec<String>,

    /// End the run as soon as a threshold does not hold
    #[arg(long)]
    abort_on_fail: bool,

    /// But not before this time
    #[arg(long, value_name = "DURATION")]
    abort_delay: Option<String>,

    /// Tag, for thresholds ('checks{NAME:VALUE}: …') and reports. May be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    tag: Vec<String>,

    /// Where the server's counters are, to hold against ours; `none` for nowhere [default: where
    /// inhale has them]
    #[arg(long, value_name = "URL")]
    pub metrics_url: Option<String>,

    /// Write every acknowledged id to this new file, for `inhale load verify`. With --agents each has
    /// its own (`inhale load agent --receipts`), and this says that they must
    #[arg(long, value_name = "FILE")]
    pub receipts: Option<PathBuf>,
}

/// What is told.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Reports")]
pub(crate) struct OutputFlags {
    /// Print what would be done, and do nothing
    #[arg(long)]
    pub plan: bool,

    /// One file with plots of the whole run, for a browser
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,

    /// The figures at the end, as k6 writes them (JSON)
    #[arg(long, value_name = "FILE")]
    pub summary_export: Option<PathBuf>,

    /// The figures over time, as they come. May be repeated
    #[arg(short = 'o', long, value_name = "json=FILE|csv=FILE")]
    pub out: Vec<String>,

    /// Columns of the report [default: avg,min,med,max,p(90),p(95)]
    #[arg(long, value_name = "LIST")]
    pub summary_trend_stats: Option<String>,

    /// Serve live figures to Prometheus, at /metrics
    #[arg(long, value_name = "HOST:PORT")]
    pub metrics_listen: Option<String>,

    /// Print the report as one JSON object
    #[arg(long)]
    pub json: bool,

    /// No live view and no progress; notes and the report alone
    #[arg(short = 'q', long)]
    pub quiet: bool,

    /// Say more: the plan before the run
    #[arg(short = 'v', long)]
    pub verbose: bool,
}

/// What runs it.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Machines")]
pub(crate) struct MachineFlags {
    /// Threads that send [default: the cores less one]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,

    /// Time for requests in flight at the end [default: 30s]
    #[arg(long, value_name = "DURATION")]
    graceful_stop: Option<String>,

    /// Divide the run among so many agents instead of running it here (`inhale load agent`)
    #[arg(long, value_name = "N", requires = "agents_listen")]
    pub agents: Option<usize>,

    /// Address at which agents join
    #[arg(long, value_name = "HOST:PORT", requires = "agents")]
    pub agents_listen: Option<String>,

    /// How long to wait for agents to join [default: 60s]
    #[arg(long, value_name = "DURATION", value_parser = load::plan::duration, requires = "agents")]
    pub agents_timeout: Option<std::time::Duration>,

    /// End the run when an agent is lost, instead of going on without its part
    #[arg(long, requires = "agents")]
    pub abort_on_agent_loss: bool,

    /// File with the secret that agents must know; else the variable INHALE_LOAD_SECRET
    #[arg(long, value_name = "FILE", requires = "agents")]
    pub agents_secret_file: Option<PathBuf>,
}

/// `inhale load verify`.
#[derive(Args, Debug, Clone)]
pub(crate) struct VerifyFlags {
    /// What --receipts wrote
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Where the usages were posted to: each id is asked for below it
    #[arg(value_name = "URL")]
    pub url: String,
    /// Connections that ask
    #[arg(short = 'c', long, value_name = "N", default_value = "16", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub connections: u16,
    /// How long a server that does not answer yet is asked again, such as one that is starting
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = load::plan::duration)]
    pub patience: std::time::Duration,
    /// Header of each request. May be repeated
    #[arg(short = 'H', long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    #[command(flatten)]
    tls: TlsFlags,
}

/// `inhale load agent`.
#[derive(Args, Debug, Clone)]
pub(crate) struct AgentFlags {
    /// Where the coordinator listens (its --agents-listen)
    #[arg(long, value_name = "HOST:PORT")]
    pub join: String,
    /// File with the secret that the coordinator knows too; else the variable INHALE_LOAD_SECRET
    #[arg(long, value_name = "FILE")]
    pub agents_secret_file: Option<PathBuf>,
    /// What the agent is called in reports [default: this machine's name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Wait for the next run after each
    #[arg(long, action = ArgAction::SetTrue)]
    pub keep: bool,
    /// Write every id acknowledged to this agent to a new file, for `inhale load verify`: this name
    /// with the agent's number behind it, as in ids.1
    #[arg(long, value_name = "FILE")]
    pub receipts: Option<PathBuf>,
}

impl TlsFlags {
    fn options(&self) -> ScenarioOptions {
        ScenarioOptions {
            ca: self.ca.clone(),
            cert: self.cert.clone(),
            key: self.key.clone(),
            insecure_skip_tls_verify: switch(self.insecure_skip_tls_verify),
            no_tls_resume: switch(self.no_tls_resume),
            ..ScenarioOptions::default()
        }
    }
}

impl VerifyFlags {
    /// What its requests have beside their URL.
    pub(crate) fn request(&self) -> ScenarioOptions {
        ScenarioOptions { headers: self.header.clone(), ..self.tls.options() }
    }
}

impl LoadFlags {
    /// What was typed, without the scenario file.
    ///
    /// # Errors
    /// For a tag that is none, in words.
    pub(crate) fn options(&self) -> Result<Options, String> {
        let (arrivals, content, connections) = (&self.arrivals, &self.content, &self.connections);
        let (tls, verdict) = (&self.tls, &self.verdict);
        // As curl, hey and oha write it.
        if let Some(file) = content.body.as_deref().and_then(|body| body.strip_prefix('@')) {
            return Err(format!(
                "--body: `@{file}` is no body; send a file with --body-file {file}"
            ));
        }
        let defaults = ScenarioOptions {
            url: self.url.clone(),
            rate: arrivals.rate.clone(),
            rps: arrivals.rps.clone(),
            duration: arrivals.duration.clone(),
            vus: arrivals.vus.clone(),
            iterations: arrivals.iterations.clone(),
            stages: arrivals.stage.clone(),
            executor: arrivals.executor.clone(),
            think: arrivals.think.clone(),
            shape: arrivals.shape.clone(),
            start: arrivals.start.clone(),
            late_max: arrivals.late_max.clone(),
            method: content.method.clone(),
            headers: content.header.clone(),
            body: content.body.clone(),
            body_file: content.body_file.clone(),
            data: content.data.clone(),
            data_text: None,
            patients: content.patients.clone(),
            batch: content.batch.clone(),
            idempotency_key: content.idempotency_key.clone(),
            connections: connections.connections.clone(),
            connection_per_user: switch(connections.connection_per_user),
            close: connections.close.clone(),
            http2: switch(connections.http2),
            streams: connections.streams.clone(),
            local_ips: connections.local_ips.clone(),
            timeout: connections.timeout.clone(),
            connect_timeout: connections.connect_timeout.clone(),
            checks: verdict.check.clone(),
            tags: verdict.tag.iter().map(|text| tag(text)).collect::<Result<_, _>>()?,
            ..tls.options()
        };
        Ok(Options {
            defaults,
            scenarios: BTreeMap::new(),
            thresholds: verdict.threshold.clone(),
            threads: self.machines.threads,
            graceful_stop: self.machines.graceful_stop.clone(),
            abort_on_fail: verdict.abort_on_fail,
            abort_delay: verdict.abort_delay.clone(),
            seed: content.seed,
        })
    }
}

/// A flag that is not there says nothing, so that a file may.
fn switch(is_set: bool) -> Option<bool> {
    is_set.then_some(true)
}

fn tag(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once('=').ok_or_else(|| format!("--tag: `{text}` is not NAME=VALUE"))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, FromArgMatches as _, Parser};
    use serde_json::Value;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: LoadFlags,
    }

    fn options(words: &[&str]) -> Value {
        let matches = Line::command()
            .try_get_matches_from([&["load"], words].concat())
            .unwrap_or_else(|error| panic!("{words:?}: {error}"));
        let line = Line::from_arg_matches(&matches).expect("they fit");
        serde_json::to_value(line.flags.options().expect("in order")).expect("JSON")
    }

    /// The flag of a key, if there is one: lists have a flag for each of their items.
    fn flag_of(key: &str) -> Option<String> {
        let command = Line::command();
        let has = |name: &str| command.get_arguments().any(|arg| arg.get_long() == Some(name));
        let names = [key, key.strip_suffix('s').unwrap_or(key)];
        names.into_iter().find(|name| has(name)).map(|name| format!("--{name}"))
    }

    /// Sets the flag of each key alone, and finds it there and nothing else.
    #[test]
    fn every_key_of_a_file_has_a_flag() {
        let nothing = options(&[]);
        let of_run = nothing.as_object().expect("an object").keys();
        let of_scenario = nothing["defaults"].as_object().expect("an object").keys();
        let mut without = Vec::new();
        for key in of_run.chain(of_scenario) {
            let Some(flag) = flag_of(key) else {
                without.push(key.as_str());
                continue;
            };
            // Whatever a flag takes, one of these is it.
            let tries =
                [vec![flag.clone()], vec![format!("{flag}=a=1")], vec![format!("{flag}=7")]];
            let taken = tries.into_iter().find(|words| {
                let words = std::iter::once("load").chain(words.iter().map(String::as_str));
                Line::command().try_get_matches_from(words).is_ok()
            });
            let words = taken.unwrap_or_else(|| panic!("{flag} takes nothing"));
            let set = options(&words.iter().map(String::as_str).collect::<Vec<_>>());
            let mut expected = nothing.clone();
            let place =
                if expected.get(key).is_some() { &mut expected } else { &mut expected["defaults"] };
            let found = if set.get(key).is_some() { &set } else { &set["defaults"] };
            assert_ne!(found[key], place[key], "{flag} sets nothing");
            place[key] = found[key].clone();
            assert_eq!(set, expected, "{flag}");
        }
        without.sort_unstable();
        assert_eq!(without, ["data-text", "defaults", "scenarios", "url"]);
    }

    /// Who puts such a flag into a file is told where it belongs.
    #[test]
    fn flags_without_a_key_are_known_as_such() {
        let nothing = options(&[]);
        let is_key = |flag: &str| {
            let names = [flag.to_owned(), format!("{flag}s")];
            names
                .iter()
                .any(|key| nothing.get(key).is_some() || nothing["defaults"].get(key).is_some())
        };
        let command = Line::command();
        let flags = command.get_arguments().filter_map(clap::Arg::get_long);
        let flags = flags.filter(|flag| *flag != "file");
        let mut alone: Vec<&str> = flags.filter(|flag| !is_key(flag)).collect();
        alone.sort_unstable();
        assert_eq!(alone, load::plan::FLAGS_ALONE);
    }

    #[test]
    fn tags_are_pairs() {
        let set = options(&["--tag", "a=1", "--tag", "b = x=y"]);
        assert_eq!(set["defaults"]["tags"], serde_json::json!({ "a": "1", "b": "x=y" }));
        assert_eq!(tag("a").unwrap_err(), "--tag: `a` is not NAME=VALUE");
    }
}
