//! Opening a journal, in phases: look at everything without writing; compare with the witnesses;
//! secure what is unproven in a fresh segment of a new epoch, and only then answer. Each step leaves
//! a directory that the next open understands.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::anchor;
use crate::aside;
use crate::begin::Begun;
use crate::clock::Clock;
use crate::commit::{Active, activate};
use crate::disk::{Disk, Lock};
use crate::error::{OpenError, opening};
use crate::format::{
    BATCH_HEADER_BYTES, Batch, BatchHeader, FRAME_HEADER_BYTES, FrameKind, SegmentHeader,
    SegmentKind, align_batch, segment_file_name, segment_number,
};
use crate::journal::Journal;
use crate::layout::{Found, Layout, body_if_zero, survey};
use crate::ledger::{Ledger, Segment};
use crate::limits::{self, segment_room};
use crate::mark::{self, Mark, MarkFile, Reading};
use crate::meta::{META_FILE, StoreMeta};
use crate::options::{Options, Sabotage};
use crate::pending::Pending;
use crate::prepare::{Prepared, is_shortage, prepare, remove_if_there};
use crate::proof::Proof;
use crate::random;
use crate::repairs;
use crate::retain::TrustedClock;
use crate::shared::Shared;
use crate::status::Recovery;
use crate::tail::{self, Tail};
use crate::witness::{Held, Witness};

/// The name of the lock file.
pub(crate) const LOCK_FILE: &str = "lock";

/// A journal that was looked at and not changed yet: its lock is held, its end is found. The phases
/// of an opening are this examination, the comparison with every [`Witness`], and the writing.
pub struct Examined {
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    options: Options,
    begun: Duration,
    /// `None` for a journal that is open already; see [`begin_again`].
    lock_file: Option<Box<dyn Lock>>,
    meta: StoreMeta,
    /// Whether there is no store yet.
    new: bool,
    layout: Layout,
    tail: Tail,
    /// The journal's segments, oldest first.
    chain: Vec<Found>,
    mark: Reading,
    repairs: u64,
}

/// Takes the lock and finds the journal's end. Writes nothing.
pub(crate) fn examine(
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    options: Options,
) -> Result<Examined, OpenError> {
    options.validate().map_err(OpenError::Options)?;
    let lock_file = take_lock(&*disk)?;
    look(disk, clock, options, Some(lock_file))
}

/// Finds the journal's end. Writes nothing.
fn look(
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    options: Options,
    lock_file: Option<Box<dyn Lock>>,
) -> Result<Examined, OpenError> {
    let begun = clock.monotonic();
    let (meta, new) = load_or_invent_meta(&*disk, &*clock, &options)?;
    // What a creation that was cut short has left is no part of the new store.
    let layout = if new { Layout::default() } else { survey(&*disk, Some(&meta.store_id))? };
    layout.check_no_gap_behind()?;
    let mut tail = tail::find(&*disk, &layout, options.sabotage.later_batches)?;
    if options.sabotage.unproven_tail {
        tail.unproven = None;
    }
    let chain = match tail.segment {
        Some(last) => layout.chain(last)?,
        None => Vec::new(),
    };
    let mark = mark::read(&*disk, &meta.store_id)?;
    let repairs = repairs::count_by(&*disk, mark.own()).map_err(opening("reading repairs"))?;
    Ok(Examined {
        disk,
        clock,
        options,
        begun,
        lock_file,
        meta,
        new,
        layout,
        tail,
        chain,
        mark,
        repairs,
    })
}

impl Examined {
    /// Who the store is.
    #[must_use]
    pub fn store_id(&self) -> [u8; 16] {
        self.meta.store_id
    }

    /// Changes with every repair.
    #[must_use]
    pub fn repairs(&self) -> u64 {
        self.repairs
    }

    /// The oldest sequence kept.
    #[must_use]
    pub fn first_seq(&self) -> u64 {
        self.chain.first().map_or(self.tail.end_seq, |oldest| oldest.header.first_seq)
    }

    /// One past the last sequence that can be read.
    #[must_use]
    pub fn end_seq(&self) -> u64 {
        self.tail.end_seq
    }

