//! Any bytes where a segment's batches stand: never a panic, and no batch is accepted that was not
//! written. The input first makes a segment of whole batches, then overwrites a part of it.
#![no_main]

use journal::Batch;
use journal::format::{
    BatchHeader, FrameKind, FrameView, HEADER_PAGE_BYTES, SegmentHeader, SegmentKind, align_batch,
    encode_frame, parse_frame,
};
use journal::scan::{Expected, RawSegment};
use libfuzzer_sys::fuzz_target;

const SEGMENT_BYTES: usize = 16 << 10;

fn header() -> SegmentHeader {
    SegmentHeader {
        kind: SegmentKind::Raw,
        store_id: [7; 16],
        store_number: 3,
        number: 1,
        previous: 0,
        source: 0,
        epoch: 1,
        salt: 0x5A17_5A17_5A17_5A17,
        first_seq: 1,
        created_ms: 1_790_000_000_000,
        segment_bytes: SEGMENT_BYTES as u64,
    }
}

/// Takes a length from the front, and so many bytes.
fn take<'a>(data: &mut &'a [u8], len_max: usize) -> &'a [u8] {
    let Some((&len, rest)) = data.split_first() else { return &[] };
    let (taken, rest) = rest.split_at(rest.len().min(usize::from(len)).min(len_max));
    *data = rest;
    taken
}

fuzz_target!(|data: &[u8]| {
    let _ = parse_frame(data);
    let _ = Batch::from_payload(1, 0, data.into());
    if let Ok(page) = data.try_into() {
        let _ = SegmentHeader::parse(page);
    }
    let mut data = data;
    let header = header();
    let mut bytes = vec![0u8; SEGMENT_BYTES];
    bytes[..HEADER_PAGE_BYTES].copy_from_slice(&header.encode()[..]);
    let mut expected = Expected::first(&header);
    let mut written = Vec::new();
    for _ in 0..data.first().map_or(0, |&batches| batches % 5) {
        let mut payload = Vec::new();
        let frames = 1 + u32::from(take(&mut data, 1).first().map_or(0, |&frames| frames % 4));
        for seq in expected.seq..expected.seq + u64::from(frames) {
            let payload_of_frame = take(&mut data, 200);
            let kind = FrameKind::Usage;
            let (stream, key_id) = (0, 0);
            let frame = FrameView { seq, kind, stream, key_id, payload: payload_of_frame };
            encode_frame(frame, &mut payload);
        }
        let batch = BatchHeader {
            salt: header.salt,
            epoch: header.epoch,
            frames,
            first_seq: expected.seq,
            bytes: payload.len() as u32,
            payload_crc: crc(&payload),
            prev_chain: expected.chain,
            committed_ms: 9,
        };
        let at = expected.offset as usize;
        bytes[at..at + 64].copy_from_slice(&batch.encode());
        bytes[at + 64..at + 64 + payload.len()].copy_from_slice(&payload);
        written.push((expected.offset, payload));
        expected = expected.after(&batch);
    }
    // One run of bytes is overwritten, too short to reach from what a checksum covers to the
    // checksum of a batch: whoever may write both can forge anything that has no secret in it.
    let end = expected.offset as usize;
    if let [low, high, rest @ ..] = data {
        let at = usize::from(u16::from_le_bytes([*low, *high])) % end;
        data = rest;
        let damage = take(&mut data, 16);
        bytes[at..at + damage.len()].copy_from_slice(damage);
    }
    scan(&header, &bytes, &written);
});

fn crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}

/// Whatever is accepted is, byte for byte, what was written there.
fn scan(header: &SegmentHeader, bytes: &[u8], written: &[(u64, Vec<u8>)]) {
    let segment = RawSegment::new(header, bytes);
    let mut expected = Expected::first(header);
    let mut accepted = 0;
    while let Ok(batch) = segment.batch_at(&expected) {
        assert_eq!(written[accepted].0, batch.offset);
        assert_eq!(written[accepted].1, batch.payload);
        Batch::from_payload(batch.header.first_seq, 0, batch.payload.into())
            .expect("the frames of a whole batch are whole");
        assert_eq!(align_batch(expected.offset), expected.offset);
        expected = expected.after(&batch.header);
        accepted += 1;
    }
    if let Some(later) = segment.find_batch(expected.offset) {
        assert!(
            written
                .iter()
                .any(|(offset, payload)| { *offset == later.offset && payload == later.payload })
        );
    }
    let _ = segment.last_written(expected.offset);
}
