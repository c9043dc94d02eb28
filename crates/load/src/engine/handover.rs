//! How measurements leave a worker: whole intervals through a channel with room for all there are, and
//! emptied ones back. A worker never waits for whoever takes them: while none comes back it goes on
//! in the one it has, which is then of more than one tick.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError};

use crate::clock;
use crate::measure::{Gauges, Interval, Recorder};

/// Intervals of one worker: one in use, one being read, and one to spare.
pub(super) const INTERVALS: usize = 3;

/// A worker's end.
#[derive(Debug)]
pub(super) struct Handover {
    worker: usize,
    start_ns: u64,
    out: SyncSender<Box<Interval>>,
    spare: Receiver<Box<Interval>>,
    /// Those that were not used yet.
    unused: Vec<Interval>,
    cpu_ns: u64,
}

impl Handover {
    /// For a worker whose thread this is. Its intervals are made now, so that the run is not held up for
    /// their memory.
    pub(super) fn new(
        worker: usize,
        shape: &[usize],
        start_ns: u64,
        out: SyncSender<Box<Interval>>,
        spare: Receiver<Box<Interval>>,
    ) -> Self {
        // One is in use.
        let unused = (1..INTERVALS).map(|_| Interval::at_hand(worker, shape)).collect();
        Self { worker, start_ns, out, spare, unused, cpu_ns: 0 }
    }

    /// The worker begins: what its thread has used so far is not the run's.
    pub(super) fn begin(&mut self) {
        self.cpu_ns = clock::thread_cpu_ns();
    }

    /// Hands over what was measured until `now_ns`, if there is another interval to go on in.
    pub(super) fn tick(&mut self, recorder: &mut Recorder, now_ns: u64, gauges: Gauges) {
        let unused = || self.unused.pop().map(Box::new);
        let Some(next) = self.spare.try_recv().ok().or_else(unused) else { return };
        self.send(recorder, now_ns, gauges, next, false);
    }

    /// Hands over the last of all.
    pub(super) fn end(&mut self, recorder: &mut Recorder, now_ns: u64, gauges: Gauges) {
        // What is put in its place is never used, so it need hold nothing.
        let next = Box::new(Interval::new(self.worker, &[]));
        self.send(recorder, now_ns, gauges, next, true);
    }

    fn send(
        &mut self,
        recorder: &mut Recorder,
        now_ns: u64,
        mut gauges: Gauges,
        next: Box<Interval>,
        last: bool,
    ) {
        let cpu_ns = clock::thread_cpu_ns();
        gauges.cpu_ns = cpu_ns - self.cpu_ns;
        self.cpu_ns = cpu_ns;
        let until_ns = now_ns.saturating_sub(self.start_ns);
        let mut interval = recorder.take(until_ns, gauges, next);
        interval.last = last;
        match self.out.try_send(interval) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => unreachable!("there is room for all that were made"),
            // Whoever read is gone; the run ends by its own rules.
            Err(TrySendError::Disconnected(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn a_slow_reader_gets_longer_intervals_and_all_that_was_measured() {
        let (out, measured) = sync_channel(INTERVALS);
        let (give_back, spare) = sync_channel(INTERVALS);
        let mut handover = Handover::new(0, &[0], 100, out, spare);
        let mut recorder = Recorder::new(0, &[0]);
        for tick in 1..=5 {
            recorder.due(0, 1);
            handover.tick(&mut recorder, 100 + tick * 10, Gauges::default());
        }
        let mut first = measured.try_recv().unwrap();
        assert_eq!((first.from_ns, first.until_ns), (0, 10));
        first.clear();
        give_back.try_send(first).unwrap();
        handover.tick(&mut recorder, 160, Gauges::default());
        handover.end(&mut recorder, 170, Gauges { in_flight: 7, ..Gauges::default() });
        let rest: Vec<_> = measured.try_iter().collect();
        let spans: Vec<_> = rest.iter().map(|i| (i.from_ns, i.until_ns)).collect();
        assert_eq!(spans, [(10, 20), (20, 60), (60, 70)]);
        assert_eq!(rest.iter().map(|i| i.last).collect::<Vec<_>>(), [false, false, true]);
        let due: Vec<_> = rest.iter().map(|i| i.scenarios[0].counts.due).collect();
        assert_eq!((due, rest[2].gauges.in_flight), (vec![1, 3, 0], 7));
    }
}
