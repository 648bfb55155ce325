//! The journal on real files: what is written is read, and what is damaged is told.

use std::{collections::BTreeMap, fs, path::Path};

use proptest::prelude::*;

use super::{
    Error,
    damage::{Damage, name_of},
    folder::Folder,
    format::{PAGE, Pending},
    log::{Log, Settings},
    scan::scan,
};
use crate::core::{
    env::Entry,
    record::{Record, Version},
    time::Timestamp,
    types::{Incarnation, Key, NodeId, Slot, Value},
};

const FOLDER: u64 = 0xf01d;
const SEGMENT_PAGES: u64 = 8;

fn settings() -> Settings {
    Settings { segment_bytes: SEGMENT_PAGES * PAGE as u64 }
}

fn record(key: u64, time: u64) -> Entry {
    let version = Version { timestamp: Timestamp(time), node: NodeId(1) };
    let value = Some(Value::trusted(&format!("value {time} of {key}")));
    Entry::Record(Key::trusted(&format!("key {key}")), Record { version, value })
}

fn open(path: &Path) -> Result<(Log<Folder>, Vec<Entry>), Error> {
    let mut entries = Vec::new();
    let folder = Folder::open(path).unwrap();
    let log = Log::open(folder, settings(), FOLDER, |entry| entries.push(entry))?;
    Ok((log, entries))
}

/// Opens a journal that is damaged: what can be read, and what is damaged.
fn open_damaged(path: &Path) -> (Vec<Entry>, Vec<Damage>) {
    let mut entries = Vec::new();
    let folder = Folder::open(path).unwrap();
    match Log::open(folder, settings(), FOLDER, |entry| entries.push(entry)) {
        Err(Error::Damaged(damage)) => (entries, damage),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it passes for whole, with {} entries", entries.len()),
    }
}

fn write(log: &mut Log<Folder>, entries: &[Entry]) {
    let mut pending = Pending::default();
    entries.iter().for_each(|entry| pending.push(entry));
    log.write(&mut pending).unwrap();
    assert!(pending.is_empty());
}

fn write_and_sync(log: &mut Log<Folder>, entries: &[Entry]) {
    write(log, entries);
    log.sync().unwrap();
}

/// A journal with so many batches of one record each.
fn written(path: &Path, batches: u64) -> Vec<Entry> {
    let (mut log, _) = open(path).unwrap();
    let entries: Vec<Entry> = (0..batches).map(|batch| record(batch, batch)).collect();
    entries.iter().for_each(|entry| write_and_sync(&mut log, std::slice::from_ref(entry)));
    entries
}

/// Changes a byte of a file.
fn flip(path: &Path, segment: u32, at: u64) {
    let path = path.join(name_of(segment));
    let mut bytes = fs::read(&path).unwrap();
    bytes[usize::try_from(at).unwrap()] ^= 0x10;
    fs::write(&path, bytes).unwrap();
}

/// Where a batch begins that is the n-th of a journal of batches of one page each.
fn place_of(batch: u64) -> (u32, u64) {
    let (segment, page) = ((batch - 1) / (SEGMENT_PAGES - 1), (batch - 1) % (SEGMENT_PAGES - 1));
    (u32::try_from(segment + 1).unwrap(), (page + 1) * PAGE as u64)
}

#[test]
fn what_was_written_is_read_as_often_as_it_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let mut all = Vec::new();
    for round in 0..5_u64 {
        let (mut log, entries) = open(folder.path()).unwrap();
        assert_eq!(entries, all);
        assert_eq!((log.opening(), log.folder()), (round + 1, FOLDER));
        for batch in 0..9 {
            let some: Vec<Entry> = (0..batch).map(|n| record(n, round * 100 + batch)).collect();
            write_and_sync(&mut log, &some);
            all.extend(some);
        }
    }
    assert_eq!(open(folder.path()).unwrap().1, all);
}

