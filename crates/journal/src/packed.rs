//! Compressed segments as the readers see them: whole blocks, by sequence.

use std::sync::Arc;

use crate::disk::{Disk, File};
use crate::error::{OpenError, ReadError};
use crate::format::{Batch, SegmentHeader};

/// An open compressed segment.
pub(crate) struct Packed {}

impl Packed {
    pub(crate) fn open(
        _file: Arc<dyn File>,
        _header: Arc<SegmentHeader>,
    ) -> Result<Self, ReadError> {
        todo!()
    }

    pub(crate) fn batch_with(&self, _seq: u64) -> Result<Batch, ReadError> {
        todo!()
    }
}

/// One past the last sequence of a compressed segment.
pub(crate) fn end_seq(_disk: &dyn Disk, _header: &SegmentHeader) -> Result<u64, OpenError> {
    todo!()
}
