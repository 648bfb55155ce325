//! What goes wrong with the disk itself.

use std::io::ErrorKind;

use super::*;
use crate::disk::{Damage, Place};

fn place(file: &str, at: u64, length: u64) -> Place {
    Place { file: file.to_string(), at, length }
}

/// The disk after a loss of power that has nothing to lose.
fn after_power_loss(disk: &Disk) -> Disk {
    let copy = disk.copy();
    copy.power_off(&mut random(0));
    copy
}

#[test]
fn a_bit_at_rest_flips_and_is_told() {
    for seed in 0..100 {
        let disk = Disk::default();
        safe_file(&disk, "a", &sectors(3));
        safe_file(&disk, "b", &[9; 100]).write_at(0, b"x").unwrap();
        let before = disk.seen();
        let Some(Damage::Flipped { place, bit }) = disk.flip_bit(&mut random(seed)) else {
            panic!("something is at rest");
        };
        assert_eq!(place.file, "a", "the sector of b is on its way");
        let at = usize::try_from(place.at).unwrap();
        let mut wanted = before.clone();
        wanted.get_mut("a").unwrap()[at] ^= 1 << bit;
        assert_eq!((disk.seen(), &disk.safe()["a"]), (wanted.clone(), &wanted["a"]));
        assert_eq!(disk.damaged(), std::slice::from_ref(&place));
        assert_eq!(disk.damage(), [Damage::Flipped { place, bit }]);
    }
    assert_eq!(Disk::default().flip_bit(&mut random(0)), None);
}

#[test]
fn only_what_is_at_rest_can_be_named_for_a_flip() {
    let disk = Disk::default();
    let file = safe_file(&disk, "a", &sectors(2));
    let flip = |name: &str, at, bit| disk.flip_bit_at(name, at, bit).map_err(|error| error.kind());
    assert_eq!(flip("b", 0, 0), Err(ErrorKind::NotFound));
    for (at, bit) in [(1_024, 0), (u64::MAX, 0), (0, 8)] {
        assert_eq!(flip("a", at, bit), Err(ErrorKind::InvalidInput));
    }
    file.write_at(0, b"x").unwrap();
    assert_eq!(flip("a", 9, 0), Err(ErrorKind::InvalidInput), "it is on its way");
    assert_eq!(flip("a", 600, 7).unwrap().to_string(), "bit 7 of 1 byte at 600 of a flips");
    assert_eq!(disk.seen()["a"][600], 2 ^ 128);
}

#[test]
fn damage_lasts_until_its_bytes_are_written_again() {
    let disk = Disk::default();
    let file = safe_file(&disk, "a", &[1; 100]);
    disk.flip_bit_at("a", 10, 0).unwrap();
    file.write_at(100, &[1; 100]).unwrap();
    file.sync().unwrap();
    assert_eq!(disk.damaged(), [place("a", 10, 1)], "a write beside it leaves it as it is");
    assert!(disk.is_damaged("a", &(0..11)) && disk.is_damaged("a", &(10..200)));
    assert!(!disk.is_damaged("a", &(0..10)) && !disk.is_damaged("a", &(11..200)));
    assert!(!disk.is_damaged("b", &(0..200)));
    disk.rename("a", "b").unwrap();
    assert_eq!(disk.damaged(), [place("b", 10, 1)], "it goes with the file");
    file.write_at(10, &[1]).unwrap();
    assert!(disk.is_damaged("b", &(0..200)), "not before it is safe");
    file.sync().unwrap();
    assert_eq!((disk.damaged(), disk.damage().len()), (vec![], 1));
}

#[test]
fn two_sectors_at_rest_change_places() {
    let mut between_files = 0;
    for seed in 0..100 {
        let disk = Disk::default();
        safe_file(&disk, "a", &sectors(3));
        safe_file(&disk, "b", &[9; 1_024]);
        let before = disk.seen();
        let Some(Damage::Swapped(one, other)) = disk.swap_sectors(&mut random(seed)) else {
            panic!("there are some that differ");
        };
        let bytes = |from: &std::collections::BTreeMap<String, Vec<u8>>, place: &Place| {
            let at = usize::try_from(place.at).unwrap();
            from[&place.file][at..at + 512].to_vec()
        };
        let after = disk.seen();
        assert_eq!(bytes(&after, &one), bytes(&before, &other), "seed {seed}");
        assert_eq!(bytes(&after, &other), bytes(&before, &one), "seed {seed}");
        assert!(disk.is_damaged(&one.file, &(one.at..one.at + 1)));
        assert_eq!(disk.damaged().iter().map(|place| place.length).sum::<u64>(), 1_024);
        between_files += u32::from(one.file != other.file);
    }
    assert!((10..90).contains(&between_files));
    let disk = Disk::default();
    safe_file(&disk, "a", &[1; 1_024]);
    assert_eq!(disk.swap_sectors(&mut random(0)), None, "they are the same");
}

