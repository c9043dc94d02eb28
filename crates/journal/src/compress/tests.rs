//! Compressed segments against raw ones: equal frames, and damage that never passes.

use super::*;
use crate::disk::sim::{Crash, Rng, SimDisk};
use crate::format::{BATCH_HEADER_BYTES, BatchHeader, FrameKind, OwnedFrame, align_batch};
use crate::scan::Expected;

/// Writes a raw segment of random batches and returns its header with the frames.
pub(crate) fn raw_segment(disk: &SimDisk, seed: u64) -> (SegmentHeader, Vec<OwnedFrame>) {
    let mut rng = Rng::new(seed);
    let header = SegmentHeader {
        kind: SegmentKind::Raw,
        store_id: [7; 16],
        store_number: 3,
        number: 5,
        previous: 4,
        source: 4,
        epoch: 2,
        salt: rng.bits(),
        first_seq: 1_000,
        created_ms: 1,
        segment_bytes: 1 << 20,
    };
    let file = disk.create(&header.file_name()).expect("create");
    file.write_all_at(&header.encode()[..], 0).expect("write");
    file.set_len(header.segment_bytes).expect("set length");
    let (mut at, mut frames) = (Expected::first(&header), Vec::new());
    for batch in 0..40u64 {
        let (mut payload, mut count) = (Vec::new(), 0);
        for _ in 0..=rng.below(30) {
            let mut record = vec![0; rng.index(900)];
            rng.fill(&mut record);
            let kind = if rng.chance(1, 9) { FrameKind::Unknown(9) } else { FrameKind::Usage };
            let seq = header.first_seq + frames.len() as u64;
            let frame = OwnedFrame { seq, kind, stream: 0, key_id: 0, payload: record };
            crate::format::encode_frame(view(&frame), &mut payload);
            frames.push(frame);
            count += 1;
        }
        let batch = BatchHeader {
            salt: header.salt,
            epoch: header.epoch,
            frames: count,
            first_seq: at.seq,
            bytes: u32::try_from(payload.len()).expect("small"),
            payload_crc: crc32c::crc32c(&payload),
            prev_chain: at.chain,
            committed_ms: 5_000 + batch,
        };
        file.write_all_at(&batch.encode(), at.offset).expect("write");
        file.write_all_at(&payload, at.offset + BATCH_HEADER_BYTES as u64).expect("write");
        at = at.after(&batch);
        assert_eq!(at.offset, align_batch(at.offset));
    }
    file.sync_all().expect("sync");
    disk.sync_dir().expect("sync");
    (header, frames)
}

fn view(frame: &OwnedFrame) -> FrameView<'_> {
    let OwnedFrame { seq, kind, stream, key_id, payload } = frame;
    FrameView { seq: *seq, kind: *kind, stream: *stream, key_id: *key_id, payload }
}

fn open(disk: &SimDisk, header: &SegmentHeader) -> Result<Packed, ReadError> {
    Packed::open(Arc::from(disk.open(&header.file_name()).expect("there")), header)
}

#[test]
fn every_frame_is_found_again_by_its_sequence() {
    let disk = SimDisk::new(1);
    let (header, frames) = raw_segment(&disk, 1);
    let end_seq = header.first_seq + frames.len() as u64;
    let compressed = compress_segment(&disk, &header, end_seq, &[], 3).expect("compress");
    assert_eq!(compressed.frames, frames.len() as u64);
    assert!(compressed.file_bytes < header.segment_bytes);
    let packed = open(&disk, &compressed.header).expect("open");
    assert_eq!((packed.end_seq(), packed.committed_ms_max()), (end_seq, 5_039));
    assert!(packed.table().len() > 1, "several blocks");
    for frame in frames.iter().rev() {
        let batch = packed.batch_with(frame.seq).expect("read");
        assert_eq!(batch.get(frame.seq).map(OwnedFrame::from).as_ref(), Some(frame));
    }
    assert!(packed.batch_with(end_seq).is_err() && packed.batch_with(999).is_err());
}

#[test]
fn frames_that_the_next_segment_supersedes_are_left_out() {
    let disk = SimDisk::new(1);
    let (header, frames) = raw_segment(&disk, 2);
    let last_batch = {
        let end = header.first_seq + frames.len() as u64;
        // Only whole batches are ever superseded; find where the last one begins.
        let file: Arc<dyn File> = Arc::from(disk.open(&header.file_name()).expect("there"));
        let source = Arc::new(header.clone());
        let mut reader = RawReader::new(source.clone(), file, READ_WINDOW_BYTES);
        let place = Place { header: source, end_seq: Some(end), active: None };
        loop {
            let batch = reader.peek(&place).expect("whole");
            if batch.end_seq() == end {
                break batch.first_seq;
            }
            reader.pass(&batch);
        }
    };
    let compressed = compress_segment(&disk, &header, last_batch, &[], 3).expect("compress");
    assert_eq!(open(&disk, &compressed.header).expect("open").end_seq(), last_batch);
}

