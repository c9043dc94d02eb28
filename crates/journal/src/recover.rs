//! Opening a journal: lock, find the end, secure what is unproven in a fresh segment of a new
//! epoch, and only then answer. Each step leaves a directory that the next open understands.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crate::anchor;
use crate::clock::Clock;
use crate::commit::{Active, Committer, activate};
use crate::disk::{Disk, Lock};
use crate::error::{OpenError, opening};
use crate::format::{
    BATCH_HEADER_BYTES, BatchHeader, FRAME_HEADER_BYTES, FrameKind, SegmentHeader, SegmentKind,
    align_batch, segment_file_name, segment_number,
};
use crate::layout::{Layout, body_if_zero, survey};
use crate::ledger::{Ledger, Segment};
use crate::limits::{self, segment_room};
use crate::meta::{META_FILE, StoreMeta};
use crate::options::Options;
use crate::pending::Pending;
use crate::prepare::{Prepared, prepare, remove_if_there};
use crate::random;
use crate::repairs;
use crate::retain::TrustedClock;
use crate::shared::Shared;
use crate::status::Recovery;
use crate::tail::{self, Tail};

/// The name of the lock file.
pub(crate) const LOCK_FILE: &str = "lock";

/// Recovers the journal in `disk` and begins a new epoch.
pub(crate) fn open(
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    options: Options,
) -> Result<(Shared, Recovery), OpenError> {
    options.validate().map_err(OpenError::Options)?;
    let begun = clock.monotonic();
    let lock_file = take_lock(&*disk)?;
    let (meta, created) = load_or_invent_meta(&*disk, &*clock, &options)?;
    let layout = survey(&*disk, Some(&meta.store_id))?;
    layout.check_no_gap_behind()?;
    let mut tail = tail::find(&*disk, &layout, options.sabotage.later_batches)?;
    if options.sabotage.unproven_tail {
        tail.unproven = None;
    }
    let chain = match tail.segment {
        Some(last) => layout.chain(last)?,
        None => Vec::new(),
    };
    if let Some(cut) = tail.cut {
        tail::cut(&*disk, cut)?;
    }
    let epoch = layout.epoch_max().checked_add(1).ok_or_else(|| OpenError::Header {
        segment: layout.newest().unwrap_or(0),
        why: "no epoch is left after it".to_owned(),
    })?;
    let salt = random::salt(&options, epoch).map_err(opening("taking random bytes"))?;
    let header = fresh_header(&layout, &tail, &meta, epoch, salt, clock.wall_ms(), &options);
    let active = secure(&*disk, &layout, &tail, header)?;
    let believed_ms = if created {
        let wall_ms = clock.wall_ms();
        // First, because a store whose meta is there is no longer a new one.
        anchor::store(&*disk, wall_ms).map_err(opening("creating clock"))?;
        meta.create(&*disk).map_err(opening("creating store.meta"))?;
        Some(wall_ms)
    } else {
        anchor::load(&*disk).map_err(opening("reading clock"))?
    };

    let mut segments: VecDeque<Segment> = chain
        .into_iter()
        .filter(|found| found.header.first_seq < active.header.first_seq)
        .map(|found| Segment { header: Arc::new(found.header), file_bytes: found.file_bytes })
        .collect();
    let file_bytes = active.header.segment_bytes;
    segments.push_back(Segment { header: active.header.clone(), file_bytes });
    tidy(&*disk, &segments)?;

    let repairs = repairs::count(&*disk).map_err(opening("reading repairs"))?;
    let took = clock.monotonic().saturating_sub(begun);
    let recovery = Recovery {
        created,
        clean: is_closed(&tail),
        epoch,
        segments: segments.len(),
        first_seq: segments[0].header.first_seq,
        durable: active.at.seq,
        frames_secured: tail.unproven.as_ref().map_or(0, |batch| batch.header.frames),
        cut: tail.cut,
        bytes_scanned: tail.bytes_scanned,
        took,
        repairs,
    };
    let ledger = Ledger::new(segments, active.file.clone(), active.at.offset);
    let mut pending = Pending::new(active.at.seq, options.pending_bytes_max);
    pending.segment = active.header.number;
    pending.write_at = active.at.offset;
    pending.write_end = active.header.segment_bytes;
    let committer = Committer::new(active, recovery.clean);
    let parts = (disk, clock, options, meta);
    let trusted = TrustedClock::at_open(parts.1.wall_ms(), begun, believed_ms);
    let shared = Shared::new(parts, (epoch, salt), committer, pending, ledger, lock_file, trusted);
    shared.watch_cap();
    Ok((shared, recovery))
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
        remove_unwritten(disk)?;
    }
    let (store_id, check_key) =
        random::store_secrets(options).map_err(opening("taking random bytes"))?;
    let store_number = options.store_number.unwrap_or(0);
    let meta = StoreMeta { store_id, store_number, check_key, created_ms: clock.wall_ms() };
    Ok((meta, true))
}

/// Removes the segments of a creation that was cut short. They may have a header, but no batch:
/// one with anything in it has lost its `store.meta`.
fn remove_unwritten(disk: &dyn Disk) -> Result<(), OpenError> {
    let layout = survey(disk, None)?;
    for &number in layout.used.keys() {
        let file = disk
            .open(&segment_file_name(number))
            .map_err(opening(format!("reading segment {number}")))?;
        if body_if_zero(number, &*file)?.is_none() {
            return Err(OpenError::Meta("it is missing, yet there are segments".to_owned()));
        }
    }
    tidy(disk, &VecDeque::new())
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
    let fits = batch_bytes <= segment_room(options.segment_bytes);
    let segment_bytes = match spare {
        Some(bytes) if bytes == options.segment_bytes && fits => bytes,
        _ => limits::first_segment_bytes(options),
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
    disk.rename(&name, &tmp)?;
    disk.rename(&tmp, &name)?;
    disk.sync_dir()
}

/// Removes what the fresh segment has made needless, and leftovers of writes that never ended.
fn tidy(disk: &dyn Disk, segments: &VecDeque<Segment>) -> Result<(), OpenError> {
    let doing = "removing leftovers";
    let mut removed = false;
    for name in disk.list().map_err(opening(doing))? {
        let leftover = match segment_number(&name) {
            Some(number) => !segments.iter().any(|segment| segment.header.number == number),
            None => name.ends_with(".tmp"),
        };
        if leftover {
            remove_if_there(disk, &name).map_err(opening(doing))?;
            removed = true;
        }
    }
    if removed {
        disk.sync_dir().map_err(opening(doing))?;
    }
    Ok(())
}

/// Whether the last frame says that the journal was closed in order.
fn is_closed(tail: &Tail) -> bool {
    let Some(batch) = &tail.unproven else { return false };
    let closed = batch.header.frames == 1 && batch.payload.len() == FRAME_HEADER_BYTES;
    closed
        && crate::format::parse_frame(&batch.payload)
            .is_ok_and(|(frame, _)| frame.kind == FrameKind::Closed)
}
