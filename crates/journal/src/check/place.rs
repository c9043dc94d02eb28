//! Which file is which segment: by what the files prove, and not by their names. Where several are
//! the same segment, the one that has its name stays, unless another holds all of it and more.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::aside::Names;
use crate::disk::Disk;
use crate::error::{OpenError, opening};
use crate::format::{
    HEADER_PAGE_BYTES, HeaderError, SegmentHeader, SegmentKind, segment_file_name, segment_number,
};
use crate::identify::{Content, belongs, content, moved_number, strays};
use crate::meta::StoreMeta;
use crate::proof::{Frames, frames_of};
use crate::salvage::Salvage;
use crate::scan::{is_zero, read_whole};

/// Numbers looked at for the place of a segment without a header page.
const RENAMED_FAR: u64 = 1 << 10;

/// A file whose name is not that of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misplaced {
    /// Its name.
    pub file: String,
    /// What it is.
    pub holds: Holds,
    /// The name that a repair gives it: its own, or one in the folder for files set aside.
    pub to: String,
}

/// What a misplaced file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// The segment of this number, which stands nowhere else: a repair puts it into its place.
    Segment(u64),
    /// A copy of this segment, which has in its place every frame of the copy.
    Copy(u64),
    /// Another version of this segment, with frames that the one in its place lacks.
    Version(u64),
    /// A segment of another store.
    OtherStore,
    /// No header page that holds, under a name that belongs to another file.
    Unknown,
}

/// The file of a segment, or the one that has a segment's name.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) file: String,
    pub(crate) bytes: u64,
    pub(crate) header: Result<SegmentHeader, HeaderError>,
}

pub(crate) type Entries = BTreeMap<u64, Entry>;

/// Where every segment is.
#[derive(Default)]
pub(crate) struct Places {
    pub(crate) entries: Entries,
    /// Files to be renamed or set aside.
    pub(crate) misplaced: Vec<Misplaced>,
}

/// One of the files that are a certain segment.
struct Candidate {
    file: String,
    bytes: u64,
    header: SegmentHeader,
}

impl Candidate {
    fn has_its_name(&self) -> bool {
        self.file == self.header.file_name()
    }
}

/// Finds the place of every file in the directory.
pub(crate) fn place(
    disk: &dyn Disk,
    names: &[String],
    meta: &StoreMeta,
) -> Result<Places, OpenError> {
    let mut found =
        Finder { disk, own: BTreeMap::new(), headerless: Vec::new(), foreign: Vec::new() };
    for name in names {
        if let Some(number) = segment_number(name).or_else(|| moved_number(name)) {
            found.look_at(number, name, meta)?;
        }
    }
    found.add_strays(names, meta)?;
    found.settle()
}

struct Finder<'a> {
    disk: &'a dyn Disk,
    own: BTreeMap<u64, Vec<Candidate>>,
    /// Files without a header page that holds, by the number in their names.
    headerless: Vec<(u64, Entry)>,
    foreign: Vec<String>,
}

