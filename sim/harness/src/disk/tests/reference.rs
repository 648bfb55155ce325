//! Any operations, beside a model that knows of each byte what a loss of power may leave.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::disk::Place;

#[derive(Clone, Debug)]
enum Operation {
    Create(usize),
    Write(usize, usize, Vec<u8>),
    Sync(usize),
    Rename(usize, usize),
    Remove(usize),
    SyncNames,
    DropCache,
    Kill,
    PowerOff(u64),
    /// What goes wrong, and what it is drawn from.
    Fault(Fault, u64),
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Flip,
    Swap,
    Lose,
    Misdirect,
    FailSync,
}

fn operation() -> impl Strategy<Value = Operation> {
    let name = || 0..NAMES.len();
    let write = (name(), 0..60_usize, prop::collection::vec(1..=u8::MAX, 1..30));
    prop_oneof![
        3 => name().prop_map(Operation::Create),
        8 => write.prop_map(|(name, at, bytes)| Operation::Write(name, at, bytes)),
        4 => name().prop_map(Operation::Sync),
        1 => (name(), name()).prop_map(|(from, to)| Operation::Rename(from, to)),
        1 => name().prop_map(Operation::Remove),
        3 => Just(Operation::SyncNames),
        1 => Just(Operation::DropCache),
        1 => Just(Operation::Kill),
        2 => any::<u64>().prop_map(Operation::PowerOff),
    ]
}

fn operation_or_fault() -> impl Strategy<Value = Operation> {
    let faults = [Fault::Flip, Fault::Swap, Fault::Lose, Fault::Misdirect, Fault::FailSync];
    let fault = (prop::sample::select(faults.to_vec()), any::<u64>());
    prop_oneof![
        8 => operation(),
        1 => fault.prop_map(|(fault, seed)| Operation::Fault(fault, seed)),
    ]
}

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Values of which a byte has one. It is one value, unless the byte is damaged since a loss of power left any.
type Values = BTreeSet<u8>;

/// A file, and what may be left of each byte.
#[derive(Clone, Debug, Default)]
struct Kept {
    bytes: Vec<Values>,
    may: Vec<Values>,
    safe_length: usize,
}

impl Kept {
    fn write(&mut self, at: usize, bytes: &[u8]) {
        let length = self.bytes.len().max(at + bytes.len());
        self.bytes.resize(length, [0].into());
        self.may.resize(length, [0].into());
        for (at, byte) in (at..).zip(bytes) {
            self.bytes[at] = [*byte].into();
            self.may[at].insert(*byte);
        }
    }

    fn sync(&mut self) {
        self.may.clone_from(&self.bytes);
        self.safe_length = self.bytes.len();
    }

    /// This is left. What is damaged may have had any value that it may have.
    fn take(&mut self, left: &[u8], damaged: impl Fn(usize) -> bool) {
        let of = |(at, byte): (usize, &u8)| match damaged(at) {
            true => self.may[at].clone(),
            false => [*byte].into(),
        };
        self.bytes = left.iter().enumerate().map(of).collect();
        self.sync();
    }

    /// Whether a loss of power may leave this. Of damaged bytes nothing is said.
    fn allows(&self, left: &[u8], damaged: impl Fn(usize) -> bool) -> bool {
        (self.safe_length..=self.bytes.len()).contains(&left.len())
            && left
                .iter()
                .zip(&self.may)
                .enumerate()
                .all(|(at, (byte, may))| may.contains(byte) || damaged(at))
    }
}

type Names = BTreeMap<&'static str, usize>;

/// Each byte that is damaged.
fn damaged(disk: &Disk) -> BTreeSet<(String, usize)> {
    let bytes = |place: Place| {
        let bytes = place.at..place.at + place.length;
        bytes.map(move |at| (place.file.clone(), usize::try_from(at).unwrap()))
    };
    disk.damaged().into_iter().flat_map(bytes).collect()
}

/// A disk, simply.
#[derive(Default)]
struct Model {
    files: Vec<Kept>,
    /// Which names were there after each change since the last sync of names.
    names: Vec<Names>,
}

impl Model {
    fn new() -> Self {
        Self { files: Vec::new(), names: vec![Names::new()] }
    }

    fn now(&self) -> &Names {
        self.names.last().unwrap()
    }

    fn file(&mut self, name: &str) -> Option<&mut Kept> {
        let id = *self.now().get(name)?;
        Some(&mut self.files[id])
    }

    fn change(&mut self, change: impl FnOnce(&mut Names)) {
        let mut names = self.now().clone();
        change(&mut names);
        self.names.push(names);
    }

    /// Whether a process sees what it should, but for what is damaged.
    fn sees(&self, disk: &Disk) -> bool {
        let (seen, damaged) = (disk.seen(), damaged(disk));
        seen.keys().eq(self.now().keys())
            && self.now().iter().all(|(name, id)| {
                let (wanted, found) = (&self.files[*id].bytes, &seen[*name]);
                let is_right = |at: usize| {
                    wanted[at].contains(&found[at]) || damaged.contains(&(name.to_string(), at))
                };
                wanted.len() == found.len() && (0..wanted.len()).all(is_right)
            })
    }

