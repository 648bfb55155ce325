//! What every disk must keep: the tests of each run this.

use std::io::ErrorKind;

use super::disk::{Disk, DiskFile};

/// Runs all of it on a disk whose folder is empty, and leaves it empty.
///
/// # Panics
///
/// Where the disk does not keep to [`Disk`].
pub fn keeps(disk: &impl Disk) {
    assert_eq!(names(disk), [""; 0], "the folder is not empty");
    files_have_names(disk);
    bytes_are_where_they_were_written(disk);
    open_files_outlive_their_names(disk);
    assert_eq!(names(disk), [""; 0], "the folder is not empty any more");
}

fn names(disk: &impl Disk) -> Vec<String> {
    disk.names().expect("names")
}

fn content(file: &impl DiskFile) -> Vec<u8> {
    let mut bytes = vec![7; usize::try_from(file.length().expect("length")).expect("short") + 9];
    let count = file.read_at(0, &mut bytes).expect("read");
    assert!(bytes[count..].iter().all(|byte| *byte == 7), "more was touched than read");
    bytes.truncate(count);
    bytes
}

fn files_have_names(disk: &impl Disk) {
    let missing =
        |done: std::io::Result<()>| assert_eq!(done.unwrap_err().kind(), ErrorKind::NotFound);
    missing(disk.open("b").map(drop));
    missing(disk.remove("b"));
    missing(disk.rename("b", "a"));
    for (name, text) in [("b", "first"), ("a", "second")] {
        disk.create(name).expect("create").write_at(0, text.as_bytes()).expect("write");
    }
    assert_eq!(names(disk), ["a", "b"], "in order");
    let again = disk.create("b").map(drop).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    assert_eq!(content(&disk.open("b").expect("open")), b"first", "it was emptied");
    disk.rename("b", "c").expect("rename");
    assert_eq!(names(disk), ["a", "c"]);
    disk.rename("c", "a").expect("rename over another");
    assert_eq!(names(disk), ["a"]);
    assert_eq!(content(&disk.open("a").expect("open")), b"first");
    disk.sync_names().expect("sync");
    disk.remove("a").expect("remove");
    disk.sync_names().expect("sync");
    missing(disk.open("a").map(drop));
}

fn bytes_are_where_they_were_written(disk: &impl Disk) {
    let file = disk.create("bytes").expect("create");
    assert_eq!(content(&file), b"");
    file.sync().expect("an empty file can be synced");
    file.write_at(0, b"").expect("nothing can be written");
    file.write_at(3, b"de").expect("beyond the end");
    assert_eq!(content(&file), b"\0\0\0de");
    file.write_at(1, b"bc").expect("within");
    file.write_at(4, b"EFG").expect("over the end");
    assert_eq!(content(&file), b"\0bcdEFG");
    assert_eq!(file.length().expect("length"), 7);
    file.sync().expect("sync");
    let mut two = [0; 2];
    for (at, wanted) in [(2, &b"cd"[..]), (6, b"G"), (7, b""), (900, b"")] {
        let count = file.read_at(at, &mut two).expect("read");
        assert_eq!(&two[..count], wanted, "at {at}");
    }
    // More than a disk's sectors, its cache's pages, and one call of the system may take.
    let large: Vec<u8> =
        (0..100_003_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
    file.write_at(4_093, &large).expect("a large piece");
    let other = disk.open("bytes").expect("open again");
    let whole = content(&other);
    assert_eq!(whole.len(), 4_093 + large.len());
    assert!(whole[7..4_093].iter().all(|byte| *byte == 0), "a gap is of zeros");
    assert!(whole[4_093..] == large, "a large piece is as it was");
    file.write_at(0, b"A").expect("write");
    assert_eq!(content(&other)[..2], *b"Ab", "two that are open are one file");
    disk.remove("bytes").expect("remove");
}

fn open_files_outlive_their_names(disk: &impl Disk) {
    let file = disk.create("old").expect("create");
    file.write_at(0, b"one").expect("write");
    disk.rename("old", "new").expect("rename");
    file.write_at(3, b"two").expect("its name changed, and no more");
    assert_eq!(content(&disk.open("new").expect("open")), b"onetwo");
    disk.remove("new").expect("remove");
    file.write_at(6, b"six").expect("its name is gone, and no more");
    assert_eq!(content(&file), b"onetwosix");
    file.sync().expect("sync");
    let next = disk.create("new").expect("the name is free");
    assert_eq!(content(&next), b"", "another file has it");
    disk.remove("new").expect("remove");
}
