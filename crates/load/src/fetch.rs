//! A small blocking GET beside the load, for a server's counters.

use std::time::Duration;

/// A client that keeps one connection, takes any status for an answer, and goes straight to the
/// server: a proxy meant for the world outside would have nothing to say about what is under test.
pub(crate) fn agent(connect: Duration, whole: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(connect))
        .timeout_global(Some(whole))
        .max_idle_connections(1)
        .max_redirects(0)
        .proxy(None)
        .build()
        .into()
}

/// The status and the body, of at most `bytes_max`.
pub(crate) fn get(
    agent: &ureq::Agent,
    url: &str,
    bytes_max: u64,
) -> Result<(u16, String), ureq::Error> {
    let mut response = agent.get(url).call()?;
    let text = response.body_mut().with_config().limit(bytes_max).read_to_string()?;
    Ok((response.status().as_u16(), text))
}
