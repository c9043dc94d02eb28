//! A disk that loses the end of the newest segment although every sync has succeeded.

use std::ops::Range;
use std::sync::Arc;

use journal::Journal;
use journal::accept::accept_loss;
use journal::disk::{Disk, SimDisk};
use journal::format::SegmentKind;
use journal::repair::{RepairError, plan, repair};
use journal::scan::{RawSegment, read_header, read_whole};

use super::{CAPACITY_BYTES, World};

impl World {
    /// Everything durable is in the mark, and then not in the journal any more: it must not open
    /// before the loss is accepted.
    pub(super) fn lose_tail(
        &mut self,
        batches: u64,
        trace: &mut Vec<String>,
    ) -> Result<(), String> {
        self.journal().mark_once();
        (self.journal, self.reader) = (None, None);
        let crash = self.any_crash();
        self.disk.crash(crash);
        self.disk.set_capacity(CAPACITY_BYTES);
        let before = self.disk.fork();
        let marked = marked(&self.disk);
        if marked != Some(self.model.end_seq()) || !zero_tail(&self.disk, batches) {
            return self.open(trace);
        }
        let examine = || {
            let disk = Arc::new(self.disk.clone());
            Journal::examine(disk, self.clock.clone(), self.options.clone())
        };
        let refused = match examine() {
            // What is left may still reach as far, by what recovery has copied. Whether that is
            // durable nobody knows any more, so the disk finds the end again.
            Ok(examined) if examined.end_seq() >= self.model.end_seq() => {
                drop(examined);
                self.disk = before;
                return self.open(trace);
            }
            Ok(examined) => examined.open(&[]).map(drop).err(),
            Err(error) => Some(error),
        };
        trace.push(format!("{batches} batches were lost: {refused:?}"));
        let Some(refused) = refused else {
            return Err("LOST: the end of the journal, and nobody noticed".to_owned());
        };
        let lost = match accept(&self.disk) {
            Ok(lost) if !lost.is_empty() => lost,
            // The same, or nothing is left to go on from.
            Ok(_) | Err(RepairError::NothingLeft) => {
                self.disk = before;
                return self.open(trace);
            }
            Err(error) => return Err(format!("the loss was not accepted ({refused}): {error}")),
        };
        trace.push(format!("accepted: {lost:?}"));
        self.tally.lost_ends += 1;
        lost.into_iter().for_each(|seqs| self.model.give_up(seqs));
        self.open(trace)
    }
}

/// What the mark says is durable; `None` when it cannot be read.
fn marked(disk: &SimDisk) -> Option<u64> {
    let bytes = read_whole(&*disk.open("mark").ok()?).ok()?;
    let pages = bytes
        .chunks_exact(4096)
        .filter(|page| crc32c::crc32c(&page[..4092]).to_le_bytes() == page[4092..]);
    let durable = |page: &[u8]| page[40..48].try_into().map(u64::from_le_bytes).ok();
    pages.filter_map(durable).max()
}

/// Zeroes the last so many batches of the newest segment that holds any, durably. `false` when there
/// is none.
fn zero_tail(disk: &SimDisk, batches: u64) -> bool {
    let mut names = disk.list().expect("the machine runs");
    names.retain(|name| name.ends_with(".seg"));
    names.sort();
    for name in names.iter().rev() {
        let file = disk.open(name).expect("it is there");
        let Ok(header) = read_header(&*file).expect("the machine runs") else { continue };
        if header.kind == SegmentKind::Compressed {
            return false;
        }
        let bytes = read_whole(&*file).expect("the machine runs");
        let segment = RawSegment::new(&header, &bytes);
        let mut offsets = Vec::new();
        while let Some(batch) = segment.find_batch(offsets.last().map_or(0, |last| last + 1)) {
            offsets.push(batch.offset);
        }
        let lost = usize::try_from(batches).expect("few").min(offsets.len());
        let Some(&from) = offsets.get(offsets.len() - lost) else { continue };
        let zeros = vec![0; bytes.len() - usize::try_from(from).expect("small")];
        file.write_all_at(&zeros, from).expect("the machine runs");
        file.sync_all().expect("the machine runs");
        return true;
    }
    false
}

/// What an operator does: repairs whatever else is wrong, then accepts the loss, if one is left.
/// Returns the sequences that are lost.
fn accept(disk: &SimDisk) -> Result<Vec<Range<u64>>, RepairError> {
    let plan = plan(disk)?;
    repair(disk, &plan)?;
    let end = accept_loss(disk, &[], 0)?.map(|loss| loss.end_seq..loss.resume_seq);
    Ok(plan.steps.into_iter().flat_map(|step| step.lost).chain(end).collect())
}
