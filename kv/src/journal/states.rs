//! Entries of which only the latest of each kind counts: cleaning appends them once more.

use std::mem::discriminant;

use super::format::{Pending, is_state};
use crate::core::env::Entry;

/// The latest of each kind, the batch in which it is at the earliest, and its bytes on the disk.
#[derive(Clone, Debug, Default)]
pub struct States(Vec<(Entry, u64, u64)>);

impl States {
    /// An entry was written, in this batch or before it.
    pub fn note(&mut self, entry: &Entry, batch: u64) {
        if !is_state(entry) {
            return;
        }
        let mut pending = Pending::default();
        pending.push(entry);
        let bytes = pending.size() as u64;
        let is_of_kind =
            |(known, ..): &&mut (Entry, u64, u64)| discriminant(known) == discriminant(entry);
        let Some((latest, at, size)) = self.0.iter_mut().find(is_of_kind) else {
            self.0.push((entry.clone(), batch, bytes));
            return;
        };
        // Shards write floors of their own: the highest one counts, whoever wrote it.
        let is_lower =
            matches!((&*latest, entry), (Entry::ClockFloor(a), Entry::ClockFloor(b)) if b < a);
        if !is_lower {
            (*latest, *at, *size) = (entry.clone(), batch, bytes);
        }
    }

    /// How many bytes they take on the disk.
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|(_, _, bytes)| bytes).sum()
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
        let old = self.0.iter().filter(|(entry, at, _)| *at <= batch && is_needed(entry));
        old.map(|(entry, ..)| entry.clone()).collect()
    }
}
