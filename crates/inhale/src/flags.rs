//! The options of `inhale serve`, as people type them: each is a flag, an environment variable
//! (`INHALE_` + the flag's name) and a key of the configuration file's `[serve]` table.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Args, ValueEnum};

use load::plan::duration as parse_duration;

use crate::units::{parse_retention, parse_size};

/// Connections open at once, unless set otherwise.
pub(crate) const CONNECTIONS_MAX: usize = 20_000;

/// Where usages are taken in and kept, and what bounds hold while doing so.
#[derive(Args, Debug, Clone)]
pub(crate) struct ServeFlags {
    /// Address that takes usages in; `localhost` stands for 127.0.0.1 and ::1. May be repeated
    #[arg(
        long,
        value_name = "HOST:PORT",
        default_value = "localhost:3000",
        help_heading = "Listening"
    )]
    pub listen: Vec<String>,

    /// Address of /healthz, /readyz, /metrics and /status; keep it private. May be repeated
    #[arg(
        long,
        value_name = "HOST:PORT",
        default_value = "localhost:3001",
        help_heading = "Listening"
    )]
    pub admin_listen: Vec<String>,

    /// Listen beyond loopback although nobody has to show a key
    #[arg(long, value_name = "BOOL", default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true, help_heading = "Listening")]
    pub allow_anonymous: bool,

    /// Host by which clients call this server, such as inhale.example; others get 421. The IP address
    /// that a client connects to, this machine's hostname and, on loopback, localhost always work.
    /// May be repeated
    #[arg(long, value_name = "HOST", help_heading = "Listening")]
    pub host: Vec<edge::Host>,

    /// Origin whose web pages may send requests, such as https://app.example; pages of any other
    /// origin but this server's own get 403. May be repeated
    #[arg(long, value_name = "ORIGIN", help_heading = "Listening")]
    pub allow_origin: Vec<edge::Origin>,

    /// Threads that serve requests; 0 means one for each core this process may run on
    #[arg(long, value_name = "N", default_value = "0", help_heading = "Listening")]
    pub cores: usize,

    /// Take the listening sockets and the store over from the server that runs on the same data; that
    /// one ends only once this one answers requests
    #[arg(long, value_name = "BOOL", default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true, help_heading = "Listening")]
    pub takeover: bool,

    /// Directory of the store: the journal and its index
    #[arg(long, value_name = "DIR", default_value = "./inhale-data", help_heading = "Store")]
    pub data: PathBuf,

    /// Number of this store among those of one installation, 0 to 4095; becomes part of each id
    #[arg(long, value_name = "N", default_value = "0", value_parser = clap::value_parser!(u16).range(0..4096), help_heading = "Store")]
    pub store_number: u16,

    /// Keep usages for this long at least; without it they are kept for ever
    #[arg(long, value_name = "DURATION", value_parser = parse_retention, help_heading = "Store")]
    pub retain: Option<Duration>,

    /// Say that the clock is right although it jumped; until then nothing expires and no key is forgotten
    #[arg(long, value_name = "BOOL", default_value = "false", default_missing_value = "true", num_args = 0..=1, require_equals = true, help_heading = "Store")]
    pub confirm_clock: bool,

    /// Refuse usages (507) once the journal takes this much disk; nothing is ever deleted for it, and
    /// only a start may pass it, by one small segment
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = "Store")]
    pub journal_bytes_max: Option<ByteSize>,

    /// Refuse usages (507) when less than this would stay free on the disk
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = parse_size, help_heading = "Store")]
    pub disk_reserve: ByteSize,

    /// Size of one journal file
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_size, help_heading = "Store")]
    pub segment_size: ByteSize,

    /// Least time between two syncs of the disk; gathers usages while it lasts, never delays a lone one
    #[arg(long, value_name = "DURATION", default_value = "1ms", value_parser = parse_duration, help_heading = "Store")]
    pub commit_spacing: Duration,

    /// Usages waiting for the disk may take this much memory; beyond it new ones get 503
    #[arg(long, value_name = "SIZE", default_value = "4MiB", value_parser = parse_size, help_heading = "Store")]
    pub pending_max: ByteSize,

    /// Usages not yet in the index may take this much memory; beyond it new ones get 503
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_size, help_heading = "Store")]
    pub tail_max: ByteSize,

    /// Whether the index for reads is kept; without it only receipts by id are answered and keyed usages get 503
    #[arg(
        long,
        value_name = "ON|OFF",
        default_value = "on",
        ignore_case = true,
        help_heading = "Store"
    )]
    pub index: Switch,

    /// Memory for the index's cache
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_size, help_heading = "Store")]
    pub index_cache: ByteSize,

    /// How long an idempotency key is remembered
    #[arg(long, value_name = "DURATION", default_value = "30days", value_parser = parse_duration, help_heading = "Store")]
    pub key_window: Duration,

    /// Fields a usage does not have: refuse them by name, or keep them in its attributes
    #[arg(
        long,
        value_name = "WHAT",
        default_value = "refuse",
        ignore_case = true,
        help_heading = "Requests"
    )]
    pub unknown_fields: UnknownFieldsFlag,

    /// Time for a request's head to arrive
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration, help_heading = "Requests")]
    pub header_timeout: Duration,

    /// Time for a request's body to arrive
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration, help_heading = "Requests")]
    pub body_timeout: Duration,

    /// Time a connection may stay open without a request
    #[arg(long, value_name = "DURATION", default_value = "75s", value_parser = parse_duration, help_heading = "Requests")]
    pub idle_timeout: Duration,

    /// Time for a summary, of which one that reads many usages may need seconds; then it gets 503
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration, help_heading = "Requests")]
    pub summary_timeout: Duration,

    /// Time without a completed write after which the disk counts as stuck: /readyz fails, new usages get 503
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_duration, help_heading = "Requests")]
    pub stuck_after: Duration,

    /// Time a usage may wait for the disk, from reading its body; then it gets 500, outcome unknown
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration, help_heading = "Requests")]
    pub commit_timeout: Duration,

    /// Connections to --listen open at once, over all cores; further ones get 503. The admin listener
    /// has 256 of its own, and answers health checks beyond that too
    #[arg(long, value_name = "N", default_value_t = CONNECTIONS_MAX, help_heading = "Requests")]
    pub connections_max: usize,

    /// Memory for requests that are arriving or waiting for the disk, with their buffers, over all cores;
    /// beyond it new ones get 503
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = parse_size, help_heading = "Requests")]
    pub bodies_max: ByteSize,

    /// On SIGTERM: time between /readyz failing and the listener closing, for load balancers to notice
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration, help_heading = "Stopping")]
    pub shutdown_delay: Duration,

    /// Grace in which an idle connection may send one more request before it is closed
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = parse_duration, help_heading = "Stopping")]
    pub drain_grace: Duration,

    /// Time after which a stop no longer waits for requests in flight; after a takeover 45 s at most
    #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = parse_duration, help_heading = "Stopping")]
    pub shutdown_timeout: Duration,

    /// Minimum log level
    #[arg(
        long,
        value_name = "LEVEL",
        default_value = "info",
        ignore_case = true,
        help_heading = "Logs"
    )]
    pub log_level: LogLevel,

    /// Format of log lines on standard error
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "auto",
        ignore_case = true,
        help_heading = "Logs"
    )]
    pub log_format: LogFormat,

    /// Log one in N successful requests and one in N/100 refused ones (4xx); 0 logs neither. Server errors and slow requests are always logged
    #[arg(long, value_name = "N", default_value = "10000", help_heading = "Logs")]
    pub log_sample: u32,

    /// A request that takes longer than this is slow
    #[arg(long, value_name = "DURATION", default_value = "250ms", value_parser = parse_duration, help_heading = "Logs")]
    pub log_slow: Duration,
}

/// `on` or `off`. What that means says the flag, so the values have no help of their own.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Switch {
    On,
    Off,
}

/// What happens to fields that a usage does not have.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnknownFieldsFlag {
    /// 422, naming each.
    Refuse,
    /// Moved into `attributes`, so that new firmware loses no dose.
    Keep,
}

/// How log lines are written.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// `text` on a terminal, `json` elsewhere
    Auto,
    /// For people
    Text,
    /// One JSON object per line
    Json,
}

/// Severities, as `tracing` has them.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogLevel {
    /// Failures
    Error,
    /// Failures and warnings
    Warn,
    /// Normal operation too
    Info,
    /// Details for troubleshooting
    Debug,
}