    /// The machine lost power, and this is left: whether that may be.
    fn take_power_loss(&mut self, disk: &Disk) -> bool {
        let (left, damaged) = (disk.seen(), damaged(disk));
        let fits = |names: &&Names| {
            names.len() == left.len()
                && names.iter().all(|(name, id)| {
                    let damaged = |at: usize| damaged.contains(&(name.to_string(), at));
                    left.get(*name).is_some_and(|bytes| self.files[*id].allows(bytes, damaged))
                })
        };
        let Some(names) = self.names.iter().rev().find(fits).cloned() else { return false };
        for (name, id) in &names {
            let damaged = |at: usize| damaged.contains(&(name.to_string(), at));
            self.files[*id].take(&left[*name], damaged);
        }
        self.names = vec![names];
        true
    }

    /// Does the same to both, and says whether they agree on whether it can be done.
    fn apply(&mut self, disk: &Disk, operation: Operation) -> bool {
        match operation {
            Operation::Create(name) => {
                let (name, id) = (NAMES[name], self.files.len());
                let is_free = !self.now().contains_key(name);
                if is_free {
                    self.files.push(Kept::default());
                    self.change(|names| {
                        names.insert(name, id);
                    });
                }
                disk.create(name).is_ok() == is_free
            }
            Operation::Write(name, at, bytes) => {
                let Some(file) = self.file(NAMES[name]) else { return true };
                file.write(at, &bytes);
                disk.open(NAMES[name]).unwrap().write_at(at as u64, &bytes).is_ok()
            }
            Operation::Sync(name) => {
                let Some(file) = self.file(NAMES[name]) else { return true };
                if disk.open(NAMES[name]).unwrap().sync().is_err() {
                    return self.fail(disk);
                }
                file.sync();
                true
            }
            Operation::Rename(from, to) => {
                let (from, to) = (NAMES[from], NAMES[to]);
                let is_there = self.now().contains_key(from);
                if is_there {
                    self.change(|names| {
                        let id = names.remove(from).unwrap();
                        names.insert(to, id);
                    });
                }
                disk.rename(from, to).is_ok() == is_there
            }
            Operation::Remove(name) => {
                let is_there = self.now().contains_key(NAMES[name]);
                if is_there {
                    self.change(|names| {
                        names.remove(NAMES[name]);
                    });
                }
                disk.remove(NAMES[name]).is_ok() == is_there
            }
            Operation::SyncNames => {
                if disk.sync_names().is_err() {
                    return self.fail(disk);
                }
                self.names = vec![self.now().clone()];
                true
            }
            Operation::DropCache => {
                disk.drop_cache();
                true
            }
            Operation::Kill => {
                disk.kill();
                true
            }
            Operation::PowerOff(seed) => {
                disk.power_off(&mut random(seed));
                self.take_power_loss(disk)
            }
            Operation::Fault(fault, seed) => {
                let random = &mut random(seed);
                match fault {
                    Fault::Flip => drop(disk.flip_bit(random)),
                    Fault::Swap => drop(disk.swap_sectors(random)),
                    Fault::Lose => disk.lose_next_write(),
                    Fault::Misdirect => disk.misdirect_next_write(random),
                    Fault::FailSync => disk.fail_next_sync(random),
                }
                true
            }
        }
    }

    /// A sync failed: a process that knows the trap ends, and reads what is on the platter.
    fn fail(&mut self, disk: &Disk) -> bool {
        disk.power_off(&mut random(disk.counts().syncs));
        self.take_power_loss(disk)
    }
}

/// No file of seeds is written: a failure prints the least operations that fail.
fn cases() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        max_shrink_iters: 100_000,
        ..ProptestConfig::with_cases(2_000)
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn nothing_that_is_safe_is_lost_and_nothing_is_there_that_was_never_written(
        operations in prop::collection::vec(operation(), 1..40)
    ) {
        let disk = Disk::with_sectors(8);
        let mut model = Model::new();
        for operation in operations {
            let shown = format!("{operation:?}");
            prop_assert!(model.apply(&disk, operation), "{shown}: {:?}", disk.seen());
            prop_assert!(model.sees(&disk), "{shown}: {:?}", disk.seen());
            prop_assert_eq!(disk.damaged(), vec![]);
        }
    }

    #[test]
    fn what_is_not_told_to_be_damaged_is_as_a_disk_without_faults_would_have_it(
        operations in prop::collection::vec(operation_or_fault(), 1..40)
    ) {
        let disk = Disk::with_sectors(8);
        let mut model = Model::new();
        for operation in operations {
            let shown = format!("{operation:?}");
            prop_assert!(model.apply(&disk, operation), "{shown}: {:?}", disk.seen());
            prop_assert!(model.sees(&disk), "{shown}: {:?}", disk.seen());
        }
    }
}
