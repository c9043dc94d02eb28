//! One history: a simulated machine, a journal on it, a claimer of keys, a tailing reader, and the
//! model that they are held against.

mod late;
mod lying;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use journal::disk::SimDisk;
use journal::disk::sim::{Crash, Lie, Rng};
use journal::format::{BatchHeader, encode_frame};
use journal::{
    AppendError, CommitError, Committed, FrameKind, FrameView, Journal, OpenError, Options,
    ReadError, Reader, Sabotage,
};

use super::model::Model;
use super::op::Op;
use crate::helpers::ManualClock;

const CAPACITY_BYTES: u64 = 1 << 30;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// What a history is run with.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    /// Syncs that only pretend: a negative control.
    pub(super) lie: Lie,
    /// Protections of the journal that are switched off: negative controls too.
    pub(super) sabotage: Sabotage,
    /// Keys are forgotten as soon as they are claimed: another negative control.
    pub(super) forgetful: bool,
    /// The steps, when they are not to be drawn at random.
    pub(super) script: Option<Vec<Op>>,
    /// Options of the journal, when they are not to be drawn at random.
    pub(super) options: Option<Options>,
}

/// What has happened, so that a test can see that it was worth something.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) committed: u64,
    pub(super) opens: u64,
    pub(super) failed_opens: u64,
    pub(super) full_opens: u64,
    pub(super) poisoned: u64,
    pub(super) refused: u64,
    pub(super) compressed: u64,
    pub(super) expired: u64,
    pub(super) survived_unacknowledged: u64,
    pub(super) replayed: u64,
    pub(super) lost_ends: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        for (to, from) in self.figures().into_iter().zip(other.clone().figures()) {
            *to += *from;
        }
    }

    fn figures(&mut self) -> [&mut u64; 11] {
        let Self {
            committed,
            opens,
            failed_opens,
            full_opens,
            poisoned,
            refused,
            compressed,
            expired,
            survived_unacknowledged,
            replayed,
            lost_ends,
        } = self;
        [
            committed,
            opens,
            failed_opens,
            full_opens,
            poisoned,
            refused,
            compressed,
            expired,
            survived_unacknowledged,
            replayed,
            lost_ends,
        ]
    }

    /// Whether everything that a history is about has happened.
    pub(super) fn is_rich(&self) -> bool {
        self.clone().figures().into_iter().all(|figure| *figure > 0)
    }
}

/// The state of one history.
pub(super) struct World {
    rng: Rng,
    settings: Settings,
    options: Options,
    disk: SimDisk,
    clock: Arc<ManualClock>,
    model: Model,
    journal: Option<Journal>,
    reader: Option<Reader>,
    /// The sequence the consumer needs next; what is below, it has seen.
    consumed: Arc<AtomicU64>,
    /// Keys in use, as the claimer believes.
    claims: BTreeSet<u8>,
    /// Whether a fault was planned since the last open, so that a failure may be its doing.
    faulty: bool,
    /// Whether the file system was made small since the last open.
    cramped: bool,
    /// Wall and monotonic time when the wall clock was last as it should be.
    clock_base: (u64, u64),
    /// The latest wall time that any life of the journal may have believed.
    believed_ms: u64,
    next_payload: u64,
    tally: Tally,
}

impl World {
    pub(super) fn new(seed: u64, settings: Settings) -> Self {
        let mut rng = Rng::new(seed);
        let disk = SimDisk::new(rng.bits());
        disk.set_capacity(CAPACITY_BYTES);
        disk.set_lie(settings.lie);
        let segment_bytes = 4096 * (4 + rng.below(4));
        let hours = 1 + rng.below(36);
        let drawn = Options {
            segment_bytes,
            spacing: Duration::ZERO,
            pending_bytes_max: 2048 + rng.index(6000),
            reserve_bytes: rng.below(20_000),
            bytes_max: rng.chance(1, 6).then_some(segment_bytes * 6),
            retain: rng.chance(2, 3).then_some(Duration::from_secs(hours * 3600)),
            key_window: Duration::from_secs(hours * 2400),
            compress_level: rng.chance(3, 4).then_some(1),
            store_number: None,
            mark_ahead: 1 + rng.below(40),
            seed: Some(seed),
            sabotage: settings.sabotage,
        };
        let clock = ManualClock::new();
        Self {
            options: settings.options.clone().unwrap_or(drawn),
            rng,
            settings,
            disk,
            believed_ms: clock.wall_ms.load(Ordering::SeqCst),
            clock,
            model: Model::new(),
            journal: None,
            reader: None,
            consumed: Arc::new(AtomicU64::new(1)),
            claims: BTreeSet::new(),
            faulty: false,
            cramped: false,
            clock_base: (0, 0),
            next_payload: 0,
            tally: Tally::default(),
        }
    }

