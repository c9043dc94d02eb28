//! `inhale load URL`: a plan is carried out, here or by agents, watched, judged and told of.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ::load::agents::{self, Coordinator, CoordinatorError, GatherNews, Group, Job, Secret};
use ::load::measure::Totals;
use ::load::observe::Observer;
use ::load::outcome::{Outcome, exit};
use ::load::plan::{Options, Plan, PlanError};
use ::load::receipts::Receipts;
use ::load::reconcile::MetricsUrl;
use ::load::run::{self, RunContext, StopFlag};

use super::flags::{LoadFlags, MachineFlags};
use super::telling::Telling;
use super::watching::Watchers;
use super::{show, stopping, typed};

/// How long agents are waited for unless told.
const AGENTS_PATIENCE: Duration = Duration::from_secs(60);

/// What a failed start says, and its exit code.
type Failed = (String, u8);

/// Carries `options` out. Errors are such that nothing was sent.
pub(super) fn run(flags: &LoadFlags, options: &Options) -> Result<ExitCode, Failed> {
    let wrong = |words| (words, exit::CONFIGURATION);
    let plan = Arc::new(options.build().map_err(|error| wrong(error.to_string()))?);
    if flags.output.plan {
        show::plan(&plan).iter().for_each(|line| outln!("{line}"));
        return Ok(ExitCode::SUCCESS);
    }
    let telling = Telling::new(flags).map_err(wrong)?;
    let mut watchers = Watchers::open(&flags.output).map_err(wrong)?;
    let context = context(flags).map_err(wrong)?;
    let stop = stopping::on_signals().map_err(wrong)?;
    if flags.output.verbose {
        show::plan(&plan).iter().for_each(|line| errln!("{line}"));
    }
    let ran = match flags.machines.agents {
        None => {
            watchers.show(&flags.output, &stop);
            run::run(&plan, &context, &mut watchers.all(), &stop)
                .map(|(totals, outcome)| (plan, totals, outcome))
                .map_err(|error| (error.to_string(), error.exit_code()))
        }
        Some(agents) => {
            let group = gather(&flags.machines, agents, &stop)?;
            watchers.show(&flags.output, &stop);
            with_agents(group, flags, options.clone(), &context, &mut watchers.all(), &stop)
        }
    };
    let mut failures = watchers.close();
    let (plan, totals, mut outcome) = ran.inspect_err(|_| remove_empty_receipts(flags))?;
    outcome.health.warnings.extend(failures.iter().cloned());
    failures.extend(telling.tell(&plan, &totals, &outcome));
    for failure in &failures {
        errln!("inhale load: {failure}");
    }
    Ok(ExitCode::from(match outcome.exit_code() {
        exit::PASSED if !failures.is_empty() => exit::NOT_WRITTEN,
        code => code,
    }))
}

fn context(flags: &LoadFlags) -> Result<RunContext, String> {
    let receipts = match &flags.verdict.receipts {
        // With agents each has a file of its own.
        Some(path) if flags.machines.agents.is_none() => {
            let created = Receipts::create(path);
            let created =
                created.map_err(|error| format!("--receipts {}: {error}", path.display()))?;
            Some(Arc::new(created))
        }
        _ => None,
    };
    let metrics = match flags.verdict.metrics_url.as_deref() {
        None => MetricsUrl::Usual,
        Some("none") => MetricsUrl::Nowhere,
        Some(url) => MetricsUrl::At(url.to_owned()),
    };
    Ok(RunContext { command: typed::command(), receipts, metrics })
}

/// Nothing was sent, so the next try need not be told that its file is there.
fn remove_empty_receipts(flags: &LoadFlags) {
    if let Some(path) = &flags.verdict.receipts
        && std::fs::metadata(path).is_ok_and(|file| file.len() == 0)
    {
        // If it stays, the next try says so.
        let _ = std::fs::remove_file(path);
    }
}

fn gather(flags: &MachineFlags, agents: usize, stop: &StopFlag) -> Result<Group, Failed> {
    let failed = |error: CoordinatorError| (error.to_string(), error.exit_code());
    let secret = Secret::find(flags.agents_secret_file.as_deref())
        .map_err(|error| (error.to_string(), exit::CONFIGURATION))?;
    let address = flags.agents_listen.as_deref().expect("clap wants it beside --agents");
    let coordinator = Coordinator::listen(address, secret).map_err(failed)?;
    let at = coordinator.address();
    // Others cannot join at the address that stands for all of this machine's.
    let join = match at {
        Ok(at) if at.ip().is_unspecified() => format!("THIS-MACHINE:{}", at.port()),
        Ok(at) => at.to_string(),
        Err(_) => address.to_owned(),
    };
    errln!("waiting for {agents} agents: inhale load agent --join {join}");
    let patience = flags.agents_timeout.unwrap_or(AGENTS_PATIENCE);
    let mut go_on = |news: Option<&GatherNews>| {
        match news {
            Some(GatherNews::Joined { agent, joined, asked }) => {
                errln!("{agent} has joined: {joined} of {asked}");
            }
            Some(GatherNews::Left { agent, why }) => errln!("{agent} has left: {why}"),
            Some(GatherNews::Refused { peer, why }) => errln!("{peer} was refused: {why}"),
            None => {}
        }
        stop.presses() == 0
    };
    coordinator.gather(agents, patience, &mut go_on).map_err(failed)
}

/// Divides the plan among agents. How many workers each has is theirs to say, unless it was typed.
fn with_agents(
    group: Group,
    flags: &LoadFlags,
    mut options: Options,
    context: &RunContext,
    observers: &mut [&mut dyn Observer],
    stop: &StopFlag,
) -> Result<(Arc<Plan>, Totals, Outcome), Failed> {
    let wrong = |error: PlanError| (error.to_string(), exit::CONFIGURATION);
    let failed = |error: CoordinatorError| (error.to_string(), error.exit_code());
    options.threads.get_or_insert(group.threads());
    let options = options.embed_files().map_err(wrong)?;
    let plan = Arc::new(options.build().map_err(wrong)?);
    let machines = group.names().len();
    let receipts = flags.verdict.receipts.is_some();
    let stop_when_lost = flags.machines.abort_on_agent_loss;
    let job = Job::new(&plan, &options, machines, receipts, stop_when_lost).map_err(failed)?;
    let (totals, outcome) =
        agents::run(group, job, &plan, context, observers, stop).map_err(failed)?;
    Ok((plan, totals, outcome))
}
