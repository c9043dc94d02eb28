//! Which segments there are, which sequences each holds, and how far the active one is durable.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::disk::File;
use crate::format::{SegmentHeader, SegmentKind};
use crate::prepare::Prepared;

/// One segment in use.
#[derive(Clone)]
pub(crate) struct Segment {
    pub(crate) header: Arc<SegmentHeader>,
    pub(crate) file_bytes: u64,
}

/// Where a sequence is to be looked for.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) header: Arc<SegmentHeader>,
    /// One past the last sequence that counts in this segment; `None` for the active one.
    pub(crate) end_seq: Option<u64>,
    /// For the active segment its open file and the offset up to which it is durable.
    pub(crate) active: Option<(Arc<dyn File>, u64)>,
}

/// The segments in use, oldest first, and the one that waits.
pub(crate) struct Ledger {
    segments: VecDeque<Segment>,
    /// The active segment's open file and the offset up to which it is durable; `None` before the
    /// journal has begun.
    active: Option<(Arc<dyn File>, u64)>,
    /// One past the last sequence of the segments, before the journal has begun.
    end_seq: u64,
    pub(crate) next: Option<Prepared>,
    /// Bytes of the files that were set aside.
    pub(crate) aside_bytes: u64,
}

impl Ledger {
    /// With an `active` file, durable up to an offset, it is that of the last segment. `end_seq` is
    /// one past the last durable sequence.
    pub(crate) fn new(
        segments: VecDeque<Segment>,
        active: Option<(Arc<dyn File>, u64)>,
        end_seq: u64,
    ) -> Self {
        assert!(active.is_none() || !segments.is_empty(), "an active file is that of a segment");
        Self { segments, active, end_seq, next: None, aside_bytes: 0 }
    }

    pub(crate) fn segments(&self) -> impl DoubleEndedIterator<Item = &Segment> {
        self.segments.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.segments.len()
    }

    pub(crate) fn compressed(&self) -> usize {
        let compressed = |s: &&Segment| s.header.kind == SegmentKind::Compressed;
        self.segments.iter().filter(compressed).count()
    }

    /// The number of the newest segment, 0 if there is none.
    pub(crate) fn newest(&self) -> u64 {
        self.segments.back().map_or(0, |newest| newest.header.number)
    }

    /// The active segment and its open file; `None` before the journal has begun.
    pub(crate) fn active(&self) -> Option<(Arc<SegmentHeader>, Arc<dyn File>)> {
        let (file, _) = self.active.as_ref()?;
        Some((self.segments.back()?.header.clone(), file.clone()))
    }

    /// The highest number there is, the prepared segment's if there is one.
    pub(crate) fn number_max(&self) -> u64 {
        self.next.as_ref().map_or(self.newest(), |next| next.number)
    }

    /// Bytes of all segment files, the prepared one and those set aside included.
    pub(crate) fn bytes(&self) -> u64 {
        let next = self.next.as_ref().map_or(0, |next| next.bytes);
        self.segments.iter().map(|segment| segment.file_bytes).sum::<u64>()
            + next
            + self.aside_bytes
    }

    /// A new active segment.
    pub(crate) fn activate(&mut self, segment: Segment, file: Arc<dyn File>, offset: u64) {
        let before = self.segments.back().map_or(0, |newest| newest.header.first_seq);
        assert!(segment.header.first_seq > before, "segments are activated in order");
        self.segments.push_back(segment);
        self.active = Some((file, offset));
    }

    /// The active segment is durable up to `offset`.
    pub(crate) fn advance(&mut self, offset: u64) {
        if let Some((_, durable_offset)) = &mut self.active {
            *durable_offset = offset;
        }
    }

    /// Where `seq` is, if it is not below the oldest segment.
    pub(crate) fn locate(&self, seq: u64) -> Option<Place> {
        let after = self.segments.partition_point(|segment| segment.header.first_seq <= seq);
        let index = after.checked_sub(1)?;
        let next = self.segments.get(after).map(|next| next.header.first_seq);
        let active = if next.is_none() { self.active.clone() } else { None };
        let end_seq = if active.is_some() { None } else { next.or(Some(self.end_seq)) };
        Some(Place { header: self.segments[index].header.clone(), end_seq, active })
    }

    /// The segment was rewritten under the same name.
    pub(crate) fn replace(&mut self, header: SegmentHeader, file_bytes: u64) {
        if let Some(segment) = self.segments.iter_mut().find(|s| s.header.number == header.number) {
            *segment = Segment { header: Arc::new(header), file_bytes };
        }
    }

    /// Forgets the oldest segment. The active one stays.
    pub(crate) fn forget_oldest(&mut self) -> Option<Segment> {
        if self.segments.len() < 2 { None } else { self.segments.pop_front() }
    }
}
