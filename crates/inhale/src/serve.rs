//! `inhale serve`: opens the store, serves it, and ends in order: on a signal, on a takeover by its
//! successor, or because the disk failed.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use edge::{Deadlines, LogPolicy};
use server::{Listeners, Server};
use store::{IndexOptions, Store, SystemClock};
use telemetry::Histogram;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::level_filters::LevelFilter;
use usage::UnknownFields;

use crate::checks;
use crate::clock::monotonic;
use crate::descriptors;
use crate::flags::{LogLevel, ServeFlags, Switch, UnknownFieldsFlag};
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
    Signal,
    Takeover,
    DiskFailed { cause: String },
    CoreFailed { core: usize },
}

/// Serves until told to end. `Ok` is a clean end. `passed_over` are variables that looked like
/// settings.
pub(crate) fn run(flags: &ServeFlags, passed_over: &[String]) -> Result<()> {
    checks::refuse_strangers(flags)?;
    let descriptors = descriptors::raise_limit();
    let logs = telemetry::logs::start(level(flags.log_level));
    for variable in passed_over {
        tracing::warn!(variable, "the variable stands for no setting; it is passed over");
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
    finish(flags, server, &store, held, end)
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
    }
}

fn announce(flags: &ServeFlags, listeners: &Listeners, store: &Store) {
    let first = |listeners: &[TcpListener]| {
        listeners
            .first()
            .and_then(|listener| listener.local_addr().ok())
            .map(|address| address.to_string())
    };
    let api = listeners.api.first().and_then(|core| first(core)).unwrap_or_default();
    let admin = first(&listeners.admin).unwrap_or_default();
    let recovery = store.recovery();
    let found = if recovery.created {
        "new".to_owned()
    } else {
        format!(
            "position {}, {} journal files, recovered in {:.0?}",
            recovery.durable, recovery.segments, recovery.took
        )
    };
    outln!("inhale {}", env!("CARGO_PKG_VERSION"));
    outln!("  usages  http://{api}/api/usages");
    outln!("  docs    http://{api}/docs");
    outln!("  status  http://{admin}/status");
    outln!("  store   {} ({found}, {} free)", flags.data.display(), free_text(&flags.data));
    if let Some(cut) = recovery.cut {
        tracing::warn!(
            segment = cut.segment,
            offset = cut.offset,
            bytes = cut.bytes,
            "a write that was never acknowledged was cut off"
        );
    }
    tracing::info!(
        position = recovery.durable,
        frames_secured = recovery.frames_secured,
        recovery_ms = recovery.took.as_secs_f64() * 1e3,
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
        loop {
            if let Some(cause) = store.failure() {
                break End::DiskFailed { cause };
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
        _ = signals.terminate.recv() => End::Signal,
        _ = signals.interrupt.recv() => End::Signal,
        end = failed => end,
        () = handed_over => End::Takeover,
    }
}

fn finish(
    flags: &ServeFlags,
    server: Server,
    store: &Store,
    held: takeover::Held,
    end: End,
) -> Result<()> {
    let (grace, deadline) = match &end {
        End::Signal => {
            server.announce_stop();
            std::thread::sleep(flags.shutdown_delay);
            (flags.drain_grace, flags.shutdown_timeout)
        }
        End::Takeover => (flags.drain_grace, flags.shutdown_timeout.min(takeover::DRAIN_MAX)),
        End::DiskFailed { cause } => {
            tracing::error!(
                cause,
                "a write or sync of the journal failed; stopping without acknowledging anything more"
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
    let closed = close(store, give_up_at);
    // The index may have merges under way, which cannot be broken off and may take longer than a stop
    // may. They end with the process: what they would have written is written again.
    std::mem::forget(store.clone());
    if let End::DiskFailed { cause } = end {
        bail!(
            "the disk failed while usages were written ({cause}); what was in flight was answered with \
             outcome-unknown"
        );
    }
    closed?;
    if let End::CoreFailed { core } = end {
        bail!("the thread of core {core} has panicked; the log says where");
    }
    tracing::info!("stopped");
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
