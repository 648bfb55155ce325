//! The journal on a disk that loses power at any moment, and on one that is broken: what was safe is read, and what is
//! damaged is told.

use std::collections::{BTreeMap, BTreeSet};

use harness::{disk::Disk, random::Random};
use kv::{
    core::{
        env::Entry,
        record::{Record, Version},
        time::Timestamp,
        types::{Incarnation, Key, NodeId, Value},
    },
    journal::{
        Error, Tidied,
        format::{PAGE, Pending},
        log::{Log, Settings},
    },
};
use sim::disk::SimDisk;

const FOLDER: u64 = 0xf01d;
const KEYS: u64 = 12;
/// So many times the segments' length the journal is at most before it is cleaned.
const SEGMENTS: u64 = 4;

/// What is run, and what must be found.
struct Run {
    random: Random,
    disk: Disk,
    log: Option<Log<SimDisk>>,
    pending: Pending,
    /// All records that were ever appended.
    written: BTreeSet<(Key, Record)>,
    /// The newest of each key that is safe.
    safe: BTreeMap<Key, Record>,
    /// The same before the last sync.
    safe_before: BTreeMap<Key, Record>,
    /// The newest of each key that the process has: what cleaning appends once more.
    newest: BTreeMap<Key, Record>,
    /// The incarnation that was appended last and is safe.
    opened: u32,
    opened_before: u32,
    /// How often each thing happened.
    counts: BTreeMap<&'static str, u64>,
}

fn settings(seed: u64) -> Settings {
    Settings { segment_bytes: (4 + seed % 9) * PAGE as u64 }
}

impl Run {
    fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed, "journal"),
            disk: Disk::default(),
            log: None,
            pending: Pending::default(),
            written: BTreeSet::new(),
            safe: BTreeMap::new(),
            safe_before: BTreeMap::new(),
            newest: BTreeMap::new(),
            opened: 0,
            opened_before: 0,
            counts: BTreeMap::new(),
        }
    }

    /// A sync was ok: all that was appended is safe.
    fn is_safe(&mut self) {
        self.safe_before = std::mem::replace(&mut self.safe, self.newest.clone());
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Opens the journal, and looks at what it has: whether it can be used.
    fn open(&mut self, seed: u64) -> bool {
        let (mut found, mut incarnation) = (Vec::new(), 0);
        let opened =
            Log::open(SimDisk(self.disk.clone()), settings(seed), FOLDER, |entry| match entry {
                Entry::Record(key, record) => found.push((key, record)),
                Entry::Opened(Incarnation(number)) => incarnation = number,
                other => panic!("{other:?} was never written"),
            });
        for record in &found {
            assert!(self.written.contains(record), "{record:?} was never written");
        }
        let damaged = match opened {
            Ok(log) => {
                self.log = Some(log);
                false
            }
            Err(Error::Damaged(_) | Error::Unreadable { .. }) => true,
            // The process ends, and the next one finds the same.
            Err(Error::Disk { .. }) => {
                self.count("ended by the disk");
                return false;
            }
            Err(why) => panic!("{why}"),
        };
        if damaged {
            assert!(!self.disk.damage().is_empty(), "a whole disk passes for damaged");
            self.count("damage was told");
            return false;
        }
        // As the store does: the greater version wins.
        let newest = |records: &[(Key, Record)]| {
            let mut newest: BTreeMap<Key, Record> = BTreeMap::new();
            for (key, record) in records {
                let held = newest.entry(key.clone()).or_insert_with(|| record.clone());
                if held.version < record.version {
                    *held = record.clone();
                }
            }
            newest
        };
        let has = newest(&found);
        // Damage of the very last batch passes for one that was torn, until a later one says that it was safe.
        let is_broken = !self.disk.damage().is_empty();
        let (must, opened) = match is_broken {
            true => (&self.safe_before, self.opened_before),
            false => (&self.safe, self.opened),
        };
        for (key, record) in must {
            let held = has.get(key).map(|held| held.version);
            let version = Some(record.version);
            assert!(held >= version, "{key:?}: {version:?} was safe, and {held:?} is read");
        }
        assert!(incarnation >= opened, "an incarnation would be given out again");
        // What was read counts from here on, whether or not it was safe.
        self.newest = has;
        self.is_safe();
        self.pending = Pending::default();
        self.pending.push(&Entry::Opened(Incarnation(incarnation + 1)));
        let log = self.log.as_mut().expect("it is open");
        // The incarnation is safe before anything rests on it.
        if log.write(&mut self.pending).is_ok() && log.sync().is_ok() {
            self.opened_before = self.opened;
            self.opened = incarnation + 1;
            self.is_safe();
            return true;
        }
        self.log = None;
        self.count("failed while it was opened");
        false
    }

    /// One step of a process. False: it ends.
    fn step(&mut self, time: u64) -> bool {
        let Some(log) = &mut self.log else { return false };
        match self.random.random_range(0..10_u32) {
            0..4 => {
                let key = Key::trusted(&format!("k{}", self.random.random_range(0..KEYS)));
                let version = Version { timestamp: Timestamp(time), node: NodeId(1) };
                let length = self.random.random_range(0..200_usize);
                let value = Some(Value::trusted(&"v".repeat(length)));
                let record = Record { version, value };
                self.pending.push(&Entry::Record(key.clone(), record.clone()));
                self.written.insert((key.clone(), record.clone()));
                self.newest.insert(key, record);
                true
            }
            4..6 => log.write(&mut self.pending).is_ok(),
            6..8 => {
                if log.write(&mut self.pending).is_err() || log.sync().is_err() {
                    return false;
                }
                self.is_safe();
                true
            }
            8 => log.prepare().is_ok(),
            _ => self.clean(),
        }
    }

    /// Cleans a batch of the oldest segment, or what is left of it.
    fn clean(&mut self) -> bool {
        let Some(log) = &mut self.log else { return false };
        if !log.is_cleaning() && log.used_bytes() <= SEGMENTS * log.segment_bytes() {
            return true;
        }
        let (pending, newest) = (&mut self.pending, &self.newest);
        let cleaned = log.clean(|entry| {
            let Entry::Record(key, record) = &entry else { return };
            if newest.get(key) == Some(record) {
                pending.push(&entry);
            }
        });
        let is_last = match cleaned {
            Ok(is_last) => is_last == Some(true),
            Err(_) => return false,
        };
        if is_last {
            log.cleaned(&mut self.pending);
            if log.write(&mut self.pending).is_err() {
                return false;
            }
            self.count("cleaned");
        }
        true
    }

    /// The process ends: it is killed, or the power fails.
    fn end(&mut self) {
        self.log = None;
        match self.random.random_bool(0.3) {
            true => self.disk.kill(),
            false => drop(self.disk.power_off(&mut self.random)),
        }
    }
}