#[test]
fn an_entry_longer_than_a_segment_and_more_than_a_batch_holds_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path()).unwrap();
    let keys = |count: u64| (0..count).map(|n| Key::trusted(&format!("key {n}"))).collect();
    let long = Entry::Dropped(Slot(3), keys(20_000));
    let many: Vec<Entry> = (0..60_000).map(|n| record(n, n)).collect();
    write_and_sync(&mut log, std::slice::from_ref(&long));
    write_and_sync(&mut log, &many);
    let (_, entries) = open(folder.path()).unwrap();
    assert_eq!(entries.len(), 60_001);
    assert!(entries[0] == long && entries[1..] == many);
}

#[test]
fn what_was_not_synced_may_be_missing_and_the_rest_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let entries = written(folder.path(), 20);
    // The last batch is torn: nobody says that it was safe.
    let (segment, at) = place_of(20);
    flip(folder.path(), segment, at + 90);
    let (mut log, found) = open(folder.path()).unwrap();
    assert_eq!(found, entries[..19]);
    // Its number is given out again, and what is left of it never comes back.
    write_and_sync(&mut log, &[record(77, 77)]);
    drop(log);
    let (_, found) = open(folder.path()).unwrap();
    assert_eq!((&found[..19], &found[19..]), (&entries[..19], &[record(77, 77)][..]));
}

#[test]
fn later_batches_that_came_to_the_disk_first_do_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let entries = written(folder.path(), 3);
    let (mut log, _) = open(folder.path()).unwrap();
    let not_safe: Vec<Entry> = (10..13).map(|n| record(n, n)).collect();
    not_safe.iter().for_each(|entry| write(&mut log, std::slice::from_ref(entry)));
    drop(log);
    flip(folder.path(), 1, place_of(4).1 + 90);
    let (mut log, found) = open(folder.path()).unwrap();
    assert_eq!(found, entries);
    // Batch 4 once more, where the torn one was: batches 5 and 6 of before are whole, and of an earlier opening.
    write_and_sync(&mut log, &[record(77, 77)]);
    drop(log);
    let (_, found) = open(folder.path()).unwrap();
    assert_eq!(found[3..], [record(77, 77)]);
}

#[test]
fn what_was_safe_once_and_is_damaged_is_told_and_nothing_is_changed() {
    for (byte, is_of_entry) in [(0, false), (50, false), (80, true), (95, true)] {
        let folder = tempfile::tempdir().unwrap();
        let entries = written(folder.path(), 20);
        let (segment, at) = place_of(5);
        flip(folder.path(), segment, at + byte);
        let before = contents(folder.path());
        for _ in 0..2 {
            let (found, damage) = open_damaged(folder.path());
            assert_eq!(found, [&entries[..4], &entries[5..]].concat(), "what can be read is read");
            let wanted = match is_of_entry {
                true => {
                    let page = u32::try_from(at / PAGE as u64).unwrap();
                    Damage::Entries { batch: 5, at: (segment, page), entries: 1 }
                }
                false => Damage::Missing { batches: 5..=5, near: Some(segment) },
            };
            assert_eq!(damage, [wanted]);
        }
        assert!(contents(folder.path()) == before, "it was changed");
    }
}

fn contents(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    let name = |entry: &fs::DirEntry| entry.file_name().into_string().unwrap();
    files.map(|entry| (name(&entry), fs::read(entry.path()).unwrap())).collect()
}

#[test]
fn a_segment_that_is_gone_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 20);
    fs::remove_file(folder.path().join(name_of(2))).unwrap();
    let (found, damage) = open_damaged(folder.path());
    assert_eq!(found.len(), 13);
    assert_eq!(damage, [Damage::Missing { batches: 8..=14, near: Some(3) }]);
}

