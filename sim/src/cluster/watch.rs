//! What each step of a node is held against, and what is told to the recorder.

use std::collections::BTreeMap;

use kv::core::{
    env::Entry,
    record::Version,
    ring::MemberState,
    types::{Key, NodeId, Value},
};

use super::Cluster;
use crate::{
    check::{Violation, relative_ms, shown},
    log::Happened,
    queue::Due,
    tally::Topic,
    trace::{Effects, Given},
    world::clock::true_time,
};

impl Cluster {
    /// Tells the recorder what a node is about to be given.
    pub(super) fn record_given(&mut self, due: &Due) {
        let Some(recorder) = &mut self.recorder else { return };
        match due {
            Due::Arrive { from, message, .. } => {
                recorder.gives(Given::Message(*from, message.clone()));
            }
            Due::Ask { request, what, .. } => {
                recorder.gives(Given::Request(*request, what.clone()));
            }
            Due::Timer { machine, timer, .. } => recorder.gives(Given::Timer(*machine, *timer)),
            // How far the journal is, is known when it is done.
            Due::Synced { .. } | Due::Change { .. } | Due::Wake(_) => {}
        }
    }

    /// All records that were ever written somewhere, as the journals have them: nobody else knows the version of
    /// a write whose client was not answered.
    pub(crate) fn written(&self) -> BTreeMap<(Key, Version), Option<Value>> {
        let mut written = BTreeMap::new();
        for host in &self.hosts {
            for entry in host.shared.borrow().journal.since(0) {
                if let Entry::Record(key, record) = entry {
                    written.insert((key.clone(), record.version), record.value.clone());
                }
            }
        }
        written
    }

    pub(super) fn record_effects(&mut self, id: NodeId, entries_before: usize) {
        let Some(recorder) = &mut self.recorder else { return };
        let shared = self.hosts[id.0 as usize - 1].shared.borrow();
        let effects = Effects {
            entries: shared.journal.since(entries_before).to_vec(),
            timers: shared.timers.clone(),
            notes: shared.notes.clone(),
            messages: shared.outbox.messages.clone(),
            replies: shared.outbox.replies.clone(),
        };
        recorder.did(id, shared.now, shared.uptime, effects);
    }

    /// P2, P14 and the owners of slots, on what a step changed.
    pub(super) fn check_moved(&mut self, id: NodeId, entries_before: usize, touched: Option<&Key>) {
        let bound = true_time(self.at).plus(self.config.max_clock_drift);
        let host = &mut self.hosts[id.0 as usize - 1];
        let Some((node, _)) = &host.node else { return };
        let shared = host.shared.borrow();
        let entries = shared.journal.since(entries_before);
        let dropped = entries.iter().filter_map(|entry| match entry {
            Entry::Dropped(_, keys) => Some(keys),
            Entry::Opened(_)
            | Entry::ClockFloor(_)
            | Entry::Record(..)
            | Entry::Ring(_)
            | Entry::Acceptor(..) => None,
        });
        let dropped: Vec<Key> = dropped.flatten().cloned().collect();
        let changed = entries.iter().filter_map(|entry| match entry {
            Entry::Record(key, _) => Some(key),
            Entry::Opened(_)
            | Entry::ClockFloor(_)
            | Entry::Ring(_)
            | Entry::Dropped(..)
            | Entry::Acceptor(..) => None,
        });
        // A replica that is one no more may forget.
        let forgotten: Vec<(Key, Version)> =
            dropped.into_iter().filter_map(|key| host.seen.remove_entry(&key)).collect();
        for key in changed.chain(touched) {
            let version = node.inspect_key(key, |shard| shard.version(key.as_str()));
            let seen = host.seen.get(key).copied();
            if version < seen {
                let what = format!("{id} went back from {} to {}", shown(seen), shown(version));
                self.broken.get_or_insert(Violation::new("P2", what).about(key));
            }
            let Some(version) = version else { continue };
            if version.timestamp > bound && self.config.max_clock_drift.0 > 0 {
                let version = shown(Some(version));
                let what = format!(
                    "{id} stores {version}, which is after true time and the bound, {} ms",
                    relative_ms(bound)
                );
                self.broken.get_or_insert(Violation::new("P14", what).about(key));
            }
            if seen != Some(version) {
                host.seen.insert(key.clone(), version);
            }
        }
        drop(shared);
        for (key, version) in forgotten {
            self.check_given_up(id, "dropped", &key, version);
        }
    }

    /// Nobody drops what others lack: a node forgets a record when it is no owner, and each owner, old and new
    /// (but for those evicted), has had that version, or a newer one, for certain.
    pub(super) fn check_given_up(&mut self, id: NodeId, how: &str, key: &Key, version: Version) {
        let host = &self.hosts[id.0 as usize - 1];
        let Some((node, _)) = &host.node else { return };
        let epoch = node.inspect_key(key, |shard| shard.epoch());
        let why = match self.rings.at(epoch) {
            None => Some(format!("nobody has a ring of {epoch} for certain")),
            Some(ring) => {
                let owners = ring.owners(ring.slot_of(key.as_str())).all();
                let is_evicted =
                    |owner: &NodeId| ring.members()[owner].state == MemberState::Evicted;
                let lacks = |owner: &&NodeId| {
                    **owner == id || !is_evicted(owner) && !self.had(**owner, key, version)
                };
                owners.iter().find(lacks).map(|owner| format!("its owner {owner} lacks it"))
            }
        };
        if let Some(why) = why {
            let what = format!("{id} {how} {}, but {why}", shown(Some(version)));
            self.broken.get_or_insert(Violation::new("invariant", what).about(key));
        }
    }

    /// Whether a node's journal had this version of a key, or a newer one, for certain.
    fn had(&self, id: NodeId, key: &Key, version: Version) -> bool {
        let Some(host) = self.hosts.get(id.0 as usize - 1) else { return false };
        let shared = host.shared.borrow();
        let durable = usize::try_from(shared.journal.durable()).expect("fits");
        shared.journal.since(0)[..durable].iter().rev().any(|entry| match entry {
            Entry::Record(of, record) => of == key && record.version >= version,
            Entry::Opened(_)
            | Entry::ClockFloor(_)
            | Entry::Dropped(..)
            | Entry::Ring(_)
            | Entry::Acceptor(..) => false,
        })
    }

    /// Rings that a node has for certain now.
    pub(super) fn check_rings(&mut self, id: NodeId, before: u64, durable: u64) {
        let place = |n: u64| usize::try_from(n).expect("fits");
        let shared = self.hosts[id.0 as usize - 1].shared.borrow();
        let entries = &shared.journal.since(place(before))[..place(durable - before)];
        for entry in entries {
            let Entry::Ring(ring) = entry else { continue };
            if self.rings.at(ring.epoch()).is_none() {
                self.log.tell(self.at, Happened::Ring(ring.clone()));
            }
            match self.rings.take(ring) {
                Ok(happened) => {
                    happened.into_iter().for_each(|name| self.tally.add(Topic::Event, name));
                }
                Err(violation) => drop(self.broken.get_or_insert(violation)),
            }
        }
    }
}
