//! `inhale serve`: opens the store, serves it, and ends in order: on a signal, on a takeover by its
//! successor, or because the journal or a core failed. A takeover that fails may make it open the store again.

use std::io::IsTerminal as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use edge::{Deadlines, LogPolicy};
use journal::disk::RealDisk;
use server::{Listeners, Server};
use store::{IndexOptions, Store, SystemClock};
use telemetry::Histogram;
use telemetry::logs::{Format, LogWriter};
use tracing::level_filters::LevelFilter;
use usage::UnknownFields;

use crate::checks;
use crate::clock::{self, monotonic};
use crate::config::Parsed;
use crate::descriptors;
use crate::flags::{LogFormat, LogLevel, ServeFlags, Switch, UnknownFieldsFlag};
use crate::reload::{Reloader, Reread};
use crate::signals::{Ending, Harmless};
use crate::takeover::{self, Claim, Door, Held, Inheritance, Outcome};
use crate::units::size_text;

/// Time for the answers that say the disk failed to reach their senders.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Slower than any connection over which somebody reads a page of a thousand usages.
const TAKEN_BYTES_PER_SECOND_MIN: u64 = 32 << 10;

/// How often the main thread looks for a failure, a signal and a successor.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The longest that closing the store takes on a disk that works: the index may be merging.
const CLOSE_MAX: Duration = Duration::from_secs(12);

/// Why serving ends, or begins anew.
enum End {
    Signal(&'static str),
    HandedOver,
    /// A successor has failed after the journal was closed for it.
    Reopen,
    JournalFailed {
        cause: String,
    },
    CoreFailed {
        core: usize,
    },
}

impl End {
    /// For the log.
    fn reason(&self) -> &'static str {
        match self {
            Self::Signal(signal) => signal,
            Self::HandedOver => "takeover",
            Self::Reopen => "a takeover failed",
            Self::JournalFailed { .. } => "the journal failed",
            Self::CoreFailed { .. } => "a core's thread has panicked",
        }
    }
}

/// What does not change while the process runs, but for settings that a file may change.
struct Process<'a> {
    flags: ServeFlags,
    config: store::Config,
    begun: Duration,
    descriptors: u64,
    logs: LogWriter,
    harmless: &'a Harmless,
    /// From the moment that this process serves.
    ending: Option<Ending>,
    reloader: Reloader,
}

/// A store and who serves it.
struct Serving {
    store: Store,
    server: Server,
    held: Held,
    door: Option<Door>,
}

/// Serves until told to end. `Ok` is a clean end.
pub(crate) fn run(flags: &ServeFlags, parsed: Parsed, harmless: &Harmless) -> Result<()> {
    clock::refuse_before_1970()?;
    checks::refuse_strangers(flags)?;
    let begun = monotonic();
    let descriptors = descriptors::raise_limit();
    let logs = telemetry::logs::start(level(flags.log_level), log_format(flags.log_format));
    for variable in &parsed.strangers {
        tracing::warn!(variable, "no setting belongs to this variable; ignoring it");
    }
    let cores = cores(flags)?;
    let config = store_config(flags);
    checks::settings(flags, cores, &config)?;
    descriptors::prove(descriptors::wanted(cores, cores * flags.listen.len()))?;
    let reloader = Reloader::new(parsed);
    let mut process = Process {
        flags: flags.clone(),
        config,
        begun,
        descriptors,
        logs,
        harmless,
        ending: None,
        reloader,
    };
    let mut inheritance = if flags.takeover {
        let claim = Claim::on(&flags.data)?;
        checks::store_to_take_over(flags, &process.config)?;
        claim.take(cores, flags.allow_anonymous)?
    } else {
        Inheritance::default()
    };
    let listeners = inheritance.listeners.take().map_or_else(|| bind(flags, cores), Ok)?;
    // Another process may still have the index open.
    process.config.index_later = flags.takeover;
    let mut serving = process.begin(listeners, std::mem::take(&mut inheritance.lock))?;
    announce(flags, serving.held.listeners(), &serving.store);
    loop {
        match serving.wait_for_end(&mut process) {
            End::Reopen => serving = serving.begin_anew(&mut process)?,
            end => return serving.finish(&process, end),
        }
    }
}

