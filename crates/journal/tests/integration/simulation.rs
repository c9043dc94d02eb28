//! The journal under thousands of random histories on a simulated disk, against a model that says
//! what must be there. A failure prints its seed; `SIM_SEED=… cargo test -p journal simulation`
//! runs that history alone, `SIM_SEEDS=…` says how many are run.

mod controls;
mod model;
mod op;
mod repros;
mod threads;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use world::{Settings, World};

/// Histories in a debug build; `./test` asks for far more in release.
const SEEDS_DEFAULT: u64 = 150;

/// Runs the history of one seed. An error says what was wrong and what led to it.
fn run(seed: u64, settings: &Settings) -> Result<world::Tally, String> {
    let mut trace = Vec::new();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(seed, settings.clone());
        world.run(&mut trace)
    }));
    outcome
        .unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
            Err(format!("a panic: {}", text.unwrap_or_default()))
        })
        .map_err(|why| {
            let tail = &trace[trace.len().saturating_sub(30)..];
            format!("SIM_SEED={seed}: {why}\n  {}", tail.join("\n  "))
        })
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not {text}")))
}

#[test]
fn every_history_keeps_what_was_acknowledged() {
    let seeds = match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(SEEDS_DEFAULT),
    };
    let alone = seeds.end - seeds.start == 1;
    let mut tally = world::Tally::default();
    for seed in seeds {
        match run(seed, &Settings::default()) {
            Ok(one) => tally.add(&one),
            Err(why) => panic!("{why}"),
        }
    }
    // A simulation in which nothing happens proves nothing.
    assert!(alone || tally.is_rich(), "{tally:?}");
}
