//! A node's journal, kept perfectly: what was synced survives a crash, and the rest is lost.
//!
//! Where a node brings a journal of its own along ([`crate::journal`]), this is what should be in it: what becomes of
//! the rest is known when it is opened again.

/// A journal.
#[derive(Debug)]
pub struct Journal<E> {
    entries: Vec<E>,
    durable: usize,
    /// How many entries the sync that is under way will make durable.
    syncing: Option<usize>,
}

impl<E> Journal<E> {
    /// Appends an entry; says after how many entries it is durable.
    pub fn append(&mut self, entry: E) -> u64 {
        self.entries.push(entry);
        self.entries.len() as u64
    }

    /// How many entries are durable.
    pub fn durable(&self) -> u64 {
        self.durable as u64
    }

    /// Whether something is new, and no sync is under way.
    pub fn needs_sync(&self) -> bool {
        self.syncing.is_none() && self.durable < self.entries.len()
    }

    /// Begins a sync of all that was appended, unless one is under way or nothing is new.
    pub fn begin_sync(&mut self) -> bool {
        let needed = self.needs_sync();
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

    /// The machine loses power, and nobody knows yet what of the rest is lost: how many entries are not durable.
    pub fn stop(&mut self) -> usize {
        self.syncing = None;
        self.entries.len() - self.durable
    }

    /// So many entries were found: they are durable, and the rest is lost. Says how many were durable, and how many
    /// are lost.
    pub fn found(&mut self, upto: u64) -> (u64, usize) {
        let before = self.durable();
        self.durable = usize::try_from(upto).expect("fits");
        (before, self.crash())
    }

    /// What was appended from a place on.
    pub fn since(&self, from: usize) -> &[E] {
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

impl<E> Default for Journal<E> {
    fn default() -> Self {
        Self { entries: Vec::new(), durable: 0, syncing: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_loses_what_no_sync_had_ended_for() {
        let mut journal = Journal::default();
        assert_eq!(journal.append('a'), 1);
        assert!(journal.begin_sync() && !journal.begin_sync());
        journal.append('b');
        journal.end_sync();
        assert_eq!(journal.durable(), 1, "b came after the sync had begun");
        assert!(journal.begin_sync());
        assert_eq!(journal.crash(), 1);
        assert_eq!(journal.since(0), ['a']);
        assert!(!journal.begin_sync(), "nothing is new");
    }

    #[test]
    fn what_is_found_later_is_durable_though_no_sync_had_ended_for_it() {
        let mut journal = Journal::default();
        for entry in ['a', 'b', 'c'] {
            journal.append(entry);
        }
        assert_eq!(journal.stop(), 3);
        assert_eq!(journal.found(2), (0, 1));
        assert_eq!((journal.since(0), journal.durable()), (&['a', 'b'][..], 2));
    }
}