/// How many threads serve requests.
fn cores(flags: &ServeFlags) -> Result<usize> {
    Ok(match flags.cores {
        0 => std::thread::available_parallelism().context("counting cores; or --cores N")?.get(),
        cores => cores,
    })
}

fn bind(flags: &ServeFlags, cores: usize) -> Result<Listeners> {
    Ok(Listeners {
        api: edge::listen::bind(&flags.listen, cores).context("--listen")?,
        admin: edge::listen::bind(&flags.admin_listen, 1).context("--admin-listen")?.remove(0),
    })
}

impl Process<'_> {
    /// Opens the store, whose lock may be held already, and serves it.
    fn begin(&mut self, listeners: Listeners, lock: Vec<OwnedFd>) -> Result<Serving> {
        let store = self.open_store(lock)?;
        takeover::fault("opened");
        let held = Held::of(&listeners, &store)?;
        let syncs = Arc::new(Histogram::default());
        let observer = Arc::clone(&syncs);
        store.journal().on_sync(Box::new(move |took, _frames, _bytes| observer.record(took)));
        if self.flags.confirm_clock {
            store.journal().confirm_clock();
        }
        store.start().context("starting the store's threads")?;
        // Before clients can connect and operators can signal.
        if self.ending.is_none() {
            self.ending = Some(Ending::listen()?);
        }
        let door = await_successor(&self.flags);
        let server = server::start(
            &server_config(&self.flags, self.descriptors),
            store.clone(),
            Arc::new(SystemClock::new()),
            listeners,
            syncs,
            self.logs.dropped_counter(),
        )
        .context("starting the server's threads")?;
        Ok(Serving { store, server, held, door })
    }

    fn open_store(&self, lock: Vec<OwnedFd>) -> Result<Store> {
        let data = self.flags.data.display();
        let unusable = || format!("cannot open the store in {data}");
        let disk = RealDisk::open(self.config.journal_dir()).with_context(unusable)?;
        let disk = Arc::new(disk.adopt_lock(lock));
        Store::open_on(self.config.clone(), disk, Arc::new(SystemClock::new()))
            .with_context(unusable)
    }

    /// Reads the configuration file again and applies what can be applied.
    fn reread(&mut self, server: &Server) {
        let check = |flags: &ServeFlags| {
            checks::refuse_strangers(flags)?;
            checks::settings(flags, cores(flags)?, &store_config(flags))
        };
        match self.reloader.reread(check) {
            Ok(Reread { flags, applied, need_restart, overridden }) => {
                self.logs.set_level(level(flags.log_level));
                server.set_log(log_policy(&flags));
                let ServeFlags { log_level, log_sample, log_slow, .. } = flags;
                let ServeFlags { drain_grace, shutdown_delay, shutdown_timeout, .. } = flags;
                self.flags = ServeFlags {
                    log_level,
                    log_sample,
                    log_slow,
                    drain_grace,
                    shutdown_delay,
                    shutdown_timeout,
                    ..self.flags.clone()
                };
                tracing::warn!(
                    applied = applied.join(", "),
                    need_restart = need_restart.join(", "),
                    overridden = overridden.join(", "),
                    "SIGHUP: the configuration file was read again"
                );
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(error, "SIGHUP: every setting stays as it was");
            }
        }
    }
}

/// A server that cannot be taken over serves all the same.
fn await_successor(flags: &ServeFlags) -> Option<Door> {
    let awaited = Door::open(&flags.data);
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
        log: log_policy(flags),
        hosts: flags.host.iter().cloned().chain(hostname()).collect(),
        origins: flags.allow_origin.clone(),
    }
}

/// This machine's name for itself, if a URL can hold it.
fn hostname() -> Option<edge::Host> {
    rustix::system::uname().nodename().to_str().ok()?.parse().ok()
}

