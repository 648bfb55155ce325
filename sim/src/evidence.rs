//! What a run of the store shows when it is over: plain values, so that each property is tested by hand too.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use harness::world::{World, host::Hosts};
use kv::{
    core::{
        env::Entry,
        record::{Record, Version},
        ring::Ring,
        types::{Key, NodeId, Slot, Value},
    },
    node::config::NodeConfig,
};

use crate::{
    check::p10::AllCrashed,
    store::{Done, Store, inspect, records},
};

/// What the properties look at.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// What clients did.
    pub history: Vec<Done>,
    /// The nodes' settings.
    pub config: NodeConfig,
    /// Whether the ring changed.
    pub ring_changes: bool,
    /// The ring at the end.
    pub ring: Arc<Ring>,
    /// What each node that runs holds in the end.
    pub held: BTreeMap<NodeId, BTreeMap<Key, Record>>,
    /// What was on each disk that was lost for good, and on those of nodes that find nobody.
    pub disks_lost: Vec<BTreeMap<Key, Version>>,
    /// How many owners each slot has at least, on any ring.
    pub least_owners: usize,
    /// What nodes had after all of them had crashed at once.
    pub all_crashed: Vec<AllCrashed>,
    /// All records that were ever written somewhere, as the journals have them: nobody else knows the version of
    /// a write whose client was not answered.
    pub written: BTreeMap<(Key, Version), Option<Value>>,
}

impl Evidence {
    /// What a run shows.
    pub fn of(
        world: &World<Store>,
        history: &[Done],
        (first, ring): (&Arc<Ring>, &Arc<Ring>),
        disks_lost: Vec<BTreeMap<Key, Version>>,
    ) -> Self {
        let hosts = &world.hosts;
        let running = hosts.nodes().filter(|node| hosts.node(*node).is_some()).map(NodeId);
        Self {
            history: history.to_vec(),
            config: world.setup().config.clone(),
            ring_changes: ring.epoch() > first.epoch(),
            ring: ring.clone(),
            held: running.map(|node| (node, records(hosts, node))).collect(),
            disks_lost,
            least_owners: world.watch.rings.least_owners(),
            all_crashed: world.watch.all_crashed.clone(),
            written: written(hosts),
        }
    }

    /// The version of each key that its owners hold in the end: the last of them, where they differ.
    pub fn last_versions(&self) -> BTreeMap<String, Version> {
        let mut last = BTreeMap::new();
        for (node, records) in &self.held {
            for (key, record) in records {
                if self.ring.owners(self.ring.slot_of(key.as_str())).position(*node).is_some() {
                    last.insert(key.as_str().to_string(), record.version);
                }
            }
        }
        last
    }
}

fn written(hosts: &Hosts<Store>) -> BTreeMap<(Key, Version), Option<Value>> {
    let mut written = BTreeMap::new();
    for node in hosts.nodes() {
        for entry in hosts.entries(node, 0).iter().flat_map(|entries| entries.iter()) {
            if let Entry::Record(key, record) = entry {
                written.insert((key.clone(), record.version), record.value.clone());
            }
        }
    }
    written
}

/// What the owners of some slot disagree about, if anything: by their digests, which cost less than their records.
pub fn difference(hosts: &Hosts<Store>, ring: &Ring) -> Option<String> {
    let members = ring.members().keys().copied();
    let digests: BTreeMap<NodeId, BTreeMap<Slot, u64>> = members
        .map(|node| {
            let of = |shard| inspect(hosts, node, |n| n.inspect(shard, |shard| shard.digests()));
            let shards = inspect(hosts, node, |node| node.shards()).unwrap_or(0);
            (node, (0..shards).filter_map(of).flatten().collect())
        })
        .collect();
    for slot in digests.values().flat_map(BTreeMap::keys) {
        let owners = ring.owners(*slot).all();
        let digest = |node: &NodeId| digests[node].get(slot).copied().unwrap_or(0);
        if let Some(other) = owners.iter().find(|node| digest(node) != digest(&owners[0])) {
            return Some(format!("{} and {other} differ in {slot}", owners[0]));
        }
    }
    None
}

/// The keys of a history.
pub fn keys(history: &[Done]) -> BTreeSet<String> {
    history.iter().map(|done| done.action.key().to_string()).collect()
}
