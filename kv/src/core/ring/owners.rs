//! The owners of a slot, and sets of them.

use crate::core::types::NodeId;

/// A set of positions in an owner list, at most 256.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeSet([u64; 4]);

impl NodeSet {
    /// Adds a position. False when it was there already.
    pub fn insert(&mut self, at: usize) -> bool {
        let fresh = !self.contains(at);
        self.0[at / 64] |= 1 << (at % 64);
        fresh
    }

    /// Whether the position is in the set.
    pub fn contains(self, at: usize) -> bool {
        self.0[at / 64] & (1 << (at % 64)) != 0
    }

    /// How many positions are in the set.
    pub fn len(self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether the set has no position.
    pub fn is_empty(self) -> bool {
        self.0 == [0; 4]
    }

    /// What both sets have.
    pub fn and(self, other: Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] & other.0[word]))
    }
}

impl FromIterator<usize> for NodeSet {
    fn from_iter<I: IntoIterator<Item = usize>>(positions: I) -> Self {
        let mut set = Self::default();
        for at in positions {
            set.insert(at);
        }
        set
    }
}

/// The owners of a slot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owners {
    /// All owners: the old ones in the ring's order, then those that are only in the new set.
    pub(super) all: Vec<NodeId>,
    /// Which of `all` are the old owners.
    pub(super) old: NodeSet,
    /// Which of `all` are the new owners. The same as `old` unless the ring is joint.
    pub(super) new: NodeSet,
}

impl Owners {
    /// All owners, old ones first.
    pub fn all(&self) -> &[NodeId] {
        &self.all
    }

    /// The old owners, as positions in [`Owners::all`].
    pub fn old(&self) -> NodeSet {
        self.old
    }

    /// The new owners, as positions in [`Owners::all`].
    pub fn new_set(&self) -> NodeSet {
        self.new
    }

    /// The position of `node` among the owners.
    pub fn position(&self, node: NodeId) -> Option<usize> {
        self.all.iter().position(|owner| *owner == node)
    }

    /// The owners in a set of positions.
    pub fn members(&self, set: NodeSet) -> impl Iterator<Item = NodeId> + '_ {
        self.all.iter().enumerate().filter(move |(at, _)| set.contains(*at)).map(|(_, node)| *node)
    }
}
