//! What members are asked for, and what they find due themselves.

use std::collections::BTreeSet;

use super::state::Topology;
use crate::core::{
    ring::{Change, Joiner, MemberState},
    types::NodeId,
};

/// Joins that one node keeps for others; further ones are dropped, and asked for again.
pub(super) const MOST_JOINS: usize = 64;
impl Topology {
    /// Somebody asks for a change.
    pub(super) fn want(&mut self, change: Change) {
        if self.ring.reflects(&change) {
            return;
        }
        if let Change::Join(Joiner { address, instance, .. }) = &change {
            if self.ring.gave_up(*instance) {
                return;
            }
            // Of two processes at one address the one that asks now is there. Others are not crowded out:
            // that few of them may ask is seen to where they do.
            let is_join = |c: &Change| matches!(c, Change::Join(_));
            let is_before = |c: &Change| matches!(c, Change::Join(j) if j.address == *address);
            self.wanted.retain(|wanted, _| !is_before(wanted));
            if self.wanted.keys().filter(|wanted| is_join(wanted)).count() >= MOST_JOINS {
                return;
            }
        }
        self.wanted.insert(change, self.ring.epoch());
    }

    /// The evictions of members that seem to be gone for good. Of those that are to stay, none is evicted
    /// without a member that could take over its slots.
    pub(super) fn evictions(&self) -> BTreeSet<Change> {
        if self.gone.is_empty() {
            return BTreeSet::new();
        }
        let members = self.ring.members();
        let stay = members.values().filter(|member| member.state.is_new()).count();
        // Nor any, while too few who have what they held would be left: the change could not end.
        let mut spare = match self.ring.can_lose(&self.gone) {
            true => stay.saturating_sub(self.ring.replication()),
            false => 0,
        };
        let is_due = |node: &&NodeId| match members.get(node).map(|member| member.state) {
            Some(MemberState::Active) => match spare {
                0 => false,
                _ => {
                    spare -= 1;
                    true
                }
            },
            Some(MemberState::Joining | MemberState::Leaving) => true,
            Some(MemberState::Evicted) | None => false,
        };
        self.gone.iter().filter(is_due).map(|node| Change::Evict(*node)).collect()
    }
}
