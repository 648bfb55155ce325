//! What a loss of power does.

use std::collections::BTreeSet;

use super::*;

/// What is left of a disk in many losses of power.
fn losses(disk: &Disk) -> impl Iterator<Item = (u64, Disk)> {
    (0..400).map(|seed| {
        let copy = disk.copy();
        copy.power_off(&mut random(seed));
        (seed, copy)
    })
}

/// All that can be left of one file.
fn left(disk: &Disk, name: &str) -> BTreeSet<Vec<u8>> {
    losses(disk).map(|(_, disk)| disk.seen().remove(name).expect("its name is safe")).collect()
}

/// Which sectors have changed.
fn changed(old: &[u8], new: &[u8]) -> Vec<bool> {
    old.chunks(512).zip(new.chunks(512)).map(|(old, new)| old != new).collect()
}

#[test]
fn what_is_safe_is_there() {
    let disk = Disk::default();
    safe_file(&disk, "a", &sectors(9));
    for (seed, after) in losses(&disk) {
        assert_eq!(after.seen(), disk.seen(), "seed {seed}");
        assert_eq!((after.safe(), after.damaged()), (disk.safe(), vec![]), "seed {seed}");
    }
}

#[test]
fn a_later_sector_survives_while_an_earlier_one_is_lost_and_the_reverse() {
    let disk = Disk::default();
    let file = safe_file(&disk, "a", &sectors(2));
    file.write_at(0, &[7; 512]).unwrap();
    file.write_at(512, &[7; 512]).unwrap();
    let patterns: BTreeSet<Vec<bool>> =
        left(&disk, "a").iter().map(|bytes| changed(&sectors(2), bytes)).collect();
    assert_eq!(patterns.len(), 4, "none, all, and one of both: {patterns:?}");
}

#[test]
fn a_sector_is_as_any_of_the_writes_since_the_sync_left_it() {
    let disk = Disk::default();
    let file = safe_file(&disk, "a", b"0");
    for text in ["1", "2", "3", "4", "5"] {
        file.write_at(0, text.as_bytes()).unwrap();
    }
    let found: Vec<Vec<u8>> = left(&disk, "a").into_iter().collect();
    assert_eq!(found, [b"0", b"2", b"3", b"4", b"5"], "the last four are tried");
}

#[test]
fn at_most_one_sector_of_a_file_is_torn_and_what_did_not_change_stays() {
    let disk = Disk::default();
    let file = safe_file(&disk, "a", &[1; 1_024]);
    // The first byte of each sector does not change.
    file.write_at(1, &[2; 511]).unwrap();
    file.write_at(513, &[2; 511]).unwrap();
    let (mut begins_new, mut begins_old) = (0, 0);
    for (seed, _) in losses(&disk) {
        let copy = disk.copy();
        let loss = copy.power_off(&mut random(seed));
        let bytes = &copy.seen()["a"];
        let is_torn = |sector: &&[u8]| sector[1..].contains(&1) && sector[1..].contains(&2);
        let torn: Vec<&[u8]> = bytes.chunks(512).filter(is_torn).collect();
        assert!(torn.len() == loss.torn.len() && torn.len() <= 1, "seed {seed}");
        assert!(bytes.chunks(512).all(|sector| sector[0] == 1), "seed {seed}");
        for sector in torn {
            begins_new += u32::from(sector[1] == 2);
            begins_old += u32::from(sector[1] == 1);
            let turns = sector[1..].windows(2).filter(|pair| pair[0] != pair[1]).count();
            assert_eq!(turns, 1, "one part is new, and one is old");
        }
    }
    assert!(begins_new > 20 && begins_old > 20, "{begins_new} {begins_old}");
}

#[test]
fn a_file_that_grew_is_short_or_has_zeros() {
    let disk = Disk::default();
    let file = safe_file(&disk, "a", &[1; 100]);
    file.write_at(100, &[2; 1_900]).unwrap();
    let found = left(&disk, "a");
    let has = |what: &dyn Fn(&Vec<u8>) -> bool| found.iter().any(what);
    assert!(has(&|bytes| bytes.len() == 100) && has(&|bytes| bytes.len() == 2_000));
    assert!(has(&|bytes| (101..2_000).contains(&bytes.len())));
    assert!(has(&|bytes| bytes.len() > 600 && bytes[512..600] == [0; 88]), "a hole");
    assert!(has(&|bytes| bytes.len() == 2_000 && bytes[100..] == [2; 1_900]), "all of it");
    assert!(found.iter().all(|bytes| bytes[..100] == [1; 100]));
    assert!(found.iter().all(|bytes| bytes[100..].iter().all(|byte| [0, 2].contains(byte))));
}

#[test]
fn a_name_that_was_not_synced_may_vanish_though_its_bytes_were() {
    let disk = Disk::default();
    let file = disk.create("a").unwrap();
    file.write_at(0, b"text").unwrap();
    file.sync().unwrap();
    let found: BTreeSet<Option<Vec<u8>>> =
        losses(&disk).map(|(_, disk)| disk.seen().remove("a")).collect();
    assert_eq!(found, [None, Some(b"text".to_vec())].into());
}

#[test]
fn changes_of_names_survive_in_their_order() {
    let disk = Disk::default();
    safe_file(&disk, "old", b"");
    disk.create("new").unwrap();
    disk.rename("old", "older").unwrap();
    disk.remove("new").unwrap();
    disk.create("last").unwrap();
    let found: BTreeSet<String> =
        losses(&disk).map(|(_, disk)| disk.names().unwrap().join(" ")).collect();
    let wanted = ["old", "new old", "new older", "older", "last older"];
    assert_eq!(found, wanted.map(String::from).into());
}

#[test]
fn a_file_that_took_a_name_without_a_sync_may_be_found_empty() {
    let disk = Disk::default();
    safe_file(&disk, "a", b"old");
    disk.create("a.new").unwrap().write_at(0, b"new").unwrap();
    disk.rename("a.new", "a").unwrap();
    disk.sync_names().unwrap();
    let found = left(&disk, "a");
    assert!(found.contains(&b""[..]) && found.contains(&b"\0\0\0"[..]), "{found:?}");
    assert!(!found.contains(&b"old"[..]), "the old one is gone");
}

#[test]
fn files_from_before_are_dead() {
    let disk = Disk::default();
    let file = safe_file(&disk, "a", b"text");
    disk.power_off(&mut random(1));
    file.sync().unwrap_err();
    file.read_at(0, &mut [0]).unwrap_err();
    disk.open("a").unwrap().sync().unwrap();
}

#[test]
fn a_seed_gives_the_same_bytes_again() {
    let after = |seed: u64| {
        let disk = Disk::default();
        let mut random = random(seed);
        let file = safe_file(&disk, "a", &sectors(30));
        file.write_at(700, &[7; 9_000]).unwrap();
        safe_file(&disk, "b", &sectors(3)).write_at(0, &[8; 5_000]).unwrap();
        disk.fail_next_sync(&mut random);
        file.sync().unwrap_err();
        disk.misdirect_next_write(&mut random);
        file.write_at(9_000, &[9; 600]).unwrap();
        file.sync().unwrap();
        file.write_at(0, &[10; 4_000]).unwrap();
        let loss = disk.power_off(&mut random);
        disk.flip_bit(&mut random).unwrap();
        disk.swap_sectors(&mut random).unwrap();
        (loss, disk.seen(), disk.damage(), disk.damaged(), disk.counts())
    };
    for seed in 0..50 {
        assert_eq!(after(seed), after(seed), "seed {seed}");
    }
    assert_ne!(after(1), after(2));
}
