//! What a process may rely on while nothing goes wrong.

use std::io::ErrorKind;

use super::*;

fn kind<T>(done: std::io::Result<T>) -> ErrorKind {
    done.map(drop).unwrap_err().kind()
}

#[test]
fn files_have_plain_names_and_are_listed_in_order() {
    let disk = Disk::default();
    for name in ["", ".", "..", "a/b", "a\0", &"n".repeat(256)] {
        assert_eq!(kind(disk.create(name)), ErrorKind::InvalidFilename, "{name:?}");
    }
    safe_file(&disk, "b", b"first");
    safe_file(&disk, "a", b"second");
    assert_eq!(disk.names().unwrap(), ["a", "b"]);
    assert_eq!(kind(disk.create("b")), ErrorKind::AlreadyExists);
    assert_eq!(kind(disk.open("c")), ErrorKind::NotFound);
    assert_eq!(kind(disk.rename("c", "d")), ErrorKind::NotFound);
    assert_eq!(kind(disk.rename("a", "c/d")), ErrorKind::InvalidFilename);
    assert_eq!(kind(disk.remove("c")), ErrorKind::NotFound);
    disk.rename("a", "a").unwrap();
    disk.rename("b", "a").unwrap();
    assert_eq!(disk.seen(), [("a".to_string(), b"first".to_vec())].into());
}

#[test]
fn a_file_that_is_open_outlives_its_name() {
    let disk = Disk::default();
    let file = safe_file(&disk, "a", b"old");
    disk.remove("a").unwrap();
    disk.sync_names().unwrap();
    let next = disk.create("a").unwrap();
    file.write_at(3, b"er").unwrap();
    let mut bytes = [7; 9];
    assert_eq!(file.read_at(0, &mut bytes).unwrap(), 5);
    assert_eq!(&bytes, b"older\x07\x07\x07\x07");
    assert_eq!(file.read_at(u64::MAX, &mut bytes).unwrap(), 0);
    assert_eq!((file.length().unwrap(), next.length().unwrap()), (5, 0));
    let with_both = disk.used_bytes();
    drop(file);
    assert!(disk.used_bytes() < with_both, "nobody can reach it any more");
}

#[test]
fn no_file_grows_beyond_its_bound() {
    let file = Disk::default().create("a").unwrap();
    for at in [1 << 28, u64::MAX] {
        assert_eq!(kind(file.write_at(at, b"x")), ErrorKind::FileTooLarge);
    }
    file.write_at(u64::MAX, b"").unwrap_err();
    assert_eq!(file.length().unwrap(), 0);
}

#[test]
fn a_killed_process_leaves_what_it_wrote_and_its_files_are_dead() {
    let disk = Disk::default();
    let file = disk.create("a").unwrap();
    file.write_at(0, b"text").unwrap();
    disk.kill();
    assert_eq!(disk.seen()["a"], b"text");
    assert_eq!(disk.safe().len(), 0, "it is as safe as before");
    for done in [file.sync(), file.write_at(0, b"x"), file.length().map(drop)] {
        assert_eq!(kind(done), ErrorKind::Other);
    }
    let again = disk.open("a").unwrap();
    again.sync().unwrap();
    disk.sync_names().unwrap();
    assert_eq!(disk.safe()["a"], b"text");
}

#[test]
fn a_copy_is_another_disk_with_the_same_to_lose() {
    let disk = Disk::default();
    let file = safe_file(&disk, "a", &sectors(20));
    file.write_at(0, &[99; 20 * 512]).unwrap();
    disk.create("b").unwrap();
    let copy = disk.copy();
    assert_eq!((copy.seen(), copy.safe()), (disk.seen(), disk.safe()));
    assert_eq!(copy.power_off(&mut random(5)), disk.power_off(&mut random(5)));
    assert_eq!(copy.seen(), disk.seen());
    copy.remove("a").unwrap();
    assert!(disk.seen().contains_key("a"));
}

#[test]
fn it_counts_what_it_does() {
    let disk = Disk::default();
    let file = safe_file(&disk, "a", b"four");
    file.write_at(0, &sectors(4)).unwrap();
    disk.create("b").unwrap();
    let counts = disk.counts();
    assert_eq!((counts.written_bytes, counts.syncs, counts.name_syncs), (4 + 2_048, 1, 1));
    let lost = disk.power_off(&mut random(1));
    let counts = disk.counts();
    assert_eq!((counts.power_losses, counts.lost_names), (1, lost.names as u64));
    assert_eq!(counts.torn_sectors, lost.torn.len() as u64);
    assert!((0..=4).contains(&counts.lost_sectors));
}
