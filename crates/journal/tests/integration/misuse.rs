//! What operators and failing disks do to files: each is removed, emptied, zeroed, cut, copied,
//! renamed, exchanged and restored from an older copy, one by one and at random. No frame that is
//! intact may be destroyed, by a start or by a repair, and what a check says about losses must be
//! exact or a bound that holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use journal::accept::accept_loss;
use journal::check::{CheckReport, Loss, check};
use journal::compress::Packed;
use journal::disk::sim::Rng;
use journal::disk::{ASIDE, Disk};
use journal::format::{Batch, HEADER_PAGE_BYTES, SegmentHeader, SegmentKind, segment_file_name};
use journal::repair::{plan, repair};
use journal::scan::RawSegment;
use journal::{FrameKind, Journal, OpenError, Options, Sabotage};

use crate::helpers::{commit, try_open};
use crate::memory::MemoryDisk;

/// Random histories of damage; three thousand of them have been run.
const SEEDS: u64 = 200;

type Frame = (u64, u8, Vec<u8>);

/// A store, what it holds, and an older copy of it.
struct Store {
    disk: Arc<MemoryDisk>,
    older: Arc<MemoryDisk>,
    frames: BTreeSet<Frame>,
    options: Options,
}

/// How a store is made.
#[derive(Clone, Copy, Debug)]
struct Shape {
    lives: usize,
    batches: u8,
    payload: usize,
    compress: bool,
    close: bool,
    spare: bool,
}

const SHAPES: [Shape; 6] = [
    Shape { lives: 1, batches: 18, payload: 1500, compress: false, close: false, spare: true },
    Shape { lives: 1, batches: 18, payload: 1500, compress: false, close: true, spare: false },
    Shape { lives: 3, batches: 8, payload: 1500, compress: true, close: true, spare: true },
    Shape { lives: 3, batches: 5, payload: 1500, compress: false, close: false, spare: false },
    Shape { lives: 2, batches: 45, payload: 160, compress: false, close: false, spare: true },
    Shape { lives: 2, batches: 45, payload: 160, compress: true, close: true, spare: false },
];

impl Store {
    fn new(shape: Shape) -> Self {
        let options =
            Options { compress_level: shape.compress.then_some(1), ..crate::helpers::options() };
        let mut disk = MemoryDisk::new();
        let mut older = disk.copy();
        let mut frames = BTreeSet::new();
        for life in 0..shape.lives {
            let (journal, _) = try_open(disk.clone(), options.clone()).expect("opens");
            for n in 0..shape.batches {
                commit(
                    &journal,
                    &[&vec![n; shape.payload], &[n, 0, 1], &vec![n; shape.payload / 2]],
                );
                if shape.compress {
                    journal.housekeep_once();
                }
                if life + 1 == shape.lives && n == shape.batches / 2 {
                    older = disk.copy();
                }
            }
            if shape.spare && life + 1 == shape.lives {
                journal.housekeep_once();
            }
            if shape.close || life + 1 < shape.lives {
                journal.close().expect("the disk is whole");
            }
            frames = chain_frames(&journal);
            disk = disk.copy();
        }
        Self { disk, older, frames, options }
    }

    fn end(&self) -> u64 {
        self.frames.last().expect("not empty").0 + 1
    }

    fn try_open(&self, disk: &Arc<MemoryDisk>) -> Result<(Journal, u64), OpenError> {
        let opened = try_open(disk.clone(), self.options.clone());
        opened.map(|(journal, recovery)| (journal, recovery.durable))
    }
}

/// What a reader of the journal gets, padding apart; up to the first damage.
fn chain_frames(journal: &Journal) -> BTreeSet<Frame> {
    let mut frames = BTreeSet::new();
    let mut reader = journal.reader(journal.first_seq());
    while reader.next_seq() < journal.durable() {
        match reader.next_batch() {
            Ok(Some(batch)) => add(&mut frames, &batch),
            Ok(None) => break,
            Err(_) => reader.seek(reader.next_seq() + 1),
        }
    }
    frames
}

fn add(frames: &mut BTreeSet<Frame>, batch: &Batch) {
    let real = batch.frames().filter(|frame| frame.kind != FrameKind::Padding);
    frames.extend(real.map(|frame| (frame.seq, frame.kind.code(), frame.payload.to_vec())));
}

