//! Processes that are measured: started on a core of their own, and read from /proc.

use std::fs;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::clock::now_ns;

/// A clock tick of /proc, in seconds: `USER_HZ` is 100 wherever Linux runs.
const TICK_SECONDS: f64 = 0.01;
/// Time in which a process must end when asked to.
const STOP_TIME_MAX: Duration = Duration::from_secs(120);

/// The two cores that a measurement uses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cores {
    pub(crate) server: usize,
    pub(crate) client: usize,
}

impl Cores {
    /// The first and the second core that this process may use.
    pub(crate) fn find() -> Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        match (cores.next(), cores.next()) {
            (Some(server), Some(client)) => Ok(Self { server, client }),
            _ => bail!("two cores are needed: one for the server, one for the load"),
        }
    }
}

/// Moves the calling thread, and what it starts from now on, to one core.
pub(crate) fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).with_context(|| format!("moving to core {core}"))
}

/// A process that is killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts a command on `core`; the calling thread is back on `home` afterwards.
    pub(crate) fn start(
        name: &str,
        command: &mut Command,
        core: usize,
        home: usize,
    ) -> Result<Self> {
        pin(core)?;
        let child = command.spawn();
        pin(home)?;
        Ok(Self {
            child: child.with_context(|| format!("starting {name}"))?,
            name: name.to_owned(),
        })
    }

    /// User and system CPU of all its threads so far, and of its children, in seconds.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        let own = self.child.id();
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children"))?;
        let mut ticks = 0;
        for pid in std::iter::once(own.to_string().as_str()).chain(children.split_whitespace()) {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
                .with_context(|| format!("{} has ended", self.name))?;
            ticks +=
                parse_stat_ticks(&stat).with_context(|| format!("/proc/{pid}/stat: {stat}"))?;
        }
        #[expect(clippy::cast_precision_loss, reason = "exact for ages")]
        let seconds = ticks as f64 * TICK_SECONDS;
        Ok(seconds)
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        parse_resident_bytes(&status).context("no VmRSS in /proc")
    }

    pub(crate) fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and waits for the end.
    pub(crate) fn stop(mut self) -> Result<ExitStatus> {
        let pid = Pid::from_raw(self.child.id().cast_signed()).context("a process has an id")?;
        kill_process(pid, Signal::TERM)?;
        let deadline = now_ns() + u64::try_from(STOP_TIME_MAX.as_nanos()).context("two minutes")?;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if now_ns() > deadline {
                bail!("{} did not end within {STOP_TIME_MAX:?} of SIGTERM", self.name);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the end and returns what it printed; its output must be piped.
    pub(crate) fn output(mut self) -> Result<String> {
        let mut text = String::new();
        if let Some(mut out) = self.child.stdout.take() {
            std::io::Read::read_to_string(&mut out, &mut text)?;
        }
        self.child.wait()?;
        Ok(text)
    }
}

/// User and system CPU of all processes that this one has waited for, with those that they waited for.
pub(crate) fn children_cpu_seconds() -> Result<f64> {
    let mut used = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the kernel fills the whole structure when the call succeeds.
    let used = unsafe {
        if libc::getrusage(libc::RUSAGE_CHILDREN, used.as_mut_ptr()) != 0 {
            bail!("getrusage: {}", std::io::Error::last_os_error());
        }
        used.assume_init()
    };
    let seconds = |time: libc::timeval| {
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_usec).unwrap_or(0) * 1_000)
    };
    Ok((seconds(used.ru_utime) + seconds(used.ru_stime)).as_secs_f64())
}

impl Drop for Process {
    fn drop(&mut self) {
        // A master's children would live on: ask first, since it takes them along.
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed())
            && matches!(self.child.try_wait(), Ok(None))
        {
            let _ = kill_process(pid, Signal::TERM);
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `utime` + `stime`, the 14th and 15th fields; the second one, a name, may hold spaces.
fn parse_stat_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn parse_resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stat: &str, expected: Option<u64>) {
        assert_eq!(parse_stat_ticks(stat), expected, "{stat}");
    }

    #[test]
    fn ticks_are_found_behind_any_name() {
        check("7 (inhale) S 1 7 7 0 -1 4194560 10 0 0 0 120 34 0 0 20 0 5 0 100 0", Some(154));
        check("7 (a) b (c) S 1 7 7 0 -1 4194560 10 0 0 0 1 2 0 0 20 0 5 0 100 0", Some(3));
        check("7 (inhale) S 1 7", None);
        check("", None);
    }

    #[test]
    fn memory_is_in_bytes() {
        assert_eq!(parse_resident_bytes("VmHWM:\t 9 kB\nVmRSS:\t    1024 kB\n"), Some(1 << 20));
        assert_eq!(parse_resident_bytes("VmHWM:\t 9 kB\n"), None);
    }

    #[test]
    fn a_busy_process_is_seen_to_use_its_core() {
        let home = Cores::find().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do :; done"]);
        let busy = Process::start("sh", &mut command, home.server, home.client).unwrap();
        let deadline = now_ns() + 20_000_000_000;
        while busy.cpu_seconds().unwrap() < 0.05 {
            assert!(now_ns() < deadline, "no CPU was counted");
            std::thread::yield_now();
        }
        assert!(busy.resident_bytes().unwrap() > 0);
    }
}
