//! What each step of a node is held against: P2, P14, who owns which slot, and that nobody drops what others
//! lack.

use std::{collections::BTreeMap, sync::Arc};

use harness::{
    log::Happened,
    violation::Violation,
    watch::{Scene, Watch, Watched},
    world::{INVARIANT, host::Hosts},
};
use kv::core::{
    env::Entry,
    record::{Record, Version},
    ring::{MemberState, Ring},
    types::{Key, NodeId},
};

use crate::{
    check::p10::AllCrashed,
    rings::Rings,
    scenario::Cluster,
    shown::{relative_ms, shown, true_time},
    store::{Store, inspect, newest, records},
    words,
};

impl Watched for Store {
    type Watch = StoreWatch;
    const DURABILITY: &str = "P10";
}

/// What looks at each step.
pub struct StoreWatch {
    /// The rings that some node has for certain.
    pub rings: Rings,
    /// The newest version of each key that each node's store held.
    seen: BTreeMap<NodeId, BTreeMap<Key, Version>>,
    /// Each crash of all nodes, and what they had when they started again.
    pub all_crashed: Vec<AllCrashed>,
}

impl Watch<Store> for StoreWatch {
    fn new(_: &Cluster, first: &Arc<Ring>) -> (Self, Option<Violation>) {
        let (rings, violation) = Rings::new(first);
        (Self { rings, seen: BTreeMap::new(), all_crashed: Vec::new() }, violation)
    }

    /// P2: a node that starts holds what its journal kept.
    fn started(&mut self, scene: &mut Scene<'_, Store>, node: u32) -> Result<(), Violation> {
        let id = NodeId(node);
        let kept = scene.hosts.entries(node, 0).map(|entries| newest(&entries)).unwrap_or_default();
        let versions = kept.iter().map(|(key, record)| (key.clone(), record.version));
        let versions: BTreeMap<Key, Version> = versions.collect();
        self.all_crashed.iter_mut().for_each(|crash| crash.started(id, &versions));
        self.seen.insert(id, versions);
        let held = records(scene.hosts, id);
        if held == kept {
            return Ok(());
        }
        let differs = |key: &&Key| held.get(*key) != kept.get(*key);
        let key = held.keys().chain(kept.keys()).find(differs).expect("they differ");
        let of =
            |records: &BTreeMap<Key, Record>| shown(records.get(key).map(|record| record.version));
        let (held, kept) = (of(&held), of(&kept));
        let what =
            format!("after a restart {id} holds {held} of the key, and its journal has {kept}");
        Err(Violation::new("P2", what).about(key.as_str()))
    }

    fn stepped(
        &mut self,
        scene: &mut Scene<'_, Store>,
        node: u32,
        from: usize,
    ) -> Result<(), Violation> {
        let id = NodeId(node);
        let hosts = scene.hosts;
        let Some(entries) = hosts.entries(node, from) else { return Ok(()) };
        let Some(running) = hosts.node(node) else { return Ok(()) };
        let (mut dropped, mut changed): (Vec<&Key>, Vec<&Key>) = (Vec::new(), Vec::new());
        for entry in entries.iter() {
            match entry {
                Entry::Dropped(_, keys) => dropped.extend(keys),
                Entry::Record(key, _) => changed.push(key),
                Entry::Opened(_)
                | Entry::Member(_)
                | Entry::ClockFloor(_)
                | Entry::Ring(_)
                | Entry::Acceptor(..) => {}
            }
        }
        // A replica that is one no more may forget.
        let seen = self.seen.entry(id).or_default();
        let forgotten: Vec<(Key, Version)> =
            dropped.into_iter().filter_map(|key| seen.remove_entry(key)).collect();
        for key in changed.into_iter().chain(&running.touched) {
            let holds = running.node.inspect_key(key, |shard| shard.version(key.as_str()));
            check_version(scene, id, key, seen.get(key).copied(), holds)?;
            if let Some(version) = holds {
                seen.insert(key.clone(), version);
            }
        }
        for (key, version) in forgotten {
            self.check_given_up(hosts, id, "dropped", &key, version)?;
        }
        Ok(())
    }

