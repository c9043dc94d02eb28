//! Who comes when, from options.

use std::time::Duration;

use super::Builder;
use crate::limits::{CONNECTIONS_MAX, DURATION_MAX, RATE_MAX};
use crate::plan::nearest::hint;
use crate::plan::{Arrivals, Executor, ScenarioOptions, Think, UserStage, quantity};

/// What somebody who says nothing gets.
const RATE: f64 = 100.0;
const DURATION: Duration = Duration::from_secs(10);
/// How long iterations may take, as in k6.
const ITERATIONS_DURATION: Duration = Duration::from_secs(600);
/// Iterations of a run.
const ITERATIONS_MAX: u64 = 1_000_000_000_000;
const STAGES_MAX: usize = 10_000;

/// How busy each hour of a day is beside the others, from midnight to midnight: inhalers are used
/// when people get up, and again before they go to bed.
const DAY: [f64; 25] = [
    0.25, 0.15, 0.1, 0.1, 0.15, 0.4, 1.1, 2.1, 2.6, 1.9, 1.2, 0.9, 1.0, 0.9, 0.7, 0.7, 0.8, 1.1,
    1.6, 2.1, 2.3, 1.8, 1.1, 0.5, 0.25,
];

/// k6's executors, by what they need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    SharedIterations,
    PerUserIterations,
    ConstantUsers,
    RampingUsers,
    ConstantRate,
    RampingRate,
}

impl Kind {
    const ALL: [(&'static str, Self); 6] = [
        ("shared-iterations", Self::SharedIterations),
        ("per-vu-iterations", Self::PerUserIterations),
        ("constant-vus", Self::ConstantUsers),
        ("ramping-vus", Self::RampingUsers),
        ("constant-arrival-rate", Self::ConstantRate),
        ("ramping-arrival-rate", Self::RampingRate),
    ];

    fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }

    /// The options that mean something to it.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Self::SharedIterations | Self::PerUserIterations => {
                &["vus", "iterations", "duration", "think", "rps"]
            }
            Self::ConstantUsers => &["vus", "duration", "think", "rps"],
            Self::RampingUsers => &["vus", "stages", "think", "rps"],
            Self::ConstantRate => &["rate", "duration", "shape", "iterations"],
            Self::RampingRate => &["rate", "stages"],
        }
    }
}

/// A stage as it was written.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stage<'a> {
    duration: Duration,
    target: &'a str,
}

impl Builder {
    pub(super) fn executor(&mut self, options: &ScenarioOptions) -> Option<Executor> {
        let kind = self.kind(options)?;
        self.refuse_others(kind, options);
        let duration = self.run_duration(options);
        match kind {
            Kind::ConstantRate => self.constant_rate(options, duration),
            Kind::RampingRate => self.ramping_rate(options),
            Kind::RampingUsers => self.ramping_users(options),
            Kind::ConstantUsers => {
                let (users, think) = (self.steady_users(options)?, self.think(options));
                let duration = duration.unwrap_or_else(|| self.default_duration());
                let stages = vec![UserStage { duration, from: users, to: users }];
                Some(Executor::Users { stages, think })
            }
            Kind::SharedIterations | Kind::PerUserIterations => {
                let (users, think) = (self.steady_users(options)?, self.think(options));
                let iterations = self.iterations(options)?.unwrap_or(1);
                let duration_max = duration.unwrap_or(ITERATIONS_DURATION);
                Some(if kind == Kind::SharedIterations {
                    Executor::SharedIterations { users, iterations, duration_max, think }
                } else {
                    Executor::PerUserIterations { users, iterations, duration_max, think }
                })
            }
        }
    }

    /// The kind that was named, or that the other options are of.
    fn kind(&mut self, options: &ScenarioOptions) -> Option<Kind> {
        if let Some(name) = options.executor.as_deref() {
            let found = Kind::ALL.into_iter().find(|(known, _)| *known == name);
            let names = Kind::ALL.map(|(name, _)| name);
            let found = found.map(|(_, kind)| kind).ok_or_else(|| {
                format!("there is no `{name}`{}; there are {}", hint(name, names), names.join(", "))
            });
            return self.faults.take("executor", found);
        }
        let has_rate = options.rate.is_some();
        if !options.stages.is_empty() {
            let is_rate = |stage: &&str| stage.contains('/');
            let stages = options.stages.iter().flat_map(|text| text.split(','));
            let (rates, others): (Vec<&str>, Vec<&str>) = stages.partition(is_rate);
            if !has_rate && !rates.is_empty() && !others.is_empty() {
                let words = format!(
                    "`{}` is of users and `{}` a rate: say /s behind all or behind none",
                    others[0], rates[0]
                );
                self.faults.add("stages", words);
                return None;
            }
            let of_rates = has_rate || !rates.is_empty();
            return Some(if of_rates { Kind::RampingRate } else { Kind::RampingUsers });
        }
        if has_rate || options.shape.is_some() {
            return Some(Kind::ConstantRate);
        }
        if options.iterations.is_some() {
            return Some(Kind::SharedIterations);
        }
        if options.vus.is_some() || options.think.is_some() || options.rps.is_some() {
            return Some(Kind::ConstantUsers);
        }
        Some(Kind::ConstantRate)
    }