    /// Compares the journal's end with the witnesses, recovers the journal, and begins a new epoch.
    /// Where the disk has no room for that, the journal can be read as far as it is proven durable, and
    /// begins once there is room; see [`Recovery::full`]. Not a new one, in which there is nothing to
    /// read.
    ///
    /// # Errors
    /// [`OpenError::EndsEarly`] when the journal ends before a witness, [`OpenError::NoMark`] when
    /// its own is lost. Nothing was written then.
    pub fn open(self, witnesses: &[Witness]) -> Result<(Journal, Recovery), OpenError> {
        self.compare(witnesses)?;
        let begun = match self.write() {
            Err(error) if self.new || !error.is_full() => return Err(error),
            begun => begun,
        };
        let (tail, created, repairs) = (&self.tail, self.new, self.repairs);
        let mut recovery = Recovery {
            created,
            clean: is_closed(tail),
            cut: tail.cut,
            bytes_scanned: tail.bytes_scanned,
            repairs,
            ..Recovery::default()
        };
        let frames = tail.unproven.as_ref().map_or(0, |batch| batch.header.frames);
        let (clock, since) = (self.clock.clone(), self.begun);
        let shared = self.share(witnesses)?;
        match begun {
            Ok(begun) => {
                shared.begin(begun);
                recovery.frames_secured = frames;
            }
            Err(error) => {
                shared.begins_later(&error);
                recovery.full = Some(error.to_string());
            }
        }
        let journal = Journal::new(shared);
        let status = journal.status();
        (recovery.epoch, recovery.segments) = (status.epoch, status.segments);
        (recovery.first_seq, recovery.durable) = (status.first_seq, status.durable);
        recovery.took = clock.monotonic().saturating_sub(since);
        Ok((journal, recovery))
    }

    /// The journal as it can be read before anything is written. The last batch may be in the page cache
    /// only, unless a witness has seen it durable.
    fn share(self, witnesses: &[Witness]) -> Result<Shared, OpenError> {
        let end_seq = self.tail.end_seq;
        let witnessed = self.held().durable(witnesses);
        let unproven = self.tail.unproven.filter(|_| witnessed < end_seq);
        let unproven = unproven.map(|batch| {
            let (first_seq, committed_ms) = (batch.header.first_seq, batch.header.committed_ms);
            Batch::from_payload(first_seq, committed_ms, batch.payload.into()).map_err(|why| {
                OpenError::Header { segment: self.tail.segment.unwrap_or(0), why: why.to_string() }
            })
        });
        let unproven = unproven.transpose()?.map(Arc::new);
        let durable = unproven.as_ref().map_or(end_seq, |batch| batch.first_seq());
        let segments = self.chain.into_iter().map(Segment::from);
        let segments = segments.filter(|segment| segment.header.first_seq < durable).collect();
        let believed_ms = if self.new {
            Some(self.clock.wall_ms())
        } else {
            anchor::load(&*self.disk).map_err(opening("reading clock"))?
        };
        let trusted = TrustedClock::at_open(self.clock.wall_ms(), self.begun, believed_ms);
        let pending = Pending::new(end_seq, self.options.pending_bytes_max);
        let meta = StoreMeta { marked: true, ..self.meta };
        Ok(Shared::new(
            (self.disk, self.clock, self.options, meta),
            pending,
            Ledger::new(segments, None, durable),
            (durable, unproven),
            self.lock_file,
            trusted,
        ))
    }