#[test]
fn a_misdirected_write_is_missing_in_one_place_and_overwrites_another() {
    let (mut same_file, mut other_file) = (0, 0);
    for seed in 0..100 {
        let disk = Disk::default();
        let file = safe_file(&disk, "a", &sectors(4));
        safe_file(&disk, "b", &[9; 700]);
        disk.misdirect_next_write(&mut random(seed));
        file.write_at(512, &[77; 512]).unwrap();
        assert_eq!(disk.damage(), [], "nothing was said to be safe");
        file.sync().unwrap();
        let [Damage::Misdirected { meant, hit: Some(hit) }] = &disk.damage()[..] else {
            panic!("{:?}", disk.damage());
        };
        assert_eq!(*meant, place("a", 512, 512));
        assert_eq!(disk.seen()["a"][512..1_024], [77; 512], "the cache has it");
        let after = after_power_loss(&disk);
        assert_eq!(after.seen()["a"][512..1_024], [2; 512]);
        let at = usize::try_from(hit.at).unwrap();
        let end = at + usize::try_from(hit.length).unwrap();
        assert!(after.seen()[&hit.file][at..end].iter().all(|byte| *byte == 77));
        assert!(hit.at % 512 == 0 && hit != meant);
        for place in [meant, hit] {
            assert!(after.is_damaged(&place.file, &(place.at..place.at + place.length)));
        }
        same_file += u32::from(hit.file == "a");
        other_file += u32::from(hit.file == "b");
    }
    assert!(same_file > 10 && other_file > 10, "{same_file} {other_file}");
}

#[test]
fn a_misdirected_write_of_the_only_sector_is_only_missing() {
    let disk = Disk::default();
    let file = disk.create("a").unwrap();
    disk.misdirect_next_write(&mut random(1));
    file.write_at(0, b"text").unwrap();
    file.sync().unwrap();
    assert_eq!(disk.damage(), [Damage::Misdirected { meant: place("a", 0, 4), hit: None }]);
    assert_eq!(disk.damaged(), [place("a", 0, 4)]);
}

#[test]
fn a_lying_disk_loses_a_write_that_it_said_is_safe() {
    let disk = Disk::default();
    let file = safe_file(&disk, "a", &sectors(3));
    disk.lose_next_write();
    file.write_at(512, &[7; 512]).unwrap();
    file.write_at(1_024, &[8; 512]).unwrap();
    file.sync().unwrap();
    assert_eq!(disk.damage(), [Damage::Lost(place("a", 512, 512))]);
    assert_eq!(disk.seen()["a"], [[1; 512], [7; 512], [8; 512]].concat());
    let wanted = [[1; 512], [2; 512], [8; 512]].concat();
    assert_eq!(after_power_loss(&disk).seen()["a"], wanted);
    disk.drop_cache();
    assert_eq!(disk.seen()["a"], wanted, "so it is when the cache is gone");
    assert_eq!(disk.damaged(), [place("a", 512, 512)]);
}

#[test]
fn what_is_lost_before_the_sync_is_no_damage() {
    for seed in 0..50 {
        let disk = Disk::default();
        let file = safe_file(&disk, "a", &sectors(3));
        disk.lose_next_write();
        file.write_at(0, &[7; 512]).unwrap();
        disk.power_off(&mut random(seed));
        assert_eq!((&disk.seen()["a"], disk.damaged()), (&sectors(3), vec![]));
    }
}

#[test]
fn a_dropped_cache_keeps_what_is_still_to_be_written() {
    let disk = Disk::default();
    let file = safe_file(&disk, "a", &sectors(2));
    file.write_at(1_000, &[7; 1_000]).unwrap();
    let before = disk.seen();
    disk.drop_cache();
    assert_eq!(disk.seen(), before);
}

