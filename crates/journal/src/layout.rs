//! Which segment files a directory holds and how they hang together: the journal's chain. When in
//! doubt it refuses.

use std::collections::BTreeMap;

use crate::disk::{Disk, File};
use crate::error::{OpenError, opening};
use crate::format::{
    HEADER_PAGE_BYTES, HeaderError, SegmentHeader, SegmentKind, segment_file_name, segment_number,
};
use crate::identify::{Content, belongs, content, moved_number, strays};
use crate::scan::{is_zero, read_whole};

/// A segment file and what its header page says.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its header.
    pub header: SegmentHeader,
    /// The length of its file.
    pub file_bytes: u64,
}

/// The segment files of a directory.
#[derive(Debug, Default)]
pub struct Layout {
    /// Those that were used, by number. A damaged header is an error only when the chain needs it.
    pub used: BTreeMap<u64, Result<Found, HeaderError>>,
    /// Prepared segments behind the used ones, all zeros, with their lengths.
    pub spares: BTreeMap<u64, u64>,
    /// Segments whose activation was cut short: a damaged header page over nothing but zeros.
    pub torn: Vec<u64>,
}

/// Reads the header page of every segment in the directory. Those at the end that have none are
/// read whole, to be sure that they hold nothing. With a `store_id`, segments of another store
/// are refused; so is every segment whose name is not its own.
pub fn survey(disk: &dyn Disk, store_id: Option<&[u8; 16]>) -> Result<Layout, OpenError> {
    let names = disk.list().map_err(opening("listing the journal's directory"))?;
    let mut layout = Layout::default();
    for number in names.iter().filter_map(|name| segment_number(name)) {
        let doing = || format!("reading the header of segment {number}");
        let name = segment_file_name(number);
        let (found, file_bytes) = content(disk, &name, store_id).map_err(opening(doing()))?;
        let refuse = |why: String| Err(OpenError::Header { segment: number, why });
        let found = match found {
            Content::Own(header) if header.number != number => {
                return Err(OpenError::Misplaced { file: name, segment: header.number });
            }
            Content::Own(header) => Ok(Found { header, file_bytes }),
            Content::Foreign => return refuse("it belongs to another store".to_owned()),
            // Nothing has this name before it has its whole length, durably.
            Content::None(HeaderError::Unused | HeaderError::Damaged)
                if file_bytes < HEADER_PAGE_BYTES as u64 =>
            {
                return refuse(format!("its file has only {file_bytes} bytes"));
            }
            Content::None(why) => Err(why),
        };
        layout.used.insert(number, found);
    }
    set_unused_aside(disk, &mut layout)?;
    refuse_strays(disk, &names, store_id, &layout)?;
    Ok(layout)
}

/// A segment that is missing may stand beside, under a name that is none of a segment.
fn refuse_strays(
    disk: &dyn Disk,
    names: &[String],
    store_id: Option<&[u8; 16]>,
    layout: &Layout,
) -> Result<(), OpenError> {
    let oldest = layout
        .used
        .first_key_value()
        .map(|(&number, found)| (number, found.as_ref().ok().map(|found| found.header.previous)));
    let mut strays = strays(disk, names, store_id).into_iter();
    let moved = names.iter().find_map(|name| Some((name.clone(), moved_number(name)?)));
    let missing = strays.find(|(_, header)| {
        !layout.used.contains_key(&header.number) && belongs(header.number, oldest)
    });
    match moved.or_else(|| missing.map(|(file, header)| (file, header.number))) {
        Some((file, segment)) => Err(OpenError::Misplaced { file, segment }),
        None => Ok(()),
    }
}

