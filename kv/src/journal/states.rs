//! Entries of which only the latest of each kind counts: cleaning appends them once more.

use std::mem::discriminant;

use super::format::{Pending, is_state};
use crate::core::env::Entry;

/// The latest of each kind, and the batch in which it is.
#[derive(Clone, Debug, Default)]
pub struct States(Vec<(Entry, u64)>);

impl States {
    /// An entry was written, in this batch or before it.
    pub fn note(&mut self, entry: &Entry, batch: u64) {
        if !is_state(entry) {
            return;
        }
        let kind = discriminant(entry);
        let Some((latest, at)) = self.0.iter_mut().find(|(known, _)| discriminant(known) == kind)
        else {
            self.0.push((entry.clone(), batch));
            return;
        };
        // Shards write floors of their own: the highest one counts, whoever wrote it.
        let is_lower =
            matches!((&*latest, entry), (Entry::ClockFloor(a), Entry::ClockFloor(b)) if b < a);
        if !is_lower {
            (*latest, *at) = (entry.clone(), batch);
        }
    }

    /// How many bytes they take on the disk.
    pub fn bytes(&self) -> u64 {
        let mut pending = Pending::default();
        self.0.iter().for_each(|(entry, _)| pending.push(entry));
        pending.size() as u64
    }

    /// Those that are in this batch or before it, but for kinds of which a later one waits to be written.
    pub fn up_to(&self, batch: u64, waiting: &[Entry]) -> Vec<Entry> {
        let is_needed = |entry: &Entry| match entry {
            // One that waits may be lower.
            Entry::ClockFloor(_) => true,
            Entry::Opened(_)
            | Entry::Member(_)
            | Entry::Ring(_)
            | Entry::Acceptor(..)
            | Entry::Record(..)
            | Entry::Dropped(..) => {
                !waiting.iter().any(|other| discriminant(other) == discriminant(entry))
            }
        };
        let old = self.0.iter().filter(|(entry, at)| *at <= batch && is_needed(entry));
        old.map(|(entry, _)| entry.clone()).collect()
    }
}