/// Every frame that stands intact under a whole header page anywhere, found without any of the code
/// that decides what a file is.
fn intact(disk: &MemoryDisk) -> BTreeSet<Frame> {
    let mut frames = BTreeSet::new();
    let aside = disk.list_aside().expect("lists").into_iter().map(|name| format!("{ASIDE}/{name}"));
    for name in disk.list().expect("lists").into_iter().chain(aside) {
        let bytes = disk.bytes(&name);
        let Some(page) = bytes.first_chunk::<HEADER_PAGE_BYTES>() else { continue };
        let Ok(header) = SegmentHeader::parse(page) else { continue };
        match header.kind {
            SegmentKind::Raw => {
                let mut at = HEADER_PAGE_BYTES as u64;
                while let Some(found) = RawSegment::new(&header, &bytes).find_batch(at) {
                    at = found.offset + 8;
                    let (seq, ms) = (found.header.first_seq, found.header.committed_ms);
                    let batch = Batch::from_payload(seq, ms, found.payload.into());
                    add(&mut frames, &batch.expect("its checksum holds"));
                }
            }
            SegmentKind::Compressed => {
                let file = disk.open(&name).expect("there").into();
                let Ok(packed) = Packed::open(file, &header) else { continue };
                for entry in packed.table() {
                    if let Ok(batch) = packed.decode_block(entry.first_seq) {
                        add(&mut frames, &batch);
                    }
                }
            }
        }
    }
    frames
}

/// Every file with its content.
fn content(disk: &MemoryDisk) -> BTreeMap<String, Vec<u8>> {
    let names = disk.list().expect("lists").into_iter();
    names.map(|name| (name.clone(), disk.bytes(&name))).collect()
}

/// What became of a store.
#[derive(Debug, Default)]
struct Outcome {
    /// Whether it was refused, and the damage could then be seen.
    refused: bool,
    /// Frames that were intact before and are nowhere now.
    destroyed: usize,
    /// Frames that the journal has no more, after a repair.
    lost: u64,
    loss: Option<Loss>,
}

/// Starts, checks and repairs a store with damage, on copies, and holds each against what it held.
fn judge(store: &Store, disk: &Arc<MemoryDisk>, what: &str) -> Outcome {
    let before = intact(disk);
    let mut outcome = Outcome::default();
    let started = disk.copy();
    match store.try_open(&started) {
        Err(_) => {
            outcome.refused = true;
            assert_eq!(content(&started), content(disk), "{what}: a refused start changes nothing");
        }
        Ok((journal, durable)) => {
            let found = chain_frames(&journal);
            assert!(found.is_subset(&store.frames), "{what}: nothing is made up");
            let silent = found.len() < before.len().min(store.frames.len());
            let seen = durable < store.end() || !check_now(&started.copy()).is_sound();
            // What was intact and is in the journal no more is seen by a check or by the witness.
            assert!(!silent || seen || is_aside(&started), "{what}: a silent loss");
        }
    }
    outcome.destroyed += before.difference(&intact(&started)).count();
    let found = check_now(disk);
    let repaired = disk.copy();
    match plan(&*repaired) {
        Err(_) => assert!(outcome.refused, "{what}: what cannot be repaired does not start"),
        Ok(plan) => {
            repair(&*repaired, &plan).unwrap_or_else(|error| panic!("{what}: {error}\n{plan:?}"));
            outcome.destroyed += before.difference(&intact(&repaired)).count();
            // Where the mark knows of more than is left.
            accept_loss(&*repaired, &[], 0).unwrap_or_else(|error| panic!("{what}: {error}"));
            outcome.destroyed += before.difference(&intact(&repaired)).count();
            let after = check_now(&repaired);
            assert!(after.is_sound(), "{what}: one repair is enough\n{plan:?}\n{after:?}");
            let (journal, _) = store
                .try_open(&repaired)
                .unwrap_or_else(|error| panic!("{what}: {error}\n{plan:?}"));
            outcome.destroyed += before.difference(&intact(&repaired)).count();
            let kept = chain_frames(&journal);
            assert!(kept.is_subset(&store.frames) || kept.len() > store.frames.len(), "{what}");
            let missing = store
                .frames
                .iter()
                .filter(|frame| frame.0 >= found.first_seq() && !kept.contains(frame));
            outcome.lost = missing.count() as u64;
            let context = || format!("{what}: {}\n{found:?}\n{plan:?}", outcome.lost);
            // Of zeros and of what is not there at all, the journal's own files show nothing.
            let trace_left =
                !["zero", "remove", "restore", "move"].iter().any(|w| what.contains(w))
                    || found.end_seq() >= store.end()
                    || found.loss().at_most != Some(0);
            assert!(found.loss().at_least <= outcome.lost, "{}", context());
            if trace_left {
                check_loss(found.loss(), outcome.lost, &context);
            }
        }
    }
    outcome.loss = Some(found.loss());
    outcome
}

