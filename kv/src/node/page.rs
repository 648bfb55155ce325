//! A look at the records of some slots, a page after the other: for backups.

use std::ops::RangeInclusive;

use super::{ports::Ports, state::Node};
use crate::core::{
    record::Record,
    ring::slot_of,
    types::{Epoch, Key, Slot},
};

/// Some of the records that a node holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The epoch at which the node held all of them.
    pub epoch: Epoch,
    /// The records, ascending by slot, and by key within one.
    pub records: Vec<(Key, Record)>,
    /// Nothing follows.
    pub is_last: bool,
}

/// A newer ring is on its way through a node's shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ring is changing on this node just now; ask again")]
pub struct RingMoves;

impl<P: Ports> Node<P> {
    /// What this node holds of some slots behind a key: so many records at most, and not zero. Each slot is looked
    /// at under its shard's lock. What is there may not be on this node's disk yet.
    ///
    /// # Errors
    ///
    /// The shards are not at the same epoch.
    pub fn page(
        &self,
        slots: RangeInclusive<u16>,
        after: Option<&Key>,
        most: usize,
    ) -> Result<Page, RingMoves> {
        let slot_of = |key: &Key| slot_of(key.as_str(), self.ring_size).0;
        let first = after.map_or(0, slot_of).max(*slots.start());
        let last = (*slots.end()).min(self.ring_size - 1);
        let mut page = Page { epoch: self.oldest_epoch(), records: Vec::new(), is_last: true };
        for slot in first..=last {
            let room = most - page.records.len();
            let after = after.filter(|key| slot_of(key) == slot);
            let shard = usize::from(slot) % self.shards.len();
            let (epoch, (records, is_last)) =
                self.inspect(shard, |shard| (shard.epoch(), shard.page(Slot(slot), after, room)));
            if epoch != page.epoch {
                return Err(RingMoves);
            }
            page.records.extend(records);
            if !is_last {
                page.is_last = false;
                break;
            }
        }
        Ok(page)
    }
}
