//! What a node finds in its journal when it starts again.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    clock::Timestamp,
    env::Entry,
    record::Record,
    ring::Ring,
    shard::{Shard, ShardConfig},
    types::{Incarnation, Key},
};

/// What a journal holds of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Recovered {
    incarnation: Incarnation,
    floor: Timestamp,
    ring: Option<Arc<Ring>>,
    records: BTreeMap<Key, Record>,
}

impl Recovered {
    /// Takes the entries of a journal, in order.
    pub fn replay(entries: impl IntoIterator<Item = Entry>) -> Self {
        let mut recovered = Self::default();
        entries.into_iter().for_each(|entry| recovered.take(entry));
        recovered
    }

    /// Takes the next entry.
    pub fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Opened(incarnation) => self.incarnation = incarnation,
            Entry::ClockFloor(floor) => self.floor = self.floor.max(floor),
            Entry::Ring(ring) => self.ring = Some(ring),
            Entry::Record(key, record) => {
                let merged = match self.records.remove(&key) {
                    Some(before) => before.merge(record),
                    None => record,
                };
                self.records.insert(key, merged);
            }
        }
    }

    /// The incarnation that begins when the journal is opened again.
    pub fn next_incarnation(&self) -> Incarnation {
        Incarnation(self.incarnation.0 + 1)
    }

    /// The newest ring in the journal.
    pub fn ring(&self) -> Option<&Arc<Ring>> {
        self.ring.as_ref()
    }

    /// A shard that goes on where the journal ended, on this ring.
    pub fn shard(&self, config: ShardConfig, ring: Arc<Ring>) -> Shard {
        let (node_shard, shards) = (config.shard, config.shards);
        let mut shard = Shard::new(config, ring.clone(), self.floor, self.next_incarnation());
        for (key, record) in &self.records {
            if ring.slot_of(key.as_str()).0 % shards == node_shard {
                shard.restore(key, record);
            }
        }
        shard
    }
}
