//! What a shard has still to pull.

use std::collections::{BTreeMap, BTreeSet};

use super::config::ShardConfig;
use crate::core::{
    ring::{NodeSet, Owners, Ring},
    types::{Key, NodeId, Slot},
};

/// Rounds without an answer after which an owner is asked again, and others are asked too.
pub const SILENT_ROUNDS: u32 = 8;

/// What is still to be pulled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Pulls {
    pub(super) slots: BTreeMap<Slot, Pull>,
    /// Whom we asked and have not heard of: how many rounds ago.
    pub(super) asked: BTreeMap<NodeId, u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pull {
    /// The old owners that sent all they have, as positions among the owners.
    pub(super) done: NodeSet,
    /// Up to where the others are.
    pub(super) after: BTreeMap<NodeId, Key>,
}

impl Pulls {
    /// What a ring asks of a shard.
    pub(super) fn of(ring: &Ring, config: &ShardConfig) -> Self {
        let mut slots = BTreeMap::new();
        if ring.is_joint() {
            for slot in (config.shard..ring.size()).step_by(usize::from(config.shards)).map(Slot) {
                let owners = ring.owners(slot);
                if owners.pullers().any(|node| node == config.node) {
                    // Who was an owner before has what it has.
                    let own = owners.position(config.node).filter(|at| owners.old().contains(*at));
                    let pull = Pull { done: own.into_iter().collect(), after: BTreeMap::new() };
                    if !pull.is_done(owners) {
                        slots.insert(slot, pull);
                    }
                }
            }
        }
        Self { slots, asked: BTreeMap::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}

impl Pull {
    pub(super) fn is_done(&self, owners: &Owners) -> bool {
        self.done.and(owners.old()).len() >= owners.needed()
    }

    /// The old owners to ask next: as many as are missing, but no more than so many, those that answer first.
    pub(super) fn sources(
        &self,
        slot: Slot,
        owners: &Owners,
        silent: &BTreeSet<NodeId>,
        most: usize,
    ) -> Vec<NodeId> {
        let missing = (owners.needed() - self.done.and(owners.old()).len()).min(most);
        // The old owners come first. Each slot begins with another one of them.
        let old = owners.old().len();
        let turn = usize::from(slot.0) % old;
        let places = (turn..old).chain(0..turn).filter(|at| !self.done.contains(*at));
        let candidates = places.map(|at| owners.all()[at]);
        if silent.is_empty() {
            return candidates.take(missing).collect();
        }
        let (mut sources, last): (Vec<NodeId>, Vec<NodeId>) =
            candidates.partition(|node| !silent.contains(node));
        // Whoever is silent may still answer: it is asked beside those that replace it.
        match sources.len() < missing {
            true => sources.extend(last),
            false => sources.truncate(missing),
        }
        sources
    }
}
