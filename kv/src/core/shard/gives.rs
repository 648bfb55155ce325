//! What a shard has still to hand over.

use std::collections::{BTreeMap, BTreeSet};

use super::config::ShardConfig;
use crate::core::{
    ring::{NodeSet, Ring},
    store::Store,
    types::{Key, NodeId, Slot},
};

/// What is still to be handed over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Gives {
    pub(super) slots: BTreeMap<Slot, Give>,
    /// To whom something was offered that has not answered: how many rounds ago.
    pub(super) offered: BTreeMap<NodeId, u32>,
    /// Slots that all who are to have them have, and that are being forgotten. On a newer ring what is left of
    /// them is offered anew: it may be ours again.
    pub(super) drops: BTreeSet<Slot>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Give {
    /// The owners that have everything, as positions among the owners.
    pub(super) confirmed: NodeSet,
    /// Up to where the others have.
    pub(super) after: BTreeMap<NodeId, Key>,
}

impl Gives {
    /// What a ring asks of a shard that holds this.
    pub(super) fn of(ring: &Ring, config: &ShardConfig, store: &Store) -> Self {
        let held = store.digests().into_iter().map(|(slot, _)| slot);
        let lost = held.filter(|slot| !ring.owners(*slot).is_new(config.node));
        let slots = lost.map(|slot| (slot, Give::default())).collect();
        Self { slots, offered: BTreeMap::new(), drops: BTreeSet::new() }
    }

    /// Whether others have all that they are to have.
    pub(super) fn is_handed_over(&self) -> bool {
        self.slots.is_empty()
    }

    /// Slots that are still to be handed over or forgotten.
    pub(super) fn len(&self) -> usize {
        self.slots.len() + self.drops.len()
    }
}
