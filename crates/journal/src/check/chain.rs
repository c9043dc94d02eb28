//! Which segment files make up the journal, found as recovery finds them, but going on where
//! recovery refuses.

use std::collections::BTreeMap;

use super::Damage;
use crate::disk::Disk;
use crate::error::{OpenError, opening};
use crate::format::{
    HEADER_PAGE_BYTES, HeaderError, SegmentHeader, SegmentKind, segment_file_name, segment_number,
};
use crate::meta::StoreMeta;
use crate::salvage::{Piece, Salvage};
use crate::scan::{read_header, read_whole};

/// A segment of the journal, or the place of one.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) number: u64,
    pub(crate) state: State,
}

/// What is known of it.
#[derive(Clone, Debug)]
pub(crate) enum State {
    /// Its header page is whole.
    Whole(SegmentHeader),
    /// Its header page is damaged; this one fits what follows it.
    Guessed(SegmentHeader),
    /// Its file is there and nothing of it can be read.
    Unreadable,
    /// Its file is not there.
    Missing,
}

/// The segments of the journal, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    pub(crate) links: Vec<Link>,
    /// The first sequence of a segment that holds nothing yet but was begun after everything below
    /// was durable; 0 when there is none.
    pub(crate) reached_seq: u64,
    pub(crate) spares: Vec<u64>,
    pub(crate) leftovers: Vec<String>,
    /// Newest files with a damaged header over bytes of which nothing can be read.
    pub(crate) unreadable: Vec<u64>,
    /// A segment that must have been there, for a later one had been prepared.
    pub(crate) missing_newest: Option<u64>,
    /// Bytes of all links.
    pub(crate) bytes: u64,
}

type Headers = BTreeMap<u64, Result<SegmentHeader, HeaderError>>;

impl State {
    /// The first sequence, as far as it is known.
    pub(crate) fn first_seq(&self) -> Option<u64> {
        match self {
            Self::Whole(header) | Self::Guessed(header) => Some(header.first_seq),
            Self::Unreadable | Self::Missing => None,
        }
    }
}

impl Chain {
    /// Reads the directory and every header page.
    pub(crate) fn survey(disk: &dyn Disk) -> Result<Self, OpenError> {
        let meta = StoreMeta::load(disk)?;
        let names = disk.list().map_err(opening("listing the journal's directory"))?;
        let mut chain = Self::default();
        let mut headers = Headers::new();
        for number in names.iter().filter_map(|name| segment_number(name)) {
            headers.insert(number, header_of(disk, number, &meta)?);
        }
        chain.set_spares_aside(disk, &mut headers)?;
        let end = chain.find_end(disk, &headers)?;
        if let Some(end) = end {
            chain.link_back(disk, &headers, end)?;
        }
        for name in names {
            let number = segment_number(&name);
            let linked = |number| chain.links.iter().any(|link| link.number == number);
            let known = |number| linked(number) || chain.spares.contains(&number);
            if number.is_some_and(|number| !known(number)) || name.ends_with(".tmp") {
                chain.leftovers.push(name);
            }
        }
        for link in &chain.links {
            if !matches!(link.state, State::Missing) {
                chain.bytes += whole_file(disk, link.number, |file| file.len())?;
            }
        }
        Ok(chain)
    }

    /// The oldest sequence kept.
    pub(crate) fn first_seq(&self) -> u64 {
        self.links.iter().find_map(|link| link.state.first_seq()).unwrap_or(1)
    }

    /// The first sequence of whatever comes after the link at `index`.
    pub(crate) fn limit(&self, index: usize) -> u64 {
        let later = self.links.iter().skip(index + 1).find_map(|link| link.state.first_seq());
        later.unwrap_or(u64::MAX)
    }

    /// Damages whose loss nobody can count, all at the journal's end.
    pub(crate) fn hopeless(&self, end_seq: u64) -> Vec<Damage> {
        let damage = |segment, why: &str| Damage {
            segment,
            offset: 0,
            bytes: 0,
            expected_seq: end_seq,
            lost: end_seq..end_seq,
            why: why.to_owned(),
        };
        let unreadable = self.unreadable.iter().map(|&segment| {
            damage(segment, "nothing of it can be read; how much it held is not known")
        });
        let missing = self.missing_newest.map(|segment| {
            damage(segment, "the newest segment is missing; how much it held is not known")
        });
        unreadable.chain(missing).collect()
    }

    fn set_spares_aside(
        &mut self,
        disk: &dyn Disk,
        headers: &mut Headers,
    ) -> Result<(), OpenError> {
        while let Some(last) = headers.last_entry() {
            if last.get().is_ok() {
                break;
            }
            let bytes = whole_file(disk, *last.key(), read_whole)?;
            if bytes.iter().skip(HEADER_PAGE_BYTES).any(|&byte| byte != 0) {
                break;
            }
            self.spares.push(last.remove_entry().0);
        }
        let newest = headers.keys().next_back().copied().unwrap_or(0);
        let first_spare = self.spares.iter().min().copied();
        self.missing_newest = first_spare.filter(|&first| first > newest + 1).map(|_| newest + 1);
        Ok(())
    }

