//! What a kill at full load costs: the time to the first 201 after it, and the rate at which a lost
//! index is rebuilt.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::stored::float;
use crate::clock::now_ns;
use crate::run::Bench;
use crate::run::figure::{Figure, Target, number};
use crate::run::http::request;
use crate::run::servers::{BODY, Server, USAGES};
use crate::run::statistics::spread;
use crate::run::store::{FIRST_BEYOND, SHAPE};

/// Time within which a restart or a rebuild is over.
const PATIENCE_NS: u64 = 3_600_000_000_000;

pub(super) fn restart(bench: &Bench) -> Result<Vec<Figure>> {
    let filled = bench.filled(bench.stored, false)?;
    let mut firsts = Vec::new();
    for _ in 0..bench.rounds {
        let mut inhale = bench.starter.inhale(&filled.folder, &[])?;
        let load = format!("{SHAPE} {FIRST_BEYOND} --connections 64 --duration 60s");
        let client = bench.starter.client("client", &inhale, &load)?;
        std::thread::sleep(Duration::from_secs(2));
        inhale.process.kill()?;
        drop(client);
        let started = now_ns();
        let inhale = bench.starter.inhale_unready(&filled.folder, &[])?;
        let seconds = first_201(&inhale, started)?;
        bench.say(&format!("  first 201 after {seconds:.3} s"));
        firsts.push(seconds);
        inhale.wait_ready()?;
        inhale.stop()?;
    }
    let stored = number(float(filled.usages));
    let what = format!("first 201 after a kill at full load, {stored} stored");
    let target = Target::AtMost { bound: 2.0, aim: 0.5 };
    let first = Figure::new(what, "s", spread(&firsts), target);
    Ok(vec![first, replay(bench, &filled.folder)?])
}

fn first_201(server: &Server, started_ns: u64) -> Result<f64> {
    loop {
        let answer = request(server.address, "POST", USAGES, BODY);
        let elapsed = now_ns() - started_ns;
        if matches!(answer, Ok((201, _))) {
            return Ok(Duration::from_nanos(elapsed).as_secs_f64());
        }
        server.process.cpu_seconds().context("the server ended")?;
        if elapsed > PATIENCE_NS {
            bail!("no 201 after a restart");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Deletes the index and times how long the journal takes to fill it again.
fn replay(bench: &Bench, data: &std::path::Path) -> Result<Figure> {
    fs::remove_dir_all(data.join("index")).context("deleting the index")?;
    let started = now_ns();
    let inhale = bench.starter.inhale_unready(data, &[])?;
    let mut most = 0.0f64;
    loop {
        // Before the admin listener is there, nothing is known yet.
        if let Ok(Some(lag)) = inhale.lag() {
            most = most.max(lag);
            if most > 0.0 && lag <= 0.0 {
                break;
            }
        }
        inhale.process.cpu_seconds().context("the server ended")?;
        if now_ns() - started > PATIENCE_NS {
            bail!("the index was not rebuilt");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let seconds = Duration::from_nanos(now_ns() - started).as_secs_f64();
    inhale.stop()?;
    let target = Target::AtLeast { bound: 400_000.0, aim: 800_000.0 };
    let rate = spread(&[most / seconds]);
    Ok(Figure::new("replay into a lost index", "usages/s", rate, target)
        .note(format!("{} usages in {seconds:.1} s, from the start of the process", number(most))))
}
