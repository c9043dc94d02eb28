//! Finding the end of the journal: the last segment that holds a valid batch, read whole.

use crate::disk::Disk;
use crate::error::{OpenError, opening};
use crate::format::{BatchHeader, HEADER_PAGE_BYTES, SegmentKind};
use crate::layout::{Found, Layout};
use crate::scan::{Expected, RawSegment, read_whole};
use crate::status::Cut;

/// The last batch of the journal, which no later one proves durable.
#[derive(Debug)]
pub(crate) struct Unproven {
    pub(crate) header: BatchHeader,
    pub(crate) payload: Vec<u8>,
    /// Whether its segment holds nothing before it.
    pub(crate) alone: bool,
}

/// Where the journal ends.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// The segment that holds the last valid batch; `None` when there is no batch at all.
    pub(crate) segment: Option<u64>,
    /// One past the last valid sequence.
    pub(crate) end_seq: u64,
    /// When the last frame was committed, if there is one.
    pub(crate) last_ms: Option<u64>,
    /// The batch to secure; `None` when the segment is compressed, or there is no batch.
    pub(crate) unproven: Option<Unproven>,
    /// Torn bytes to cut.
    pub(crate) cut: Option<Cut>,
    /// Bytes read.
    pub(crate) bytes_scanned: u64,
}

/// Walks from the newest segment back to the first that holds a valid batch. A segment without
/// one is not the truth of anything: its header names the segment that is. Still, each was begun
/// only after everything before its first sequence was durable, so an end below that sequence
/// means that acknowledged batches are gone.
pub(crate) fn find(
    disk: &dyn Disk,
    layout: &Layout,
    ignore_later: bool,
) -> Result<Tail, OpenError> {
    let mut tail = Tail { end_seq: 1, ..Tail::default() };
    let mut number = layout.newest().unwrap_or(0);
    while number != 0 {
        let found = layout.segment(number)?;
        if scan_segment(disk, found, &mut tail, ignore_later)? {
            tail.segment = Some(number);
            break;
        }
        number = found.header.source;
    }
    // Also those that no `source` leads to: a segment is passed over when it holds no batch.
    let later = layout.used.range(number + 1..).filter_map(|(_, found)| found.as_ref().ok());
    let reached = later.map(|found| &found.header).max_by_key(|header| header.first_seq);
    match reached.filter(|header| header.first_seq > tail.end_seq) {
        None => Ok(tail),
        Some(later) if number == 0 => Err(OpenError::Header {
            segment: later.number,
            why: "no segment holds what came before it, yet it is not the first".to_owned(),
        }),
        Some(later) => Err(OpenError::Corruption {
            segment: number,
            offset: tail.cut.map_or(layout.segment(number)?.file_bytes, |cut| cut.offset),
            expected_seq: tail.end_seq,
            later_segment: later.number,
            later_offset: 0,
            later_seq: later.first_seq,
        }),
    }
}

/// Reads one segment to its end. `false` when it holds no valid batch.
fn scan_segment(
    disk: &dyn Disk,
    found: &Found,
    tail: &mut Tail,
    ignore_later: bool,
) -> Result<bool, OpenError> {
    let number = found.header.number;
    let doing = || format!("reading segment {number}");
    if found.header.kind == SegmentKind::Compressed {
        // Only a segment that a later one had proven is ever compressed.
        let (end_seq, last_ms) = crate::packed::end(disk, &found.header)?;
        (tail.end_seq, tail.last_ms) = (end_seq, Some(last_ms));
        return Ok(true);
    }
    found.check_length()?;
    let file = disk.open(&found.header.file_name()).map_err(opening(doing()))?;
    let bytes = read_whole(&*file).map_err(opening(doing()))?;
    tail.bytes_scanned += bytes.len() as u64;
    let segment = RawSegment::new(&found.header, &bytes);
    let mut expected = Expected::first(&found.header);
    let mut last = None;
    while let Ok(batch) = segment.batch_at(&expected) {
        expected = expected.after(&batch.header);
        last = Some(batch);
    }
    let proof = segment.find_proof(&expected).filter(|_| !ignore_later);
    if let Some((later_offset, later)) = proof {
        return Err(OpenError::Corruption {
            segment: number,
            offset: expected.offset,
            expected_seq: expected.seq,
            later_segment: number,
            later_offset,
            later_seq: later.first_seq,
        });
    }
    let torn = segment.last_written(expected.offset);
    let Some(last) = last else { return Ok(false) };
    tail.cut = torn.map(|end| Cut {
        segment: number,
        offset: expected.offset,
        bytes: end - expected.offset,
    });
    (tail.end_seq, tail.last_ms) = (expected.seq, Some(last.header.committed_ms));
    tail.unproven = Some(Unproven {
        header: last.header,
        payload: last.payload.to_vec(),
        alone: last.offset == HEADER_PAGE_BYTES as u64,
    });
    Ok(true)
}

/// Overwrites the torn bytes with zeros, durably.
pub(crate) fn cut(disk: &dyn Disk, cut: Cut) -> Result<(), OpenError> {
    let doing = || format!("cutting the torn tail of segment {}", cut.segment);
    let name = crate::format::segment_file_name(cut.segment);
    let file = disk.open(&name).map_err(opening(doing()))?;
    let zeros = vec![0u8; 1 << 20];
    let (mut at, end) = (cut.offset, cut.offset + cut.bytes);
    while at < end {
        let len = usize::try_from(end - at).unwrap_or(usize::MAX).min(zeros.len());
        file.write_all_at(&zeros[..len], at).map_err(opening(doing()))?;
        at += len as u64;
    }
    file.sync_data().map_err(opening(doing()))
}
