//! Starting and ending: the API on a thread for each core, the operators' calls on one more.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use edge::{Access, Budget, CoreContext, Cores, Deadlines, Drained, Host, LogPolicy, Origin};
use store::{Clock, Store, Tickets};
use telemetry::{Histogram, Metrics};
use usage::UnknownFields;

use crate::admin::Admin;
use crate::admission::{ANSWERS_BYTES_MAX, Refusing};
use crate::api::Api;
use crate::counting::Counting;
use crate::figures;
use crate::shared::Shared;

/// Connections that operators may have open.
const ADMIN_CONNECTIONS_MAX: usize = 256;

/// What an operator chooses.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long anything is waited for.
    pub deadlines: Deadlines,
    /// Connections open at once.
    pub connections_max: usize,
    /// Bytes of requests in memory at once that are arriving or waiting for the disk: heads, bodies and
    /// their buffers.
    pub bodies_bytes_max: usize,
    /// How long a usage may wait for the disk, counted from its body. Then its outcome is unknown.
    pub commit_timeout: Duration,
    /// How long a summary may take.
    pub summary_patience: Duration,
    /// What happens to fields that a usage does not have.
    pub unknown_fields: UnknownFields,
    /// Which requests are logged.
    pub log: LogPolicy,
    /// Hosts that requests may be for, beside the address that they come to.
    pub hosts: Vec<Host>,
    /// Origins of other servers whose pages may send requests.
    pub origins: Vec<Origin>,
}

/// Bound sockets: for each core its listeners, and one core's for operators.
pub struct Listeners {
    /// Take usages.
    pub api: Vec<Vec<TcpListener>>,
    /// Answer operators.
    pub admin: Vec<TcpListener>,
}

/// A running server.
pub struct Server {
    api: Cores,
    admin: Cores,
    shared: Arc<Shared>,
}

/// Starts serving `store` on `listeners`. Every scrape of the metrics includes `sync_durations` and
/// `log_lines_dropped`.
///
/// # Errors
/// When threads or sockets cannot be had.
pub fn start(
    config: &Config,
    store: Store,
    clock: Arc<dyn Clock>,
    listeners: Listeners,
    sync_durations: Arc<Histogram>,
    log_lines_dropped: impl Fn() -> u64 + Send + Sync + 'static,
) -> io::Result<Server> {
    let cores = listeners.api.len();
    let metrics = Metrics::new(cores + 1);
    let counting = Counting::start(store.clone(), config.summary_patience)?;
    let shared = Arc::new(Shared {
        store,
        clock,
        metrics: Arc::clone(&metrics),
        bodies: Arc::new(Budget::new(config.bodies_bytes_max)),
        answers: Arc::new(Budget::new(ANSWERS_BYTES_MAX)),
        refusing: Refusing::default(),
        counting,
        unknown_fields: config.unknown_fields,
        stopping: AtomicBool::new(false),
    });
    figures::register(&shared, sync_durations, log_lines_dropped);
    let access = Access {
        hosts: config.hosts.clone(),
        origins: config.origins.clone(),
        any_host_paths: &[],
        linked_paths: &["/", "/docs", "/openapi.json"],
    };
    // Health checks name hosts as they please.
    let admin_access = Access {
        any_host_paths: &["/healthz", "/readyz"],
        linked_paths: &["/", "/status"],
        ..access.clone()
    };
    let edge_config = edge::Config {
        deadlines: config.deadlines.clone(),
        connections_max: config.connections_max,
        budget: Arc::clone(&shared.bodies),
        log: config.log,
        access: Arc::new(access),
        name: "core",
        core_first: 0,
    };
    let api = edge::start(&edge_config, listeners.api, &metrics, {
        let (shared, commit_timeout) = (Arc::clone(&shared), config.commit_timeout);
        move |context: CoreContext| {
            let tickets = Tickets::new(&shared.store, Arc::clone(&shared.clock), commit_timeout);
            context.spawn(tickets.drive());
            Api::new(Arc::clone(&shared), context, tickets)
        }
    })?;
    let admin_config = edge::Config {
        connections_max: ADMIN_CONNECTIONS_MAX,
        access: Arc::new(admin_access),
        name: "admin",
        core_first: cores,
        ..edge_config
    };
    let admin = edge::start(&admin_config, vec![listeners.admin], &metrics, {
        let shared = Arc::clone(&shared);
        move |_| Admin::new(Arc::clone(&shared))
    })?;
    Ok(Server { api, admin, shared })
}

impl Server {
    /// Changes which requests are logged.
    pub fn set_log(&self, policy: LogPolicy) {
        self.controls().for_each(|control| control.set_log(policy));
    }

    /// Goes on serving, but has clients give up the connections that they have. See
    /// [`edge::Control::retire`].
    pub fn retire(&self, grace: Duration) {
        self.controls().for_each(|control| control.retire(grace));
    }

    /// Accepts no more after [`Server::retire`]: connections wait in the listeners' queues.
    pub fn pause(&self) {
        self.controls().for_each(|control| control.pause());
    }

    /// Serves as before [`Server::retire`].
    pub fn resume(&self) {
        self.controls().for_each(|control| control.resume());
    }

    /// Whether no core accepts any more.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.controls().all(|control| control.is_paused())
    }

    /// Connections open now.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.metrics.connections()
    }

    fn controls(&self) -> impl Iterator<Item = Arc<edge::Control>> {
        [self.api.control(), self.admin.control()].into_iter()
    }

    /// Has `/readyz` fail from now on, while everything is still answered.
    pub fn announce_stop(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
    }

    /// The number of the first core whose thread has ended by a panic. Its connections hang, so the
    /// process should end.
    pub fn failed_core(&self) -> Option<usize> {
        let failed = |cores: &Cores| cores.control().failed_core();
        failed(&self.api).or_else(|| failed(&self.admin))
    }

    /// Stops accepting, lets what is in flight finish, and ends all threads. See
    /// [`edge::Control::drain`] for `grace` and `deadline`.
    pub fn drain(self, grace: Duration, deadline: Duration) -> Drained {
        self.announce_stop();
        self.api.control().drain(grace, deadline);
        let drained = self.api.join();
        // Operators see the end; what they still read is no reason to wait long.
        self.admin.control().drain(Duration::ZERO, Duration::from_secs(1));
        self.admin.join();
        drained
    }
}
