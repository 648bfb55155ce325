//! What a peer's shard says about many slots, sorted to our shards.

use super::{Batch, Node, Ports};
use crate::{
    message::{Body, Message},
    shard::Input,
    types::{Epoch, NodeId, Slot},
};

impl<P: Ports> Node<P> {
    /// What is about many slots comes from one shard of a peer, which may have another number of
    /// shards than we: each of our shards gets what is about its own slots.
    pub(super) fn split(&self, batch: &mut Batch, from: NodeId, message: Message) {
        let Message { epoch, body } = message;
        match body {
            Body::Digests { shard, shards, digests } => {
                self.split_digests(batch, from, epoch, (shard, shards), &digests);
            }
            Body::Pull { shard, wants } => {
                self.split_list(
                    batch,
                    from,
                    epoch,
                    wants,
                    |want| want.0,
                    |wants| Body::Pull { shard, wants },
                );
            }
            Body::Offer { shard, offers } => {
                self.split_list(
                    batch,
                    from,
                    epoch,
                    offers,
                    |offer| offer.0,
                    |offers| Body::Offer { shard, offers },
                );
            }
            _ => {}
        }
    }

    /// Each shard gets what is about its own slots.
    fn split_list<T>(
        &self,
        batch: &mut Batch,
        from: NodeId,
        epoch: Epoch,
        list: Vec<T>,
        slot_of: impl Fn(&T) -> Slot,
        body: impl Fn(Vec<T>) -> Body,
    ) {
        let shards = self.shards.len();
        let mut lists: Vec<Vec<T>> = (0..shards).map(|_| Vec::new()).collect();
        for item in list {
            lists[usize::from(slot_of(&item).0) % shards].push(item);
        }
        for (inputs, list) in batch.shards.iter_mut().zip(lists) {
            if !list.is_empty() {
                inputs.push(Input::Message(from, Message { epoch, body: body(list) }));
            }
        }
    }

    fn split_digests(
        &self,
        batch: &mut Batch,
        from: NodeId,
        epoch: Epoch,
        (shard, shards): (u16, u16),
        digests: &[(Slot, u64)],
    ) {
        let ours = self.shards.len();
        let common = gcd(usize::from(shards), ours);
        for (index, inputs) in batch.shards.iter_mut().enumerate() {
            // Whether any slot can be both the sender's and this shard's.
            if common == 0 || usize::from(shard) % common != index % common {
                continue;
            }
            let mine = digests.iter().filter(|(slot, _)| usize::from(slot.0) % ours == index);
            let body = Body::Digests { shard, shards, digests: mine.copied().collect() };
            inputs.push(Input::Message(from, Message { epoch, body }));
        }
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