    /// Runs the whole history and returns what has happened, or what was wrong.
    pub(super) fn run(&mut self, trace: &mut Vec<String>) -> Result<Tally, String> {
        self.open(trace)?;
        let script = self.settings.script.clone();
        let steps = script.as_ref().map_or_else(|| 20 + self.rng.index(100), Vec::len);
        for step in 0..steps {
            let op = match &script {
                Some(ops) => ops[step].clone(),
                None => Op::pick(&mut self.rng),
            };
            trace.push(format!("{op:?}"));
            self.step(&op, trace)?;
            if self.disk.is_halted() {
                let crash = self.any_crash();
                trace.push(format!("the machine stopped: {crash:?}"));
                self.crash(crash, trace)?;
            }
        }
        self.crash(Crash::Power, trace)?;
        Ok(self.tally.clone())
    }

    fn any_crash(&mut self) -> Crash {
        if self.rng.chance(1, 3) { Crash::Kill } else { Crash::Power }
    }

    fn step(&mut self, op: &Op, trace: &mut Vec<String>) -> Result<(), String> {
        match *op {
            Op::Append(frames) => self.append(frames),
            Op::Commit => self.commit(),
            Op::Housekeep => self.housekeep(),
            Op::Mark => {
                self.journal().mark_once();
                Ok(())
            }
            Op::Read => self.read(),
            Op::Tail => self.tail(),
            Op::Crash(crash) => self.crash(crash, trace),
            Op::HaltIn(operations) => {
                self.faulty = true;
                self.disk.halt_in(operations);
                Ok(())
            }
            Op::FailSyncIn(syncs) => {
                self.faulty = true;
                self.disk.fail_sync_in(syncs);
                Ok(())
            }
            Op::FailWriteIn(writes) => {
                self.faulty = true;
                self.disk.fail_write_in(writes);
                Ok(())
            }
            Op::LeaveFree(bytes) => {
                self.cramped = true;
                self.disk.set_capacity(self.disk.used_bytes() + bytes);
                Ok(())
            }
            Op::FreeSpace => {
                self.disk.set_capacity(CAPACITY_BYTES);
                Ok(())
            }
            Op::Wait(ms) => {
                self.clock.wall_ms.fetch_add(ms, Ordering::SeqCst);
                self.clock.elapsed_ms.fetch_add(ms, Ordering::SeqCst);
                Ok(())
            }
            Op::Jump(ms) => {
                self.clock.wall_ms.fetch_add(ms.cast_unsigned(), Ordering::SeqCst);
                Ok(())
            }
            Op::ConfirmClock => {
                self.journal().confirm_clock();
                self.clock_base = (self.wall_ms(), self.elapsed_ms());
                Ok(())
            }
            Op::Close => self.close(trace),
            Op::Check => self.check(trace),
            Op::LoseTail(batches) => self.lose_tail(batches, trace),
        }
    }

    fn journal(&self) -> &Journal {
        self.journal.as_ref().expect("every step ends with an open journal")
    }

    fn wall_ms(&self) -> u64 {
        self.clock.wall_ms.load(Ordering::SeqCst)
    }

    fn elapsed_ms(&self) -> u64 {
        self.clock.elapsed_ms.load(Ordering::SeqCst)
    }

    /// Whether the wall clock has run ahead of the monotonic one, unconfirmed.
    fn is_ahead(&mut self) -> bool {
        let (wall_ms, elapsed_ms) = self.clock_base;
        let expected_ms = wall_ms + self.elapsed_ms() - elapsed_ms;
        let ahead = self.wall_ms() > expected_ms + HOUR_MS;
        if !ahead {
            self.clock_base = (self.wall_ms(), self.elapsed_ms());
            self.believed_ms = self.believed_ms.max(self.wall_ms());
        }
        ahead
    }