    /// The newest segment with a whole batch.
    fn find_end(&mut self, disk: &dyn Disk, headers: &Headers) -> Result<Option<Link>, OpenError> {
        let mut number = headers.keys().next_back().copied().unwrap_or(0);
        while let Some((&found, header)) = headers.range(..=number).next_back() {
            number = match header {
                Ok(header) => {
                    let bytes = whole_file(disk, found, read_whole)?;
                    let pieces = Salvage::new(header.clone(), &bytes).pieces(u64::MAX);
                    let compressed = header.kind == SegmentKind::Compressed;
                    if compressed || pieces.iter().any(|piece| matches!(piece, Piece::Whole(_))) {
                        let state = State::Whole(header.clone());
                        return Ok(Some(Link { number: found, state }));
                    }
                    self.reached_seq = self.reached_seq.max(header.first_seq);
                    header.source
                }
                Err(_) => match guess(disk, headers, found)? {
                    Some(header) => {
                        let state = State::Guessed(header);
                        return Ok(Some(Link { number: found, state }));
                    }
                    None => {
                        self.unreadable.push(found);
                        found - 1
                    }
                },
            };
        }
        Ok(None)
    }

    fn link_back(
        &mut self,
        disk: &dyn Disk,
        headers: &Headers,
        end: Link,
    ) -> Result<(), OpenError> {
        let mut number = previous_of(headers, &end);
        let mut first_seq = end.state.first_seq().unwrap_or(u64::MAX);
        let mut links = vec![end];
        while headers.range(..=number).next().is_some() {
            let state = match headers.get(&number) {
                None => State::Missing,
                Some(Ok(header)) => State::Whole(header.clone()),
                Some(Err(_)) => match guess(disk, headers, number)? {
                    Some(header) => State::Guessed(header),
                    None => State::Unreadable,
                },
            };
            let link = Link { number, state };
            number = previous_of(headers, &link);
            // What a fresh segment has copied whole begins where that one does, and is superseded.
            if link.state.first_seq().is_none_or(|first| first < first_seq) {
                first_seq = link.state.first_seq().unwrap_or(first_seq);
                links.push(link);
            }
        }
        links.reverse();
        self.links = links;
        Ok(())
    }
}

/// The number of the segment before this one: what its header says, or the next lower file.
fn previous_of(headers: &Headers, link: &Link) -> u64 {
    match &link.state {
        State::Whole(header) => header.previous,
        _ => headers.range(..link.number).next_back().map_or(0, |(&number, _)| number),
    }
}

fn header_of(
    disk: &dyn Disk,
    number: u64,
    meta: &StoreMeta,
) -> Result<Result<SegmentHeader, HeaderError>, OpenError> {
    let header = whole_file(disk, number, read_header)?;
    if let Err(HeaderError::Version(_)) = header {
        let why = "it was written by a newer version of this program".to_owned();
        return Err(OpenError::Header { segment: number, why });
    }
    Ok(header.and_then(|header| {
        let own = header.number == number && header.store_id == meta.store_id;
        if own { Ok(header) } else { Err(HeaderError::Impossible) }
    }))
}

/// A header that fits what can be read of a segment without one.
fn guess(
    disk: &dyn Disk,
    headers: &Headers,
    number: u64,
) -> Result<Option<SegmentHeader>, OpenError> {
    let whole = |(&other, header): (&u64, &Result<SegmentHeader, HeaderError>)| {
        header.as_ref().ok().map(|header| (other.abs_diff(number), header.clone()))
    };
    let mut neighbours: Vec<_> = headers.iter().filter_map(whole).collect();
    neighbours.sort_by_key(|(distance, _)| *distance);
    let bytes = whole_file(disk, number, read_whole)?;
    let previous = headers.range(..number).next_back().map_or(0, |(&previous, _)| previous);
    let guessed = neighbours
        .iter()
        .take(2)
        .find_map(|(_, template)| Salvage::guess(template, &bytes).map(|salvage| salvage.header));
    Ok(guessed.map(|header| SegmentHeader { number, previous, source: previous, ..header }))
}

/// Does something with a segment's file.
pub(super) fn whole_file<T>(
    disk: &dyn Disk,
    number: u64,
    read: impl FnOnce(&dyn crate::disk::File) -> std::io::Result<T>,
) -> Result<T, OpenError> {
    let doing = || format!("reading segment {number}");
    let file = disk.open(&segment_file_name(number)).map_err(opening(doing()))?;
    read(&*file).map_err(opening(doing()))
}
