//! A plan in words, for whoever wants to see what would be done.

use std::time::Duration;

use load::plan::{Executor, Keeping, LocalAddresses, Plan, Protocol, Scenario};

/// Bytes of a first request that are shown.
const SHOWN_BYTES: usize = 2_000;

/// Lines that tell it.
pub(super) fn plan(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    for scenario in &plan.scenarios {
        lines.push(format!("scenario {}", scenario.name));
        lines.extend(
            self::scenario(scenario).into_iter().map(|(name, text)| format!("  {name:<12} {text}")),
        );
        lines.push("  request 0".to_owned());
        lines.extend(first_request(scenario).lines().map(|line| format!("    {line}")));
        lines.push(String::new());
    }
    for threshold in &plan.thresholds {
        let abort = match threshold.abort_after {
            None => String::new(),
            Some(Duration::ZERO) => ", else the run ends".to_owned(),
            Some(after) => format!(", else the run ends, after {after:?} at the earliest"),
        };
        lines.push(format!("must hold: {}{abort}", threshold.text));
    }
    let (threads, stop) = (plan.threads, plan.graceful_stop);
    let threads = if threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") };
    let (seed, duration) = (plan.seed, plan.duration());
    lines.push(format!("{duration:?} on {threads}, {stop:?} for the last answers, seed {seed}"));
    lines.extend(plan.notes.iter().map(|note| format!("note: {note}")));
    lines
}

fn scenario(scenario: &Scenario) -> Vec<(&'static str, String)> {
    let target = &scenario.target;
    let addresses: Vec<String> = target.addresses.iter().map(ToString::to_string).collect();
    let scheme = if target.https { "https" } else { "http" };
    let method = scenario.requests.method();
    let mut told = vec![
        (
            "sends",
            format!("{method} to {scheme}://{} ({})", target.authority, addresses.join(", ")),
        ),
        ("comes", executor(scenario)),
        ("connections", connections(scenario)),
        (
            "waits",
            format!(
                "{:?} to connect, {:?} for an answer",
                scenario.connect_timeout, scenario.timeout
            ),
        ),
    ];
    if !scenario.start.is_zero() {
        told.push(("begins", format!("{:?} after the run", scenario.start)));
    }
    if let Some(late_max) = scenario.late_max {
        told.push(("drops", format!("what is later than {late_max:?}")));
    }
    let checks: Vec<String> = scenario.checks.iter().map(ToString::to_string).collect();
    if !checks.is_empty() {
        told.push(("checks", checks.join("; ")));
    }
    let tags = scenario.tags.iter().filter(|(name, _)| *name != "scenario");
    let tags: Vec<String> = tags.map(|(name, value)| format!("{name}={value}")).collect();
    if !tags.is_empty() {
        told.push(("tags", tags.join(", ")));
    }
    told
}

fn executor(scenario: &Scenario) -> String {
    let cap = scenario.rps_max.map(|rps_max| format!(", at most {rps_max:.1} requests a second"));
    let who = match &scenario.executor {
        Executor::Arrivals(arrivals) => format!(
            "{} requests in {:?}, at most {:.1} a second",
            arrivals.count(),
            arrivals.duration(),
            arrivals.rate_max()
        ),
        Executor::Users { stages, .. } => {
            let stages: Vec<String> = stages
                .iter()
                .map(|stage| match stage {
                    stage if stage.from == stage.to => {
                        format!("{} for {:?}", stage.to, stage.duration)
                    }
                    stage => format!("{} to {} in {:?}", stage.from, stage.to, stage.duration),
                })
                .collect();
            format!("users: {}", stages.join(", "))
        }
        Executor::SharedIterations { users, iterations, duration_max, .. } => {
            format!("{iterations} requests, shared by {users} users, within {duration_max:?}")
        }
        Executor::PerUserIterations { users, iterations, duration_max, .. } => {
            format!("{iterations} requests of each of {users} users, within {duration_max:?}")
        }
    };
    who + &cap.unwrap_or_default()
}

fn connections(scenario: &Scenario) -> String {
    let connections = &scenario.connections;
    let protocol = match connections.protocol {
        Protocol::Http1 => "HTTP/1.1".to_owned(),
        Protocol::Http2 { streams_max } => format!("HTTP/2 with {streams_max} streams each"),
    };
    let keeping = match connections.keeping {
        Keeping::Alive { max } => format!("up to {max}, kept"),
        Keeping::PerRequest { max, server_closes } => {
            let who = if server_closes { "server" } else { "client" };
            format!("a new one for each request, up to {max} at once, closed by the {who}")
        }
    };
    let local = match &connections.local {
        LocalAddresses::Kernel => String::new(),
        LocalAddresses::Of(all) => format!(", from {} addresses", all.len()),
    };
    format!("{keeping}; {protocol}{local}")
}

/// As HTTP/1.1 writes it, which HTTP/2 says otherwise.
fn first_request(scenario: &Scenario) -> String {
    let server_closes =
        matches!(scenario.connections.keeping, Keeping::PerRequest { server_closes: true, .. });
    let mut request = Vec::new();
    scenario.requests.write_http1(0, load::clock::wall_ns(), server_closes, &mut request);
    let cut = if request.len() > SHOWN_BYTES { "…" } else { "" };
    request.truncate(SHOWN_BYTES);
    let text = String::from_utf8_lossy(&request);
    // What would move the cursor of a terminal is not for it.
    let text = text.replace(|c: char| c.is_control() && c != '\n', "");
    format!("{}{cut}", text.trim_end())
}