    /// Fails unless a planned fault may have been the cause.
    fn excuse(&self, excused: bool, what: &str) -> Result<(), String> {
        if excused { Ok(()) } else { Err(format!("{what} without a cause")) }
    }

    fn payload(&mut self) -> Vec<u8> {
        let len = match self.rng.below(20) {
            0 => self.rng.index(4000),
            1 => 0,
            _ => self.rng.index(200),
        };
        let mut payload = vec![0; len + 9];
        self.rng.fill(&mut payload[9..]);
        payload[1..9].copy_from_slice(&self.next_payload.to_le_bytes());
        self.next_payload += 1;
        if self.rng.chance(1, 24) {
            payload.extend(self.forgery());
        }
        payload
    }

    /// What a client could send that knows the format and everything else but the salt: a batch
    /// that claims to come later, at every alignment.
    fn forgery(&mut self) -> Vec<u8> {
        let first_seq = self.model.end_seq() + self.rng.below(20);
        let mut frame = Vec::new();
        let (kind, payload) = (FrameKind::Usage, &b"forged"[..]);
        let view = FrameView { seq: first_seq, kind, stream: 0, key_id: 0, payload };
        encode_frame(view, &mut frame);
        let header = BatchHeader {
            salt: self.rng.bits(),
            epoch: u32::try_from(1 + self.rng.below(12)).expect("small"),
            frames: 1,
            first_seq,
            bytes: u32::try_from(frame.len()).expect("small"),
            payload_crc: crc32c::crc32c(&frame),
            prev_chain: 0,
            committed_ms: self.wall_ms(),
        };
        let batch = [&header.encode()[..], &frame].concat();
        let aligned = batch.len().next_multiple_of(8) + 1;
        (0..8).flat_map(|_| batch.iter().copied().chain([0; 16]).take(aligned)).collect()
    }

    fn append(&mut self, frames: u64) -> Result<(), String> {
        let journal = self.journal().clone();
        let mut refusal = None;
        match journal.appender() {
            Err(error) => refusal = Some(error),
            Ok(mut appender) => {
                for _ in 0..frames {
                    let mut payload = self.payload();
                    if self.rng.chance(1, 4) {
                        let key = 1 + u8::try_from(self.rng.below(40)).expect("below 40");
                        if self.claims.contains(&key) {
                            self.tally.replayed += 1;
                            continue;
                        }
                        payload[0] = key;
                    }
                    let encode = |_, out: &mut Vec<u8>| out.extend_from_slice(&payload);
                    match appender.append(FrameKind::Usage, 0, encode) {
                        Ok(seq) => {
                            if !self.settings.forgetful {
                                self.claims.extend(super::model::key_of(&payload));
                            }
                            self.model.append(seq, payload)?;
                        }
                        Err(error) => refusal = Some(error),
                    }
                }
            }
        }
        self.tally.refused += u64::from(refusal.is_some());
        match refusal {
            None | Some(AppendError::Full) => Ok(()),
            Some(AppendError::NoSpace) => {
                let capped = self.options.bytes_max.is_some();
                self.excuse(self.cramped || capped, "appends were refused for want of space")
            }
            Some(AppendError::Poisoned) => self.excuse(self.faulty, "appends were poisoned"),
            Some(AppendError::Closed) => Err("appends were refused as closed".to_owned()),
        }
    }

    fn commit(&mut self) -> Result<(), String> {
        let waiting = self.model.open_frames();
        match self.journal().commit_once() {
            Ok(Committed::Nothing) if waiting > 0 => Err("frames waited, none taken".to_owned()),
            Ok(Committed::Nothing) => Ok(()),
            Ok(Committed::Batch { frames, durable }) => {
                self.tally.committed += u64::from(frames);
                if self.journal().durable() != durable {
                    return Err("the durable position is not what the commit said".to_owned());
                }
                self.model.settle(durable, self.wall_ms())
            }
            Err(CommitError::Poisoned) => {
                self.tally.poisoned += 1;
                self.excuse(self.faulty, "a commit was poisoned")
            }
            Err(CommitError::NoSpace) => self.excuse(self.cramped, "a commit found no space"),
        }
    }