/// From the highest number down to the first segment with a header that holds, whatever has none:
/// spares and torn activations if they are empty, damage if not.
fn set_unused_aside(disk: &dyn Disk, layout: &mut Layout) -> Result<(), OpenError> {
    while let Some(last) = layout.used.last_entry() {
        let number = *last.key();
        let Err(why) = *last.get() else { break };
        if matches!(why, HeaderError::Version(_) | HeaderError::Impossible) {
            return Err(OpenError::header(number, why));
        }
        let file = disk
            .open(&segment_file_name(number))
            .map_err(opening(format!("reading segment {number}")))?;
        let bytes = body_if_zero(number, &*file)?.ok_or_else(|| OpenError::Header {
            segment: number,
            why: format!("{why}, yet the segment is not empty"),
        })?;
        let _damaged = last.remove();
        match why {
            HeaderError::Unused => drop(layout.spares.insert(number, bytes)),
            _ => layout.torn.push(number),
        }
    }
    Ok(())
}

/// The file's length if everything after the header page is zeros.
pub(crate) fn body_if_zero(number: u64, file: &dyn File) -> Result<Option<u64>, OpenError> {
    let bytes = read_whole(file).map_err(opening(format!("reading segment {number}")))?;
    let body = bytes.get(HEADER_PAGE_BYTES..).unwrap_or_default();
    Ok(is_zero(body).then_some(bytes.len() as u64))
}

impl Layout {
    /// The highest segment number in the directory, 0 when there is none.
    #[must_use]
    pub fn number_max(&self) -> u64 {
        let spare = self.spares.keys().next_back();
        let used = self.used.keys().next_back();
        spare.into_iter().chain(used).chain(&self.torn).copied().max().unwrap_or(0)
    }

    /// The highest epoch that has begun, 0 when none has.
    #[must_use]
    pub fn epoch_max(&self) -> u32 {
        self.used.values().flatten().map(|found| found.header.epoch).max().unwrap_or(0)
    }

    /// The newest segment that was used.
    #[must_use]
    pub fn newest(&self) -> Option<u64> {
        self.used.keys().next_back().copied()
    }

    /// The segment with this number, which others build on.
    pub fn segment(&self, number: u64) -> Result<&Found, OpenError> {
        match self.used.get(&number) {
            Some(Ok(found)) => Ok(found),
            Some(Err(why)) => Err(OpenError::header(number, *why)),
            None => Err(OpenError::Missing { segment: number }),
        }
    }

    /// The journal's segments up to `last`, oldest first, each the `previous` of the next.
    /// `last` must hold a valid batch, for only then does its `previous` count.
    pub fn chain(&self, last: u64) -> Result<Vec<Found>, OpenError> {
        let mut chain: Vec<Found> = vec![self.segment(last)?.clone()];
        while let Some(next) = chain.last() {
            let previous = next.header.previous;
            if previous == 0 || self.used.range(..=previous).next().is_none() {
                // The first segment of all, or retention has removed what was before it.
                break;
            }
            let found = self.segment(previous)?;
            if found.header.first_seq >= next.header.first_seq
                || found.header.epoch > next.header.epoch
            {
                let why = format!("it does not stand before segment {}", next.header.number);
                return Err(OpenError::Header { segment: previous, why });
            }
            chain.push(found.clone());
        }
        chain.reverse();
        Ok(chain)
    }

    /// A segment is prepared right behind the active one, so a gap there is a lost segment.
    pub fn check_no_gap_behind(&self) -> Result<(), OpenError> {
        let Some(&first) = self.spares.keys().chain(&self.torn).min() else { return Ok(()) };
        match self.newest() {
            None if first > 1 => Err(OpenError::NoSegments),
            Some(newest) if first > newest + 1 => Err(OpenError::Missing { segment: first - 1 }),
            _ => Ok(()),
        }
    }
}

impl Found {
    /// Whether a raw segment's file has the length that its header promises.
    pub fn check_length(&self) -> Result<(), OpenError> {
        let Self { header, file_bytes } = self;
        if header.kind == SegmentKind::Raw && *file_bytes != header.segment_bytes {
            let why = format!("its file has {file_bytes} bytes, not {}", header.segment_bytes);
            return Err(OpenError::Header { segment: header.number, why });
        }
        Ok(())
    }
}