fn log_policy(flags: &ServeFlags) -> LogPolicy {
    LogPolicy { sample: flags.log_sample, slow: flags.log_slow }
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
    if let Some(kind) = checks::memory_file_system(&flags.data) {
        tracing::warn!(
            kind,
            "the store is on a file system in memory: a restart of the machine loses every usage (--data)"
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

impl Serving {
    /// Serves until something ends that.
    fn wait_for_end(&mut self, process: &mut Process<'_>) -> End {
        let mut reopen_once: Option<Box<dyn Fn() -> bool>> = None;
        let mut full = self.store.recovery().full.is_some();
        loop {
            if full && self.store.status().journal.begun {
                full = false;
                tracing::info!(
                    "there is room on the disk again: every usage can be read, and new ones are accepted"
                );
            }
            // Those who wait for a usage hear of a failed disk at once; the process may end a little
            // later. A subscription here would cost every batch a wake-up of this thread.
            if let Some(cause) = self.store.failure() {
                return End::JournalFailed { cause };
            }
            if let Some(core) = self.server.failed_core() {
                return End::CoreFailed { core };
            }
            // A successor that is about to take over is waited for, or nobody would serve.
            let successor = self.door.as_ref().is_some_and(Door::is_attending);
            let asked = process.ending.as_ref().and_then(Ending::came);
            if let Some(signal) = asked.filter(|_| !successor) {
                return End::Signal(signal);
            }
            if process.harmless.look() {
                process.reread(&self.server);
            }
            match &reopen_once {
                Some(can_reopen) if can_reopen() => {
                    // The sync that it waited for may have failed since it was looked at above.
                    return match self.store.failure() {
                        Some(cause) => End::JournalFailed { cause },
                        None => End::Reopen,
                    };
                }
                Some(_) => {}
                None => match self.attend_successor(process.flags.drain_grace) {
                    Outcome::Kept => {}
                    Outcome::HandedOver => return End::HandedOver,
                    Outcome::Reopen => return End::Reopen,
                    Outcome::ReopenOnce(can_reopen) => reopen_once = Some(can_reopen),
                },
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn attend_successor(&mut self, grace: Duration) -> Outcome {
        match self.door.as_mut().and_then(|door| door.look(&self.held)) {
            Some(successor) => takeover::hand_over(
                successor,
                &mut self.door,
                &self.held,
                &self.server,
                &self.store,
                grace,
            ),
            None => Outcome::Kept,
        }
    }

    /// Opens the store again and serves it on the same sockets. What the server before is still
    /// answering it goes on with.
    fn begin_anew(self, process: &mut Process<'_>) -> Result<Self> {
        let Self { server, store, held, .. } = self;
        takeover::close_index(&store);
        let deadline = process.flags.shutdown_timeout;
        std::thread::spawn(move || server.drain(Duration::ZERO, deadline));
        // It may still be closing.
        process.config.index_later = true;
        let (listeners, lock) = held.into_parts();
        let serving = process.begin(listeners, lock)?;
        let position = serving.store.recovery().durable;
        tracing::warn!(position, "serving again after a takeover that failed");
        Ok(serving)
    }

    fn finish(self, process: &Process<'_>, end: End) -> Result<()> {
        let Self { server, store, held, door } = self;
        let (flags, reason) = (&process.flags, end.reason());
        // Before the lock is released: the next owner makes a socket of the same name.
        drop(door);
        tracing::info!(reason, "stopping");
        let (grace, deadline) = match &end {
            End::Signal(_) | End::Reopen => {
                server.announce_stop();
                std::thread::sleep(flags.shutdown_delay);
                (flags.drain_grace, flags.shutdown_timeout)
            }
            // Clients had their grace before.
            End::HandedOver => (Duration::ZERO, flags.shutdown_timeout.min(takeover::DRAIN_MAX)),
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
        // The index may have merges under way, which cannot be broken off and may take longer than a
        // stop may. They end with the process: what they would have written is written again.
        std::mem::forget(store.clone());
        let journal = store.journal().status();
        let closed = match end {
            // The journal is closed, and the index is closed or ends like a merge.
            End::HandedOver => Ok(()),
            _ => close(&store, give_up_at),
        };
        tracing::info!(
            reason,
            usages = journal.frames,
            syncs = journal.syncs,
            position = journal.durable,
            uptime_s = (monotonic() - process.begun).as_millis() as f64 / 1e3,
            "stopped"
        );
        if let End::JournalFailed { cause } = end {
            bail!(
                "the journal failed: {cause}; requests in flight were answered with outcome-unknown"
            );
        }
        closed?;
        if let End::CoreFailed { core } = end {
            bail!("the thread of core {core} has panicked; the log says where");
        }
        Ok(())
    }
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
        match closed.recv_timeout(LOOK_EVERY) {
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
