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
    /// The files behind the last link of which nothing was ever acknowledged, the highest number
    /// first.
    pub(crate) behind: Vec<u64>,
    pub(crate) leftovers: Vec<String>,
    /// Newest files with a damaged header over bytes of which nothing can be read.
    pub(crate) unreadable: Vec<u64>,
    /// A segment that must have been there, for something was prepared or begun behind it.
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
        let end = chain.find_end(disk, &headers, &meta)?;
        chain.look_behind(&headers, end.as_ref().map_or(0, |end| end.number));
        if let Some(end) = end {
            chain.link_back(disk, &headers, end, &meta)?;
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
        missing.into_iter().chain(unreadable).collect()
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
        let newest = headers.keys().next_back().copied();
        self.missing_newest = match self.spares.iter().min() {
            Some(&first) if first > newest.unwrap_or(0) + 1 => Some(first - 1),
            // The first segment is in use before `store.meta` is there.
            None if newest.is_none() => Some(1),
            _ => None,
        };
        Ok(())
    }

    /// What the files behind the last link, whose number is `end`, say about it.
    fn look_behind(&mut self, headers: &Headers, end: u64) {
        let begun = headers.range(end + 1..);
        let begun = begun.filter_map(|(&number, header)| Some((number, header.as_ref().ok()?)));
        self.behind.clone_from(&self.spares);
        for (number, header) in begun {
            self.behind.push(number);
            self.reached_seq = self.reached_seq.max(header.first_seq);
        }
        self.behind.sort_unstable_by_key(|&number| std::cmp::Reverse(number));
        if end == 0 && self.reached_seq > 1 {
            // Not even the first of them holds what came before the last.
            self.unreadable.append(&mut self.behind);
        }
    }

    /// The newest segment that has held a batch.
    fn find_end(
        &mut self,
        disk: &dyn Disk,
        headers: &Headers,
        meta: &StoreMeta,
    ) -> Result<Option<Link>, OpenError> {
        let mut number = headers.keys().next_back().copied().unwrap_or(0);
        while let Some((&found, header)) = headers.range(..=number).next_back() {
            number = match header {
                Ok(header) => {
                    let bytes = whole_file(disk, found, read_whole)?;
                    let pieces = Salvage::new(header.clone(), &bytes).pieces(u64::MAX);
                    let compressed = header.kind == SegmentKind::Compressed;
                    // Damage too, for it stands in front of what proves that a batch was there.
                    let held = |piece: &Piece| !matches!(piece, Piece::Torn { .. });
                    if compressed || pieces.iter().any(held) {
                        let state = State::Whole(header.clone());
                        return Ok(Some(Link { number: found, state }));
                    }
                    if header.source != 0 && !headers.contains_key(&header.source) {
                        self.missing_newest = Some(header.source);
                    }
                    header.source
                }
                Err(_) => match guess(disk, headers, found, meta)? {
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
        meta: &StoreMeta,
    ) -> Result<(), OpenError> {
        let mut number = previous_of(headers, &end);
        let mut first_seq = end.state.first_seq().unwrap_or(u64::MAX);
        let mut links = vec![end];
        while headers.range(..=number).next().is_some() {
            let state = match headers.get(&number) {
                None => State::Missing,
                Some(Ok(header)) => State::Whole(header.clone()),
                Some(Err(_)) => match guess(disk, headers, number, meta)? {
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
    if let Err(why @ HeaderError::Version(_)) = header {
        return Err(OpenError::header(number, why));
    }
    Ok(header.and_then(|header| {
        let own = header.number == number && header.store_id == meta.store_id;
        if own { Ok(header) } else { Err(HeaderError::Impossible) }
    }))
}

/// What is known of a segment of the store when no header is left: nothing of its own, and no salt.
pub(crate) fn unknown_header(meta: &StoreMeta) -> SegmentHeader {
    SegmentHeader {
        kind: SegmentKind::Raw,
        store_id: meta.store_id,
        store_number: meta.store_number,
        number: 1,
        previous: 0,
        source: 0,
        epoch: 1,
        salt: 0,
        first_seq: 1,
        created_ms: meta.created_ms,
        segment_bytes: 1 << 20,
    }
}

/// A header that fits what can be read of a segment without one.
fn guess(
    disk: &dyn Disk,
    headers: &Headers,
    number: u64,
    meta: &StoreMeta,
) -> Result<Option<SegmentHeader>, OpenError> {
    let whole = |(&other, header): (&u64, &Result<SegmentHeader, HeaderError>)| {
        header.as_ref().ok().map(|header| (other.abs_diff(number), header.clone()))
    };
    let mut neighbours: Vec<_> = headers.iter().filter_map(whole).collect();
    neighbours.sort_by_key(|(distance, _)| *distance);
    neighbours.truncate(2);
    neighbours.push((u64::MAX, unknown_header(meta)));
    let bytes = whole_file(disk, number, read_whole)?;
    let previous = headers.range(..number).next_back().map_or(0, |(&previous, _)| previous);
    let guessed = neighbours
        .iter()
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
