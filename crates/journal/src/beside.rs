//! Looks at a journal beside the process that writes it: whether another process could open it, as far
//! as that can be known without the lock. Changes nothing.

use std::collections::BTreeMap;
use std::io;

use crate::disk::Disk;
use crate::error::{OpenError, opening};
use crate::format::{HeaderError, SegmentHeader, SegmentKind, segment_file_name, segment_number};
use crate::meta::StoreMeta;
use crate::scan::{read_header, read_whole};

/// How often a directory that contradicts itself is read again. The writer may have replaced or
/// removed a file in the middle of a reading; damage is still there the next time.
const READINGS: u32 = 3;

type Headers = BTreeMap<u64, Result<(SegmentHeader, u64), HeaderError>>;

/// Reads `store.meta` and the header page of every segment, and follows the chain of segments from
/// the newest one back. What is being written may be unfinished: segments behind the newest valid
/// header are not judged, nor are batches. What an open reads whole is read, so that it need not wait
/// for the disk soon after.
///
/// # Errors
/// The error that [`Journal::open`](crate::Journal::open) would end with.
pub fn examine_beside_writer(disk: &dyn Disk) -> Result<StoreMeta, OpenError> {
    let meta = StoreMeta::load(disk)?;
    let mut examined = Ok(());
    for _ in 0..READINGS {
        examined = read_headers(disk).and_then(|headers| {
            check_chain(&headers, &meta)?;
            read_end(disk, &headers);
            Ok(())
        });
        if examined.is_ok() {
            break;
        }
    }
    examined.map(|()| meta)
}

fn read_headers(disk: &dyn Disk) -> Result<Headers, OpenError> {
    let names = disk.list().map_err(opening("listing the journal's directory"))?;
    let mut headers = Headers::new();
    for number in names.iter().filter_map(|name| segment_number(name)) {
        let doing = || format!("reading the header of segment {number}");
        let file = match disk.open(&segment_file_name(number)) {
            Ok(file) => file,
            // Retention has removed it since.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(opening(doing())(error)),
        };
        let file_bytes = file.len().map_err(opening(doing()))?;
        let header = read_header(&*file).map_err(opening(doing()))?;
        headers.insert(number, header.map(|header| (header, file_bytes)));
    }
    Ok(headers)
}

fn check_chain(headers: &Headers, meta: &StoreMeta) -> Result<(), OpenError> {
    let newest = headers.iter().rev().find_map(|(number, header)| header.is_ok().then_some(number));
    let mut number = *newest.ok_or(OpenError::NoSegments)?;
    loop {
        let (header, file_bytes) = match headers.get(&number) {
            Some(Ok(found)) => found,
            Some(Err(why)) => return Err(OpenError::header(number, *why)),
            None => return Err(OpenError::Missing { segment: number }),
        };
        let refuse = |why: String| Err(OpenError::Header { segment: number, why });
        if header.number != number {
            return refuse(format!("its header says that it is segment {}", header.number));
        }
        if header.store_id != meta.store_id {
            return refuse("it belongs to another store".to_owned());
        }
        if header.kind == SegmentKind::Raw && *file_bytes != header.segment_bytes {
            return refuse(format!(
                "its file has {file_bytes} bytes, not {}",
                header.segment_bytes
            ));
        }
        let previous = header.previous;
        if previous >= number {
            return refuse(format!("its header says that it follows segment {previous}"));
        }
        // The first segment of all, or retention has removed what was before it.
        if previous == 0 || headers.range(..=previous).next().is_none() {
            return Ok(());
        }
        number = previous;
    }
}

/// Reads the newest segment and what is prepared behind it into the kernel's cache.
fn read_end(disk: &dyn Disk, headers: &Headers) {
    let unused = headers.values().rev().take_while(|header| header.is_err()).count();
    for number in headers.keys().rev().take(unused + 1) {
        // A file that has gone needs no reading.
        let _ = disk.open(&segment_file_name(*number)).and_then(|file| read_whole(&*file));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use crate::{FrameKind, Journal, Options, SystemClock};
    use std::sync::Arc;

    /// A journal of several segments, still open.
    fn journal(dir: &std::path::Path) -> (Journal, Arc<RealDisk>) {
        let disk = Arc::new(RealDisk::open(dir).expect("open"));
        let options = Options {
            segment_bytes: 32 << 10,
            pending_bytes_max: 4 << 10,
            reserve_bytes: 0,
            ..Options::default()
        };
        let opened = Journal::open(disk.clone(), Arc::new(SystemClock::new()), options);
        let (journal, _) = opened.expect("opens");
        for _ in 0..40 {
            let mut appender = journal.appender().expect("open");
            let append =
                appender.append(FrameKind::Usage, 0, |_, payload| payload.extend([7; 2000]));
            append.expect("there is room");
            drop(appender);
            journal.commit_once().expect("commits");
            journal.housekeep_once();
        }
        (journal, disk)
    }

    fn damage(dir: &std::path::Path, number: u64) {
        let path = dir.join(segment_file_name(number));
        let mut bytes = std::fs::read(&path).expect("it is there");
        bytes[100] ^= 1;
        std::fs::write(path, bytes).expect("written");
    }

    #[test]
    fn a_journal_in_use_is_examined_and_damage_in_it_found() {
        let dir = tempfile::tempdir().expect("a folder");
        let (journal, disk) = journal(dir.path());
        let found = examine_beside_writer(&*disk).expect("it is sound");
        assert_eq!(&found, journal.meta());
        // A segment that is about to be used is not judged.
        let newest = journal.status().segments as u64;
        std::fs::write(dir.path().join(segment_file_name(newest + 2)), [1; 100]).expect("written");
        examine_beside_writer(&*disk).expect("it is sound");

        damage(dir.path(), 2);
        let refused = examine_beside_writer(&*disk).expect_err("segment 2 is damaged");
        assert!(matches!(refused, OpenError::Header { segment: 2, .. }), "{refused}");
        damage(dir.path(), 2);
        examine_beside_writer(&*disk).expect("it is sound again");
        std::fs::rename(
            dir.path().join(segment_file_name(2)),
            dir.path().join(segment_file_name(1)),
        )
        .expect("renamed");
        let refused = examine_beside_writer(&*disk).expect_err("segment 2 is missing");
        assert!(matches!(refused, OpenError::Missing { segment: 2 }), "{refused}");
    }
}
