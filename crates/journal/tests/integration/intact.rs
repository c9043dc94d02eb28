//! What is intact in a damaged segment is read, frame by frame: all that `check` does not count as
//! lost, and nothing else.

use std::sync::Arc;

use journal::check::{CheckReport, check};
use journal::{Options, ReadError};

use crate::helpers::{commit, options, try_open, usages};
use crate::memory::MemoryDisk;

/// A journal of several raw segments, or with all but the last compressed.
struct Victim {
    disk: Arc<MemoryDisk>,
    usages: Vec<(u64, Vec<u8>)>,
    compressed: bool,
}

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let next = |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    let states = std::iter::successors(Some(seed), next);
    states.take(bytes).map(|state| state.to_be_bytes()[1]).collect()
}

fn with_compression(compressed: bool) -> Options {
    Options { compress_level: compressed.then_some(3), ..options() }
}

impl Victim {
    fn new(compressed: bool) -> Self {
        let disk = MemoryDisk::new();
        let (journal, _) =
            try_open(disk.clone(), with_compression(compressed)).expect("the journal opens");
        for n in 0..40u64 {
            commit(&journal, &[&noise(n + 1, 900), &noise(n + 1000, 300)]);
            journal.housekeep_once();
        }
        while journal.housekeep_once().compressed.is_some() {}
        let usages = usages(&journal, 1);
        Self { disk: disk.copy(), usages, compressed }
    }

    /// Damages the first segment; compares what is read with what is lost by `check`, which is
    /// returned with how many frames were read.
    fn check(&self, what: &str, damage: impl FnOnce(&mut Vec<u8>)) -> (CheckReport, usize) {
        let name = self.disk.segments()[0].clone();
        let disk = self.disk.damaged(&name, damage);
        let report = check(&*disk.copy(), &mut |_, _| {}).expect("it can be checked");
        let (journal, _) =
            try_open(disk, with_compression(self.compressed)).expect("an old segment is damaged");
        let lost = |seq| report.damages.iter().any(|damage| damage.lost.contains(&seq));
        let mut read = 0;
        // In this order, in reverse and again, for what was looked up before is remembered.
        let again = self.usages.iter().rev();
        for (seq, payload) in self.usages.iter().chain(again.clone()).chain(again) {
            match journal.read(*seq) {
                Ok(frame) => {
                    assert_eq!(&frame.payload, payload, "{what}: {seq}");
                    assert!(!lost(*seq), "{what}: {seq} is read, yet counted as lost");
                    read += 1;
                }
                Err(ReadError::Damaged { .. }) => assert!(lost(*seq), "{what}: {seq} is intact"),
                Err(error) => panic!("{what}: {seq}: {error}"),
            }
        }
        (report, read / 3)
    }
}

#[test]
fn repro_bytes_behind_a_sealed_segment_hid_all_its_frames() {
    for compressed in [false, true] {
        let victim = Victim::new(compressed);
        for more in [1, 63, 64, 65, 5000] {
            let append = |bytes: &mut Vec<u8>| bytes.extend(noise(7, more));
            let (report, read) = victim.check("appended", append);
            assert_eq!(read, victim.usages.len());
            let [damage] = &report.damages[..] else { panic!("{:?}", report.damages) };
            assert!(damage.lost.is_empty());
            let named = if compressed {
                format!("{more} bytes follow its end")
            } else {
                "the file has".to_owned()
            };
            assert!(damage.why.contains(&named), "{}", damage.why);
        }
        // A second copy of the segment behind it.
        let (_, read) = victim.check("twice", |bytes| bytes.extend_from_within(..));
        assert_eq!(read, victim.usages.len());
    }
}

#[test]
fn repro_damage_in_a_sealed_segment_hid_the_intact_frames_beside_it() {
    for compressed in [false, true] {
        let victim = Victim::new(compressed);
        let bytes = victim.disk.bytes(&victim.disk.segments()[0]).len();
        let step = 97;
        let mut partly = 0;
        for at in (4096..bytes).step_by(step) {
            let (_, read) = victim.check(&format!("flipped at {at}"), |bytes| bytes[at] ^= 1);
            partly += usize::from(read > 0 && read < victim.usages.len());
            victim.check(&format!("zeroed from {at}"), |bytes| {
                let end = (at + 700).min(bytes.len());
                bytes[at..end].fill(0);
            });
            victim.check(&format!("cut at {at}"), |bytes| bytes.truncate(at));
        }
        assert!(partly > bytes / step / 2, "{partly}: most flips hit some frames, and not all");
    }
}

#[test]
fn a_frame_of_another_store_is_not_intact() {
    let victim = Victim::new(false);
    let other = MemoryDisk::new();
    let options = Options { seed: Some(2), ..options() };
    let (journal, _) = try_open(other.clone(), options).expect("opens");
    for n in 0..40u64 {
        commit(&journal, &[&noise(n + 5, 900), &noise(n, 300)]);
    }
    let foreign = other.bytes(&other.segments()[0]);
    let (_, read) =
        victim.check("foreign", |bytes| bytes[4096..].copy_from_slice(&foreign[4096..]));
    assert!(read < victim.usages.len(), "the control: its frames are not read");
}
