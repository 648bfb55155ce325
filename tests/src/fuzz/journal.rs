//! Recovery: a journal is written, damaged in any way, and opened. Nothing is handed out that was not written, opening
//! it again gives the same, and what is appended afterwards is kept. Where something was forged with the right checksum
//! (it takes the number of the folder, which no client knows) it may be handed out; recovery ends all the same.

use std::collections::BTreeSet;

use kv::{
    core::{
        env::Entry,
        record::{Record, Version},
        time::Timestamp,
        types::{Key, NodeId, Value},
    },
    journal::{
        Error,
        format::{BATCH_HEAD, BatchHead, PAGE, Pending, write_batch},
        log::{Log, Settings},
    },
};

use super::memory::{Bytes, Memory};

const FOLDER: u64 = 0xf0;
/// A fuzzer is to reach much in a short time.
const MOST_STEPS: usize = 64;

/// What a fuzzer says, byte by byte; zeros behind its end.
struct Says<'a>(&'a [u8]);

impl Says<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()])) % bound.max(1)
    }
}

fn settings(pages: u8) -> Settings {
    Settings { segment_bytes: (3 + u64::from(pages % 6)) * PAGE as u64 }
}

fn open(disk: &Memory, settings: Settings) -> (Result<Log<Memory>, Error>, Vec<Entry>) {
    let mut found = Vec::new();
    let log = Log::open(disk.clone(), settings, FOLDER, |entry| found.push(entry));
    (log, found)
}

/// First how the journal is written, then how it is damaged, each in so many steps.
pub fn journal(data: &[u8]) {
    let mut says = Says(data);
    let (disk, settings) = (Memory::default(), settings(says.byte()));
    let mut written = write(&disk, settings, &mut says);
    let mut is_forged = false;
    for _ in 0..says.below(MOST_STEPS) {
        is_forged |= damage(&disk, &mut says);
    }
    let (first, found) = open(&disk, settings);
    if !is_forged {
        assert!(found.iter().all(|entry| written.contains(&format!("{entry:?}"))));
    }
    let is_refused = first.is_err();
    drop(first);
    let (second, again) = open(&disk, settings);
    assert_eq!(
        (second.is_err(), &again),
        (is_refused, &found),
        "another start finds something else"
    );
    // What was forged may lie in the middle of a batch, and come to light when that is cut off.
    let Some(mut log) = second.ok().filter(|_| !is_forged) else { return };
    let mut all = found;
    let mut pending = Pending::default();
    for _ in 0..2 {
        let entry = record(&mut written);
        pending.push(&entry);
        all.push(entry);
        log.write(&mut pending).unwrap();
        log.sync().unwrap();
        drop(log);
        let (again, found) = open(&disk, settings);
        assert_eq!(found, all);
        log = again.unwrap();
    }
}

/// A record that was not written before.
fn record(written: &mut BTreeSet<String>) -> Entry {
    let number = written.len() as u64;
    let version = Version { timestamp: Timestamp(number), node: NodeId(1) };
    let value = Value::trusted(&"v".repeat((number as usize * 37) % 200));
    let key = Key::trusted(&format!("k{}", number % 7));
    let entry = Entry::Record(key, Record { version, value: Some(value) });
    written.insert(format!("{entry:?}"));
    entry
}

/// Writes a journal in some openings: all entries that were ever appended.
fn write(disk: &Memory, settings: Settings, says: &mut Says<'_>) -> BTreeSet<String> {
    let (mut written, mut pending) = (BTreeSet::new(), Pending::default());
    let mut log = open(disk, settings).0.expect("an empty folder can be opened");
    for _ in 0..says.below(MOST_STEPS) {
        match says.byte() % 8 {
            0..=2 => (0..says.byte() % 40).for_each(|_| pending.push(&record(&mut written))),
            3 => log.write(&mut pending).expect("a disk that does not fail"),
            4 | 5 => {
                log.write(&mut pending).expect("a disk that does not fail");
                log.sync().expect("a disk that does not fail");
            }
            6 => {
                // All that is in the segment still counts.
                let mut entries = Vec::new();
                match log.clean(|entry| entries.push(entry)).expect("nothing is damaged yet") {
                    None => {}
                    Some(is_last) => {
                        entries.iter().for_each(|entry| pending.push(entry));
                        if is_last {
                            log.cleaned(&mut pending);
                        }
                    }
                }
            }
            _ => {
                pending.clear();
                log = open(disk, settings).0.expect("nothing is damaged yet");
            }
        }
    }
    written
}

/// Damages it. True: something was forged, with a checksum that is right.
fn damage(disk: &Memory, says: &mut Says<'_>) -> bool {
    let names: Vec<String> = disk.0.borrow().keys().cloned().collect();
    let kind = says.byte() % 8;
    let mut any = || -> Option<(String, Bytes)> {
        let name = names.get(says.below(names.len()))?.clone();
        let bytes = disk.0.borrow()[&name].clone();
        Some((name, bytes))
    };
    let (Some((name, one)), Some((_, other))) = (any(), any()) else { return false };
    let mut one = one.borrow_mut();
    let page = |bytes: &[u8], says: &mut Says<'_>| says.below(bytes.len() / PAGE) * PAGE;
    match kind {
        0 | 1 => {
            let at = says.below(one.len());
            if let Some(byte) = one.get_mut(at) {
                *byte ^= says.byte() | 1;
            }
        }
        2 => {
            let from = page(&one, says);
            one.iter_mut().skip(from).take(PAGE).for_each(|byte| *byte = 0);
        }
        3 => {
            // A page that was written to a wrong place.
            let other = other.try_borrow().map_or_else(|_| one.clone(), |other| other.clone());
            let (from, to) = (page(&other, says), page(&one, says));
            let moved = other.iter().skip(from).take(PAGE);
            one.iter_mut().skip(to).zip(moved).for_each(|(byte, new)| *byte = *new);
        }
        4 => {
            let length = says.below(one.len() + 1);
            one.truncate(length);
        }
        5 => drop(disk.0.borrow_mut().remove(&name)),
        6 => {
            let number = u32::MAX >> (says.byte() % 32);
            let copy = Bytes::new(one.clone().into());
            disk.0.borrow_mut().insert(format!("segment-{number:08}"), copy);
        }
        _ => {
            let at = page(&one, says);
            let forged = forged(&name, at, says);
            one.iter_mut().skip(at).zip(forged).for_each(|(byte, new)| *byte = new);
            return true;
        }
    }
    false
}

/// A batch that nobody wrote, with numbers that may make no sense.
fn forged(name: &str, at: usize, says: &mut Says<'_>) -> Vec<u8> {
    let mut number = || match says.byte() {
        small @ 0..=99 => u64::from(small),
        shift @ 100..=199 => 1 << (shift % 64),
        near => u64::MAX - u64::from(255 - near),
    };
    let segment = name.trim_start_matches("segment-").parse().unwrap_or(0);
    let mut head = BatchHead {
        folder: FOLDER,
        segment,
        page: u32::try_from(at / PAGE).expect("files are short"),
        number: number(),
        opening: number(),
        synced: number(),
        floor: number(),
        length: 0,
        count: 0,
    };
    let mut out = Vec::new();
    let mut pending = Pending::default();
    pending.push(&record(&mut BTreeSet::new()));
    write_batch(&mut head, pending.iter(), &mut out);
    debug_assert!(out.len() > BATCH_HEAD);
    out
}