fn check_now(disk: &Arc<MemoryDisk>) -> CheckReport {
    let before = content(disk);
    let report = check(&**disk, &mut |_, _| {}).expect("checkable");
    assert_eq!(content(disk), before, "a check changes nothing");
    report
}

fn check_loss(loss: Loss, lost: u64, context: &dyn Fn() -> String) {
    let Loss { at_least, at_most } = loss;
    let holds = at_least <= lost && at_most.is_none_or(|most| lost <= most);
    assert!(holds, "{loss:?} is no bound of {}", context());
}

fn is_aside(disk: &MemoryDisk) -> bool {
    !disk.list_aside().expect("lists").is_empty()
}

/// Where the last byte that is not zero ends.
fn written(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)
}

type Damage = (String, Box<dyn Fn(&MemoryDisk)>);

/// Everything that is done to single files of the store, and to pairs of them.
fn damages(store: &Store) -> Vec<Damage> {
    let names = store.disk.segments();
    let mut all: Vec<Damage> = Vec::new();
    let mut add = |what: String, damage: Box<dyn Fn(&MemoryDisk)>| all.push((what, damage));
    for (index, name) in names.iter().enumerate() {
        let bytes = store.disk.bytes(name);
        let number = index as u64 + 1;
        let (len, end) = (bytes.len(), written(&bytes));
        let own = || name.clone();
        let put = |what: &str, change: &dyn Fn(&mut Vec<u8>)| {
            let mut changed = bytes.clone();
            change(&mut changed);
            let name = own();
            let what = format!("{what} {name}");
            (what, Box::new(move |disk: &MemoryDisk| disk.put(&name, changed.clone())) as Box<_>)
        };
        let mut changes: Vec<Damage> = vec![
            put("empty", &|bytes| bytes.clear()),
            put("zero", &|bytes| bytes.fill(0)),
            put("zero the body of", &|bytes| bytes[4096..].fill(0)),
            put("zero the page of", &|bytes| bytes[..4096].fill(0)),
            put("append to", &|bytes| bytes.extend_from_slice(&[7; 100])),
            put("zero the second half of", &|bytes| bytes[end / 2..].fill(0)),
        ];
        for to in [100, 4000, 4096, 4100, 4200, end / 2, end.saturating_sub(9), end, end + 8] {
            if to < len {
                changes.push(put(&format!("cut to {to}"), &|bytes| bytes.truncate(to)));
            }
        }
        for at in [10, 4091, 4096 + 20, 4096 + 70, end / 2, end.saturating_sub(80)] {
            if at < len {
                changes.push(put(&format!("flip {at} of"), &|bytes| bytes[at] ^= 1));
            }
        }
        for (what, damage) in changes {
            add(what, damage);
        }
        let from = own();
        add(format!("remove {name}"), Box::new(move |disk| disk.take_away(&from)));
        let past = names.len() as u64;
        let others = names.iter().cloned();
        let places = [
            segment_file_name(past + 1),
            segment_file_name(past + 2),
            format!("{name}.bak"),
            format!("{name}.tmp"),
        ];
        for to in others.chain(places).filter(|to| to != name) {
            let (from, at) = (own(), to.clone());
            let copy = move |disk: &MemoryDisk| disk.put(&at, disk.bytes(&from));
            add(format!("copy {name} to {to}"), Box::new(copy));
            let (from, at) = (own(), to.clone());
            add(
                format!("{} {name} to {to}", if names.contains(&to) { "move" } else { "rename" }),
                Box::new(move |disk| move_file(disk, &from, &at)),
            );
            let (from, at) = (own(), to.clone());
            if names.contains(&to) {
                add(format!("swap {name} and {to}"), Box::new(move |disk| swap(disk, &from, &at)));
                let page = bytes[..4096].to_vec();
                let paste = move |disk: &MemoryDisk| {
                    let mut changed = disk.bytes(&to);
                    changed[..4096].copy_from_slice(&page);
                    disk.put(&to, changed);
                };
                add(format!("paste the page of {name}"), Box::new(paste));
            }
        }
        // An intact copy beside, and damage in the place of the original.
        let (from, good, at) = (own(), bytes.clone(), end / 2);
        let beside = move |disk: &MemoryDisk| {
            disk.put(&format!("{from}.tmp"), good.clone());
            let mut changed = good.clone();
            changed[at] ^= 1;
            disk.put(&from, changed);
        };
        add(format!("copy {name} to .tmp, then flip a bit"), Box::new(beside));
        if store.older.segments().contains(name) {
            let old = store.older.bytes(name);
            for to in [number, past + 1] {
                let (old, at) = (old.clone(), segment_file_name(to));
                let restore = move |disk: &MemoryDisk| disk.put(&at, old.clone());
                add(format!("restore an older {name} as {to}"), Box::new(restore));
            }
        }
    }
    let rotated = names.clone();
    add("rotate all names".to_owned(), Box::new(move |disk| rotate(disk, &rotated)));
    let two = names[..3].to_vec();
    add("rotate three names".to_owned(), Box::new(move |disk| rotate(disk, &two)));
    all
}

