//! What a file is, by its content. Its name says what it should be and proves nothing.

use std::io;

use crate::disk::Disk;
use crate::format::{HeaderError, SegmentHeader, segment_number};
use crate::scan::read_header;

/// Behind the right name of a misplaced segment while a repair exchanges names. A file with such a
/// name keeps the journal from opening until a repair has finished that.
pub(crate) const MOVED_SUFFIX: &str = ".moved";

/// The number of a segment that a repair was renaming.
pub(crate) fn moved_number(name: &str) -> Option<u64> {
    segment_number(name.strip_suffix(MOVED_SUFFIX)?)
}

/// What the header page of a file proves.
pub(crate) enum Content {
    /// It is a segment of this store.
    Own(SegmentHeader),
    /// It is a segment of another store.
    Foreign,
    /// It has no header page that holds.
    None(HeaderError),
}

/// Reads the header page of a file. Without a `store_id` every store is this one.
pub(crate) fn content(
    disk: &dyn Disk,
    name: &str,
    store_id: Option<&[u8; 16]>,
) -> io::Result<(Content, u64)> {
    let file = disk.open(name)?;
    let content = match read_header(&*file)? {
        Ok(header) if store_id.is_some_and(|id| *id != header.store_id) => Content::Foreign,
        Ok(header) => Content::Own(header),
        Err(why) => Content::None(why),
    };
    Ok((content, file.len()?))
}

/// Segments of this store under names that are not those of segments.
pub(crate) fn strays(
    disk: &dyn Disk,
    names: &[String],
    store_id: Option<&[u8; 16]>,
) -> Vec<(String, SegmentHeader)> {
    let is_named = |name: &str| segment_number(name).or_else(|| moved_number(name)).is_some();
    let others = names.iter().filter(|name| !is_named(name));
    let stray = |name: &String| match content(disk, name, store_id) {
        Ok((Content::Own(header), _)) => Some((name.clone(), header)),
        // What cannot be opened as a file is not one that the journal has written.
        _ => None,
    };
    others.filter_map(stray).collect()
}

/// Whether the journal would have the segment `number` if its name were right. `oldest` is the lowest
/// number there is, with that of the segment before, if its header tells. A copy of a segment that has
/// expired may lie about.
pub(crate) fn belongs(number: u64, oldest: Option<(u64, Option<u64>)>) -> bool {
    oldest.is_none_or(|(oldest, previous)| number >= oldest || previous == Some(number))
}
