//! What a node finds in its journal when it starts again.

use std::{collections::BTreeMap, sync::Arc};

use crate::core::{
    env::Entry,
    record::Record,
    ring::{Acceptor, Ring},
    shard::{Shard, ShardConfig},
    time::Timestamp,
    topology::{Topology, TopologyConfig},
    types::{Epoch, Incarnation, Key, NodeId},
};

/// What a journal holds of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Recovered {
    incarnation: Incarnation,
    member: Option<NodeId>,
    floor: Timestamp,
    ring: Option<Arc<Ring>>,
    /// What was promised and accepted about the next ring, and after which one.
    acceptor: (Epoch, Acceptor),
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
            Entry::Member(member) => self.member = Some(member),
            Entry::ClockFloor(floor) => self.floor = self.floor.max(floor),
            Entry::Ring(ring) => self.ring = Some(ring),
            Entry::Acceptor(epoch, acceptor) => self.acceptor = (epoch, acceptor),
            Entry::Dropped(_, keys) => keys.iter().for_each(|key| drop(self.records.remove(key))),
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

    /// The same records for another member: who it was, on which ring, and what it promised are not its own. What was
    /// said of the clock may be among what is lost: it is past all records at least.
    pub fn without_identity(self) -> Self {
        let past = self.records.values().map(|record| record.version.timestamp.successor());
        let floor = past.fold(self.floor, Timestamp::max);
        Self { floor, records: self.records, ..Self::default() }
    }

    /// What another member's journal begins with, that goes on with this: the clock, or a start of that member before
    /// its clock has moved would be behind its records; and the records.
    pub fn head_start(&self) -> impl Iterator<Item = Entry> {
        let floor = (self.floor > Timestamp::default()).then_some(Entry::ClockFloor(self.floor));
        let records = self.records.iter();
        floor
            .into_iter()
            .chain(records.map(|(key, record)| Entry::Record(key.clone(), record.clone())))
    }

    /// Whose the journal is, if it says so.
    pub fn member(&self) -> Option<NodeId> {
        self.member
    }

    /// The newest ring in the journal.
    pub fn ring(&self) -> Option<&Arc<Ring>> {
        self.ring.as_ref()
    }

    /// A topology that goes on where the journal ended, on this ring.
    pub fn topology(&self, config: TopologyConfig, ring: Arc<Ring>) -> Topology {
        let (epoch, acceptor) = &self.acceptor;
        let is_of_ring = *epoch == ring.epoch();
        let acceptor = acceptor.clone();
        Topology::new(config, ring, if is_of_ring { acceptor } else { Acceptor::default() })
    }

    /// The newest version of each key.
    pub fn records(&self) -> &BTreeMap<Key, Record> {
        &self.records
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
