//! The oracle: what was acknowledged, what may or may not have survived, and what must never
//! appear.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use journal::{Batch, FrameKind, FrameView};

/// A frame as the model knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Appended by the simulation.
    Usage(Vec<u8>),
    /// The journal's own mark of a close in order.
    Closed,
    /// Given up with the end of the journal: padding.
    Lost,
}

/// What the journal must hold.
#[derive(Default)]
pub(super) struct Model {
    /// Acknowledged, or found durable by an open: there for ever, unless legally expired. With
    /// the latest wall time at which the commit can have been recorded.
    settled: BTreeMap<u64, (Known, u64)>,
    /// Appended in this life and not acknowledged.
    open: BTreeMap<u64, Vec<u8>>,
    /// Everything below has legally expired. It stays known, for it may come back.
    first_seq: u64,
}

/// The first byte of a payload is its key; 0 is none.
pub(super) fn key_of(payload: &[u8]) -> Option<u8> {
    payload.first().copied().filter(|&key| key != 0)
}

impl Model {
    pub(super) fn new() -> Self {
        Self { first_seq: 1, ..Self::default() }
    }

    /// One past the last settled sequence.
    pub(super) fn end_seq(&self) -> u64 {
        self.settled.last_key_value().map_or(self.first_seq, |(seq, _)| seq + 1)
    }

    pub(super) fn first_seq(&self) -> u64 {
        self.first_seq
    }

    pub(super) fn open_frames(&self) -> usize {
        self.open.len()
    }

    pub(super) fn append(&mut self, seq: u64, payload: Vec<u8>) -> Result<(), String> {
        let expected = self.end_seq().max(self.open.last_key_value().map_or(0, |(seq, _)| seq + 1));
        if seq != expected {
            return Err(format!("a frame got sequence {seq}, not {expected}"));
        }
        self.open.insert(seq, payload);
        Ok(())
    }

    /// The journal says that everything below `durable` is durable.
    pub(super) fn settle(&mut self, durable: u64, wall_ms: u64) -> Result<(), String> {
        while self.end_seq() < durable {
            let seq = self.end_seq();
            let payload = self.open.remove(&seq).ok_or_else(|| {
                format!("sequence {seq} was acknowledged although nobody appended it")
            })?;
            self.settled.insert(seq, (Known::Usage(payload), wall_ms));
        }
        Ok(())
    }

    /// A close in order has taken one sequence more.
    pub(super) fn settle_closed(&mut self, wall_ms: u64) {
        self.settled.insert(self.end_seq(), (Known::Closed, wall_ms));
    }

    /// These sequences were lost, and are padding from now on.
    pub(super) fn give_up(&mut self, seqs: Range<u64>) {
        self.settled.extend(seqs.map(|seq| (seq, (Known::Lost, 0))));
        self.open.clear();
    }

    /// An open found `batches`, everything from the oldest sequence kept: they must hold all that
    /// is settled, then a beginning of what was open, perhaps a closing frame, and nothing else.
    pub(super) fn reconcile(&mut self, first_seq: u64, batches: &[Batch]) -> Result<(), String> {
        if first_seq > self.first_seq {
            return Err(format!("LOST: the open begins at {first_seq}, not {}", self.first_seq));
        }
        // A removal that was not durable yet may be undone.
        self.first_seq = first_seq;
        let mut expected = first_seq;
        for batch in batches {
            for frame in batch.frames() {
                if frame.seq != expected {
                    return Err(format!("after the open {} follows {expected}", frame.seq));
                }
                expected += 1;
                if frame.seq < self.end_seq() {
                    self.check_frame(frame)?;
                    continue;
                }
                let known = match (self.open.remove(&frame.seq), frame.kind) {
                    (Some(payload), FrameKind::Usage) if payload == frame.payload => {
                        Known::Usage(payload)
                    }
                    (None, FrameKind::Closed) => Known::Closed,
                    _ => return Err(format!("sequence {} appeared from nowhere", frame.seq)),
                };
                self.settled.insert(frame.seq, (known, batch.committed_ms()));
            }
        }
        if expected < self.end_seq() {
            let lost = self.end_seq() - expected;
            return Err(format!("LOST: {lost} acknowledged frames from sequence {expected} on"));
        }
        self.open.clear();
        Ok(())
    }

    /// A frame that a reader got.
    pub(super) fn check_frame(&self, frame: FrameView<'_>) -> Result<(), String> {
        let seq = frame.seq;
        let Some((known, _)) = self.settled.get(&seq) else {
            return Err(format!("a reader saw sequence {seq}, which was never acknowledged"));
        };
        let same = match known {
            Known::Usage(payload) => frame.kind == FrameKind::Usage && payload == frame.payload,
            Known::Closed => frame.kind == FrameKind::Closed,
            Known::Lost => frame.kind == FrameKind::Padding,
        };
        if same { Ok(()) } else { Err(format!("sequence {seq} holds something else")) }
    }

    /// Retention has moved the oldest sequence. `oldest_ms_max` is the latest time that may have
    /// gone, `cursor` the lowest sequence a projection still needs.
    pub(super) fn expire(
        &mut self,
        first_seq: u64,
        oldest_ms_max: Option<u64>,
        cursor: u64,
    ) -> Result<(), String> {
        if first_seq == self.first_seq {
            return Ok(());
        }
        let gone = self.settled.range(self.first_seq..first_seq);
        let newest_ms = gone.map(|(_, (_, ms))| *ms).max().unwrap_or(0);
        if first_seq > cursor {
            return Err(format!("expired to {first_seq}, a projection still needs {cursor}"));
        }
        match oldest_ms_max {
            Some(limit) if newest_ms < limit => {}
            limit => {
                return Err(format!("expired what was committed at {newest_ms}, limit {limit:?}"));
            }
        }
        self.first_seq = first_seq;
        Ok(())
    }

    /// How many usages are settled and not expired.
    pub(super) fn usages(&self) -> usize {
        let usage = |(known, _): &&(Known, u64)| matches!(known, Known::Usage(_));
        self.settled.range(self.first_seq..).map(|(_, known)| known).filter(usage).count()
    }

    /// The keys that are in use, each of which must be stored at most once.
    pub(super) fn keys(&self) -> Result<BTreeSet<u8>, String> {
        let mut keys = BTreeSet::new();
        for (seq, (known, _)) in self.settled.range(self.first_seq..) {
            if let Known::Usage(payload) = known
                && let Some(key) = key_of(payload)
                && !keys.insert(key)
            {
                return Err(format!("key {key} is stored again at sequence {seq}"));
            }
        }
        Ok(keys)
    }
}