#[test]
fn a_flip_of_any_bit_is_found_or_harmless() {
    let disk = SimDisk::new(1);
    let (header, frames) = raw_segment(&disk, 3);
    let end_seq = header.first_seq + frames.len() as u64;
    let compressed = compress_segment(&disk, &header, end_seq, &[], 3).expect("compress");
    let (name, header) = (header.file_name(), compressed.header);
    let mut rng = Rng::new(4);
    for _ in 0..300 {
        let offset = crate::format::HEADER_PAGE_BYTES as u64
            + rng.below(compressed.file_bytes - crate::format::HEADER_PAGE_BYTES as u64);
        disk.flip_bit(&name, offset, 3);
        let outcome = open(&disk, &header).and_then(|packed| {
            let mut seq = header.first_seq;
            while seq < packed.end_seq() {
                let batch = packed.decode_block(seq)?;
                for frame in batch.frames() {
                    let index = usize::try_from(frame.seq - header.first_seq).expect("small");
                    assert_eq!(frame, view(&frames[index]), "a flip at {offset} passed");
                }
                seq = batch.end_seq();
            }
            Ok(())
        });
        match outcome {
            Err(ReadError::Damaged { segment: 5, .. }) => {}
            other => panic!("a flip at {offset} gave {other:?}"),
        }
        disk.flip_bit(&name, offset, 3);
    }
    open(&disk, &header).expect("all flips are undone");
}

#[test]
fn a_crash_at_any_point_leaves_the_raw_or_the_compressed_segment() {
    let mut kinds = std::collections::BTreeSet::new();
    for seed in 0..60 {
        let disk = SimDisk::new(seed);
        let (header, frames) = raw_segment(&disk, 3);
        let end_seq = header.first_seq + frames.len() as u64;
        disk.halt_in(seed % 30);
        let outcome = compress_segment(&disk, &header, end_seq, &[], 1);
        disk.crash(if seed % 3 == 0 { Crash::Kill } else { Crash::Power });
        let file = disk.open(&header.file_name()).expect("one of the two is there");
        let found = crate::scan::read_header(&*file).expect("alive").expect("a whole header");
        if found.kind == SegmentKind::Compressed {
            assert_eq!(open(&disk, &found).expect("open").end_seq(), end_seq, "seed {seed}");
        } else {
            assert!(outcome.is_err(), "seed {seed}: what was done stays");
            compress_segment(&disk, &found, end_seq, &[], 1).expect("the raw segment is whole");
        }
        kinds.insert(format!("{:?}", found.kind));
    }
    assert_eq!(kinds.len(), 2, "both outcomes were seen");
}

#[test]
fn a_damaged_source_is_not_replaced() {
    let disk = SimDisk::new(1);
    let (header, frames) = raw_segment(&disk, 3);
    disk.flip_bit(&header.file_name(), 20_000, 1);
    let end_seq = header.first_seq + frames.len() as u64;
    let outcome = compress_segment(&disk, &header, end_seq, &[], 1);
    assert!(
        matches!(outcome, Err(CompressError::Source(ReadError::Damaged { .. }))),
        "{outcome:?}"
    );
    assert_eq!(disk.list().expect("alive"), vec![header.file_name()], "no leftover");
}

#[test]
fn blocks_are_found_without_the_table() {
    let disk = SimDisk::new(1);
    let (header, frames) = raw_segment(&disk, 3);
    let end_seq = header.first_seq + frames.len() as u64;
    let compressed = compress_segment(&disk, &header, end_seq, &[], 3).expect("compress");
    let packed = open(&disk, &compressed.header).expect("open");
    let second = packed.table()[1].offset;
    disk.flip_bit(&header.file_name(), second + 60, 0);
    disk.flip_bit(&header.file_name(), compressed.file_bytes - 9, 0);
    let file = disk.open(&header.file_name()).expect("there");
    let bytes = crate::scan::read_whole(&*file).expect("read");
    let found = find_blocks(&bytes, compressed.header.page_crc());
    let offsets: Vec<u64> = found.iter().map(|(offset, ..)| *offset).collect();
    let all = packed.table().iter().map(|entry| entry.offset);
    assert_eq!(offsets, all.filter(|&offset| offset != second).collect::<Vec<_>>());
}