    fn refuse_others(&mut self, kind: Kind, options: &ScenarioOptions) {
        let said = [
            ("rate", options.rate.is_some()),
            ("rps", options.rps.is_some()),
            ("duration", options.duration.is_some()),
            ("vus", options.vus.is_some()),
            ("iterations", options.iterations.is_some()),
            ("stages", !options.stages.is_empty()),
            ("think", options.think.is_some()),
            ("shape", options.shape.is_some()),
        ];
        for (key, is_said) in said {
            if !is_said || kind.keys().contains(&key) {
                continue;
            }
            let name = kind.name();
            let why = match key {
                "vus" => {
                    "requests come at a rate, whoever sends them; --connections bounds how \
                          many are open"
                }
                "think" => "only users of a closed model (--vus) wait for an answer, and think",
                "duration" => "the stages have durations of their own",
                "rps" => "it caps what users (--vus) begin; requests at a rate have it already",
                "shape" => "a day has a shape of its own, and needs --rate and --duration",
                _ => "leave one of them out",
            };
            self.faults.add(key, format!("not for what the others ask for ({name}): {why}"));
        }
    }

    fn constant_rate(
        &mut self,
        options: &ScenarioOptions,
        duration: Option<Duration>,
    ) -> Option<Executor> {
        let rate = match &options.rate {
            None => RATE,
            Some(text) => self.rate("rate", text)?,
        };
        let iterations = self.iterations(options)?;
        let wanted = iterations.map(|count| seconds_for(count, rate));
        let duration = match (duration, wanted) {
            (Some(duration), Some(wanted)) => duration.min(wanted),
            (given, wanted) => given.or(wanted).unwrap_or_else(|| self.default_duration()),
        };
        if options.rate.is_none() {
            self.note(format!("without --rate, {RATE} requests a second"));
        }
        let stages = match options.shape.as_deref() {
            None | Some("flat") => vec![(duration, rate, rate)],
            Some("daily") => daily(duration, rate),
            Some(other) => {
                self.faults.add("shape", format!("`{other}` is neither flat nor daily"));
                return None;
            }
        };
        self.arrivals("rate", stages)
    }

    fn ramping_rate(&mut self, options: &ScenarioOptions) -> Option<Executor> {
        let start = options.rate.as_deref().map_or(Some(0.0), |text| self.rate("rate", text));
        let stages = self.stages(options, quantity::rate)?;
        let mut from = start?;
        let ramps = stages
            .into_iter()
            .map(|(duration, to)| (duration, std::mem::replace(&mut from, to), to));
        let ramps = ramps.collect();
        self.arrivals("stages", ramps)
    }

    fn arrivals(&mut self, key: &str, stages: Vec<(Duration, f64, f64)>) -> Option<Executor> {
        let made = Arrivals::new(stages).ok_or("not even one request is due".to_owned());
        let arrivals = self.faults.take(key, made)?;
        if arrivals.rate_max() > RATE_MAX {
            self.faults.add(key, format!("more than {RATE_MAX} requests a second"));
            return None;
        }
        Some(Executor::Arrivals(arrivals))
    }

    fn ramping_users(&mut self, options: &ScenarioOptions) -> Option<Executor> {
        let think = self.think(options);
        let start = self.users(options);
        let stages = self.stages(options, |text| {
            let users = quantity::count(text)?;
            let is_too_many = users > CONNECTIONS_MAX as u64;
            if is_too_many {
                Err(format!("{users} users of at most {CONNECTIONS_MAX}"))
            } else {
                Ok(users)
            }
        })?;
        let mut from = start?;
        let stages: Vec<UserStage> = stages
            .into_iter()
            .map(|(duration, to)| UserStage {
                duration,
                from: std::mem::replace(&mut from, to),
                to,
            })
            .collect();
        Some(Executor::Users { stages, think })
    }

