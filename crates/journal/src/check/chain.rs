//! Which segment files make up the journal, found as recovery finds them, but going on where
//! recovery refuses.

use super::Damage;
use super::place::{Entries, Entry, Misplaced, place};
use crate::disk::Disk;
use crate::error::{OpenError, opening};
use crate::format::{
    HEADER_PAGE_BYTES, HeaderError, SegmentHeader, SegmentKind, segment_file_name, segment_number,
};
use crate::meta::StoreMeta;
use crate::salvage::{Piece, Salvage};
use crate::scan::{is_zero, read_whole};

/// A segment of the journal, or the place of one.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) number: u64,
    /// The name of its file.
    pub(crate) file: String,
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
    /// Files whose names are not those of their contents.
    pub(crate) misplaced: Vec<Misplaced>,
    /// Segments at the end that may have held something of which nothing is left to show.
    pub(crate) doubtful: Vec<u64>,
    /// Newest files with a damaged header over bytes of which nothing can be read.
    pub(crate) unreadable: Vec<u64>,
    /// A segment that must have been there, for something was prepared or begun behind it.
    pub(crate) missing_newest: Option<u64>,
    /// Bytes of all links.
    pub(crate) bytes: u64,
}

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
        let mut names = disk.list().map_err(opening("listing the journal's directory"))?;
        // A plan has to come out the same every time.
        names.sort();
        let mut chain = Self::default();
        let places = place(disk, &names, &meta)?;
        let mut entries = places.entries;
        chain.misplaced = places.misplaced;
        chain.set_spares_aside(disk, &mut entries)?;
        let end = chain.find_end(disk, &entries, &meta)?;
        let end_number = end.as_ref().map_or(0, |end| end.number);
        chain.doubt(&entries, end_number);
        chain.look_behind(&entries, end_number);
        if let Some(end) = end {
            chain.link_back(disk, &entries, end, &meta)?;
        }
        for name in names {
            let number = segment_number(&name);
            let known = chain.links.iter().any(|link| link.file == name)
                || chain.misplaced.iter().any(|misplaced| misplaced.file == name)
                || number.is_some_and(|number| chain.spares.contains(&number));
            if !known && (number.is_some() || name.ends_with(".tmp")) {
                chain.leftovers.push(name);
            }
        }
        for link in &chain.links {
            if !matches!(link.state, State::Missing) {
                chain.bytes += whole_file(disk, &link.file, |file| file.len())?;
            }
        }
        Ok(chain)
    }

    /// The oldest sequence kept.
    pub(crate) fn first_seq(&self) -> u64 {
        // Before segment 1 there was nothing.
        let begun = self.links.first().is_some_and(|link| link.number == 1).then_some(1);
        begun.or_else(|| self.links.iter().find_map(|link| link.state.first_seq())).unwrap_or(1)
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
            more_max: None,
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
        entries: &mut Entries,
    ) -> Result<(), OpenError> {
        let mut blank = Vec::new();
        while let Some(last) = entries.last_entry() {
            let Entry { file, bytes, header: Err(why) } = last.get() else { break };
            if *bytes < HEADER_PAGE_BYTES as u64 {
                break;
            }
            let whole = whole_file(disk, file, read_whole)?;
            if !is_zero(whole.get(HEADER_PAGE_BYTES..).unwrap_or_default()) {
                break;
            }
            if *why == HeaderError::Unused {
                blank.push(*last.key());
            }
            self.spares.push(last.remove_entry().0);
        }
        // Only one is prepared at a time.
        self.doubtful.extend(blank.into_iter().skip(1));
        let newest = entries.keys().next_back().copied();
        self.missing_newest = match self.spares.iter().min() {
            Some(&first) if first > newest.unwrap_or(0) + 1 => Some(first - 1),
            // The first segment is in use before `store.meta` is there.
            None if newest.is_none() => Some(1),
            _ => None,
        };
        Ok(())
    }

    /// A file that has the name of the segment behind the last one may have replaced that. A segment
    /// that was begun and holds no batch is what a crash leaves, or has lost them all.
    fn doubt(&mut self, entries: &Entries, end: u64) {
        let empty = entries.range(end + 1..).filter(|(_, entry)| entry.header.is_ok());
        let empty = empty.map(|(&number, _)| number);
        self.doubtful.extend(empty.filter(|number| !self.unreadable.contains(number)));
        let replaced = |misplaced: &Misplaced| segment_number(&misplaced.file) == Some(end + 1);
        if self.spares.is_empty() && self.misplaced.iter().any(replaced) {
            self.doubtful.push(end + 1);
        }
    }

    /// What the files behind the last link, whose number is `end`, say about it.
    fn look_behind(&mut self, entries: &Entries, end: u64) {
        let begun = entries.range(end + 1..);
        let begun =
            begun.filter_map(|(&number, entry)| Some((number, entry.header.as_ref().ok()?)));
        self.behind.clone_from(&self.spares);
        for (number, header) in begun {
            if !self.unreadable.contains(&number) {
                self.behind.push(number);
            }
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
        entries: &Entries,
        meta: &StoreMeta,
    ) -> Result<Option<Link>, OpenError> {
        let mut number = entries.keys().next_back().copied().unwrap_or(0);
        while let Some((&found, entry)) = entries.range(..=number).next_back() {
            let link = |state| Link { number: found, file: entry.file.clone(), state };
            number = match &entry.header {
                Ok(header) => {
                    let bytes = whole_file(disk, &entry.file, read_whole)?;
                    let pieces = Salvage::new(header.clone(), &bytes).pieces(u64::MAX);
                    let compressed = header.kind == SegmentKind::Compressed;
                    // Damage too, for it stands in front of what proves that a batch was there.
                    let held = |piece: &Piece| !matches!(piece, Piece::Torn { .. });
                    if compressed || pieces.iter().any(held) {
                        return Ok(Some(link(State::Whole(header.clone()))));
                    }
                    if entry.bytes < header.segment_bytes {
                        // What was cut off with its first batch, nobody knows.
                        self.unreadable.push(found);
                    }
                    if header.source != 0 && !entries.contains_key(&header.source) {
                        self.missing_newest = Some(header.source);
                    }
                    header.source
                }
                Err(_) => match guess(disk, entries, found, meta)? {
                    Some(header) => return Ok(Some(link(State::Guessed(header)))),
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
        entries: &Entries,
        end: Link,
        meta: &StoreMeta,
    ) -> Result<(), OpenError> {
        let mut number = previous_of(entries, &end);
        let mut first_seq = end.state.first_seq().unwrap_or(u64::MAX);
        let mut links = vec![end];
        while entries.range(..=number).next().is_some() {
            let entry = entries.get(&number);
            let state = match entry.map(|entry| &entry.header) {
                None => State::Missing,
                Some(Ok(header)) => State::Whole(header.clone()),
                Some(Err(_)) => match guess(disk, entries, number, meta)? {
                    Some(header) => State::Guessed(header),
                    None => State::Unreadable,
                },
            };
            let file = entry.map_or_else(|| segment_file_name(number), |entry| entry.file.clone());
            let link = Link { number, file, state };
            number = previous_of(entries, &link);
            // What a fresh segment has copied whole begins where that one does, and is superseded.
            if link.state.first_seq().is_none_or(|first| first < first_seq) {
                first_seq = link.state.first_seq().unwrap_or(first_seq);
                links.push(link);
            } else if matches!(links.last(), Some(Link { state: State::Whole(_), .. })) {
                // The one behind it follows it, and cannot: what stands here is something else.
                links.push(Link { state: State::Unreadable, ..link });
            }
        }
        links.reverse();
        self.links = links;
        Ok(())
    }
}

/// The number of the segment before this one: what its header says, or the next lower file.
fn previous_of(entries: &Entries, link: &Link) -> u64 {
    match &link.state {
        State::Whole(header) => header.previous,
        _ => entries.range(..link.number).next_back().map_or(0, |(&number, _)| number),
    }
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
    entries: &Entries,
    number: u64,
    meta: &StoreMeta,
) -> Result<Option<SegmentHeader>, OpenError> {
    let whole = |(&other, entry): (&u64, &Entry)| {
        entry.header.as_ref().ok().map(|header| (other.abs_diff(number), header.clone()))
    };
    let mut neighbours: Vec<_> = entries.iter().filter_map(whole).collect();
    neighbours.sort_by_key(|(distance, _)| *distance);
    neighbours.truncate(2);
    neighbours.push((u64::MAX, unknown_header(meta)));
    let bytes = whole_file(disk, &entries[&number].file, read_whole)?;
    let previous = entries.range(..number).next_back().map_or(0, |(&previous, _)| previous);
    let guessed = neighbours
        .iter()
        .find_map(|(_, template)| Salvage::guess(template, &bytes).map(|salvage| salvage.header));
    Ok(guessed.map(|header| SegmentHeader { number, previous, source: previous, ..header }))
}

/// Does something with a segment's file.
pub(super) fn whole_file<T>(
    disk: &dyn Disk,
    name: &str,
    read: impl FnOnce(&dyn crate::disk::File) -> std::io::Result<T>,
) -> Result<T, OpenError> {
    let doing = || format!("reading {name}");
    let file = disk.open(name).map_err(opening(doing()))?;
    read(&*file).map_err(opening(doing()))
}
