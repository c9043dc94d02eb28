//! `inhale serve`: opens the store, serves it, and ends in order: on a signal, on a takeover by its
//! successor, or because the journal failed.

use std::io::IsTerminal as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use edge::{Deadlines, LogPolicy};
use server::{Listeners, Server};
use store::{IndexOptions, Store, SystemClock};
use telemetry::Histogram;
use telemetry::logs::Format;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::level_filters::LevelFilter;
use usage::UnknownFields;

use crate::checks;
use crate::clock::{self, monotonic};
use crate::descriptors;
use crate::flags::{LogFormat, LogLevel, ServeFlags, Switch, UnknownFieldsFlag};
use crate::takeover::{self, Successor};
use crate::units::size_text;

/// Time for the answers that say the disk failed to reach their senders.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Slower than any connection over which somebody reads a page of a thousand usages.
const TAKEN_BYTES_PER_SECOND_MIN: u64 = 32 << 10;

/// How often the disk and the cores are checked for failure.
const FAILURE_CHECKED_EVERY: Duration = Duration::from_millis(50);

/// The longest that closing the store takes on a disk that works: the index may be merging.
const CLOSE_MAX: Duration = Duration::from_secs(12);

/// Why serving ends.
enum End {
    Signal(&'static str),
    Takeover,
    JournalFailed { cause: String },
    CoreFailed { core: usize },
}

/// Serves until told to end. `Ok` is a clean end. `passed_over` are variables that looked like
/// settings.
pub(crate) fn run(flags: &ServeFlags, passed_over: &[String]) -> Result<()> {
    clock::refuse_before_1970()?;
    checks::refuse_strangers(flags)?;
    let begun = monotonic();
    let descriptors = descriptors::raise_limit();
    let logs = telemetry::logs::start(level(flags.log_level), log_format(flags.log_format));
    for variable in passed_over {
        tracing::warn!(variable, "no setting belongs to this variable; ignoring it");
    }
    let cores = match flags.cores {
        0 => std::thread::available_parallelism().context("counting cores; or --cores N")?.get(),
        cores => cores,
    };
    let config = store_config(flags);
    checks::settings(flags, cores, &config)?;
    let listeners = take_sockets(flags, cores, &config)?;
    let held = takeover::Held::of(&listeners)?;
    let store = open_store(flags, &config)?;
    let syncs = Arc::new(Histogram::default());
    let observer = Arc::clone(&syncs);
    store.journal().on_sync(Box::new(move |took, _frames, _bytes| observer.record(took)));
    if flags.confirm_clock {
        store.journal().confirm_clock();
    }
    store.start().context("starting the store's threads")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the main thread's runtime")?;
    // Before anybody is told that this server is there, and may tell it to end.
    let (signals, successor) = {
        let _inside = runtime.enter();
        (Signals::listen()?, await_successor(flags))
    };
    announce(flags, &listeners, &store);
    if let Some(kind) = checks::memory_file_system(&flags.data) {
        tracing::warn!(
            kind,
            "the store is on a file system in memory: a restart of the machine loses every usage (--data)"
        );
    }
    let server = server::start(
        &server_config(flags, descriptors),
        store.clone(),
        Arc::new(SystemClock::new()),
        listeners,
        syncs,
        logs.dropped_counter(),
    )
    .context("starting the server's threads")?;
    let end = runtime.block_on(wait_for_end(&store, &server, signals, successor.as_ref(), &held));
    // Before the store is let go: its next owner makes a socket of the same name.
    drop(successor);
    finish(flags, server, &store, held, (begun, end))
}

fn take_sockets(flags: &ServeFlags, cores: usize, config: &store::Config) -> Result<Listeners> {
    if flags.takeover {
        checks::store_to_take_over(flags, config)?;
        return takeover::inherit(&flags.data, cores, flags.allow_anonymous);
    }
    Ok(Listeners {
        api: edge::listen::bind(&flags.listen, cores).context("--listen")?,
        admin: edge::listen::bind(&flags.admin_listen, 1).context("--admin-listen")?.remove(0),
    })
}

/// A server that cannot be taken over serves all the same.
fn await_successor(flags: &ServeFlags) -> Option<Successor> {
    let awaited = Successor::await_on(&flags.data);
    let warn = |error: &anyhow::Error| {
        let error = format!("{error:#}");
        tracing::warn!(error, "no successor can take this server over (--takeover)");
    };
    awaited.inspect_err(warn).ok()
}

fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    }
}

fn log_format(format: LogFormat) -> Format {
    match format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
        LogFormat::Auto if std::io::stderr().is_terminal() => Format::Text,
        LogFormat::Auto => Format::Json,
    }
}

fn bytes(size: bytesize::ByteSize) -> usize {
    usize::try_from(size.as_u64()).unwrap_or(usize::MAX)
}

