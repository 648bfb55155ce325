//! P1 Convergence: once faults are healed, all owners of a slot hold equal records, for each key the
//! greatest version that survived, and never one older than an ok write, unless as many disks as
//! acknowledged it were lost.

use std::{collections::BTreeMap, sync::Arc};

use kv::core::{
    quorum::Level,
    record::Version,
    ring::Ring,
    types::{Key, NodeId, Slot},
};

use super::{Evidence, Violation, by_key, shown};
use crate::{
    cluster::Cluster,
    tally::{Tally, Topic},
};

/// What the owners of some slot disagree about, if anything.
pub fn difference(cluster: &Cluster, ring: &Arc<Ring>) -> Option<String> {
    let members = ring.members().keys().copied();
    let digests: BTreeMap<NodeId, BTreeMap<Slot, u64>> = members
        .map(|node| {
            let of = |shard| cluster.inspect(node, |n| n.inspect(shard, |shard| shard.digests()));
            let shards = cluster.inspect(node, |node| node.shards()).unwrap_or(0);
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

/// Looks at what the owners hold in the end.
pub fn check(evidence: &Evidence<'_>, tally: &mut Tally) -> Result<(), Violation> {
    if let Some(what) = difference(evidence.cluster, evidence.ring) {
        return Err(Violation::new("P1", what));
    }
    let held = final_versions(evidence);
    for (key, places) in by_key(evidence.history) {
        for place in places {
            let done = &evidence.history[place];
            let Some((_, version)) = done.written_at() else { continue };
            let last = held.get(key).copied();
            if last < Some(version) {
                let key = Key::trusted(key);
                let had_it = |disk: &&BTreeMap<Key, Version>| disk.get(&key) >= Some(&version);
                let lost = evidence.disks_lost.iter().filter(had_it).count();
                if lost >= copies(done.action.level(), evidence.ring.replication()) {
                    tally.add(Topic::Event, "an ok write was lost with its disks");
                    continue;
                }
                let key = key.as_str();
                let (version, last) = (shown(version), shown(last));
                let what = format!("op {place} wrote {version}, the owners end with {last}");
                return Err(Violation::new("P1", what).shown_by(key, &[place]));
            }
        }
    }
    Ok(())
}

/// How many owners acknowledged an ok write at least.
fn copies(level: Level, replication: usize) -> usize {
    match level {
        Level::One | Level::Session => 1,
        Level::Quorum | Level::Linearizable => replication / 2 + 1,
        Level::All => replication,
    }
}

/// The version of each key that all its owners hold in the end. Panics nowhere: where owners
/// differ, [`difference`] said so before.
pub fn final_versions(evidence: &Evidence<'_>) -> BTreeMap<String, Version> {
    let mut held = BTreeMap::new();
    for node in evidence.cluster.nodes() {
        for (key, record) in evidence.cluster.records(node) {
            if is_owner(evidence.ring, node, &key) {
                held.insert(key.as_str().to_string(), record.version);
            }
        }
    }
    held
}

fn is_owner(ring: &Ring, node: NodeId, key: &Key) -> bool {
    ring.owners(ring.slot_of(key.as_str())).position(node).is_some()
}
