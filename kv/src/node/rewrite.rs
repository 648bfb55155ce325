//! What still counts of the oldest part of a journal is appended once more.

use super::{ports::Ports, state::Node};
use crate::core::{env::Entry, ring::slot_of};

impl<P: Ports> Node<P> {
    /// Appends those of these records once more that this node still holds. Each is looked at and appended under its
    /// shard's lock: one that is dropped meanwhile would come back with a later start.
    pub fn append_again(&self, entries: impl IntoIterator<Item = Entry>) {
        let mut of_shards: Vec<Vec<Entry>> = self.shards.iter().map(|_| Vec::new()).collect();
        for entry in entries {
            if let Entry::Record(key, _) = &entry {
                let slot = slot_of(key.as_str(), self.ring_size);
                of_shards[usize::from(slot.0) % self.shards.len()].push(entry);
            }
        }
        for (shard, entries) in self.shards.iter().zip(of_shards) {
            if entries.is_empty() {
                continue;
            }
            let guarded = shard.lock();
            for entry in entries {
                if let Entry::Record(key, record) = &entry
                    && guarded.machine.version(key.as_str()) == Some(record.version)
                {
                    // No effect rests on it: what is appended again is safe where it was.
                    self.ports.append(entry);
                }
            }
        }
    }
}