    /// All stages, or `None` and a fault for each that is none.
    fn stages<T>(
        &mut self,
        options: &ScenarioOptions,
        target: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<(Duration, T)>> {
        let texts: Vec<&str> = options.stages.iter().flat_map(|text| text.split(',')).collect();
        if texts.is_empty() || texts.len() > STAGES_MAX {
            self.faults.add("stages", format!("{} stages; 1 to {STAGES_MAX} can be", texts.len()));
            return None;
        }
        let mut stages = Vec::new();
        for text in &texts {
            let stage = stage(text).and_then(|stage| Ok((stage.duration, target(stage.target)?)));
            stages.extend(self.faults.take("stages", stage));
        }
        let total = stages.iter().try_fold(Duration::ZERO, |sum, stage| sum.checked_add(stage.0));
        if stages.len() == texts.len() && !total.is_some_and(is_a_runs) {
            self.faults.add("stages", "together they must be above 0 and at most 31 days");
            return None;
        }
        (stages.len() == texts.len()).then_some(stages)
    }

    fn run_duration(&mut self, options: &ScenarioOptions) -> Option<Duration> {
        let text = options.duration.as_deref();
        let duration = self.faults.parse("duration", text, quantity::duration)?;
        if is_a_runs(duration) {
            return Some(duration);
        }
        self.faults.add("duration", "it must be above 0 and at most 31 days");
        None
    }

    fn default_duration(&mut self) -> Duration {
        let seconds = DURATION.as_secs();
        // What was said and is wrong has been told; what is noted then is never read.
        self.note(format!("without --duration, {seconds} s"));
        DURATION
    }

    /// The same of users who are the same all the time; what ramps begins with one.
    fn steady_users(&mut self, options: &ScenarioOptions) -> Option<u64> {
        if options.vus.is_none() {
            self.note("without --vus, one user".to_owned());
        }
        self.users(options)
    }

    fn users(&mut self, options: &ScenarioOptions) -> Option<u64> {
        match options.vus.as_deref() {
            None => Some(1),
            text => self.count("vus", text, CONNECTIONS_MAX as u64),
        }
    }

    /// `None` is a fault, `Some(None)` is nothing said.
    fn iterations(&mut self, options: &ScenarioOptions) -> Option<Option<u64>> {
        match options.iterations.as_deref() {
            None => Some(None),
            text => self.count("iterations", text, ITERATIONS_MAX).map(Some),
        }
    }

    pub(super) fn rate(&mut self, key: &str, text: &str) -> Option<f64> {
        let rate = self.faults.take(key, quantity::rate(text))?;
        if rate > 0.0 || key == "stages" {
            return Some(rate);
        }
        self.faults.add(key, "it must be above 0");
        None
    }

    fn think(&mut self, options: &ScenarioOptions) -> Think {
        let parse = |text: &str| {
            let (min, max) = text.split_once("..").unwrap_or((text, text));
            let (min, max) = (quantity::duration(min)?, quantity::duration(max)?);
            if min > max || max > DURATION_MAX {
                return Err(format!("`{text}` is not like 1s or 1s..3s"));
            }
            Ok(Think { min, max })
        };
        self.faults.parse("think", options.think.as_deref(), parse).unwrap_or_default()
    }
}

fn is_a_runs(duration: Duration) -> bool {
    !duration.is_zero() && duration <= DURATION_MAX
}

fn stage(text: &str) -> Result<Stage<'_>, String> {
    let (duration, target) = text.trim().split_once(':').ok_or_else(|| {
        format!("`{text}` is no stage; write it like 30s:100 for users or 30s:5k/s for a rate")
    })?;
    Ok(Stage { duration: quantity::duration(duration)?, target })
}

/// The time in which so many requests are due at a rate. Rounded down, so that no further one is.
fn seconds_for(count: u64, rate: f64) -> Duration {
    #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
    let ns = count as f64 / rate * 1e9;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rounds down, and what is too long saturates, which is refused as too long"
    )]
    Duration::from_nanos(ns as u64).min(DURATION_MAX)
}

/// A day within `duration`, with `rate` on average.
fn daily(duration: Duration, rate: f64) -> Vec<(Duration, f64, f64)> {
    let hours = DAY.len() as u128 - 1;
    let until = |hour: usize| {
        let ns = duration.as_nanos() * hour as u128 / hours;
        Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    };
    let hours: Vec<(Duration, f64, f64)> = DAY
        .windows(2)
        .enumerate()
        .map(|(hour, ends)| (until(hour + 1) - until(hour), ends[0], ends[1]))
        .collect();
    let area: f64 = hours.iter().map(|(d, from, to)| d.as_secs_f64() * (from + to) / 2.0).sum();
    let scale = rate * duration.as_secs_f64() / area;
    hours.into_iter().map(|(d, from, to)| (d, from * scale, to * scale)).collect()
}