#[test]
fn a_batch_without_entries_says_that_the_last_one_was_safe() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 3);
    let (mut log, _) = open(folder.path()).unwrap();
    write_and_sync(&mut log, &[record(9, 9)]);
    // Says that batch 4 is safe; and is the last word where nothing new is to be said.
    write_and_sync(&mut log, &[]);
    drop(log);
    flip(folder.path(), 1, place_of(4).1 + 90);
    let (_, damage) = open_damaged(folder.path());
    assert_eq!(damage, [Damage::Entries { batch: 4, at: (1, 4), entries: 1 }]);
}

#[test]
fn segments_of_others_and_of_later_versions_are_refused() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    written(ours.path(), 20);
    let folder = Folder::open(theirs.path()).unwrap();
    let mut log = Log::open(folder, settings(), 0xbeef, |_| {}).unwrap();
    write_and_sync(&mut log, &[record(1, 1)]);
    drop(log);
    let refused = |path: &Path| open(path).map(drop).unwrap_err().to_string();
    fs::copy(theirs.path().join(name_of(1)), ours.path().join(name_of(9))).unwrap();
    assert!(refused(ours.path()).contains("segment-00000009 says that it is segment-00000001 of"));
    fs::remove_file(ours.path().join(name_of(9))).unwrap();
    fs::copy(ours.path().join(name_of(1)), ours.path().join(name_of(9))).unwrap();
    assert!(refused(ours.path()).contains("segment-00000009 says that it is segment-00000001 of"));
    fs::remove_file(ours.path().join(name_of(9))).unwrap();
    let head = super::format::SegmentHead { version: 2, folder: FOLDER, segment: 9 };
    fs::write(ours.path().join(name_of(9)), super::format::segment_head(head)).unwrap();
    assert!(refused(ours.path()).contains("has version 2 of the format"));
    fs::remove_file(ours.path().join(name_of(9))).unwrap();
    open(ours.path()).unwrap();
    // Not one that can be read.
    let nonsense = tempfile::tempdir().unwrap();
    fs::write(nonsense.path().join(name_of(1)), b"nonsense").unwrap();
    assert!(refused(nonsense.path()).contains("segment-00000001 is no segment of a journal"));
}

/// Cleans the oldest segment, with the latest record of each key of these.
fn clean(log: &mut Log<Folder>, latest: &BTreeMap<Key, Record>) -> bool {
    let mut pending = Pending::default();
    loop {
        let is_last = log.clean(|entry| {
            let Entry::Record(key, record) = &entry else { return };
            if latest.get(key) == Some(record) {
                pending.push(&entry);
            }
        });
        match is_last.unwrap() {
            None => return false,
            Some(false) => {}
            Some(true) => break,
        }
    }
    log.cleaned(&mut pending);
    log.write(&mut pending).unwrap();
    true
}

fn latest(entries: &[Entry]) -> BTreeMap<Key, Record> {
    let mut latest = BTreeMap::new();
    for entry in entries {
        if let Entry::Record(key, record) = entry {
            latest.insert(key.clone(), record.clone());
        }
    }
    latest
}

#[test]
fn cleaned_segments_are_used_again_and_nothing_that_counts_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path()).unwrap();
    let mut counts = BTreeMap::new();
    write_and_sync(&mut log, &[Entry::Opened(Incarnation(1)), Entry::ClockFloor(Timestamp(99))]);
    for round in 0..1_000 {
        let entry = record(round % 7, round);
        counts.extend(latest(std::slice::from_ref(&entry)));
        write(&mut log, &[entry, Entry::ClockFloor(Timestamp(round % 50))]);
        if round % 3 == 0 {
            log.sync().unwrap();
        }
        while log.used_bytes() > 3 * settings().segment_bytes && clean(&mut log, &counts) {
            log.sync().unwrap();
        }
    }
    log.sync().unwrap();
    let most = (3 + 2 + 1) * settings().segment_bytes;
    assert!(log.bytes() <= most, "{} bytes are more than {most}", log.bytes());
    assert!(fs::read_dir(folder.path()).unwrap().count() <= 6);
    drop(log);
    let (_, entries) = open(folder.path()).unwrap();
    assert_eq!(latest(&entries), counts);
    assert!(entries.contains(&Entry::Opened(Incarnation(1))));
    let floors = entries.iter().filter_map(|entry| match entry {
        Entry::ClockFloor(floor) => Some(floor.0),
        _ => None,
    });
    assert_eq!(floors.max(), Some(99), "the highest floor counts, not the latest");
}