    fn held(&self) -> Held<'_> {
        Held {
            store_id: &self.meta.store_id,
            repairs: self.repairs,
            end_seq: self.tail.end_seq,
            last_ms: self.tail.last_ms,
            mark: self.mark.own(),
        }
    }

    fn compare(&self, witnesses: &[Witness]) -> Result<(), OpenError> {
        if self.options.sabotage.witnesses {
            return Ok(());
        }
        match (self.held().missing(witnesses), &self.mark) {
            (Some(missing), _) => Err(OpenError::EndsEarly(missing)),
            (None, Reading::None(why)) if self.meta.marked && !self.new => {
                Err(OpenError::NoMark { why })
            }
            (None, _) => Ok(()),
        }
    }

    /// Writes the store's mark anew, before anything else is written: the file of an earlier life may
    /// not be on the disk as it is read. A mark from before a repair counts for none, but for the
    /// sequences that it has reserved.
    fn mark_file(&self) -> io::Result<MarkFile> {
        let found = self.mark.own();
        let current = found.filter(|mark| mark.repairs == self.repairs);
        let end_seq = self.tail.end_seq;
        // The last batch is not secured yet.
        let proven = self.tail.unproven.as_ref().map_or(end_seq, |batch| batch.header.first_seq);
        let reserved = found.map_or(0, |mark| mark.limit);
        let mark = Mark {
            store_id: self.meta.store_id,
            repairs: self.repairs,
            durable: current.map_or(0, |mark| mark.durable).max(proven),
            limit: reserved.max(end_seq.saturating_add(self.options.mark_ahead)),
            written_ms: self.clock.wall_ms(),
        };
        match (MarkFile::create(&*self.disk, mark), current) {
            // What it says holds, and frames wait for more room anyway.
            (Err(error), Some(mark)) if is_shortage(&error) => Ok(MarkFile::found(*mark)),
            (created, _) => created,
        }
    }

    /// Cuts the torn tail, secures the last batch in a fresh segment, and removes what is
    /// superseded. What it leaves when it fails, another examination understands.
    fn write(&self) -> Result<Begun, OpenError> {
        let Self { disk, options, layout, tail, .. } = self;
        let disk = &**disk;
        // Also what unfinished writes have left: this open may need its room.
        let kept: VecDeque<Segment> = self.chain.iter().cloned().map(Segment::from).collect();
        if self.new {
            tidy(disk, &VecDeque::new(), options.sabotage)?;
        } else {
            remove_unfinished(disk, &kept, options.sabotage)?;
        }
        let mark_file = self.mark_file().map_err(opening("writing the file `mark`"))?;
        let meta = StoreMeta { marked: true, ..self.meta.clone() };
        if let Some(cut) = tail.cut {
            tail::cut(disk, cut)?;
        }
        let epoch = layout.epoch_max().checked_add(1).ok_or_else(|| OpenError::Header {
            segment: layout.newest().unwrap_or(0),
            why: "no epoch is left after it".to_owned(),
        })?;
        let salt = random::salt(options, epoch).map_err(opening("taking random bytes"))?;
        let created_ms = self.clock.wall_ms();
        let header = fresh_header(layout, tail, &meta, epoch, salt, created_ms, options);
        let active = secure(disk, layout, tail, header)?;
        if self.new {
            // First, because a store whose meta is there is no longer a new one.
            anchor::store(disk, created_ms).map_err(opening("creating clock"))?;
            meta.create(disk).map_err(opening("creating store.meta"))?;
        } else if !self.meta.marked {
            meta.replace(disk).map_err(opening("replacing store.meta"))?;
        }
        let mut segments = kept;
        segments.retain(|segment| segment.header.first_seq < active.header.first_seq);
        let file_bytes = active.header.segment_bytes;
        segments.push_back(Segment { header: active.header.clone(), file_bytes });
        tidy(disk, &segments, options.sabotage)?;
        Ok(Begun { active, mark_file, segments, closed: is_closed(tail) })
    }
}

/// Looks at the journal of `shared` again, which is open and has not begun, and writes what its open
/// had no room for.
pub(crate) fn begin_again(shared: &Shared) -> Result<(), OpenError> {
    let parts = (shared.disk.clone(), shared.clock.clone(), shared.options.clone());
    let examined = look(parts.0, parts.1, parts.2, None)?;
    if examined.end_seq() != shared.pending().first_seq() {
        let source = io::Error::other("it does not end where it did");
        return Err(OpenError::Io { doing: "looking at the journal again".to_owned(), source });
    }
    shared.begin(examined.write()?);
    Ok(())
}

impl From<Found> for Segment {
    fn from(found: Found) -> Self {
        Self { header: Arc::new(found.header), file_bytes: found.file_bytes }
    }
}

/// Removes what writes that never ended have left, as far as it is proven that nothing is lost with it.
/// The rest stays for [`tidy`].
fn remove_unfinished(
    disk: &dyn Disk,
    chain: &VecDeque<Segment>,
    sabotage: Sabotage,
) -> Result<(), OpenError> {
    let doing = opening("removing leftovers");
    let headers = chain.iter().map(|segment| (*segment.header).clone()).collect();
    let mut proof = Proof::new(disk, headers).believing(sabotage.removal_proof);
    let mut names = disk.list().map_err(opening("removing leftovers"))?;
    names.retain(|name| name.ends_with(".tmp"));
    let removed = names.iter().try_for_each(|name| match proof.may_go(name)? {
        true => remove_if_there(disk, name),
        false => Ok(()),
    });
    removed.map_err(doing)
}

