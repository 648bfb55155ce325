//! The state of a node, and a look at it.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    eras::Pauses,
    locks::{Mutex, atomic::AtomicU64},
    outbox::Outbox,
    ports::{Ports, Position},
};
use crate::core::{
    detector::{Detector, Health},
    ring::Ring,
    shard::{Behind, Shard},
    topology::Topology,
    types::{Epoch, Key, NodeId},
};

/// A machine with the highest place in the journal that any of its steps wrote.
pub(super) struct Guarded<T> {
    pub(super) machine: T,
    pub(super) highest: Position,
}

/// A node of the cluster.
pub struct Node<P> {
    pub(super) ports: P,
    pub(super) id: NodeId,
    pub(super) ring_size: u16,
    /// The epoch of the topology's ring, to see later ones without its lock.
    pub(super) epoch: AtomicU64,
    pub(super) shards: Vec<Mutex<Guarded<Shard>>>,
    pub(super) topology: Mutex<Guarded<Topology>>,
    pub(super) detector: Mutex<Guarded<Detector>>,
    /// Outboxes that wait for the journal. Two threads that step one machine may come here in the other
    /// order: nothing rests on the order, for each waits for all that its machine wrote.
    pub(super) gate: Mutex<Vec<(Position, Outbox)>>,
    pub(super) pauses: Pauses,
}

impl<P: Ports> Node<P> {
    /// This node's id.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// What the node is plugged into.
    pub fn ports(&self) -> &P {
        &self.ports
    }

    /// The ring that the topology knows.
    pub fn ring(&self) -> Arc<Ring> {
        self.topology.lock().machine.ring().clone()
    }

    /// Whether the others can do without this node: it is no member, they know it, and they have all
    /// that it held. The shards learn of a ring after the topology, and only then what to hand over.
    pub fn is_released(&self) -> bool {
        let epoch = {
            let topology = self.topology.lock();
            topology.machine.is_released().then(|| topology.machine.ring().epoch())
        };
        let is_through = |shard: &Shard| Some(shard.epoch()) == epoch && shard.has_handed_over();
        (0..self.shards()).all(|shard| self.inspect(shard, is_through))
    }

    /// How far this node is behind: what it has still to get or to find out.
    pub fn behind(&self) -> Behind {
        let uptime = self.ports.uptime();
        let of = |shard| self.inspect(shard, |shard| shard.behind(uptime));
        (0..self.shards()).map(of).fold(Behind::default(), Behind::and)
    }

    /// Records here: all, and those that are not tombstones.
    pub fn counts(&self) -> (usize, usize) {
        self.sum(Shard::counts)
    }

    /// Slots that this node has still to pull, and slots that it has still to hand over.
    pub fn moving(&self) -> (usize, usize) {
        self.sum(Shard::moving)
    }

    /// Adds up over the shards.
    fn sum(&self, look: impl Fn(&Shard) -> (usize, usize)) -> (usize, usize) {
        let all = (0..self.shards()).map(|shard| self.inspect(shard, &look));
        all.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// How each other member seems.
    pub fn health(&self) -> BTreeMap<NodeId, Health> {
        self.detector.lock().machine.health()
    }

    /// How many shards this node has.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Looks at a shard, under its lock.
    pub fn inspect<T>(&self, shard: usize, look: impl FnOnce(&Shard) -> T) -> T {
        look(&self.shards[shard].lock().machine)
    }

    /// Looks at the shard of a key.
    pub fn inspect_key<T>(&self, key: &Key, look: impl FnOnce(&Shard) -> T) -> T {
        let slot = crate::core::ring::slot_of(key.as_str(), self.ring_size);
        self.inspect(usize::from(slot.0) % self.shards.len(), look)
    }

    /// The epochs of all shards, the oldest.
    pub fn oldest_epoch(&self) -> Epoch {
        let epochs = (0..self.shards.len()).map(|shard| self.inspect(shard, Shard::epoch));
        epochs.min().expect("a node has a shard")
    }
}
