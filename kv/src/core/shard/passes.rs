//! Where the comparisons with the peers are.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::{
    time::Micros,
    types::{Key, NodeId, Slot},
};

/// Exchanges of a pass in a tick as long as it finds nothing: a large slot that is being written differs
/// whenever it is looked at.
pub(super) const IDLE_EXCHANGES: u32 = 64;

/// Where the comparisons with the peers are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Comparisons {
    /// Counts passes: an answer to an older one is known as such, and each is about another peer.
    pub(super) begun: u64,
    pub(super) passes: BTreeMap<NodeId, Pass>,
    /// How many records the last whole pass against a peer found to be lacking here, or the one under way
    /// found so far. Absent: the peer was not compared with on this ring, or did not answer.
    pub(super) lacked: BTreeMap<NodeId, u64>,
    /// The monotonic clock at the last tick.
    pub(super) ticked: Micros,
}

/// A comparison with a peer that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pass {
    pub(super) number: u64,
    /// Ticks since the peer was last heard of while it was awaited.
    pub(super) silent: u32,
    /// Exchanges until the next tick, while nothing is found.
    pub(super) credit: u32,
    /// The peer's shards that told which slots differ.
    pub(super) heard: BTreeSet<u16>,
    /// All of them have.
    pub(super) is_listed: bool,
    /// The slots that differ and are still to be compared.
    pub(super) slots: BTreeMap<Slot, Cursor>,
    /// Those of them that were asked about.
    pub(super) asked: BTreeSet<Slot>,
    /// Records that were lacking here.
    pub(super) lacked: u64,
}

/// How far a slot is compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Cursor {
    pub(super) after: Option<Key>,
    /// How many records more the peer has.
    pub(super) more: u64,
}

impl Comparisons {
    /// On a new ring, or after a pause of this node, nothing that was found before counts.
    pub(super) fn forget(&mut self) {
        self.passes.clear();
        self.lacked.clear();
    }

    /// Whether a pass is bringing records that were lacking.
    pub(super) fn fills(&self) -> bool {
        self.passes.values().any(Pass::fills)
    }

    /// How many records more a peer has in slots that are still to be compared, while it is not known that
    /// this shard has all of them: what is on its way counts in no other case.
    pub(super) fn behind(&self) -> u64 {
        let is_clean = |peer: &NodeId| self.lacked.get(peer) == Some(&0);
        let open = self.passes.iter().filter(|(peer, _)| !is_clean(peer));
        let more = open.map(|(_, pass)| pass.slots.values().map(|cursor| cursor.more).sum());
        // What one of them has the others may have too.
        more.max().unwrap_or(0)
    }
}

impl Pass {
    pub(super) fn new(number: u64) -> Self {
        Self {
            number,
            silent: 0,
            credit: IDLE_EXCHANGES,
            heard: BTreeSet::new(),
            is_listed: false,
            slots: BTreeMap::new(),
            asked: BTreeSet::new(),
            lacked: 0,
        }
    }

    /// Whether it brings records that were lacking.
    pub(super) fn fills(&self) -> bool {
        self.lacked > 0 && self.silent == 0
    }

    pub(super) fn awaits(&self) -> bool {
        !self.is_listed || !self.asked.is_empty()
    }
}

/// Whether two shards, each one of so many, can have a slot in common.
pub(crate) fn may_share((shard, shards): (u16, u16), (other, others): (u16, u16)) -> bool {
    let common = gcd(shards, others);
    common > 0 && shard % common == other % common
}

pub(super) fn gcd(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { gcd(b, a % b) }
}