fn take_lock(disk: &dyn Disk) -> Result<Box<dyn Lock>, OpenError> {
    disk.lock(LOCK_FILE).map_err(|source| match source.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked,
        _ => OpenError::Io { doing: "taking the lock file".to_owned(), source },
    })
}

/// Loads `store.meta`, or makes up that of a new store. A new one is written only when the first
/// segment is durable in use, so that a store whose segments are all gone can be told from one
/// whose creation was cut short.
fn load_or_invent_meta(
    disk: &dyn Disk,
    clock: &dyn Clock,
    options: &Options,
) -> Result<(StoreMeta, bool), OpenError> {
    let names = disk.list().map_err(opening("listing the journal's directory"))?;
    let segment_there = names.iter().any(|name| segment_number(name).is_some());
    if names.iter().any(|name| name == META_FILE) {
        let meta = StoreMeta::load(disk)?;
        if !segment_there {
            return Err(OpenError::NoSegments);
        }
        return match options.store_number {
            Some(asked) if asked != meta.store_number => {
                Err(OpenError::StoreNumber { found: meta.store_number, asked })
            }
            _ => Ok((meta, false)),
        };
    }
    if segment_there {
        check_unwritten(disk)?;
    }
    if mark::tells_of_frames(disk)? {
        return Err(OpenError::Meta(
            "it is missing, yet the file `mark` tells of usages".to_owned(),
        ));
    }
    let (store_id, check_key) =
        random::store_secrets(options).map_err(opening("taking random bytes"))?;
    let store_number = options.store_number.unwrap_or(0);
    let created_ms = clock.wall_ms();
    let meta = StoreMeta { store_id, store_number, check_key, created_ms, marked: true };
    Ok((meta, true))
}

/// Segments without `store.meta` must be those of a creation that was cut short. They may have a
/// header, but no batch: one with anything in it has lost its `store.meta`.
fn check_unwritten(disk: &dyn Disk) -> Result<(), OpenError> {
    let layout = survey(disk, None)?;
    let lost = || OpenError::Meta("it is missing, yet there are segments".to_owned());
    for &number in layout.used.keys() {
        let file = disk
            .open(&segment_file_name(number))
            .map_err(opening(format!("reading segment {number}")))?;
        body_if_zero(number, &*file)?.ok_or_else(lost)?;
    }
    let doing = "reading leftovers";
    let mut proof = Proof::new(disk, Vec::new());
    for name in disk.list().map_err(opening(doing))? {
        if is_leftover(&name, |_| false) && !proof.may_go(&name).map_err(opening(doing))? {
            return Err(lost());
        }
    }
    Ok(())
}

/// The header of the segment that begins the new epoch.
fn fresh_header(
    layout: &Layout,
    tail: &Tail,
    meta: &StoreMeta,
    epoch: u32,
    salt: u64,
    created_ms: u64,
    options: &Options,
) -> SegmentHeader {
    let secured = tail.unproven.as_ref();
    let source = tail.segment.unwrap_or(0);
    // All that the source holds is copied: what came before it comes before the fresh segment.
    let alone = secured.is_some_and(|batch| batch.alone);
    let previous = match layout.used.get(&source) {
        Some(Ok(found)) if alone => found.header.previous,
        _ => source,
    };
    // The highest spare's number, so that every other leftover has a lower one than the fresh
    // segment, whose header passes over it whether or not its removal becomes durable. A spare of
    // another size is replaced: its own entry may be lost, and must leave no gap in front of a later
    // segment.
    let number_max = layout.number_max();
    let spare = layout.spares.get(&number_max).copied();
    let number = number_max + u64::from(spare.is_none());
    let batch_bytes = secured.map_or(0, |batch| BATCH_HEADER_BYTES + batch.payload.len()) as u64;
    let first_bytes = limits::first_segment_bytes(options);
    let segment_bytes = match spare {
        // Whatever size was asked for when it was prepared.
        Some(bytes) if bytes >= first_bytes && batch_bytes <= segment_room(bytes) => bytes,
        _ => first_bytes,
    };
    let page_bytes = crate::format::HEADER_PAGE_BYTES as u64;
    let needed = (page_bytes + align_batch(batch_bytes)).next_multiple_of(page_bytes);
    SegmentHeader {
        kind: SegmentKind::Raw,
        store_id: meta.store_id,
        store_number: meta.store_number,
        number,
        previous,
        source,
        epoch,
        salt,
        first_seq: secured.map_or(tail.end_seq, |batch| batch.header.first_seq),
        created_ms,
        segment_bytes: segment_bytes.max(needed),
    }
}