/// Runs so many processes one after the other, with `fault` before each step.
fn run(seed: u64, processes: u32, mut fault: impl FnMut(&mut Run)) -> Run {
    let mut run = Run::new(seed);
    let mut time = 0;
    for _ in 0..processes {
        // A process may end while it opens, and the next one finds the same.
        if !run.open(seed) {
            if !run.disk.damage().is_empty() {
                return run;
            }
            run.end();
            continue;
        }
        for _ in 0..run.random.random_range(1..120_u32) {
            time += 1;
            fault(&mut run);
            if !run.step(time) {
                run.count("ended by the disk");
                break;
            }
        }
        run.end();
    }
    run.disk.heal();
    run.open(seed);
    run
}

fn sum(all: &mut BTreeMap<&'static str, u64>, run: &Run) {
    for (what, count) in &run.counts {
        *all.entry(what).or_default() += count;
    }
}

#[test]
fn nothing_that_was_safe_is_lost_with_the_power() {
    let mut counts = BTreeMap::new();
    for seed in 0..400 {
        sum(&mut counts, &run(seed, 8, |_| {}));
    }
    assert!(counts["cleaned"] > 500, "{counts:?}");
    assert!(!counts.contains_key("damage was told"), "{counts:?}");
}

#[test]
fn a_disk_that_is_full_or_fails_a_sync_ends_the_process_and_loses_nothing() {
    let mut counts = BTreeMap::new();
    for seed in 0..400 {
        sum(
            &mut counts,
            &run(seed, 8, |run| match run.random.random_range(0..100_u32) {
                0 => {
                    let disk = run.disk.clone();
                    disk.fail_next_sync(&mut run.random);
                }
                1 => run.disk.set_capacity(Some(run.disk.used_bytes())),
                2..8 => run.disk.set_capacity(None),
                _ => {}
            }),
        );
    }
    assert!(counts["ended by the disk"] > 500, "{counts:?}");
    assert!(!counts.contains_key("damage was told"), "{counts:?}");
}

#[test]
fn a_broken_disk_is_told_or_does_no_harm() {
    let mut counts = BTreeMap::new();
    for seed in 0..1_500 {
        sum(
            &mut counts,
            &run(seed, 6, |run| {
                if run.random.random_range(0..150_u32) > 0 {
                    return;
                }
                let disk = run.disk.clone();
                match run.random.random_range(0..2_u32) {
                    0 => drop(disk.flip_bit(&mut run.random)),
                    _ => drop(disk.swap_sectors(&mut run.random)),
                }
            }),
        );
    }
    assert!(counts["damage was told"] > 100, "{counts:?}");
}

/// Found by the simulation: cleaning wrote something each time, which was cleaned in its turn, without end.
#[test]
fn a_journal_of_which_little_counts_is_cleaned_once_and_then_left_alone() {
    for pages in [3, 4, 6, 12] {
        let settings = Settings { segment_bytes: pages * PAGE as u64 };
        let mut log = Log::open(SimDisk(Disk::default()), settings, FOLDER, |_| {}).unwrap();
        let mut pending = Pending::default();
        let record = |time: u64| {
            let version = Version { timestamp: Timestamp(time), node: NodeId(1) };
            Entry::Record(Key::trusted("k"), Record { version, value: None })
        };
        pending.push(&Entry::Opened(Incarnation(1)));
        let write = |log: &mut Log<SimDisk>, pending: &mut Pending| {
            log.write(pending).unwrap();
            log.sync().unwrap();
        };
        const WRITES: u64 = 100;
        for time in 1..=WRITES {
            pending.push(&Entry::ClockFloor(Timestamp(time)));
            pending.push(&record(time));
            write(&mut log, &mut pending);
        }
        // As the server's thread does while nobody writes.
        for _ in 0..4 * WRITES {
            let newest = record(WRITES);
            let again = |entry| {
                if entry == newest {
                    pending.push(&entry);
                }
            };
            match log.tidy(|| 1, again).unwrap() {
                Tidied::Nothing => break,
                Tidied::Prepared | Tidied::Cleaned(false) => {}
                Tidied::Cleaned(true) => {
                    log.cleaned(&mut pending);
                    write(&mut log, &mut pending);
                }
            }
        }
        assert_eq!(log.tidy(|| 1, drop).unwrap(), Tidied::Nothing, "{pages} pages: without end");
        let cleaned = log.counts().cleaned;
        // Each cleaning frees all pages of a segment but its head, and takes one.
        assert!(cleaned <= WRITES / (pages - 2) + 1, "{pages} pages: {cleaned} cleanings");
        assert!(log.used_bytes() <= 3 * log.segment_bytes(), "{pages} pages");
    }
}
