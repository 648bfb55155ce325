//! A node's journal, kept perfectly: what was synced survives a crash unharmed, the rest is lost.
//!
//! What must be survived: losing every entry that was not synced. A disk that tears, rots, fills up or
//! fails a sync is not simulated yet.

use kv::core::env::Entry;

/// A journal.
#[derive(Debug, Default)]
pub struct Journal {
    entries: Vec<Entry>,
    durable: usize,
    /// How many entries the sync that is under way will make durable.
    syncing: Option<usize>,
}

impl Journal {
    /// Appends an entry; says after how many entries it is durable.
    pub fn append(&mut self, entry: Entry) -> u64 {
        self.entries.push(entry);
        self.entries.len() as u64
    }

    /// How many entries are durable.
    pub fn durable(&self) -> u64 {
        self.durable as u64
    }

    /// Begins a sync of all that was appended, unless one is under way or nothing is new.
    pub fn begin_sync(&mut self) -> bool {
        let needed = self.syncing.is_none() && self.durable < self.entries.len();
        if needed {
            self.syncing = Some(self.entries.len());
        }
        needed
    }

    /// The sync is done.
    pub fn end_sync(&mut self) {
        if let Some(upto) = self.syncing.take() {
            self.durable = upto;
        }
    }

    /// The machine loses power: how many entries are lost.
    pub fn crash(&mut self) -> usize {
        let lost = self.entries.len() - self.durable;
        self.entries.truncate(self.durable);
        self.syncing = None;
        lost
    }

    /// What was appended from a place on.
    pub fn since(&self, from: usize) -> &[Entry] {
        &self.entries[from..]
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