impl Finder<'_> {
    fn look_at(&mut self, number: u64, name: &str, meta: &StoreMeta) -> Result<(), OpenError> {
        let doing = || format!("reading {name}");
        let (content, bytes) =
            content(self.disk, name, Some(&meta.store_id)).map_err(opening(doing()))?;
        let file = name.to_owned();
        match content {
            Content::Own(header) => {
                let candidate = Candidate { file, bytes, header };
                // A page alone may have been copied over that of another segment.
                if candidate.has_its_name() || !self.is_page_alone(&candidate)? {
                    self.own.entry(candidate.header.number).or_default().push(candidate);
                } else {
                    let header = Err(HeaderError::Impossible);
                    self.headerless.push((number, Entry { header, file: candidate.file, bytes }));
                }
            }
            Content::Foreign => self.foreign.push(file),
            Content::None(why @ HeaderError::Version(_)) => {
                return Err(OpenError::header(number, why));
            }
            Content::None(why) => {
                self.headerless.push((number, Entry { file, bytes, header: Err(why) }));
            }
        }
        Ok(())
    }

    /// Segments under other names, if the journal would have them and lacks them.
    fn add_strays(&mut self, names: &[String], meta: &StoreMeta) -> Result<(), OpenError> {
        let mut strays = strays(self.disk, names, Some(&meta.store_id));
        strays.sort_by_key(|(_, header)| Reverse(header.number));
        let whole = self.own.iter().map(|(&number, own)| (number, Some(own[0].header.previous)));
        let headerless = self.headerless.iter().map(|(number, _)| (*number, None));
        // Of two with the same number the one that tells what was before it.
        let mut oldest =
            headerless.chain(whole).min_by_key(|&(number, before)| (number, Reverse(before)));
        for (file, header) in strays {
            if !belongs(header.number, oldest) || !self.is_whole(&file, &header)? {
                continue;
            }
            if oldest.is_none_or(|(oldest, _)| header.number < oldest) {
                oldest = Some((header.number, Some(header.previous)));
            }
            let bytes = self.bytes(&file)?.len() as u64;
            let candidate = Candidate { file, bytes, header };
            self.own.entry(candidate.header.number).or_default().push(candidate);
        }
        Ok(())
    }

    /// Whether a file that is not named as a segment can be used as one. One that was being written
    /// when the process ended cannot.
    fn is_whole(&self, file: &str, header: &SegmentHeader) -> Result<bool, OpenError> {
        if header.kind == SegmentKind::Compressed {
            let opened = self.disk.open(file).map_err(opening(format!("reading {file}")))?;
            return Ok(Salvage::new(header.clone(), &[]).compressed_fault(opened).is_none());
        }
        Ok(true)
    }

    fn bytes(&self, file: &str) -> Result<Vec<u8>, OpenError> {
        let opened = self.disk.open(file).and_then(|file| read_whole(&*file));
        opened.map_err(opening(format!("reading {file}")))
    }

    /// Whether a file holds something that does not go with its header page.
    fn is_page_alone(&self, candidate: &Candidate) -> Result<bool, OpenError> {
        let bytes = self.bytes(&candidate.file)?;
        let blank = is_zero(bytes.get(HEADER_PAGE_BYTES..).unwrap_or_default());
        Ok(!blank && Salvage::new(candidate.header.clone(), &bytes).batches().is_empty())
    }

    /// The frames that count in a candidate: those before the segment after it.
    fn frames(&self, candidate: &Candidate) -> Result<Frames, OpenError> {
        let later = self.own.range(candidate.header.number + 1..).flat_map(|(_, later)| later);
        let limit = later.map(|later| later.header.first_seq).min().unwrap_or(u64::MAX);
        let bytes = self.bytes(&candidate.file)?;
        let mut frames = frames_of(&Salvage::new(candidate.header.clone(), &bytes).batches());
        frames.retain(|&seq, _| seq < limit);
        Ok(frames)
    }

    fn settle(mut self) -> Result<Places, OpenError> {
        let mut places = Places::default();
        let mut names = Names::new(self.disk).map_err(opening("listing what was set aside"))?;
        let mut aside = Vec::new();
        for number in self.own.keys().copied().collect::<Vec<_>>() {
            let best = self.best(number)?;
            let mut candidates = self.own.remove(&number).expect("its key was there");
            let best = candidates.swap_remove(best);
            let kept = if candidates.is_empty() { Frames::new() } else { self.frames(&best)? };
            for other in candidates {
                // A copy under a name of its own is in nobody's way.
                if segment_number(&other.file).is_some() {
                    let copy = is_within(&self.frames(&other)?, &kept);
                    let holds = if copy { Holds::Copy(number) } else { Holds::Version(number) };
                    aside.push((other.file, holds));
                }
            }
            let Candidate { file, bytes, header } = best;
            places.entries.insert(number, Entry { file, bytes, header: Ok(header) });
        }
        for (number, entry) in self.place_headerless(&mut places.entries, &mut aside)? {
            match self.vacated(&places.entries, number, &entry)? {
                Some(number) => drop(places.entries.insert(number, entry)),
                None => aside.push((entry.file, Holds::Unknown)),
            }
        }
        aside.extend(self.foreign.into_iter().map(|file| (file, Holds::OtherStore)));
        for (file, holds) in aside {
            let to = names.take(&file);
            places.misplaced.push(Misplaced { file, holds, to });
        }
        for (&number, entry) in &places.entries {
            let to = segment_file_name(number);
            if entry.file != to {
                let (file, holds) = (entry.file.clone(), Holds::Segment(number));
                places.misplaced.push(Misplaced { file, holds, to });
            }
        }
        Ok(places)
    }

    /// Which of the files that are this segment stays.
    fn best(&self, number: u64) -> Result<usize, OpenError> {
        let candidates = &self.own[&number];
        let named = candidates.iter().position(Candidate::has_its_name);
        let mut best = named.unwrap_or(0);
        if candidates.len() > 1 {
            let mut most = self.frames(&candidates[best])?;
            for (index, candidate) in candidates.iter().enumerate() {
                let frames = self.frames(candidate)?;
                if frames.len() > most.len() && is_within(&most, &frames) {
                    (best, most) = (index, frames);
                }
            }
        }
        Ok(best)
    }

    /// Puts those without a header page where their sequences belong: under their own number, or the
    /// free one between the segments before and after; those that belong nowhere to those set aside.
    /// Returns those that tell no sequence.
    fn place_headerless(
        &mut self,
        entries: &mut Entries,
        aside: &mut Vec<(String, Holds)>,
    ) -> Result<Vec<(u64, Entry)>, OpenError> {
        let whole = |entry: &Entry| entry.header.as_ref().ok().cloned();
        let headers: Vec<SegmentHeader> = entries.values().filter_map(whole).collect();
        let mut firsts: BTreeMap<u64, u64> =
            headers.iter().map(|header| (header.number, header.first_seq)).collect();
        let (mut guessed, mut rest) = (Vec::new(), Vec::new());
        for (number, entry) in std::mem::take(&mut self.headerless) {
            let bytes = self.bytes(&entry.file)?;
            let salvage = headers.iter().find_map(|template| Salvage::guess(template, &bytes));
            match salvage.map(|salvage| salvage.header.first_seq) {
                Some(first_seq) => guessed.push((first_seq, number, entry)),
                None => rest.push((number, entry)),
            }
        }
        guessed.sort_by_key(|(first_seq, number, _)| (*first_seq, *number));
        for (first_seq, number, entry) in guessed {
            let before = firsts.iter().rev().find(|(_, first)| **first < first_seq);
            let after = firsts.iter().find(|(_, first)| **first > first_seq);
            let from = before.map_or(1, |(number, _)| number + 1);
            let to = after.map_or(u64::MAX, |(number, _)| *number);
            // What begins where another one does is that one once more.
            let twice = firsts.values().any(|first| *first == first_seq);
            let others = if twice { from..from } else { from..to.min(from + RENAMED_FAR) };
            let mut free = [number].into_iter().chain(others);
            match free.find(|free| (from..to).contains(free) && !entries.contains_key(free)) {
                Some(free) => {
                    firsts.insert(free, first_seq);
                    entries.insert(free, entry);
                }
                None => aside.push((entry.file, Holds::Unknown)),
            }
        }
        Ok(rest)
    }

    /// The number of a file that tells nothing: that in its name, or, where that belongs to another
    /// file, the one whose name that file has; for names are exchanged more often than lost. Only a
    /// prepared segment, behind all others, is believed to be there.
    fn vacated(
        &self,
        entries: &Entries,
        number: u64,
        entry: &Entry,
    ) -> Result<Option<u64>, OpenError> {
        let mut free = number;
        while let Some(taken) = entries.get(&free) {
            match segment_number(&taken.file) {
                // Its own name is the one that is free.
                Some(other) if other != free && other != number => free = other,
                _ => return Ok(None),
            }
        }
        let bytes = self.bytes(&entry.file)?;
        let blank = bytes.get(HEADER_PAGE_BYTES..).is_some_and(is_zero);
        let behind = entries.keys().next_back().is_none_or(|last| *last < free);
        Ok((free == number || (blank && behind)).then_some(free))
    }
}

/// Whether all of `few` is in `many`.
fn is_within(few: &Frames, many: &Frames) -> bool {
    few.iter().all(|(seq, digest)| many.get(seq) == Some(digest))
}
