//! Who must be done by when: lines of numbered things, each line in order of its deadlines. All in a
//! line have the same time allowed, so who joins last is last, and joining and leaving cost the same
//! however many wait. Memory is two links for each number.

/// Marks the end of a line.
const NOBODY: u32 = u32::MAX;
/// The line of those who are in none.
const NOWHERE: u32 = u32::MAX;

/// Lines of numbered things.
#[derive(Debug)]
pub(super) struct Deadlines {
    links: Vec<Link>,
    lines: Vec<Line>,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    deadline_ns: u64,
    line: u32,
    before: u32,
    after: u32,
}

#[derive(Debug, Clone, Copy)]
struct Line {
    first: u32,
    last: u32,
}

impl Deadlines {
    /// So many empty lines.
    pub(super) fn new(lines: usize) -> Self {
        let empty = Line { first: NOBODY, last: NOBODY };
        Self { links: Vec::new(), lines: vec![empty; lines] }
    }

    /// Puts `who` at the end of `line`, out of whatever line it is in.
    pub(super) fn join(&mut self, line: usize, who: u32, deadline_ns: u64) {
        self.leave(who);
        let index = who as usize;
        if index >= self.links.len() {
            let out = Link { deadline_ns: 0, line: NOWHERE, before: NOBODY, after: NOBODY };
            self.links.resize(index + 1, out);
        }
        let last = self.lines[line].last;
        let number = u32::try_from(line).expect("there are few lines");
        self.links[index] = Link { deadline_ns, line: number, before: last, after: NOBODY };
        match last {
            NOBODY => self.lines[line].first = who,
            last => self.links[last as usize].after = who,
        }
        self.lines[line].last = who;
    }

    /// Takes `who` out of its line, if it is in one.
    pub(super) fn leave(&mut self, who: u32) {
        let Some(link) = self.links.get_mut(who as usize) else { return };
        let Link { line, before, after, .. } = *link;
        if line == NOWHERE {
            return;
        }
        link.line = NOWHERE;
        match before {
            NOBODY => self.lines[line as usize].first = after,
            before => self.links[before as usize].after = after,
        }
        match after {
            NOBODY => self.lines[line as usize].last = before,
            after => self.links[after as usize].before = before,
        }
    }

    /// Who is first in `line`, and its deadline.
    pub(super) fn first(&self, line: usize) -> Option<(u32, u64)> {
        let first = self.lines[line].first;
        (first != NOBODY).then(|| (first, self.links[first as usize].deadline_ns))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Op {
        Join { line: usize, who: u32 },
        Leave { who: u32 },
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (0usize..2, 0u32..6).prop_map(|(line, who)| Op::Join { line, who }),
            (0u32..8).prop_map(|who| Op::Leave { who }),
        ]
    }

    proptest! {
        #[test]
        fn lines_are_what_queues_would_be(ops in prop::collection::vec(op(), 0..60)) {
            let mut lines = Deadlines::new(2);
            let mut model = [VecDeque::new(), VecDeque::new()];
            for (time, op) in (0u64..).zip(ops) {
                let (Op::Join { who, .. } | Op::Leave { who }) = op;
                model.iter_mut().for_each(|line| line.retain(|(other, _)| *other != who));
                match op {
                    Op::Join { line, who } => {
                        lines.join(line, who, time);
                        model[line].push_back((who, time));
                    }
                    Op::Leave { who } => lines.leave(who),
                }
                for (number, line) in model.iter().enumerate() {
                    prop_assert_eq!(lines.first(number), line.front().copied());
                }
            }
            for (number, line) in model.iter_mut().enumerate() {
                while let Some((who, _)) = line.pop_front() {
                    prop_assert_eq!(lines.first(number).map(|(first, _)| first), Some(who));
                    lines.leave(who);
                }
                prop_assert_eq!(lines.first(number), None);
            }
        }
    }
}
