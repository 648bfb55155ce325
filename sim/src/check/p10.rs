//! P10 Durability: an ok write at W survives any crash of all nodes, and then the permanent loss of W - 1 of them. So
//! when all nodes crash at once, as many owners as acknowledged an ok write have it when they start again, in their
//! journals alone, before they have heard of anybody.
//!
//! What was on a disk that is lost for good counts as had. Where a ring had fewer members than R, fewer acknowledge.

use std::collections::{BTreeMap, BTreeSet};

use harness::violation::Violation;
use kv::core::{
    quorum::Level,
    record::Version,
    types::{Key, NodeId},
};

use super::{property::Property, reads::by_key};
use crate::{
    shown::shown,
    store::{Done, written_at},
};

/// All nodes crashed at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllCrashed {
    /// When, in microseconds of the run.
    pub at_us: u64,
    /// What each node had of each key when it started for the first time after that.
    pub kept: BTreeMap<NodeId, BTreeMap<Key, Version>>,
    /// Who was to start and has not.
    pub away: BTreeSet<NodeId>,
}

impl AllCrashed {
    /// A node started, with this in its journal.
    pub fn started(&mut self, node: NodeId, kept: &BTreeMap<Key, Version>) {
        if self.away.remove(&node) {
            self.kept.insert(node, kept.clone());
        }
    }

    /// A node never starts again: its disk is lost, or nobody needs it.
    pub fn gone(&mut self, node: NodeId) {
        self.away.remove(&node);
    }
}

/// How many owners acknowledged an ok write at least, on a ring with so many.
pub fn copies(level: Level, owners: usize) -> usize {
    match level {
        Level::One | Level::Session => 1,
        Level::Quorum | Level::Linearizable => owners / 2 + 1,
        Level::All => owners,
    }
}

/// Looks at each crash of all nodes that all of them came back from. `owners`: of each slot at least, on any ring.
pub fn check(
    history: &[Done],
    all_crashed: &[AllCrashed],
    disks_lost: &[BTreeMap<Key, Version>],
    owners: usize,
) -> Result<(), Violation> {
    for crash in all_crashed.iter().filter(|crash| crash.away.is_empty()) {
        for (key, places) in by_key(history) {
            let of_key = Key::trusted(key);
            for place in places {
                let done = &history[place];
                let Some((_, version)) = written_at(done) else { continue };
                if done.returned_us.is_none_or(|returned| returned >= crash.at_us) {
                    continue;
                }
                let disks = crash.kept.values().chain(disks_lost);
                let had = disks.filter(|disk| disk.get(&of_key) >= Some(&version)).count();
                let wanted = copies(done.action.level(), owners);
                if had < wanted {
                    let version = shown(version);
                    let at_ms = crash.at_us / 1_000;
                    let what = format!(
                        "op {place} wrote {version}; after the crash of all nodes at {at_ms} ms {had} of them have it, \
                         and {wanted} had acknowledged it"
                    );
                    return Err(Violation::new(Property::P10, what).shown_by(key, &[place]));
                }
            }
        }
    }
    Ok(())
}