/// Makes the fresh segment and copies the unproven batch into it. After a kill the last batch may
/// be in the page cache only, and after a failed sync the kernel may hold lost pages for clean, so
/// that no sync of the old file would ever write them: only a copy is certain.
fn secure(
    disk: &dyn Disk,
    layout: &Layout,
    tail: &Tail,
    header: SegmentHeader,
) -> Result<Active, OpenError> {
    let number = header.number;
    let doing = || format!("beginning segment {number}");
    let prepared = if layout.spares.get(&number) == Some(&header.segment_bytes) {
        own_spare(disk, number).map_err(opening(doing()))?;
        let file = disk.open(&segment_file_name(number)).map_err(opening(doing()))?;
        file.sync_all().map_err(opening(doing()))?;
        Prepared { number, bytes: header.segment_bytes, file }
    } else {
        prepare(disk, number, header.segment_bytes).map_err(opening(doing()))?
    };
    let (salt, epoch) = (header.salt, header.epoch);
    let mut active = activate(prepared, header).map_err(opening(doing()))?;
    if let Some(batch) = &tail.unproven {
        let copied = BatchHeader { salt, epoch, prev_chain: active.at.chain, ..batch.header };
        let mut bytes = copied.encode().to_vec();
        bytes.extend_from_slice(&batch.payload);
        active.file.write_all_at(&bytes, active.at.offset).map_err(opening(doing()))?;
        active.file.sync_data().map_err(opening(doing()))?;
        active.at = active.at.after(&copied);
    }
    Ok(active)
}

/// Makes a spare's directory entry durable. Whoever prepared it may have been killed before the
/// directory was synced, or that sync may have failed and left an entry that no later sync would
/// write; renaming it there and back makes the entry a new one. A kill in between costs the spare.
fn own_spare(disk: &dyn Disk, number: u64) -> io::Result<()> {
    let name = segment_file_name(number);
    let tmp = format!("{name}.tmp");
    aside::make_way(disk, &tmp)?;
    disk.rename(&name, &tmp)?;
    disk.rename(&tmp, &name)?;
    disk.sync_dir()
}

/// Removes what the fresh segment has made needless, and leftovers of writes that never ended, as
/// far as it is proven that nothing is lost with them; and sets the rest aside.
fn tidy(
    disk: &dyn Disk,
    segments: &VecDeque<Segment>,
    sabotage: Sabotage,
) -> Result<(), OpenError> {
    let doing = "removing leftovers";
    let chain: Vec<SegmentHeader> = segments.iter().map(|kept| (*kept.header).clone()).collect();
    let is_kept = |number| chain.iter().any(|header| header.number == number);
    let mut names = disk.list().map_err(opening(doing))?;
    names.retain(|name| is_leftover(name, is_kept));
    if names.is_empty() {
        return Ok(());
    }
    let mut proof = Proof::new(disk, chain.clone()).believing(sabotage.removal_proof);
    names.iter().try_for_each(|name| proof.clear(name)).map_err(opening(doing))?;
    disk.sync_dir().map_err(opening(doing))
}

/// Whether a file is none of those that the journal needs.
fn is_leftover(name: &str, is_kept: impl Fn(u64) -> bool) -> bool {
    segment_number(name).map_or_else(|| name.ends_with(".tmp"), |number| !is_kept(number))
}

/// Whether the last frame says that the journal was closed in order.
fn is_closed(tail: &Tail) -> bool {
    let Some(batch) = &tail.unproven else { return false };
    let closed = batch.header.frames == 1 && batch.payload.len() == FRAME_HEADER_BYTES;
    closed
        && crate::format::parse_frame(&batch.payload)
            .is_ok_and(|(frame, _)| frame.kind == FrameKind::Closed)
}
