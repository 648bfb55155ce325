//! Pulls: on a joint ring, who gains a slot reads it from so many of its old owners that each of their
//! majorities is met, all of them at this epoch, and so past every write of an earlier one.
//!
//! The old owners are asked for the next few slots, page by page, and for the next page as soon as one with
//! records came. A round asks again for what is lost; an owner that stays silent is replaced by the next one. What
//! was pulled is void on a newer ring, but the records stay: a slot whose digests agree has nothing to send.

use std::collections::{BTreeMap, BTreeSet};

use super::{pulls::SILENT_ROUNDS, state::Shard};
use crate::core::{
    env::{Env, Note},
    message::{Lack, Part, ShardBody, SlotsAnswer, SlotsRequest},
    ring::slot_of,
    types::NodeId,
};

/// Slots that are asked for at once. Many: most of them are empty, and the page bounds what an answer holds.
const SLOTS_PER_MESSAGE: usize = 256;
impl Shard {
    /// Asks the old owners for the next few slots: those that were not asked, and at times those that do not
    /// answer.
    pub(super) fn pull_round(&mut self, env: &mut impl Env) {
        self.pulls.asked.values_mut().for_each(|rounds| *rounds += 1);
        let asked = &self.pulls.asked;
        let is_due =
            |node: &NodeId| asked.get(node).is_none_or(|rounds| rounds % SILENT_ROUNDS == 0);
        let due: BTreeSet<NodeId> =
            self.ring.members().keys().copied().filter(|node| is_due(node)).collect();
        self.pull_from(&due, usize::MAX, env);
    }

    /// An answer came: asks those who are not being asked. A slot is then asked of one owner at a time, for where
    /// the others have the same they have nothing to send once the first one sent it all.
    fn pull_on(&mut self, env: &mut impl Env) {
        let is_free = |node: &NodeId| !self.pulls.asked.contains_key(node);
        let free: BTreeSet<NodeId> = self.ring.members().keys().copied().filter(is_free).collect();
        self.pull_from(&free, 1, env);
    }

    /// Asks those of the old owners whose turn it is for the next few slots, each of so many of them.
    fn pull_from(&mut self, due: &BTreeSet<NodeId>, sources_at_once: usize, env: &mut impl Env) {
        if due.is_empty() {
            return;
        }
        let asked = self.pulls.asked.iter();
        let silent: BTreeSet<NodeId> =
            asked.filter(|(_, rounds)| **rounds >= SILENT_ROUNDS).map(|(node, _)| *node).collect();
        let mut lacks: BTreeMap<NodeId, Vec<Lack>> = BTreeMap::new();
        for (slot, pull) in self.pulls.slots.iter().take(SLOTS_PER_MESSAGE) {
            let owners = self.ring.owners(*slot);
            let sources = pull.sources(*slot, owners, &silent, sources_at_once);
            for node in sources.into_iter().filter(|node| due.contains(node)) {
                let (slot, after) = (*slot, pull.after.get(&node).cloned());
                let lack = Lack { slot, after, digest: self.store.digest(slot) };
                lacks.entry(node).or_default().push(lack);
            }
        }
        for (node, lacks) in lacks {
            match self.pulls.asked.get(&node) {
                Some(_) => env.note(Note::PullHedged),
                None => drop(self.pulls.asked.insert(node, 0)),
            }
            self.ask_slots(node, SlotsRequest::Pull { lacks }, env);
        }
    }

    /// A new owner pulls.
    pub(super) fn pulled_from(
        &mut self,
        from: NodeId,
        shard: u16,
        lacks: Vec<Lack>,
        env: &mut impl Env,
    ) {
        let (mut parts, mut room) = (Vec::new(), self.config.page);
        for Lack { slot, after, digest } in lacks {
            let is_ours = slot.0 < self.ring.size() && {
                let owners = self.ring.owners(slot);
                owners.is_old(self.config.node) && owners.is_new(from)
            };
            if !is_ours {
                continue;
            }
            let is_same = digest == self.store.digest(slot);
            let (records, is_last) = match is_same {
                true => (Vec::new(), true),
                false => self.store.page(slot, after.as_ref(), room),
            };
            room -= records.len();
            if !is_last {
                env.note(Note::PullPaged);
            }
            parts.push(Part { slot, after, records, is_last });
            if room == 0 {
                break;
            }
        }
        if !parts.is_empty() {
            let answer = SlotsAnswer::Pulled { parts };
            self.send(from, ShardBody::SlotsAnswer { shard, answer }, env);
        }
    }

    /// An old owner sent what it has.
    pub(super) fn pulled(&mut self, from: NodeId, parts: Vec<Part>, env: &mut impl Env) {
        self.pulls.asked.remove(&from);
        let (before, mut goes_on) = (self.pulls.len(), false);
        for Part { slot, after, records, is_last } in parts {
            let mut slots = std::mem::take(&mut self.pulls.slots);
            if let Some(pull) = slots.get_mut(&slot)
                && pull.after.get(&from) == after.as_ref()
            {
                // An answer that comes twice moves nothing: it must not be followed by a question of its own. Nor
                // must one without records: a round asks for many empty slots, and each of these for few.
                goes_on |= !records.is_empty();
                if let Some((key, _)) = records.last() {
                    pull.after.insert(from, key.clone());
                }
                for (key, record) in &records {
                    if slot_of(key.as_str(), self.ring.size()) == slot {
                        self.merge(slot, key, record, env);
                    }
                }
                let owners = self.ring.owners(slot);
                if let (true, Some(at)) = (is_last, owners.position(from)) {
                    pull.done.insert(at);
                    pull.after.remove(&from);
                }
                if pull.is_done(owners) {
                    slots.remove(&slot);
                }
            }
            self.pulls.slots = slots;
        }
        if self.pulls.len() < before {
            env.note(Note::SlotsPulled);
        }
        if goes_on {
            self.pull_on(env);
        }
        self.tell_if_synced(env);
    }
}
