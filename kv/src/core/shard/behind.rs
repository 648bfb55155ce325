//! How far a node is behind: what the ring gives it and it does not have yet, as far as it knows.

use std::collections::BTreeSet;

use super::state::Shard;
use crate::core::{time::Micros, types::NodeId};

/// What a shard, or a node, has still to get or to find out. All of it empty: it has, for all that it knows,
/// every record that the ring gives it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// Slots that are still to be pulled from their old owners.
    pub slots_to_pull: usize,
    /// Slots that others own, and that are still to be handed over or dropped.
    pub slots_to_hand_over: usize,
    /// Peers that were not compared with since this node started, since the ring changed or since a pause of
    /// this node, that did not answer, or that had something that this node lacked: the next comparison has to
    /// find that it has all of it. A record whose write may still be under way is not lacking.
    ///
    /// A peer that is down is among them: nobody knows what it has.
    pub peers_to_compare: BTreeSet<NodeId>,
    /// So many records at least are lacking here: what one of those peers has more than this node has in slots
    /// that differ and are not compared yet.
    pub records_behind: u64,
}

impl Behind {
    /// Whether this node has all, for all that it knows.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Of two shards of a node.
    pub fn and(mut self, other: Self) -> Self {
        self.slots_to_pull += other.slots_to_pull;
        self.slots_to_hand_over += other.slots_to_hand_over;
        self.peers_to_compare.extend(other.peers_to_compare);
        self.records_behind += other.records_behind;
        self
    }
}

impl Shard {
    /// How far this shard is behind.
    pub fn behind(&self, uptime: Micros) -> Behind {
        let (slots_to_pull, slots_to_hand_over) = self.moving();
        Behind {
            slots_to_pull,
            slots_to_hand_over,
            peers_to_compare: self.peers_to_compare(uptime),
            records_behind: self.sync.behind(),
        }
    }
}
