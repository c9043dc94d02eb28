//! Check finds every damage and says what it costs; repair costs exactly that and no more.

use std::collections::BTreeMap;
use std::sync::Arc;

use journal::check::{CheckError, CheckReport, check};
use journal::disk::sim::{Crash, Rng};
use journal::disk::{Disk, SimDisk};
use journal::repair::{RepairAction, RepairError, RepairPlan, plan, repair};
use journal::{FrameKind, Journal, Options};

use crate::helpers::{ManualClock, append};

/// A store with some sealed segments, some of them compressed, and what it holds.
struct Sample {
    disk: SimDisk,
    options: Options,
    usages: BTreeMap<u64, Vec<u8>>,
}

fn sample(seed: u64, compress: bool, close: bool) -> Sample {
    let mut rng = Rng::new(seed);
    let disk = SimDisk::new(seed);
    let options = Options {
        compress_level: compress.then_some(1),
        retain: None,
        ..crate::helpers::options()
    };
    let mut sample = Sample { disk, options, usages: BTreeMap::new() };
    for life in 0..3 {
        let journal = sample.open();
        for _ in 0..12 {
            let payloads: Vec<Vec<u8>> = (0..=rng.below(9))
                .map(|_| {
                    let mut payload = vec![0; 1 + rng.index(600)];
                    rng.fill(&mut payload);
                    payload
                })
                .collect();
            let slices: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
            let first = append(&journal, &slices);
            sample.usages.extend((first..).zip(payloads));
            journal.commit_once().expect("the disk is whole");
            if rng.chance(1, 2) {
                journal.housekeep_once();
            }
        }
        if close || life < 2 {
            journal.close().expect("the disk is whole");
        } else {
            drop(journal);
            sample.disk.crash(Crash::Power);
        }
    }
    sample
}

impl Sample {
    fn open(&self) -> Journal {
        let disk = Arc::new(self.disk.clone());
        let opened = Journal::open(disk, ManualClock::new(), self.options.clone());
        opened.expect("the journal opens").0
    }

    fn check(&self) -> CheckReport {
        check(&self.disk, &mut |done, total| assert!(done <= total)).expect("checkable")
    }

    fn segments(&self) -> Vec<String> {
        let mut names = self.disk.list().expect("alive");
        names.retain(|name| name.ends_with(".seg"));
        names.sort();
        names
    }

    /// Usages as an open journal gives them, and its padding.
    fn read(&self) -> (BTreeMap<u64, Vec<u8>>, Vec<u64>) {
        let journal = self.open();
        let (mut usages, mut padding) = (BTreeMap::new(), Vec::new());
        let mut reader = journal.reader(journal.first_seq());
        while let Some(batch) = reader.next_batch().expect("readable after a repair") {
            for frame in batch.frames() {
                match frame.kind {
                    FrameKind::Usage => drop(usages.insert(frame.seq, frame.payload.to_vec())),
                    FrameKind::Padding => padding.push(frame.seq),
                    _ => {}
                }
            }
        }
        journal.close().expect("the disk is whole");
        (usages, padding)
    }

    /// Repairs, and holds what is left against what the plan said.
    fn mend(&self) -> RepairPlan {
        let known = self.check().lost_before();
        let plan = plan(&self.disk).expect("a plan");
        repair(&self.disk, &plan).expect("repaired");
        let report = self.check();
        assert!(report.is_sound(), "{plan:?}\n{:?}", report.damages);
        let lost: Vec<u64> =
            plan.steps.iter().flat_map(|step| step.lost.clone()).flatten().collect();
        assert_eq!(report.lost_before(), known + lost.len() as u64, "{plan:?}");
        let (usages, padding) = self.read();
        assert_eq!(padding.len() as u64, report.lost_before(), "{plan:?}");
        assert!(lost.iter().all(|seq| padding.contains(seq)), "{plan:?}");
        let first = usages.keys().next().copied().unwrap_or(1);
        let last = usages.keys().next_back().copied().unwrap_or(0);
        for (seq, payload) in &self.usages {
            let gone = padding.contains(seq) || *seq < first || *seq > last;
            assert!(gone || usages.get(seq) == Some(payload), "{seq}: {plan:?}");
        }
        assert!(usages.iter().all(|(seq, payload)| self.usages.get(seq) == Some(payload)));
        plan
    }
}

#[test]
fn a_sound_store_is_counted_whole() {
    for seed in 0..20 {
        let sample = sample(seed, seed % 2 == 0, seed % 3 == 0);
        let before = sample.disk.operations();
        let report = sample.check();
        assert_eq!(sample.disk.operations(), before, "a check changes nothing");
        assert!(report.is_sound(), "seed {seed}: {:?}", report.damages);
        assert_eq!(report.usages(), sample.usages.len() as u64, "seed {seed}");
        assert_eq!(report.first_seq(), 1);
        assert!(report.committed_ms().is_some() && report.segments.len() > 3);
        assert_eq!(plan(&sample.disk).expect("a plan"), RepairPlan::default());
    }
}

#[test]
fn a_store_that_is_open_is_not_checked() {
    let sample = sample(1, true, true);
    let journal = sample.open();
    assert!(matches!(check(&sample.disk, &mut |_, _| {}), Err(CheckError::Locked)));
    assert!(matches!(plan(&sample.disk), Err(RepairError::Check(CheckError::Locked))));
    drop(journal);
}

