//! The closed model: users of one lane, each of whom sends its next request when its last one has
//! ended and it has thought for a while.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::limits::REFUSED_PAUSE;
use crate::plan::Think;

use super::course::ns;
use super::flight::NONE;
use super::iterations::Iterations;
use super::population::Population;

/// The users of one lane.
#[derive(Debug)]
pub(super) struct Closed {
    users: Vec<User>,
    /// Those with a lower number are at work, the others have gone or not come yet.
    active: u64,
    /// When `active` changes next.
    change_ns: u64,
    population: Population,
    /// Users that are ready to send, in the order in which they became so.
    ready: VecDeque<u32>,
    /// Users that think, by the end of their thinking.
    thinking: BinaryHeap<Reverse<(u64, u32)>>,
    iterations: Iterations,
    think: Think,
    random: SplitMix,
    pace: Option<Pace>,
    /// Whether nobody begins anything any more.
    stopped: bool,
}

/// How fast all users may begin requests together: each lane keeps to its part, so that as many as there
/// are lanes may begin at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// From one request to the next at least, over all lanes.
    pub(super) gap_ns: u64,
    /// When the next of this lane may begin.
    pub(super) next_ns: u64,
}

impl Pace {
    /// A request begins that was due then, and which this lane's part of the users, so many of so many,
    /// has a part of the pace for. A worker that is late makes up for a gap at most.
    fn begin(&mut self, due_ns: u64, now_ns: u64, (part, all): (u64, u64)) {
        let part = part.max(1);
        let gap_ns = self.gap_ns.saturating_mul(all.max(part)) / part;
        self.next_ns = due_ns.max(now_ns.saturating_sub(gap_ns)).saturating_add(gap_ns);
    }
}

#[derive(Debug, Clone, Copy)]
struct User {
    state: State,
    /// Its own connection, or [`NONE`].
    connection: u32,
    /// When it is or was ready for its iteration.
    ready_ns: u64,
    /// Iterations that it has begun.
    begun: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Away,
    Ready,
    Sending,
    Thinking,
}

/// A request that a user is to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) user: u32,
    pub(super) number: u64,
    pub(super) due_ns: u64,
    pub(super) connection: u32,
}

impl Closed {
    /// Users as `population` has them, who do `iterations`.
    pub(super) fn new(
        population: Population,
        iterations: Iterations,
        think: Think,
        pace: Option<Pace>,
        seed: u64,
    ) -> Self {
        let user = User { state: State::Away, connection: NONE, ready_ns: 0, begun: 0 };
        let count = usize::try_from(population.max()).expect("users have a bound");
        Self {
            users: vec![user; count],
            active: 0,
            change_ns: 0,
            population,
            ready: VecDeque::new(),
            thinking: BinaryHeap::new(),
            iterations,
            think,
            random: SplitMix(seed),
            pace,
            stopped: false,
        }
    }

    /// When something happens of its own accord: users come or go, or one has thought enough, or may
    /// begin.
    pub(super) fn next_ns(&self) -> u64 {
        let thought = self.thinking.peek().map_or(u64::MAX, |Reverse((until_ns, _))| *until_ns);
        let paced = self.pace.filter(|_| self.has_ready()).map_or(u64::MAX, |pace| pace.next_ns);
        self.change_ns.min(thought).min(paced)
    }

    /// Lets users come and go, and those who have thought enough be ready. Calls `iterated` with how
    /// long each iteration took that ends with it.
    pub(super) fn advance(&mut self, now_ns: u64, mut iterated: impl FnMut(u64)) {
        while self.change_ns <= now_ns {
            let at_ns = self.change_ns;
            // The first look is at the start, whenever that was.
            let (active, until_ns) = self.population.at(at_ns);
            for number in self.active..active {
                self.come(number, at_ns);
            }
            self.active = active;
            self.change_ns = until_ns;
        }
        while let Some(Reverse((until_ns, user))) = self.thinking.peek().copied()
            && until_ns <= now_ns
        {
            self.thinking.pop();
            let of_user = &mut self.users[user as usize];
            iterated(until_ns - of_user.ready_ns);
            of_user.ready_ns = until_ns;
            of_user.state = State::Away;
            if u64::from(user) < self.active {
                of_user.state = State::Ready;
                self.ready.push_back(user);
            }
        }
    }

