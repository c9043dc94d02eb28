//! Every bound of the load generator, and how they relate.

use std::time::Duration;

/// Shortest time that a histogram tells from zero.
pub const TIME_NS_MIN: u64 = 1_000;
/// Longest time that a histogram holds; longer ones count as this.
pub const TIME_NS_MAX: u64 = 3_600_000_000_000;
/// Significant decimal digits of a histogram.
pub const DIGITS: u8 = 3;

/// Points of a run's timeline. When they are used up, neighbours are merged two by two.
pub const TIMELINE_POINTS_MAX: usize = 600;
/// How often a worker hands over what it has measured.
pub const TICK: Duration = Duration::from_millis(250);
/// How often an output of points over time writes some.
pub const OUT_EVERY: Duration = Duration::from_secs(1);

/// Scenarios of a plan.
pub const SCENARIOS_MAX: usize = 64;
/// Checks of a scenario: their results are bits of one word.
pub const CHECKS_MAX: usize = 32;
/// Workers of one machine.
pub const THREADS_MAX: usize = 64;
/// Connections, and users of a closed model, of a plan on one machine.
pub const CONNECTIONS_MAX: usize = 1_000_000;
/// Source addresses of connections.
pub const LOCAL_ADDRESSES_MAX: usize = 1 << 16;
/// Requests a second of a plan.
pub const RATE_MAX: f64 = 100_000_000.0;
/// Length of a run.
pub const DURATION_MAX: Duration = Duration::from_secs(31 * 24 * 3_600);

/// Bytes of a rendered request: head and body.
pub const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Bytes of a request's path and query, which is all that HTTP/2 can be told of here.
pub const PATH_BYTES_MAX: usize = 65_534;
/// Bytes that are read at once.
pub const READ_BYTES: usize = 64 << 10;
/// Bytes of an answer's head.
pub const ANSWER_HEAD_BYTES_MAX: usize = 64 << 10;
/// Bytes of an answer's body that are kept for checks and ids; the rest is counted and let go. That of
/// inhale's to a batch of a thousand has 71 KB, and 90 KB where each was there before.
pub const ANSWER_KEPT_BYTES_MAX: usize = 256 << 10;
/// Bytes of a scenario file.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Bytes of a PEM file: an operating system's authorities, several times.
pub const PEM_BYTES_MAX: usize = 1 << 20;
/// Bytes of a file of data.
pub const DATA_BYTES_MAX: usize = 64 << 20;

/// How long a user of a closed model rests, at least, when no connection was to be had for it.
pub const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// Agents of one run.
pub const AGENTS_MAX: usize = 256;
/// Connections to a coordinator beyond those it waits for whose greeting is still going on.
pub const STRANGERS_MAX: usize = 16;
/// Greetings that a coordinator refuses for a wrong secret, or for saying nothing that it understands,
/// before it gives up: somebody else is knocking.
pub const REFUSED_MAX: u64 = 1_000;
/// How long a server has to close a connection as it was asked to, once its answer is whole, where the
/// answer says that it will.
pub const CLOSE_ANNOUNCED: Duration = Duration::from_secs(1);
/// The same where the answer does not say so (RFC 9112, section 9.6, leaves that open). Meanwhile the
/// connection counts as one of `--connections`.
pub const CLOSE_UNANNOUNCED: Duration = Duration::from_millis(100);
/// Bytes of the secret that coordinator and agents share: below, it could be guessed from one greeting.
pub const SECRET_BYTES_MIN: usize = 16;
/// And above nobody meant it.
pub const SECRET_BYTES_MAX: usize = 4_096;

/// Bytes of a message before both sides have proved that they know the secret.
pub const GREETING_BYTES_MAX: usize = 4 << 10;
/// Bytes of a message between coordinator and agent, other than those below.
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Bytes of the message that carries a plan: its files of data and certificates, as JSON writes them.
pub const PLAN_BYTES_MAX: usize = 2 * DATA_BYTES_MAX + 8 * PEM_BYTES_MAX;
/// Bytes of one scenario's part in an interval on its way to the coordinator: eleven distributions
/// of which each may be full.
pub const SCENARIO_WIRE_BYTES_MAX: usize = 4 << 20;
/// Plain words that come from another machine are cut after so many characters.
pub const WORDS_MAX: usize = 1_000;
/// And no more than so many lines of a kind.
pub const LINES_MAX: usize = 10;

/// Within this a coordinator and an agent have greeted each other.
pub const GREETING_TIME: Duration = Duration::from_secs(10);
/// A message is whole within this and the time that [`BYTES_PER_SECOND_MIN`] gives it.
pub const MESSAGE_TIME: Duration = Duration::from_secs(5);
/// The slowest link between coordinator and agent that will do.
pub const BYTES_PER_SECOND_MIN: u64 = 256 << 10;
/// Whoever has said nothing for so long says that it is alive.
pub const ALIVE_EVERY: Duration = Duration::from_secs(1);
/// Whoever was not heard for so long is lost.
pub const SILENCE_MAX: Duration = Duration::from_secs(5);
/// How often whoever waits for another machine looks up: for commands, and whether to stop.
pub const LOOK_UP: Duration = Duration::from_millis(20);
/// Round trips by which a coordinator compares clocks.
pub const PINGS: u32 = 16;
/// From the last agent's answer to the run's start, at least.
pub const START_DELAY: Duration = Duration::from_secs(1);
/// Within this every agent has prepared its part.
pub const PREPARE_TIME: Duration = Duration::from_secs(300);
/// How long after the plan's end and its graceful stop an agent may still be busy.
pub const ENDING_TIME: Duration = Duration::from_secs(30);
/// Between two attempts to reach a coordinator: twice as long each time, from the first to the second.
pub const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long an agent that serves one run tries to reach its coordinator.
pub const JOIN_TIME: Duration = Duration::from_secs(60);

const _: () = assert!(CHECKS_MAX <= u32::BITS as usize, "a check is a bit of a word of 32");
const _: () = assert!(SILENCE_MAX.as_millis() >= 4 * ALIVE_EVERY.as_millis(), "one may be late");
const _: () = assert!(LOOK_UP.as_millis() * 10 <= ALIVE_EVERY.as_millis(), "else it would be late");
const _: () = assert!(TIMELINE_POINTS_MAX.is_multiple_of(2), "points are merged two by two");
