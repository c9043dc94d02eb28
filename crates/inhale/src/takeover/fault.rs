//! Lets a test stop, kill or break this process at a step of a takeover. Release builds have none of it.

/// In builds with debug assertions: does what `TEST_TAKEOVER_FAULT` (`STEP:FAULT`) asks for at this step.
#[cfg(debug_assertions)]
pub(crate) fn at(step: &str) {
    use rustix::process::{Resource, Rlimit, Signal, getpid, getrlimit, kill_process, setrlimit};
    let asked = std::env::var("TEST_TAKEOVER_FAULT").unwrap_or_default();
    let Some(fault) = asked.strip_prefix(step).and_then(|rest| rest.strip_prefix(':')) else {
        return;
    };
    let raise = |signal| kill_process(getpid(), signal).expect("a process may signal itself");
    match fault {
        "kill" => raise(Signal::KILL),
        "term" => raise(Signal::TERM),
        "stop" => raise(Signal::STOP),
        "hang" => std::thread::sleep(std::time::Duration::from_secs(4)),
        "exit" => std::process::exit(3),
        "descriptors" => {
            let limit = Rlimit { current: Some(3), maximum: getrlimit(Resource::Nofile).maximum };
            setrlimit(Resource::Nofile, limit).expect("a limit may be lowered");
        }
        _ => panic!("as the test asks"),
    }
}

/// Nothing.
#[cfg(not(debug_assertions))]
pub(crate) fn at(_step: &str) {}
