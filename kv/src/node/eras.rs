//! The eras of a node: the time between two of its pauses.

use super::{
    locks::atomic::{AtomicU64, Ordering},
    pulse::{Pulse, Times},
};
use crate::core::{
    time::Micros,
    types::{Epoch, Incarnation},
};

/// The time of a node between two of its pauses. No two of a node are the same, whatever its incarnation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Era(pub u64);

impl Era {
    const PAUSES_BITS: u32 = 32;

    /// How many pauses were before it, since the node started.
    pub fn pauses(self) -> u64 {
        self.0 & ((1 << Self::PAUSES_BITS) - 1)
    }
}

/// A pause that a node noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// The era that begins with its end.
    pub era: Era,
    /// How long it was, at least about.
    pub length: Micros,
}

/// The eras of a node.
pub(super) struct Pauses {
    pub(super) pulse: Pulse,
    pub(super) era: AtomicU64,
    /// The era in which a majority said that this node's ring is the newest, and the epoch of that ring.
    pub(super) confirmed: AtomicU64,
    pub(super) confirmed_at: AtomicU64,
}

impl Pauses {
    pub(super) fn new(after: Micros, incarnation: Incarnation, times: Times) -> Self {
        let first = u64::from(incarnation.0) << Era::PAUSES_BITS;
        Self {
            pulse: Pulse::new(after, times),
            era: AtomicU64::new(first),
            // What it did before it started is another matter.
            confirmed: AtomicU64::new(first),
            confirmed_at: AtomicU64::new(0),
        }
    }

    pub(super) fn era(&self) -> Era {
        Era(self.era.load(Ordering::Acquire))
    }

    /// Whether requests of an era may still be coordinated, at a shard's epoch.
    pub(super) fn lets_through(&self, era: Era, epoch: Epoch) -> bool {
        era == self.era()
            && era.0 == self.confirmed.load(Ordering::Acquire)
            && epoch.0 >= self.confirmed_at.load(Ordering::Acquire)
    }
}