#[test]
fn a_full_disk_takes_the_part_for_which_there_is_room() {
    let disk = Disk::default();
    let file = safe_file(&disk, "a", &[1; 100]);
    assert_eq!(disk.used_bytes(), 1_024, "one sector for the file, and one for its bytes");
    disk.set_capacity(Some(1_024 + 512));
    let full = |done: std::io::Result<()>| done.unwrap_err().kind() == ErrorKind::StorageFull;
    assert!(full(file.write_at(100, &[2; 2_000])));
    assert_eq!(disk.seen()["a"], [vec![1; 100], vec![2; 924]].concat());
    assert!(full(disk.create("b").map(drop)) && !disk.seen().contains_key("b"));
    file.write_at(0, &[3; 1_024]).expect("it needs no room");
    assert!(full(file.write_at(5_000, b"x")));
    assert_eq!((file.length().unwrap(), disk.counts().refused), (1_024, 3));
    file.sync().expect("what is there can be made safe");
    disk.set_capacity(None);
    file.write_at(1_024, &[2; 2_000]).unwrap();
    disk.create("b").unwrap();
}

#[test]
fn removed_files_make_room_when_no_power_loss_can_bring_them_back() {
    let disk = Disk::default();
    drop(safe_file(&disk, "a", &sectors(4)));
    disk.set_capacity(Some(disk.used_bytes()));
    disk.remove("a").unwrap();
    assert_eq!(disk.create("b").unwrap_err().kind(), ErrorKind::StorageFull);
    disk.sync_names().unwrap();
    disk.create("b").unwrap();
}

/// The trap that PostgreSQL's developers met: to sync again is not enough.
#[test]
fn after_a_failed_sync_the_next_one_says_that_all_is_safe_and_it_is_not() {
    let mut partly = 0;
    for seed in 0..50 {
        let disk = Disk::default();
        let file = safe_file(&disk, "a", &sectors(3));
        disk.fail_next_sync(&mut random(seed));
        file.write_at(0, &[7; 1_536]).unwrap();
        assert_eq!(file.sync().unwrap_err().kind(), ErrorKind::Other);
        assert_eq!(disk.damaged(), [], "nobody was told that it is safe");
        file.sync().expect("the second one succeeds");
        assert_eq!(disk.seen()["a"], [7; 1_536], "reads still show it");
        let after = after_power_loss(&disk).seen().remove("a").unwrap();
        let missing = after.iter().filter(|byte| **byte != 7).count();
        assert!(missing > 0, "seed {seed}: it is not on the platter");
        assert_eq!(disk.damaged().iter().map(|place| place.length).sum::<u64>(), missing as u64);
        assert!(matches!(disk.damage()[..], [Damage::Dropped(_), ..]));
        partly += u32::from(missing < 1_536);
        file.write_at(0, &[7; 1_536]).unwrap();
        file.sync().unwrap();
        assert_eq!(after_power_loss(&disk).seen()["a"], [7; 1_536], "it was written again");
        assert_eq!((disk.damaged(), disk.counts().failed_syncs), (vec![], 1));
    }
    assert!((10..50).contains(&partly), "some sectors arrive: {partly}");
}

#[test]
fn a_write_that_a_failed_sync_dropped_comes_back_from_no_power_loss() {
    for seed in 0..50 {
        let disk = Disk::default();
        let file = safe_file(&disk, "a", &sectors(1));
        disk.fail_next_sync(&mut random(seed));
        file.write_at(0, &[7; 600]).unwrap();
        file.sync().unwrap_err();
        disk.power_off(&mut random(seed));
        let bytes = &disk.seen()["a"];
        let whole = |sector: &[u8]| [1, 7, 0].iter().any(|of| sector.iter().all(|b| b == of));
        assert!(bytes.chunks(512).all(whole), "seed {seed}: the failed sync tore nothing");
        assert_eq!(disk.damaged(), []);
    }
}

#[test]
fn names_are_not_safe_after_a_sync_of_them_failed_and_a_later_one_helps() {
    let disk = Disk::default();
    disk.create("a").unwrap();
    disk.fail_next_sync(&mut random(1));
    disk.sync_names().unwrap_err();
    assert_eq!(disk.safe().len(), 0);
    disk.sync_names().unwrap();
    assert_eq!(disk.safe().len(), 1);
}

#[test]
fn a_healed_disk_has_room_and_no_delay_and_what_was_to_go_wrong_does_not() {
    let disk = Disk::default();
    disk.set_capacity(Some(0));
    disk.set_latency_us(90);
    disk.lose_next_write();
    disk.fail_next_sync(&mut random(1));
    assert_eq!(disk.latency_us(), 90);
    disk.heal();
    safe_file(&disk, "a", b"text");
    assert_eq!((disk.latency_us(), disk.damage(), disk.damaged()), (0, vec![], vec![]));
}
