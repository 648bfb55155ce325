//! What this node holds of slots that are, or are to be, others': it offers the versions to each new
//! owner, sends the records that one lacks, and forgets a slot of a final ring when all its owners have
//! confirmed that they have everything, some records at a time.
//!
//! The next page is offered as soon as an owner has confirmed the one before. What is lost, and what an owner
//! lacked, is offered again in the next round.

use std::collections::{BTreeMap, BTreeSet};

use super::{pulls::SILENT_ROUNDS, state::Shard};
use crate::core::{
    env::{Entry, Env, Note},
    message::{Range, ShardBody, SlotsAnswer, SlotsRequest, Want},
    record::Version,
    ring::{MemberState, NodeSet, Owners},
    types::{Key, NodeId, Slot},
};

/// Slots that a round is about.
const SLOTS_PER_ROUND: usize = 64;
/// Versions in a message.
const VERSIONS_PER_MESSAGE: usize = 1_024;
/// Pages of records that a round forgets.
const PAGES_DROPPED: usize = 16;

impl Shard {
    /// Offers the next few slots to their owners, and goes on to forget those that they have.
    pub(super) fn give_round(&mut self, env: &mut impl Env) {
        self.gives.offered.values_mut().for_each(|rounds| *rounds += 1);
        let offered = &self.gives.offered;
        let is_due =
            |node: &NodeId| offered.get(node).is_none_or(|rounds| rounds % SILENT_ROUNDS == 0);
        let due: BTreeSet<NodeId> =
            self.ring.members().keys().copied().filter(|node| is_due(node)).collect();
        self.offer_to(&due, env);
        self.drop_some(env);
    }

    /// Offers the next few slots to those of their owners whose turn it is.
    fn offer_to(&mut self, due: &BTreeSet<NodeId>, env: &mut impl Env) {
        let mut offers: BTreeMap<NodeId, (usize, Vec<Range>)> = BTreeMap::new();
        for (slot, give) in self.gives.slots.iter().take(SLOTS_PER_ROUND) {
            let owners = self.ring.owners(*slot);
            for node in owners.members(self.takers(owners)).filter(|node| due.contains(node)) {
                let (count, ranges) = offers.entry(node).or_default();
                let is_over = owners.position(node).is_some_and(|at| give.confirmed.contains(at));
                if is_over || *count >= VERSIONS_PER_MESSAGE {
                    continue;
                }
                let after = give.after.get(&node).cloned();
                let (versions, is_last) =
                    self.store.versions(*slot, after.as_ref(), self.config.page);
                if !is_last {
                    env.note(Note::OfferPaged);
                }
                let upto = versions.last().map(|(key, _)| key.clone()).filter(|_| !is_last);
                *count += versions.len();
                ranges.push(Range { slot: *slot, after, upto, versions });
            }
        }
        for (node, (_, ranges)) in offers {
            if ranges.is_empty() {
                continue;
            }
            self.gives.offered.entry(node).or_insert(0);
            self.ask_slots(node, SlotsRequest::Offer { ranges }, env);
        }
    }

    /// Somebody gives up slots that are ours, now or when the ring is final: tells which records it is to send.
    pub(super) fn offered(
        &mut self,
        from: NodeId,
        shard: u16,
        ranges: Vec<Range>,
        env: &mut impl Env,
    ) {
        let mut wants: Vec<Want> = Vec::new();
        for Range { slot, after, upto, versions } in ranges {
            let is_known = slot.0 < self.ring.size();
            if !is_known || self.ring.owners(slot).position(self.config.node).is_none() {
                continue;
            }
            let lacks = |(key, version): &(Key, Version)| {
                self.store.version(key.as_str()).is_none_or(|held| held < *version)
            };
            let keys = versions.into_iter().filter(lacks).map(|(key, _)| key).collect();
            wants.push(Want { slot, after, upto, keys });
        }
        if !wants.is_empty() {
            let answer = SlotsAnswer::Wanted { wants };
            self.send(from, ShardBody::SlotsAnswer { shard, answer }, env);
        }
    }

    /// An owner said what it lacks, or that it lacks nothing.
    pub(super) fn wanted(&mut self, from: NodeId, wants: Vec<Want>, env: &mut impl Env) {
        self.gives.offered.remove(&from);
        let mut goes_on = false;
        for Want { slot, after, upto, keys } in wants {
            let mut slots = std::mem::take(&mut self.gives.slots);
            if let Some(give) = slots.get_mut(&slot)
                && give.after.get(&from) == after.as_ref()
            {
                // An answer that comes twice confirms nothing: it must not be followed by an offer of its own.
                goes_on |= keys.is_empty();
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
                let takers = self.takers(owners);
                if give.confirmed.and(takers) == takers {
                    slots.remove(&slot);
                    self.give_up(slot);
                }
            }
            self.gives.slots = slots;
        }
        if goes_on {
            self.offer_to(&BTreeSet::from([from]), env);
        }
        self.drop_some(env);
        self.tell_if_synced(env);
    }

    /// Who has to have what this node gives up: while it is still an owner itself, those that come after it;
    /// else all, old and new, for the change that is under way may be given up. Nobody waits for one who is
    /// evicted.
    fn takers(&self, owners: &Owners) -> NodeSet {
        match owners.is_old(self.config.node) {
            true => owners.new_set(),
            false => {
                let members = self.ring.members();
                let is_there = |node: &NodeId| members[node].state != MemberState::Evicted;
                let all = owners.all().iter().enumerate();
                all.filter(|(_, node)| is_there(node)).map(|(at, _)| at).collect()
            }
        }
    }

    /// All whom it concerns have what this node has of a slot. It forgets it, unless it is still an owner.
    fn give_up(&mut self, slot: Slot) {
        if !self.ring.owners(slot).is_old(self.config.node) {
            self.gives.drops.insert(slot);
        }
    }

    /// Forgets some of the records that others have. Nobody adds any to a slot that is not ours.
    fn drop_some(&mut self, env: &mut impl Env) {
        let mut room = PAGES_DROPPED * self.config.page;
        while let Some(slot) = self.gives.drops.first().copied().filter(|_| room > 0) {
            let keys = self.store.drop_some(slot, room);
            room -= keys.len();
            if self.store.count(slot) == 0 {
                self.gives.drops.remove(&slot);
                env.note(Note::SlotDropped);
            }
            env.persist(Entry::Dropped(slot, keys));
        }
    }
}