    fn housekeep(&mut self) -> Result<(), String> {
        let done = self.journal().housekeep_once();
        self.tally.compressed += u64::from(done.compressed.is_some());
        self.tally.expired += done.removed as u64;
        let failure = self.journal().status().housekeeping_failure;
        self.excuse(failure.is_none() || self.faulty || self.cramped, "housekeeping failed")?;
        self.see_expiry()
    }

    fn see_expiry(&mut self) -> Result<(), String> {
        let keep = self.options.retain.map(|retain| retain.max(self.options.key_window));
        let keep_ms = keep.map(|keep| u64::try_from(keep.as_millis()).expect("days"));
        let ahead = self.is_ahead();
        let limit_ms = keep_ms.filter(|_| !ahead).map(|ms| self.wall_ms().saturating_sub(ms));
        let cursor = self.consumed.load(Ordering::SeqCst);
        let first_seq = self.journal().first_seq();
        self.model.expire(first_seq, limit_ms, cursor)
    }

    fn read(&mut self) -> Result<(), String> {
        let end = self.model.end_seq() + self.model.open_frames() as u64 + 2;
        let seq = self.rng.below(end);
        match self.journal().read(seq) {
            Ok(frame) if frame.seq != seq => Err(format!("{} was read as {seq}", frame.seq)),
            Ok(frame) => {
                let journal::OwnedFrame { seq, kind, stream, key_id, payload } = &frame;
                let (seq, kind, stream, key_id) = (*seq, *kind, *stream, *key_id);
                self.model.check_frame(FrameView { seq, kind, stream, key_id, payload })
            }
            Err(ReadError::NotYet) => self.excuse(
                seq == 0 || seq >= self.model.end_seq(),
                "an acknowledged frame is not yet there",
            ),
            Err(ReadError::Expired) => self.excuse(seq < self.model.first_seq(), "a frame expired"),
            Err(error) => self.excuse(self.disk.is_halted(), &format!("reading {seq}: {error}")),
        }
    }

    fn tail(&mut self) -> Result<(), String> {
        let mut reader = self.reader.take().expect("made by every open");
        for _ in 0..=self.rng.below(4) {
            let next_seq = reader.next_seq();
            match reader.next_batch() {
                Ok(Some(batch)) => {
                    if batch.first_seq() != next_seq || batch.is_empty() {
                        return Err(format!("a reader at {next_seq} got {batch:?}"));
                    }
                    batch.frames().try_for_each(|frame| self.model.check_frame(frame))?;
                    self.consumed.store(batch.end_seq(), Ordering::SeqCst);
                }
                Ok(None) => {
                    let caught_up = next_seq == self.model.end_seq();
                    self.excuse(caught_up, "a reader stopped before the end")?;
                }
                Err(error) => {
                    self.excuse(self.disk.is_halted(), &format!("tailing {next_seq}: {error}"))?;
                }
            }
        }
        self.reader = Some(reader);
        Ok(())
    }

    fn crash(&mut self, crash: Crash, trace: &mut Vec<String>) -> Result<(), String> {
        (self.journal, self.reader) = (None, None);
        self.disk.crash(crash);
        self.open(trace)
    }

    fn close(&mut self, trace: &mut Vec<String>) -> Result<(), String> {
        let closed = self.journal().close();
        match closed {
            Ok(()) => {
                let open = self.model.open_frames() as u64;
                let durable = self.journal().durable();
                self.model.settle(self.model.end_seq() + open, self.wall_ms())?;
                // A journal that was already closed in order needs no second mark.
                match durable - self.model.end_seq() {
                    0 => {}
                    1 => self.model.settle_closed(self.wall_ms()),
                    _ => return Err("a close took more than one sequence".to_owned()),
                }
            }
            Err(_) => self.excuse(self.faulty || self.cramped, "a close failed")?,
        }
        (self.journal, self.reader) = (None, None);
        if self.rng.chance(1, 2) && !self.disk.is_halted() {
            return self.open(trace);
        }
        let crash = self.any_crash();
        self.crash(crash, trace)
    }

