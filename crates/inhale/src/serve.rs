//! `inhale serve`: opens the store, serves it, and ends in order: on a signal, on a takeover by its
//! successor, or because the disk failed. A takeover that fails may make it open the store again.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use edge::{Deadlines, LogPolicy};
use journal::disk::RealDisk;
use server::{Listeners, Server};
use store::{IndexOptions, Store, SystemClock};
use telemetry::Histogram;
use telemetry::logs::LogWriter;
use tracing::level_filters::LevelFilter;
use usage::UnknownFields;

use crate::checks;
use crate::config::Parsed;
use crate::descriptors;
use crate::flags::{LogLevel, ServeFlags, Switch, UnknownFieldsFlag};
use crate::reload::{Reloader, Reread};
use crate::signals::{Ending, Harmless};
use crate::takeover::{self, Claim, Door, Held, Inheritance, Outcome};
use crate::units::size_text;

/// Time for the answers that say the disk failed to reach their senders.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Slower than any connection over which somebody reads a page of a thousand usages.
const TAKEN_BYTES_PER_SECOND_MIN: u64 = 32 << 10;

/// How often the main thread looks for a failed disk, a signal and a successor.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Why serving ends, or begins anew.
enum End {
    Signal,
    HandedOver,
    /// A successor has failed after the journal was closed for it.
    Reopen,
    DiskFailed {
        cause: String,
    },
}

/// What does not change while the process runs, but for settings that a file may change.
struct Process<'a> {
    flags: ServeFlags,
    config: store::Config,
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
    checks::refuse_strangers(flags)?;
    let descriptors = descriptors::raise_limit();
    let logs = telemetry::logs::start(level(flags.log_level));
    for variable in &parsed.strangers {
        tracing::warn!(variable, "the variable stands for no setting; it is passed over");
    }
    let cores = cores(flags)?;
    let config = store_config(flags);
    checks::settings(flags, cores, &config)?;
    descriptors::prove(descriptors::wanted(cores, cores * flags.listen.len()))?;
    let reloader = Reloader::new(parsed);
    let mut process = Process {
        flags: flags.clone(),
        config,
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
            end => return serving.finish(&process.flags, end),
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
        summary_patience: flags.summary_timeout,
        unknown_fields: match flags.unknown_fields {
            UnknownFieldsFlag::Refuse => UnknownFields::Refuse,
            UnknownFieldsFlag::Keep => UnknownFields::Keep,
        },
        log: log_policy(flags),
    }
}

fn log_policy(flags: &ServeFlags) -> LogPolicy {
    LogPolicy { sample: flags.log_sample, slow: flags.log_slow }
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

impl Serving {
    /// Serves until something ends that.
    fn wait_for_end(&mut self, process: &mut Process<'_>) -> End {
        let mut reopen_once: Option<Box<dyn Fn() -> bool>> = None;
        loop {
            // Those who wait for a usage hear of a failed disk at once; the process may end a little
            // later. A subscription here would cost every batch a wake-up of this thread.
            if let Some(cause) = self.store.failure() {
                return End::DiskFailed { cause };
            }
            // A successor that is about to take over is waited for, or nobody would serve.
            let successor = self.door.as_ref().is_some_and(Door::is_attending);
            if process.ending.as_ref().is_some_and(Ending::came) && !successor {
                return End::Signal;
            }
            if process.harmless.look() {
                process.reread(&self.server);
            }
            match &reopen_once {
                Some(can_reopen) if can_reopen() => return End::Reopen,
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

    fn finish(self, flags: &ServeFlags, end: End) -> Result<()> {
        let Self { server, store, held, door } = self;
        // Before the lock is released: the next owner makes a socket of the same name.
        drop(door);
        let (grace, deadline) = match &end {
            End::Signal | End::Reopen => {
                server.announce_stop();
                std::thread::sleep(flags.shutdown_delay);
                (flags.drain_grace, flags.shutdown_timeout)
            }
            // Clients had their grace before.
            End::HandedOver => (Duration::ZERO, flags.shutdown_timeout.min(takeover::DRAIN_MAX)),
            End::DiskFailed { cause } => {
                tracing::error!(
                    cause,
                    "a write or sync of the journal failed; stopping without acknowledging anything more"
                );
                (Duration::ZERO, LAST_WORDS)
            }
        };
        // Held sockets would keep the port open with nobody accepting.
        drop(held);
        let drained = server.drain(grace, deadline);
        if drained.cut_off > 0 {
            tracing::warn!(connections = drained.cut_off, "cut off at --shutdown-timeout");
        }
        // The index may have merges under way, which cannot be broken off and may take longer than a
        // stop may. They end with the process: what they would have written is written again.
        std::mem::forget(store.clone());
        if let End::HandedOver = end {
            // The journal is closed, and the index is closed or ends like a merge.
            tracing::info!("stopped");
            return Ok(());
        }
        let closed = store.close();
        if let End::DiskFailed { cause } = end {
            bail!(
                "the disk failed while usages were written ({cause}); what was in flight was answered \
                 with outcome-unknown"
            );
        }
        closed.context("closing the journal")?;
        tracing::info!("stopped");
        Ok(())
    }
}