#[test]
fn a_state_at_the_beginning_of_a_write_that_goes_over_segments_outlives_their_cleaning() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path()).unwrap();
    let member = Entry::Member(NodeId(7));
    let records: Vec<Entry> = (0..60_000).map(|n| record(n % 9, n)).collect();
    write_and_sync(&mut log, &[std::slice::from_ref(&member), &records].concat());
    write_and_sync(&mut log, &[record(1, 99_999)]);
    while clean(&mut log, &BTreeMap::new()) {
        log.sync().unwrap();
        // As a start after a crash right now would find it.
        let mut found = scan(&Folder::open(folder.path()).unwrap()).unwrap();
        let mut entries = Vec::new();
        found.entries(|entry| entries.push(entry)).unwrap();
        assert!(entries.contains(&member));
    }
}

#[test]
fn what_was_written_one_by_one_is_cleaned_into_few_batches_and_then_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path()).unwrap();
    let mut counts = BTreeMap::new();
    for key in 0..200 {
        let entry = record(key, key);
        counts.extend(latest(std::slice::from_ref(&entry)));
        write_and_sync(&mut log, &[entry]);
    }
    let most = |log: &Log<Folder>| log.bytes_of(200) + 2 * settings().segment_bytes;
    assert!(log.used_bytes() > 25 * settings().segment_bytes);
    let mut cleaned = 0;
    while log.used_bytes() > most(&log) && clean(&mut log, &counts) {
        log.sync().unwrap();
        cleaned += 1;
        assert!(cleaned < 40, "{} bytes are used", log.used_bytes());
    }
    assert!(log.used_bytes() <= 3 * settings().segment_bytes, "{} bytes", log.used_bytes());
    drop(log);
    assert_eq!(latest(&open(folder.path()).unwrap().1), counts);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever byte of a journal that was closed well is changed: all is read that was written, or the damage is told
    /// and nothing is read that was not written.
    #[test]
    fn no_damage_passes(
        batches in 1_u64..30,
        damage in proptest::collection::vec((0_u32..5, any::<prop::sample::Index>(), 1_u8..), 1..4),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let entries = written(folder.path(), batches);
        let (mut log, _) = open(folder.path()).unwrap();
        write_and_sync(&mut log, &[record(100, 100)]);
        write_and_sync(&mut log, &[]);
        drop(log);
        let whole = [&entries[..], &[record(100, 100)]].concat();
        for (segment, at, bits) in damage {
            let path = folder.path().join(name_of(segment));
            let Ok(mut bytes) = fs::read(&path) else { continue };
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
            fs::write(&path, bytes).unwrap();
        }
        let mut found = Vec::new();
        let folder = Folder::open(folder.path()).unwrap();
        match Log::open(folder, settings(), FOLDER, |entry| found.push(entry)) {
            // The batch without entries may be what is damaged: then it passes for one that was torn.
            Ok(_) => prop_assert!(found == whole || found == whole[..whole.len() - 1]),
            Err(Error::Damaged(_) | Error::Unreadable { .. }) => {
                let mut wanted = whole.iter();
                prop_assert!(found.iter().all(|entry| wanted.any(|other| other == entry)));
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

#[test]
fn a_scan_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 20);
    let before = contents(folder.path());
    let found = scan(&Folder::open(folder.path()).unwrap()).unwrap();
    assert_eq!((found.batches.len(), found.synced, found.cut), (20, 19, 0));
    assert!(contents(folder.path()) == before);
}