    /// Rings that a node has for certain now.
    fn synced(
        &mut self,
        scene: &mut Scene<'_, Store>,
        node: u32,
        from: usize,
        upto: usize,
    ) -> Result<(), Violation> {
        let hosts = scene.hosts;
        let Some(entries) = hosts.entries(node, from) else { return Ok(()) };
        for entry in &entries[..upto - from] {
            let Entry::Ring(ring) = entry else { continue };
            if self.rings.at(ring.epoch()).is_none() {
                let said = || Happened::Said("ring", words::ring(ring));
                scene.log.tell(scene.at_us, said);
            }
            for happened in self.rings.take(ring)? {
                scene.tally.sometimes(happened);
            }
        }
        Ok(())
    }
}

/// P2 and P14 of what a node holds of a key now.
fn check_version(
    scene: &Scene<'_, Store>,
    id: NodeId,
    key: &Key,
    seen: Option<Version>,
    holds: Option<Version>,
) -> Result<(), Violation> {
    if holds < seen {
        let what = format!("{id} went back from {} to {}", shown(seen), shown(holds));
        return Err(Violation::new("P2", what).about(key.as_str()));
    }
    let drift = scene.setup.config.max_clock_drift;
    let bound = true_time(scene.at_us).plus(drift);
    if let Some(version) = holds.filter(|version| version.timestamp > bound && drift.0 > 0) {
        let (version, bound) = (shown(version), relative_ms(bound));
        let what =
            format!("{id} stores {version}, which is after true time and the bound, {bound} ms");
        return Err(Violation::new("P14", what).about(key.as_str()));
    }
    Ok(())
}

impl StoreWatch {
    /// All nodes crash at once.
    pub fn all_crash(&mut self, at_us: u64, nodes: impl Iterator<Item = NodeId>) {
        let (kept, away) = (BTreeMap::new(), nodes.collect());
        self.all_crashed.push(AllCrashed { at_us, kept, away });
    }

    /// A node's disk is lost: it never starts again.
    pub fn never_starts(&mut self, node: NodeId) {
        self.all_crashed.iter_mut().for_each(|crash| crash.gone(node));
    }

    /// The others can do without a node: whatever it still holds, it might forget.
    ///
    /// # Errors
    ///
    /// It holds something that an owner lacks.
    pub fn released(&self, hosts: &Hosts<Store>, id: NodeId) -> Result<(), Violation> {
        records(hosts, id).into_iter().try_for_each(|(key, record)| {
            self.check_given_up(hosts, id, "was released with", &key, record.version)
        })
    }

    /// Nobody drops what others lack: a node forgets a record when it is no owner, and each owner, old and new
    /// (but for those evicted), has had that version, or a newer one, for certain.
    fn check_given_up(
        &self,
        hosts: &Hosts<Store>,
        id: NodeId,
        how: &str,
        key: &Key,
        version: Version,
    ) -> Result<(), Violation> {
        let epoch = inspect(hosts, id, |node| node.inspect_key(key, |shard| shard.epoch()));
        let Some(epoch) = epoch else { return Ok(()) };
        let why = match self.rings.at(epoch) {
            None => Some(format!("nobody has a ring of {epoch} for certain")),
            Some(ring) => {
                let owners = ring.owners(ring.slot_of(key.as_str())).all();
                let is_evicted =
                    |owner: &NodeId| ring.members()[owner].state == MemberState::Evicted;
                let lacks = |owner: &&NodeId| {
                    **owner == id || !is_evicted(owner) && !had(hosts, **owner, key, version)
                };
                owners.iter().find(lacks).map(|owner| format!("its owner {owner} lacks it"))
            }
        };
        let Some(why) = why else { return Ok(()) };
        let what = format!("{id} {how} {}, but {why}", shown(version));
        Err(Violation::new(INVARIANT, what).about(key.as_str()))
    }
}

/// Whether a node's journal had this version of a key, or a newer one, for certain.
fn had(hosts: &Hosts<Store>, id: NodeId, key: &Key, version: Version) -> bool {
    let is_it = |entry: &Entry| match entry {
        Entry::Record(of, record) => of == key && record.version >= version,
        Entry::Opened(_)
        | Entry::ClockFloor(_)
        | Entry::Dropped(..)
        | Entry::Ring(_)
        | Entry::Member(_)
        | Entry::Acceptor(..) => false,
    };
    hosts.durable_entries(id.0).is_some_and(|entries| entries.iter().rev().any(is_it))
}
