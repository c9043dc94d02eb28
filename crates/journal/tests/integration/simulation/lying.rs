//! A disk that loses the end of the newest segment although every sync has succeeded.

use std::ops::Range;

use journal::accept::accept_loss;
use journal::disk::{Disk, SimDisk};
use journal::format::SegmentKind;
use journal::repair::{RepairError, plan, repair};
use journal::scan::{RawSegment, read_header, read_whole};

/// What the mark says is durable; `None` when it cannot be read.
pub(super) fn marked(disk: &SimDisk) -> Option<u64> {
    let bytes = read_whole(&*disk.open("mark").ok()?).ok()?;
    let pages = bytes
        .chunks_exact(4096)
        .filter(|page| crc32c::crc32c(&page[..4092]).to_le_bytes() == page[4092..]);
    let durable = |page: &[u8]| page[40..48].try_into().map(u64::from_le_bytes).ok();
    pages.filter_map(durable).max()
}

/// Zeroes the last so many batches of the newest segment that holds any, durably. `false` when there
/// is none.
pub(super) fn zero_tail(disk: &SimDisk, batches: u64) -> bool {
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
pub(super) fn accept(disk: &SimDisk) -> Result<Vec<Range<u64>>, RepairError> {
    let plan = plan(disk)?;
    repair(disk, &plan)?;
    let end = accept_loss(disk, &[], 0)?.map(|loss| loss.end_seq..loss.resume_seq);
    Ok(plan.steps.into_iter().flat_map(|step| step.lost).chain(end).collect())
}