fn store_config(flags: &ServeFlags) -> store::Config {
    let mut config = store::Config::new(&flags.data);
    config.journal = journal::Options {
        segment_bytes: flags.segment_size.as_u64(),
        spacing: flags.commit_spacing,
        pending_bytes_max: bytes(flags.pending_max),
        reserve_bytes: flags.disk_reserve.as_u64(),
        bytes_max: flags.journal_bytes_max.map(|size| size.as_u64()),
        retain: flags.retain,
        store_number: Some(flags.store_number),
        ..config.journal
    };
    config.tail_bytes_max = bytes(flags.tail_max);
    config.index_enabled = flags.index == Switch::On;
    config.index = IndexOptions { cache_bytes: flags.index_cache.as_u64(), ..config.index };
    config.key_window = flags.key_window;
    config.stuck_after = flags.stuck_after;
    config
}

fn open_store(flags: &ServeFlags, config: &store::Config) -> Result<Store> {
    let open = || Store::open(config.clone(), Arc::new(SystemClock::new()));
    let opened = if flags.takeover { takeover::retry_while_locked(open) } else { open() };
    opened.with_context(|| format!("cannot open the store in {}", flags.data.display()))
}

fn server_config(flags: &ServeFlags, descriptors: u64) -> server::Config {
    let connections_max = descriptors::connections_within(descriptors, flags.connections_max);
    if connections_max < flags.connections_max {
        tracing::warn!(
            connections_max,
            descriptors,
            "fewer connections than --connections-max are let in, so that the store has descriptors left; raise `ulimit -n`, or lower --connections-max"
        );
    }
    server::Config {
        deadlines: Deadlines {
            header: flags.header_timeout,
            body: flags.body_timeout,
            idle: flags.idle_timeout,
            taken_bytes_per_second_min: TAKEN_BYTES_PER_SECOND_MIN,
            linger: Duration::from_secs(2),
        },
        connections_max,
        bodies_bytes_max: bytes(flags.bodies_max),
        commit_timeout: flags.commit_timeout,
        summary_patience: flags.summary_timeout,
        unknown_fields: match flags.unknown_fields {
            UnknownFieldsFlag::Refuse => UnknownFields::Refuse,
            UnknownFieldsFlag::Keep => UnknownFields::Keep,
        },
        log: LogPolicy { sample: flags.log_sample, slow: flags.log_slow },
        hosts: flags.host.iter().cloned().chain(hostname()).collect(),
        origins: flags.allow_origin.clone(),
    }
}

/// This machine's name for itself, if a URL can hold it.
fn hostname() -> Option<edge::Host> {
    rustix::system::uname().nodename().to_str().ok()?.parse().ok()
}

fn announce(flags: &ServeFlags, listeners: &Listeners, store: &Store) {
    let first = |listeners: &[TcpListener]| {
        listeners.first().and_then(|listener| listener.local_addr().ok()).map(|mut address| {
            // An address to open: requests for 0.0.0.0 are refused.
            match address.ip() {
                IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
                IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
                _ => {}
            }
            address.to_string()
        })
    };
    let api = listeners.api.first().and_then(|core| first(core)).unwrap_or_default();
    let admin = first(&listeners.admin).unwrap_or_default();
    let recovery = store.recovery();
    let found = if recovery.created {
        "new".to_owned()
    } else {
        format!(
            "position {}, {} journal files, recovered in {:.3} s",
            recovery.durable,
            recovery.segments,
            recovery.took.as_secs_f64()
        )
    };
    let banner = format!(
        "inhale {}\n  usages  http://{api}/api/usages\n  docs    http://{api}/docs\n  \
         status  http://{admin}/status\n  store   {} ({found}, {} free)",
        env!("CARGO_PKG_VERSION"),
        flags.data.display(),
        free_text(&flags.data)
    );
    // Standard output that is a file or a pipe belongs to no reader of banners.
    if std::io::stdout().is_terminal() {
        outln!("{banner}");
    } else {
        errln!("{banner}");
    }
    if let Some(cut) = recovery.cut {
        tracing::warn!(
            segment = cut.segment,
            offset = cut.offset,
            bytes = cut.bytes,
            "a write that was never acknowledged was cut off"
        );
    }
    if let Some(why) = &recovery.full {
        tracing::error!(
            why,
            frames_unproven = store.status().journal.unproven_frames,
            "the disk is full: usages are refused, and those written last cannot be read, until there is room"
        );
    }
    tracing::info!(
        position = recovery.durable,
        frames_secured = recovery.frames_secured,
        recovery_ms = recovery.took.as_micros() as f64 / 1e3,
        "serving"
    );
}

