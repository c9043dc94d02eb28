//! The simulated disk does the harm it promises, and no other.

use super::*;

fn content(disk: &SimDisk, name: &str) -> Option<Vec<u8>> {
    let file = disk.open(name).ok()?;
    let mut bytes = vec![0; usize::try_from(file.len().expect("alive")).expect("small")];
    file.read_exact_at(&mut bytes, 0).expect("within the file");
    Some(bytes)
}

/// A disk with a durable file `a` of 4096 ones.
fn disk_with_file(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    let file = disk.create("a").expect("create");
    file.write_all_at(&[1; 4096], 0).expect("write");
    file.sync_data().expect("sync");
    disk.sync_dir().expect("sync");
    disk
}

/// How many of 200 seeds satisfy `found`.
fn count(found: impl Fn(u64) -> bool) -> usize {
    (0..200).filter(|&seed| found(seed)).count()
}

#[test]
fn what_was_synced_survives_every_crash() {
    for seed in 0..200 {
        let disk = disk_with_file(seed);
        disk.crash(if seed % 2 == 0 { Crash::Power } else { Crash::Kill });
        assert_eq!(content(&disk, "a"), Some(vec![1; 4096]), "seed {seed}");
    }
}

#[test]
fn unsynced_sectors_survive_in_any_combination() {
    let overwrite = |seed| {
        let disk = disk_with_file(seed);
        disk.open("a").expect("open").write_all_at(&[2; 4096], 0).expect("write");
        disk.crash(Crash::Power);
        content(&disk, "a").expect("its name is durable")
    };
    assert!(count(|seed| overwrite(seed) == vec![1; 4096]) > 5, "lost whole");
    assert!(count(|seed| overwrite(seed) == vec![2; 4096]) > 5, "kept whole");
    let later_only = |seed| {
        let bytes = overwrite(seed);
        bytes[0] == 1 && bytes[4095] == 2
    };
    assert!(count(later_only) > 5, "a later sector kept, an earlier one lost");
    let torn = |seed: u64| overwrite(seed).chunks(512).any(|sector| sector[0] != sector[511]);
    assert!(count(torn) > 5, "torn within a sector");
}

#[test]
fn a_kill_keeps_the_page_cache() {
    for seed in 0..200 {
        let disk = disk_with_file(seed);
        disk.open("a").expect("open").write_all_at(&[2; 4096], 0).expect("write");
        disk.crash(Crash::Kill);
        assert_eq!(content(&disk, "a"), Some(vec![2; 4096]), "seed {seed}");
    }
}

#[test]
fn a_failed_sync_loses_data_that_the_next_one_claims_to_have() {
    let lost = |seed| {
        let disk = disk_with_file(seed);
        let file = disk.open("a").expect("open");
        file.write_all_at(&[2; 4096], 0).expect("write");
        disk.fail_sync_in(0);
        assert_eq!(file.sync_data().map_err(|error| error.raw_os_error()), Err(Some(5)));
        file.sync_data().expect("the kernel holds the pages for clean");
        assert_eq!(content(&disk, "a"), Some(vec![2; 4096]), "readers see the page cache");
        disk.crash(Crash::Power);
        content(&disk, "a") != Some(vec![2; 4096])
    };
    assert!(count(lost) > 50);
}

#[test]
fn names_that_were_not_synced_come_and_go() {
    let rename = |seed| {
        let disk = disk_with_file(seed);
        disk.create("b").expect("create");
        disk.rename("b", "c").expect("rename");
        disk.remove("a").expect("remove");
        disk.crash(Crash::Power);
        disk.list().expect("alive")
    };
    for (names, why) in [
        (vec!["a"], "nothing kept"),
        (vec!["a", "b"], "created only"),
        (vec!["a", "c"], "created and renamed"),
        (vec!["c"], "all kept"),
        (vec![], "only the removal kept"),
    ] {
        assert!(count(|seed| rename(seed) == names) > 5, "{why}");
    }
    let both = |seed| rename(seed).iter().filter(|name| *name != "a").count() > 1;
    assert_eq!(count(both), 0, "a rename is atomic");
}

#[test]
fn a_file_that_grew_may_have_any_length() {
    let grown = |seed| {
        let disk = disk_with_file(seed);
        disk.open("a").expect("open").write_all_at(&[2; 4096], 4096).expect("write");
        disk.crash(Crash::Power);
        content(&disk, "a").expect("its name is durable").len()
    };
    assert!(count(|seed| grown(seed) == 4096) > 5);
    assert!(count(|seed| grown(seed) == 8192) > 5);
    assert!(count(|seed| (4097..8192).contains(&grown(seed))) > 5);
}

#[test]
fn a_full_disk_refuses_to_grow_and_nothing_else() {
    let disk = disk_with_file(1);
    disk.set_capacity(6000);
    let file = disk.open("a").expect("open");
    file.write_all_at(&[3; 4096], 0).expect("nothing grows");
    let refused = file.write_all_at(&[3; 4096], 4096).map_err(|error| error.kind());
    assert_eq!(refused, Err(io::ErrorKind::StorageFull));
    assert!(file.len().expect("alive") <= 6000);
    let free_bytes = 6000 - file.len().expect("alive");
    assert_eq!(disk.space().expect("alive"), Space { free_bytes, total_bytes: 6000 });
}

#[test]
fn a_stopped_machine_answers_nothing_until_it_is_started_again() {
    let disk = disk_with_file(1);
    let file = disk.open("a").expect("open");
    let lock = disk.lock("lock").expect("free");
    assert!(disk.lock("lock").is_err(), "held");
    disk.halt_in(1);
    file.write_all_at(&[2], 0).expect("the one before");
    file.sync_data().expect_err("stopped here");
    assert!(disk.is_halted() && disk.list().is_err());
    disk.crash(Crash::Kill);
    file.len().expect_err("a handle of an earlier life");
    let again = disk.lock("lock").expect("released by the crash");
    drop(lock);
    assert!(disk.lock("lock").is_err(), "an earlier life's lock releases nothing");
    drop(again);
}

#[test]
fn a_lying_sync_is_no_sync() {
    let lost = |seed, lie| {
        let disk = SimDisk::new(seed);
        disk.set_lie(lie);
        let file = disk.create("a").expect("create");
        file.write_all_at(&[1; 4096], 0).expect("write");
        file.sync_data().expect("sync");
        disk.sync_dir().expect("sync");
        disk.crash(Crash::Power);
        content(&disk, "a") != Some(vec![1; 4096])
    };
    assert_eq!(count(|seed| lost(seed, Lie::None)), 0);
    assert!(count(|seed| lost(seed, Lie::Data)) > 50);
    assert!(count(|seed| lost(seed, Lie::Directory)) > 50);
}