#[test]
fn flips_cost_what_the_plan_says() {
    let mut lossy = 0;
    for seed in 0..200 {
        let sample = sample(seed % 4, seed % 2 == 0, seed % 4 > 1);
        let mut rng = Rng::new(seed);
        let names = sample.segments();
        for _ in 0..=rng.below(3) {
            let name = &names[rng.index(names.len())];
            let len = sample.disk.open(name).expect("there").len().expect("alive");
            // Where frames are, more often than in the zeros behind them.
            let end = if rng.chance(1, 4) { len } else { len.min(9000) };
            let offset = rng.below(end);
            sample.disk.flip_bit(name, offset, u8::try_from(rng.below(8)).expect("a bit"));
        }
        let plan = sample.mend();
        lossy += usize::from(plan.steps.iter().any(|step| !step.lost.is_empty()));
        for step in &plan.steps {
            let cut = step.aside_file.as_ref().expect("the file was there");
            assert!(sample.disk.open(cut).is_ok(), "{cut}");
        }
    }
    assert!(lossy > 40, "only {lossy} of 200 had to lose anything");
}

#[test]
fn a_segment_without_its_header_page_keeps_its_frames() {
    for seed in 0..6 {
        let sample = sample(seed, false, true);
        for name in sample.segments() {
            let file = sample.disk.open(&name).expect("there");
            let mut first = [0];
            file.read_exact_at(&mut first, 4096).expect("long enough");
            if first != [0] {
                file.write_all_at(&[0x5a; 4096], 0).expect("write");
            }
        }
        // Without any header in the whole store, the first batches still tell the salt.
        let plan = sample.mend();
        assert!(plan.steps.iter().all(|step| step.action == RepairAction::Rewrite), "{plan:?}");
        assert!(plan.steps.iter().all(|step| step.lost.is_empty()), "{plan:?}");
    }
    let sample = sample(7, false, true);
    let names = sample.segments();
    sample.disk.open(&names[2]).expect("there").write_all_at(&[0x5a; 4096], 0).expect("write");
    let plan = sample.mend();
    assert_eq!(plan.steps.len(), 1);
    assert!(plan.steps[0].lost.is_empty(), "{plan:?}");
}

#[test]
fn a_missing_segment_becomes_a_known_gap() {
    for compress in [false, true] {
        let sample = sample(3, compress, true);
        let report = sample.check();
        let gone = &report.segments[2];
        sample.disk.remove(&sample.segments()[2]).expect("there");
        let plan = sample.mend();
        assert_eq!(plan.steps.len(), 1);
        // The segment before it may still hold the batch that recovery copied out of it.
        let [lost] = &plan.steps[0].lost[..] else { panic!("{plan:?}") };
        assert!((gone.first_seq..gone.end_seq).contains(&lost.start), "{plan:?}");
        assert_eq!(lost.end, gone.end_seq, "{plan:?}");
        assert_eq!((plan.steps[0].frames_kept, &plan.steps[0].aside_file), (0, &None));
    }
}

#[test]
fn a_plan_that_is_out_of_date_does_nothing() {
    let sample = sample(5, false, true);
    sample.disk.flip_bit(&sample.segments()[1], 5000, 1);
    let plan = plan(&sample.disk).expect("a plan");
    sample.disk.flip_bit(&sample.segments()[0], 5000, 1);
    let before = sample.disk.operations();
    assert!(matches!(repair(&sample.disk, &plan), Err(RepairError::Changed)));
    assert_eq!(sample.disk.operations(), before);
}

#[test]
fn a_crash_in_a_repair_leaves_something_to_repair_or_nothing() {
    let mut whole = 0;
    for seed in 0..120 {
        let sample = sample(5, seed % 2 == 0, true);
        sample.disk.flip_bit(&sample.segments()[1], 4500, 1);
        let plan = plan(&sample.disk).expect("a plan");
        sample.disk.halt_in(seed / 2 % 24);
        let done = repair(&sample.disk, &plan);
        sample.disk.crash(if seed % 3 == 0 { Crash::Kill } else { Crash::Power });
        let report = sample.check();
        assert!(done.is_err() || report.is_sound(), "what was done stays");
        whole += usize::from(report.is_sound());
        sample.mend();
    }
    assert!((1..120).contains(&whole), "{whole}");
}

/// What became of a flipped bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// Every usage is there.
    Harmless,
    /// The journal did not open.
    Refused,
    /// A reader was told.
    Reported,
}

#[test]
fn a_flip_in_any_file_is_never_silent() {
    let mut fates = std::collections::BTreeSet::new();
    for compress in [false, true] {
        let sample = sample(11, compress, true);
        let mut rng = Rng::new(5);
        for _ in 0..250 {
            let disk = sample.disk.fork();
            let mut names = disk.list().expect("alive");
            names.sort();
            let name = &names[rng.index(names.len())];
            let len = disk.open(name).expect("there").len().expect("alive");
            let offset = rng.below(len);
            disk.flip_bit(name, offset, u8::try_from(rng.below(8)).expect("a bit"));
            let options = sample.options.clone();
            let fate = match Journal::open(Arc::new(disk), ManualClock::new(), options) {
                Err(_) => Fate::Refused,
                Ok((journal, _)) => fate(&journal, &sample.usages, &format!("{name} {offset}")),
            };
            fates.insert((compress, fate));
        }
    }
    assert_eq!(fates.len(), 6, "every fate was met, raw and compressed: {fates:?}");
}

fn fate(journal: &Journal, usages: &BTreeMap<u64, Vec<u8>>, place: &str) -> Fate {
    let mut fate = Fate::Harmless;
    for (&seq, payload) in usages {
        match journal.read(seq) {
            Ok(frame) => assert_eq!(frame.payload, *payload, "a silent change by {place}"),
            Err(journal::ReadError::Damaged { .. }) => fate = Fate::Reported,
            Err(error) => panic!("a flip at {place} loses {seq} silently: {error}"),
        }
    }
    fate
}