    /// Kills the process and checks what it has left: no crash of any kind is damage.
    fn check(&mut self, trace: &mut Vec<String>) -> Result<(), String> {
        (self.journal, self.reader) = (None, None);
        let crash = self.any_crash();
        self.disk.crash(crash);
        let report = journal::check::check(&self.disk, &mut |_, _| {})
            .map_err(|error| format!("checking after {crash:?}: {error}"))?;
        if !report.is_sound() {
            return Err(format!("after {crash:?} a check finds {:?}", report.damages));
        }
        if report.end_seq() < self.model.end_seq() {
            return Err(format!("LOST: a check counts to {}", report.end_seq()));
        }
        let usages = self.model.usages() as u64;
        if report.usages() < usages {
            return Err(format!("LOST: a check finds {} usages, not {usages}", report.usages()));
        }
        self.open(trace)
    }

    /// Opens, perhaps with faults on the way, and holds what is found against the model.
    fn open(&mut self, trace: &mut Vec<String>) -> Result<(), String> {
        for attempt in 0..6 {
            // The last attempts are left alone, so that every history goes on.
            let gentle = attempt >= 3;
            if gentle {
                self.disk.forget_faults();
                self.disk.set_capacity(CAPACITY_BYTES);
            } else if self.settings.script.is_none() {
                self.plan_fault_in_open(trace);
            }
            let opened = Journal::open(
                Arc::new(self.disk.clone()),
                self.clock.clone(),
                self.options.clone(),
            );
            match opened {
                Ok((journal, recovery)) => {
                    trace.push(format!("opened: {recovery:?}"));
                    self.disk.forget_faults();
                    if recovery.full.is_none() || self.begins_late(&journal, trace)? {
                        return self.opened(journal);
                    }
                }
                Err(error) => {
                    trace.push(format!("not opened: {error}"));
                    let io = matches!(error, OpenError::Io { .. });
                    self.excuse(io && !gentle, &format!("the open failed ({error})"))?;
                    self.tally.failed_opens += 1;
                    let crash = self.any_crash();
                    if self.disk.is_halted() || self.rng.chance(1, 2) {
                        trace.push(format!("{crash:?}"));
                        self.disk.crash(crash);
                    }
                }
            }
        }
        Err("no open succeeded".to_owned())
    }

    fn plan_fault_in_open(&mut self, trace: &mut Vec<String>) {
        match self.rng.below(16) {
            0 | 1 => self.disk.halt_in(self.rng.below(20)),
            2 => self.disk.fail_sync_in(self.rng.below(6)),
            3 => self.disk.fail_write_in(self.rng.below(4)),
            4 => self.disk.set_capacity(self.disk.used_bytes() + self.rng.below(40 << 10)),
            _ => return,
        }
        trace.push("with a fault in the open".to_owned());
    }

    fn opened(&mut self, journal: Journal) -> Result<(), String> {
        self.tally.opens += 1;
        let before = self.model.end_seq();
        let first_seq = journal.first_seq();
        let mut reader = journal.reader(first_seq);
        let mut batches = Vec::new();
        while let Some(batch) =
            reader.next_batch().map_err(|error| format!("after the open: {error}"))?
        {
            batches.push(batch);
        }
        let consumed = self.consumed.load(Ordering::SeqCst);
        if first_seq > consumed {
            return Err(format!("the open begins at {first_seq}, {consumed} was still needed"));
        }
        self.model.reconcile(first_seq, &batches)?;
        if journal.durable() != self.model.end_seq() {
            return Err(format!(
                "durable is {} after the open, not {}",
                journal.durable(),
                self.model.end_seq()
            ));
        }
        self.tally.survived_unacknowledged += self.model.end_seq() - before;
        self.claims = self.model.keys()?;
        let ahead = self.wall_ms() > self.believed_ms + DAY_MS;
        let base_ms = if ahead { self.believed_ms } else { self.wall_ms() };
        self.clock_base = (base_ms, self.elapsed_ms());
        journal.register_projection("consumer", self.consumed.clone());
        self.reader = Some(journal.reader(consumed));
        self.journal = Some(journal);
        (self.faulty, self.cramped) = (false, self.disk.used_bytes() + (1 << 20) > self.capacity());
        Ok(())
    }

    fn capacity(&self) -> u64 {
        use journal::disk::Disk;
        self.disk.space().map_or(0, |space| space.total_bytes)
    }
}