/// What is free on the store's disk, for people.
fn free_text(data: &Path) -> String {
    rustix::fs::statvfs(data)
        .map_or_else(|_| "?".to_owned(), |space| size_text(space.f_bavail * space.f_frsize))
}

/// The signals that ask this process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From here on they no longer kill. Wants to be called inside a runtime.
    fn listen() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("listening for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("listening for SIGINT")?,
        })
    }
}

async fn wait_for_end(
    store: &Store,
    server: &Server,
    mut signals: Signals,
    successor: Option<&Successor>,
    held: &takeover::Held,
) -> End {
    // Those who wait for a usage hear of a failed disk at once; the process may end a little later.
    // A subscription here would cost every batch a wake-up of this thread.
    let failed = async {
        let mut full = store.recovery().full.is_some();
        loop {
            if full && store.status().journal.begun {
                full = false;
                tracing::info!(
                    "there is room on the disk again: every usage can be read, and new ones are accepted"
                );
            }
            if let Some(cause) = store.failure() {
                break End::JournalFailed { cause };
            }
            if let Some(core) = server.failed_core() {
                break End::CoreFailed { core };
            }
            tokio::time::sleep(FAILURE_CHECKED_EVERY).await;
        }
    };
    let handed_over = async {
        match successor {
            Some(successor) => successor.hand_over(held).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = signals.terminate.recv() => End::Signal("SIGTERM"),
        _ = signals.interrupt.recv() => End::Signal("SIGINT"),
        end = failed => end,
        () = handed_over => End::Takeover,
    }
}

fn finish(
    flags: &ServeFlags,
    server: Server,
    store: &Store,
    held: takeover::Held,
    (begun, end): (Duration, End),
) -> Result<()> {
    let reason = match &end {
        End::Signal(signal) => signal,
        End::Takeover => "takeover",
        End::JournalFailed { .. } => "the journal failed",
        End::CoreFailed { .. } => "a core's thread has panicked",
    };
    tracing::info!(reason, "stopping");
    let (grace, deadline) = match &end {
        End::Signal(_) => {
            server.announce_stop();
            std::thread::sleep(flags.shutdown_delay);
            (flags.drain_grace, flags.shutdown_timeout)
        }
        End::Takeover => (flags.drain_grace, flags.shutdown_timeout.min(takeover::DRAIN_MAX)),
        End::JournalFailed { cause } => {
            tracing::error!(
                cause,
                "the journal failed; stopping without acknowledging anything more"
            );
            (Duration::ZERO, LAST_WORDS)
        }
        End::CoreFailed { core } => {
            tracing::error!(
                core,
                "a core's thread has panicked, so its connections hang; stopping"
            );
            (Duration::ZERO, LAST_WORDS)
        }
    };
    let give_up_at = monotonic().saturating_add(deadline);
    // Held sockets would keep the port open with nobody accepting.
    drop(held);
    let drained = server.drain(grace, deadline);
    if drained.cut_off > 0 {
        tracing::warn!(connections = drained.cut_off, "cut off at --shutdown-timeout");
    }
    let journal = store.journal().status();
    let closed = close(store, give_up_at);
    tracing::info!(
        reason,
        usages = journal.frames,
        syncs = journal.syncs,
        position = journal.durable,
        uptime_s = (monotonic() - begun).as_millis() as f64 / 1e3,
        "stopped"
    );
    // The index may have merges under way, which cannot be broken off and may take longer than a stop
    // may. They end with the process: what they would have written is written again.
    std::mem::forget(store.clone());
    if let End::JournalFailed { cause } = end {
        bail!("the journal failed: {cause}; requests in flight were answered with outcome-unknown");
    }
    closed?;
    if let End::CoreFailed { core } = end {
        bail!("the thread of core {core} has panicked; the log says where");
    }
    Ok(())
}

/// Closes the store, which waits for the disk. A disk that is stuck is waited for until `give_up_at`, and
/// any other no longer than a close may take.
fn close(store: &Store, give_up_at: Duration) -> Result<()> {
    let (done, closed) = std::sync::mpsc::sync_channel(1);
    let closing = store.clone();
    std::thread::Builder::new()
        .name("closing".into())
        .spawn(move || {
            // Nobody listens any more when it was given up.
            let _ = done.send(closing.close());
        })
        .context("starting a thread to close the store")?;
    loop {
        match closed.recv_timeout(FAILURE_CHECKED_EVERY) {
            Ok(closed) => return closed.context("closing the journal"),
            Err(RecvTimeoutError::Disconnected) => bail!("closing the store has panicked"),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let overdue = monotonic().saturating_sub(give_up_at);
        if overdue > CLOSE_MAX || !overdue.is_zero() && store.stalled().is_some() {
            bail!(
                "the disk did not complete a write in time (--shutdown-timeout); usages that were not \
                 acknowledged may or may not be stored"
            );
        }
    }
}
