//! Any operations, beside a model that knows of each byte what a loss of power may leave.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

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

const NAMES: [&str; 3] = ["a", "b", "c"];

/// A file, and what may be left of each byte.
#[derive(Clone, Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    may: Vec<BTreeSet<u8>>,
    safe_length: usize,
}

impl Kept {
    fn write(&mut self, at: usize, bytes: &[u8]) {
        let length = self.bytes.len().max(at + bytes.len());
        self.bytes.resize(length, 0);
        self.may.resize(length, [0].into());
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        for (byte, may) in bytes.iter().zip(&mut self.may[at..]) {
            may.insert(*byte);
        }
    }

    fn is_safe(bytes: &[u8]) -> Self {
        let may = bytes.iter().map(|byte| [*byte].into()).collect();
        Self { bytes: bytes.to_vec(), may, safe_length: bytes.len() }
    }

    fn allows(&self, left: &[u8]) -> bool {
        (self.safe_length..=self.bytes.len()).contains(&left.len())
            && left.iter().zip(&self.may).all(|(byte, may)| may.contains(byte))
    }
}

type Names = BTreeMap<&'static str, usize>;

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

    fn seen(&self) -> BTreeMap<String, Vec<u8>> {
        let names = self.now().iter();
        names.map(|(name, id)| (name.to_string(), self.files[*id].bytes.clone())).collect()
    }

    /// The machine lost power, and this is left: whether that may be.
    fn take_power_loss(&mut self, left: &BTreeMap<String, Vec<u8>>) -> bool {
        let fits = |names: &&Names| {
            names.len() == left.len()
                && names.iter().all(|(name, id)| {
                    left.get(*name).is_some_and(|bytes| self.files[*id].allows(bytes))
                })
        };
        let Some(names) = self.names.iter().rev().find(fits).cloned() else { return false };
        names.iter().for_each(|(name, id)| self.files[*id] = Kept::is_safe(&left[*name]));
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
                *file = Kept::is_safe(&file.bytes);
                disk.open(NAMES[name]).unwrap().sync().is_ok()
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
                self.names = vec![self.now().clone()];
                disk.sync_names().is_ok()
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
                self.take_power_loss(&disk.seen())
            }
        }
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
            prop_assert_eq!(disk.seen(), model.seen(), "{}", shown);
            prop_assert_eq!(disk.damaged(), vec![]);
        }
    }
}
