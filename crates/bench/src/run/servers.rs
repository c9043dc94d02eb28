//! The three that are compared: the floor, nginx with a fixed 201, and inhale.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::http::{parse_metric, reads_bodies, request};
use super::process::{Cores, Process};
use crate::clock::now_ns;

/// Time in which a server must come up.
const START_TIME_MAX: Duration = Duration::from_secs(120);
/// Time in which the index must catch up and compaction come to rest.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(1_800);
/// Where usages are posted, and the first one that ever was.
pub(crate) const USAGES: &str = "/api/usages";
pub(crate) const BODY: &str = r#"{"patientId":"100","timestamp":"Tue Nov 01 2016 09:11:51 GMT-0500 (CDT)","medication":"Albuterol"}"#;
const LAG: &str = "inhale_index_lag_usages";

/// A server under test.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    /// Who has an index tells here how far behind it is.
    admin: Option<SocketAddr>,
}

/// Starts servers.
#[derive(Debug, Clone)]
pub(crate) struct Starter {
    pub(crate) cores: Cores,
    /// This program, which is also the floor.
    pub(crate) own: PathBuf,
    pub(crate) inhale: PathBuf,
    pub(crate) nginx: Option<PathBuf>,
    pub(crate) folder: PathBuf,
}

impl Starter {
    pub(crate) fn floor(&self) -> Result<Server> {
        let address = free_address()?;
        let mut command = Command::new(&self.own);
        command.args(["floor", "--listen", &address.to_string()]).stdout(Stdio::null());
        self.start("floor", &mut command, address, None)
    }

    /// `None` when there is no nginx on this machine.
    pub(crate) fn nginx(&self) -> Result<Option<Server>> {
        let Some(nginx) = &self.nginx else { return Ok(None) };
        let address = free_address()?;
        let folder = self.folder.join("nginx");
        fs::create_dir_all(&folder)?;
        let configuration = folder.join("nginx.conf");
        fs::write(&configuration, nginx_configuration(address, &folder))?;
        let mut command = Command::new(nginx);
        command.arg("-p").arg(&folder).arg("-c").arg(&configuration);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.start("nginx", &mut command, address, None).map(Some)
    }

    /// inhale on the store in `data`, with more options of `serve`.
    pub(crate) fn inhale(&self, data: &Path, options: &[&str]) -> Result<Server> {
        let mut server = self.inhale_unready(data, options)?;
        if options.contains(&"off") {
            // Without its index it takes usages in, but never calls itself ready nor caught up.
            server.admin = None;
            server.wait_until(|| {
                matches!(request(server.address, "POST", USAGES, BODY), Ok((201, _)))
            })?;
        } else {
            server.wait_ready()?;
        }
        Ok(server)
    }

    /// The same without waiting for it to be ready.
    pub(crate) fn inhale_unready(&self, data: &Path, options: &[&str]) -> Result<Server> {
        let (address, admin) = (free_address()?, free_address()?);
        let mut command = Command::new(&self.inhale);
        command.args(["serve", "--listen", &address.to_string()]);
        command.args(["--admin-listen", &admin.to_string(), "--log-level", "error"]);
        command.arg("--data").arg(data).args(options).stdout(Stdio::null());
        let process = Process::start("inhale", &mut command, self.cores.server, self.cores.client)?;
        Ok(Server { name: "inhale", process, address, admin: Some(admin) })
    }

    fn start(
        &self,
        name: &'static str,
        command: &mut Command,
        address: SocketAddr,
        admin: Option<SocketAddr>,
    ) -> Result<Server> {
        let process = Process::start(name, command, self.cores.server, self.cores.client)?;
        let mut server = Server { name, process, address, admin };
        let deadline = deadline(START_TIME_MAX);
        while !matches!(request(address, "POST", USAGES, BODY), Ok((201, _))) {
            if !server.process.is_running()? || now_ns() > deadline {
                bail!("{name} did not start");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        if !reads_bodies(address)? {
            bail!("{name} does not read the bodies of requests, so it is no measure");
        }
        Ok(server)
    }
}

impl Server {
    pub(crate) fn url(&self) -> String {
        format!("http://{}{USAGES}", self.address)
    }

    pub(crate) fn wait_ready(&self) -> Result<()> {
        let admin = self.admin.context("only inhale tells whether it is ready")?;
        self.wait_until(|| matches!(request(admin, "GET", "/readyz", ""), Ok((200, _))))
    }

    fn wait_until(&self, ready: impl Fn() -> bool) -> Result<()> {
        let deadline = deadline(START_TIME_MAX);
        while !ready() {
            // Reading its CPU fails when the process has ended.
            self.process.cpu_seconds()?;
            if now_ns() > deadline {
                bail!("{} is not ready after {START_TIME_MAX:?}", self.name);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Usages that the index has still to take; `None` for who has none.
    pub(crate) fn lag(&self) -> Result<Option<f64>> {
        let Some(admin) = self.admin else { return Ok(None) };
        let (_, text) = request(admin, "GET", "/metrics", "")?;
        Ok(parse_metric(&text, LAG))
    }

    /// Waits until the index has taken everything.
    pub(crate) fn catch_up(&self) -> Result<()> {
        let deadline = deadline(SETTLE_TIME_MAX);
        while self.lag()?.is_some_and(|lag| lag > 0.0) {
            if now_ns() > deadline {
                bail!("the index does not catch up");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Waits until the index has caught up and no background work uses the CPU.
    pub(crate) fn settle(&self) -> Result<()> {
        self.catch_up()?;
        let deadline = deadline(SETTLE_TIME_MAX);
        let mut quiet = 0;
        while quiet < 3 {
            let before = self.process.cpu_seconds()?;
            std::thread::sleep(Duration::from_secs(1));
            let busy = self.process.cpu_seconds()? - before;
            quiet = if busy < 0.05 { quiet + 1 } else { 0 };
            if now_ns() > deadline {
                bail!("background work does not come to rest");
            }
        }
        Ok(())
    }

    /// SIGTERM; fails when the server does not end well.
    pub(crate) fn stop(self) -> Result<()> {
        let status = self.process.stop()?;
        // nginx and the floor end by the signal.
        if self.name == "inhale" && !status.success() {
            bail!("{} ended with {status}", self.name);
        }
        Ok(())
    }
}

fn deadline(time: Duration) -> u64 {
    now_ns() + u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 2)
}

/// An address that was free a moment ago.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// A fixed 201 of about the size of inhale's. `return` discards the body by reading it, as it must to
/// find the next request of a connection.
fn nginx_configuration(address: SocketAddr, folder: &Path) -> String {
    let folder = folder.display();
    let id = "0193591e-0000-7000-8000-000000000000";
    format!(
        "daemon off;\nworker_processes 1;\npid {folder}/nginx.pid;\nerror_log stderr error;\n\
         events {{ worker_connections 8192; }}\n\
         http {{\n  access_log off;\n  default_type application/json;\n  keepalive_requests 1000000000;\n\
         keepalive_timeout 600s;\n  client_body_temp_path {folder}/body;\n  proxy_temp_path {folder}/proxy;\n\
         fastcgi_temp_path {folder}/fastcgi;\n  uwsgi_temp_path {folder}/uwsgi;\n  scgi_temp_path {folder}/scgi;\n\
         server {{\n    listen {address} backlog=65535;\n    location / {{\n\
         add_header Location /api/usages/{id} always;\n      add_header Durability fsync always;\n\
         return 201 '{{\"id\":\"{id}\"}}';\n    }}\n  }}\n}}\n"
    )
}