fn move_file(disk: &MemoryDisk, from: &str, to: &str) {
    let bytes = disk.bytes(from);
    disk.take_away(from);
    disk.put(to, bytes);
}

fn swap(disk: &MemoryDisk, one: &str, two: &str) {
    let (first, second) = (disk.bytes(one), disk.bytes(two));
    disk.put(one, second);
    disk.put(two, first);
}

fn rotate(disk: &MemoryDisk, names: &[String]) {
    let contents: Vec<_> = names.iter().map(|name| disk.bytes(name)).collect();
    for (at, name) in names.iter().enumerate() {
        disk.put(name, contents[(at + 1) % names.len()].clone());
    }
}

#[test]
fn no_intact_frame_is_destroyed_and_every_loss_is_counted() {
    let (mut refused, mut lossy) = (0, 0);
    for shape in SHAPES {
        let store = Store::new(shape);
        for (what, damage) in damages(&store) {
            let disk = store.disk.copy();
            damage(&disk);
            let what = format!("{shape:?}: {what}");
            let outcome = judge(&store, &disk, &what);
            assert_eq!(outcome.destroyed, 0, "{what}");
            if [": swap", ": rotate", ": rename"].iter().any(|only| what.contains(only)) {
                assert_eq!(outcome.lost, 0, "{what}: nothing is lost by a wrong name");
            }
            refused += usize::from(outcome.refused);
            lossy += usize::from(outcome.lost > 0);
        }
    }
    assert!(refused > 100 && lossy > 100, "{refused} {lossy}");
}

/// One to three damages of any kind at random places.
#[test]
fn random_damages_cost_what_a_check_says() {
    let stores: Vec<Store> = SHAPES.into_iter().map(Store::new).collect();
    for seed in 0..SEEDS {
        let mut rng = Rng::new(seed);
        let shape = rng.index(stores.len());
        let (store, mut what) = (&stores[shape], format!("seed {seed}, {:?}", SHAPES[shape]));
        let disk = store.disk.copy();
        for _ in 0..=rng.below(3) {
            what = format!("{what}; {}", damage_at_random(&mut rng, &disk));
        }
        let outcome = judge(store, &disk, &what);
        assert_eq!(outcome.destroyed, 0, "{what}");
    }
}

fn damage_at_random(rng: &mut Rng, disk: &MemoryDisk) -> String {
    let names = disk.segments();
    let name = names[rng.index(names.len())].clone();
    let mut bytes = disk.bytes(&name);
    if bytes.is_empty() {
        return String::new();
    }
    let end = written(&bytes).max(1);
    let (from, len) = (rng.index(end), 1 + rng.index(3000));
    let to = (from + len).min(bytes.len());
    let what = match rng.below(9) {
        0 | 1 => {
            bytes[from] ^= 1 << rng.below(8);
            "flip"
        }
        2 => {
            bytes[from..to].fill(0);
            "zero"
        }
        3 | 4 => {
            rng.fill(&mut bytes[from..to]);
            "scribble"
        }
        5 => {
            bytes.truncate(from);
            "cut"
        }
        // Blocks of a file system that stand where others did.
        7 => {
            let len = bytes.len();
            bytes.drain(from / 8 * 8..to / 8 * 8);
            bytes.resize(len, 0);
            "splice"
        }
        6 => {
            swap(disk, &name, &names[rng.index(names.len())]);
            return format!("swap {name}");
        }
        _ => {
            disk.put(&format!("{name}.bak"), bytes.clone());
            bytes[from..to].fill(9);
            "copy and scribble"
        }
    };
    disk.put(&name, bytes);
    format!("{what} {name} {from}..{to}")
}

/// The control: without the proof, a start destroys the only intact copy of what is damaged.
#[test]
fn control_without_proof_intact_frames_are_destroyed() {
    let mut destroyed = 0;
    let mut store = Store::new(SHAPES[0]);
    store.options.sabotage = Sabotage { removal_proof: true, ..Sabotage::default() };
    for (_, damage) in damages(&store) {
        let disk = store.disk.copy();
        damage(&disk);
        let before = intact(&disk);
        drop(store.try_open(&disk));
        destroyed += before.difference(&intact(&disk)).count();
    }
    assert!(destroyed > 0);
}
