//! What this node holds of slots that are, or are to be, others': it offers the versions to each new
//! owner, sends the records that one lacks, and forgets a slot of a final ring when all its owners have
//! confirmed that they have everything.

use std::collections::BTreeMap;

use super::{Shard, ShardConfig, pull::SILENT_ROUNDS};
use crate::{
    env::{Entry, Env, Note},
    message::{Body, Offer, Want},
    quorum::NodeSet,
    record::Version,
    ring::Ring,
    store::Store,
    types::{Key, NodeId, Slot},
};

/// Slots that a round is about.
const SLOTS_PER_ROUND: usize = 64;
/// Versions in a message.
const VERSIONS_PER_MESSAGE: usize = 1_024;

/// What is still to be handed over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Gives {
    slots: BTreeMap<Slot, Give>,
    /// To whom something was offered that has not answered: how many rounds ago.
    offered: BTreeMap<NodeId, u32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Give {
    /// The owners that have everything, as positions among the owners.
    confirmed: NodeSet,
    /// Up to where the others have.
    after: BTreeMap<NodeId, Key>,
}

impl Gives {
    /// What a ring asks of a shard that holds this.
    pub(super) fn of(ring: &Ring, config: &ShardConfig, store: &Store) -> Self {
        let held = store.digests().into_iter().map(|(slot, _)| slot);
        let lost = held.filter(|slot| !ring.owners(*slot).is_new(config.node));
        let slots = lost.map(|slot| (slot, Give::default())).collect();
        Self { slots, offered: BTreeMap::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}

impl Shard {
    /// Offers the next few slots to their owners.
    pub(super) fn give_round(&mut self, env: &mut impl Env) {
        self.gives.offered.values_mut().for_each(|rounds| *rounds += 1);
        let offered = &self.gives.offered;
        let is_due =
            |node: &NodeId| offered.get(node).is_none_or(|rounds| rounds % SILENT_ROUNDS == 0);
        let mut offers: BTreeMap<NodeId, (usize, Vec<Offer>)> = BTreeMap::new();
        for (slot, give) in self.gives.slots.iter().take(SLOTS_PER_ROUND) {
            let owners = self.ring.owners(*slot);
            for node in owners.members(owners.new_set()).filter(is_due) {
                let (count, offers) = offers.entry(node).or_default();
                let is_over = owners.position(node).is_some_and(|at| give.confirmed.contains(at));
                if is_over || *count >= VERSIONS_PER_MESSAGE {
                    continue;
                }
                let after = give.after.get(&node).cloned();
                let (page, is_last) = self.store.page(*slot, after.as_ref(), self.config.page);
                if !is_last {
                    env.note(Note::OfferPaged);
                }
                let upto = page.last().map(|(key, _)| key.clone()).filter(|_| !is_last);
                let versions: Vec<(Key, Version)> =
                    page.into_iter().map(|(key, record)| (key, record.version)).collect();
                *count += versions.len();
                offers.push((*slot, after, upto, versions));
            }
        }
        for (node, (_, offers)) in offers {
            if offers.is_empty() {
                continue;
            }
            self.gives.offered.entry(node).or_insert(0);
            self.send(node, Body::Offer { shard: self.config.shard, offers }, env);
        }
    }

    /// Somebody gives up slots that are ours: tells which records it is to send.
    pub(super) fn offered(
        &mut self,
        from: NodeId,
        shard: u16,
        offers: Vec<Offer>,
        env: &mut impl Env,
    ) {
        let mut wants: Vec<Want> = Vec::new();
        for (slot, after, upto, versions) in offers {
            if slot.0 >= self.ring.size() || !self.ring.owners(slot).is_new(self.config.node) {
                continue;
            }
            let lacks = |(key, version): &(Key, Version)| {
                self.store.version(key.as_str()).is_none_or(|held| held < *version)
            };
            let keys = versions.into_iter().filter(lacks).map(|(key, _)| key).collect();
            wants.push((slot, after, upto, keys));
        }
        if !wants.is_empty() {
            self.send(from, Body::Wanted { shard, wants }, env);
        }
    }

    /// An owner said what it lacks, or that it lacks nothing.
    pub(super) fn wanted(&mut self, from: NodeId, wants: Vec<Want>, env: &mut impl Env) {
        self.gives.offered.remove(&from);
        for (slot, after, upto, keys) in wants {
            let mut slots = std::mem::take(&mut self.gives.slots);
            if let Some(give) = slots.get_mut(&slot)
                && give.after.get(&from) == after.as_ref()
            {
                if !keys.is_empty() {
                    keys.iter().for_each(|_| env.note(Note::RecordHandedOver));
                    self.send_records(from, slot, &keys, env);
                } else if let Some(upto) = upto {
                    give.after.insert(from, upto);
                } else if let Some(at) = self.ring.owners(slot).position(from) {
                    give.confirmed.insert(at);
                    give.after.remove(&from);
                }
                let owners = self.ring.owners(slot);
                if give.confirmed.and(owners.new_set()) == owners.new_set() {
                    slots.remove(&slot);
                    self.give_up(slot, env);
                }
            }
            self.gives.slots = slots;
        }
        self.tell_if_synced(env);
    }

    /// All owners have what this node has of a slot. While the ring is joint it is still an owner.
    fn give_up(&mut self, slot: Slot, env: &mut impl Env) {
        if !self.ring.is_joint() {
            env.note(Note::SlotDropped);
            let keys = self.store.drop_slot(slot);
            env.persist(Entry::Dropped(slot, keys));
        }
    }
}