    /// The next request, if a user is ready and may begin, and there is one left for it. It is due
    /// once both are so.
    pub(super) fn take(&mut self, now_ns: u64) -> Option<Turn> {
        let is_early = self.pace.is_some_and(|pace| now_ns < pace.next_ns);
        if is_early && !self.iterations.are_over() {
            return None;
        }
        while let Some(user) = self.ready.pop_front() {
            let of_user = &mut self.users[user as usize];
            if u64::from(user) >= self.active {
                // It has gone while it was held back.
                of_user.state = State::Away;
                continue;
            }
            let Some(number) = self.iterations.take(user, of_user.begun) else {
                of_user.state = State::Away;
                continue;
            };
            of_user.begun += 1;
            of_user.state = State::Sending;
            let User { ready_ns, connection, .. } = *of_user;
            let due_ns = ready_ns.max(self.pace.map_or(0, |pace| pace.next_ns));
            if let Some(pace) = &mut self.pace {
                pace.begin(due_ns, now_ns, (self.active, self.population.all_at(now_ns)));
            }
            return Some(Turn { user, number, due_ns, connection });
        }
        None
    }

    /// A user's request has ended; `refused` when it could not even be sent. Returns how long the
    /// iteration took if that ends it.
    pub(super) fn ended(&mut self, user: u32, now_ns: u64, refused: bool) -> Option<u64> {
        let mut think_ns = self.random.between(self.think);
        if refused {
            // Otherwise users whom nobody lets in would do nothing but knock.
            think_ns = think_ns.max(ns(REFUSED_PAUSE));
        }
        let of_user = &mut self.users[user as usize];
        if think_ns > 0 && self.stopped {
            // As with those who think when it stops: nobody would wake them, and they need not.
            of_user.state = State::Away;
            return None;
        }
        if think_ns > 0 {
            of_user.state = State::Thinking;
            self.thinking.push(Reverse((now_ns + think_ns, user)));
            return None;
        }
        let took_ns = now_ns.saturating_sub(of_user.ready_ns);
        of_user.ready_ns = now_ns;
        of_user.state = State::Away;
        if u64::from(user) < self.active {
            of_user.state = State::Ready;
            self.ready.push_back(user);
        }
        Some(took_ns)
    }

    /// A user's connection: from here on this one.
    pub(super) fn set_connection(&mut self, user: u32, connection: u32) {
        self.users[user as usize].connection = connection;
    }

    /// Nobody begins anything any more. The iterations of those that think are not whole and count
    /// as none.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
        self.active = 0;
        self.change_ns = u64::MAX;
        for user in self.ready.drain(..) {
            self.users[user as usize].state = State::Away;
        }
        for Reverse((_, user)) in self.thinking.drain() {
            self.users[user as usize].state = State::Away;
        }
    }

    /// The iterations that nobody has begun, which are given up.
    pub(super) fn give_up(&mut self) -> u64 {
        self.iterations.give_up()
    }

    /// Whether a user is ready to send.
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether nobody is to begin anything any more.
    pub(super) fn is_over(&self) -> bool {
        let comes = self.change_ns != u64::MAX && !self.iterations.are_over();
        self.ready.is_empty() && self.thinking.is_empty() && !comes
    }

    /// How many users are at work now.
    pub(super) fn at_work(&self, in_flight: usize) -> u64 {
        self.active.max(in_flight as u64)
    }

    fn come(&mut self, number: u64, now_ns: u64) {
        let user = u32::try_from(number).expect("users have a bound");
        let of_user = &mut self.users[user as usize];
        // Who should have gone and had not finished has come again.
        if of_user.state == State::Away {
            of_user.state = State::Ready;
            of_user.ready_ns = now_ns;
            self.ready.push_back(user);
        }
    }
}

/// Numbers that look random and follow from a seed.
#[derive(Debug)]
struct SplitMix(u64);

impl SplitMix {
    fn between(&mut self, think: Think) -> u64 {
        let (min, max) = (ns(think.min), ns(think.max));
        if max <= min {
            return min;
        }
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        min + (mixed ^ (mixed >> 31)) % (max - min + 1)
    }
}
