//! What an agent does with a part of a plan on the machine it is on: the preflight and the engine
//! that a run on one machine has.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::message::{Closing, Part, Share};
use super::work::{Prepared, Work, Workshop};
use crate::engine::{self, Next, Running};
use crate::kernel;
use crate::machine;
use crate::measure::Interval;
use crate::outcome::KernelCounters;
use crate::plan::{Options, Plan, ScenarioOptions, is_pem};
use crate::preflight;
use crate::receipts::Receipts;

/// This machine.
#[derive(Default)]
pub struct ThisMachine {
    /// Where acknowledged ids are written: a dot and the agent's number, from 1 on, are put behind
    /// it, so that agents which share a directory have a file each.
    pub receipts: Option<PathBuf>,
}

/// A part that can be started.
struct Ready {
    plan: Arc<Plan>,
    part: Part,
    notes: Vec<String>,
    receipts: Option<Record>,
}

/// A file of receipts; an empty one goes with it.
struct Record {
    path: PathBuf,
    receipts: Arc<Receipts>,
}

/// The engine at work.
struct Engine {
    running: Running,
    kernel_before: Option<KernelCounters>,
    // Kept until the end, when it is known whether anything is in it.
    _record: Option<Record>,
}

impl Workshop for ThisMachine {
    fn prepare(&self, part: Part, options: Options) -> Result<Box<dyn Prepared>, String> {
        // What a coordinator sends has its files in it; one that names files here would have them
        // sent to whatever target it names.
        if names_files(&options) {
            return Err("its coordinator names files on this machine".to_owned());
        }
        let plan = options.build().map_err(|error| error.to_string())?;
        let findings = preflight::preflight(&plan, part.machines);
        if !findings.errors.is_empty() {
            return Err(findings.errors.join("; "));
        }
        let receipts = match &self.receipts {
            Some(path) => Some(Record::create(path, part)?),
            None if part.receipts => {
                return Err("receipts are asked for (--receipts FILE, on each agent)".to_owned());
            }
            None => None,
        };
        Ok(Box::new(Ready { plan: Arc::new(plan), part, notes: findings.notes, receipts }))
    }
}

impl Record {
    fn create(path: &Path, part: Part) -> Result<Self, String> {
        let mut name = OsString::from(path);
        name.push(format!(".{}", part.machine + 1));
        let path = PathBuf::from(name);
        match Receipts::create(&path) {
            Ok(receipts) => Ok(Self { path, receipts: Arc::new(receipts) }),
            Err(error) => Err(format!("{}: {error} (--receipts)", path.display())),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if fs::metadata(&self.path).is_ok_and(|file| file.len() == 0) {
            // Nothing is lost with it, and if it stays, the next run says that it is there.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Prepared for Ready {
    fn share(&self) -> Share {
        Share::of(&self.plan, self.part.machine, self.part.machines)
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    fn start(self: Box<Self>, start_ns: u64) -> Result<Box<dyn Work>, String> {
        let Self { plan, part, receipts: record, .. } = *self;
        let kernel_before = kernel::read();
        let receipts = record.as_ref().map(|record| Arc::clone(&record.receipts));
        let running = engine::start(plan, part.machine, part.machines, start_ns, receipts)
            .map_err(|error| error.to_string())?;
        Ok(Box::new(Engine { running, kernel_before, _record: record }))
    }
}

impl Work for Engine {
    fn next(&mut self, wait: Duration) -> Next {
        self.running.next(wait)
    }

    fn give_back(&mut self, interval: Box<Interval>) {
        self.running.give_back(interval);
    }

    fn go_on_until(&mut self, until_ns: u64) {
        self.running.go_on_until(until_ns);
    }

    fn stop(&mut self) {
        self.running.stop();
    }

    fn stop_now(&mut self) {
        self.running.stop_now();
    }

    fn close(self: Box<Self>) -> Closing {
        let kernel = kernel::read().zip(self.kernel_before);
        let failed = self.running.join().err();
        Closing {
            machine: machine::describe(),
            host: host(),
            kernel: kernel.map(|(after, before)| after.since(before)),
            missing: failed
                .map(|error| format!("the run broke off: {error}"))
                .into_iter()
                .collect(),
        }
    }
}

fn names_files(options: &Options) -> bool {
    let mut scenarios = options.scenarios.values().chain([&options.defaults]);
    scenarios.any(|scenario| {
        let ScenarioOptions { data, body_file, ca, cert, key, .. } = scenario;
        let names = |pem: &Option<String>| pem.as_ref().is_some_and(|value| !is_pem(value));
        data.is_some() || body_file.is_some() || [ca, cert, key].into_iter().any(names)
    })
}

/// What tells this machine's kernel, and the network in it that is seen from here, from others.
fn host() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let network = fs::read_link("/proc/self/ns/net").unwrap_or_default();
    format!("{} {}", boot.trim(), network.display())
}
