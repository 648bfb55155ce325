//! The names in a folder: as they are now, and as a loss of power leaves them.

use std::{collections::BTreeMap, io};

use crate::random::Random;

/// A file, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id(pub(super) u64);

/// A change of a name that is not safe yet.
#[derive(Clone, Debug)]
enum Change {
    Given(String, Id),
    Moved(String, String),
    Taken(String),
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, Id>) {
        match self {
            Change::Given(name, id) => drop(names.insert(name.clone(), *id)),
            Change::Moved(from, to) => {
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
            Change::Taken(name) => drop(names.remove(name)),
        }
    }
}

/// The names in a folder.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    now: BTreeMap<String, Id>,
    safe: BTreeMap<String, Id>,
    /// What was changed since, in order.
    changes: Vec<Change>,
}

impl Names {
    /// All, as they are now, in order.
    pub(super) fn now(&self) -> &BTreeMap<String, Id> {
        &self.now
    }

    /// All that are safe.
    pub(super) fn safe(&self) -> &BTreeMap<String, Id> {
        &self.safe
    }

    pub(super) fn get(&self, name: &str) -> io::Result<Id> {
        self.now.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// A file's name, for logs.
    pub(super) fn name(&self, id: Id) -> String {
        let mut all = self.now.iter().chain(&self.safe);
        all.find(|(_, of)| **of == id)
            .map_or_else(|| "a file without a name".to_string(), |(name, _)| name.clone())
    }

    /// Whether a file has a name, or may have one after a loss of power.
    pub(super) fn mention(&self, id: Id) -> bool {
        let given = |change: &Change| matches!(change, Change::Given(_, of) if *of == id);
        self.now.values().chain(self.safe.values()).any(|of| *of == id)
            || self.changes.iter().any(given)
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.changes.push(change);
    }

    /// Whether a new file may have this name.
    pub(super) fn is_free(&self, name: &str) -> io::Result<()> {
        let is_plain = (1..=255).contains(&name.len())
            && ![".", ".."].contains(&name)
            && !name.contains(['/', '\0']);
        match (is_plain, self.now.contains_key(name)) {
            (true, false) => Ok(()),
            (true, true) => Err(io::ErrorKind::AlreadyExists.into()),
            (false, _) => Err(io::ErrorKind::InvalidFilename.into()),
        }
    }

    pub(super) fn give(&mut self, name: &str, id: Id) {
        self.change(Change::Given(name.to_string(), id));
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.get(from)?;
        match self.is_free(to) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        if from != to {
            self.change(Change::Moved(from.to_string(), to.to_string()));
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &str) -> io::Result<()> {
        self.get(name)?;
        self.change(Change::Taken(name.to_string()));
        Ok(())
    }

    pub(super) fn sync(&mut self) {
        self.safe.clone_from(&self.now);
        self.changes.clear();
    }

    /// The machine loses power: the first so many of the changes are kept. Says how many are lost.
    pub(super) fn power_off(&mut self, random: &mut Random) -> usize {
        let kept = random.random_range(0..=self.changes.len());
        self.changes[..kept].iter().for_each(|change| change.apply(&mut self.safe));
        self.now.clone_from(&self.safe);
        std::mem::take(&mut self.changes).len() - kept
    }
}
