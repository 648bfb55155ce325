//! What a peer's shard says about many slots, sorted to our shards.

use super::{outbox::Batch, ports::Ports, state::Node};
use crate::core::{
    message::{Body, Message},
    shard::{Input, may_share},
    types::{Epoch, NodeId, Slot},
};

impl<P: Ports> Node<P> {
    /// What is about many slots comes from one shard of a peer, which may have another number of
    /// shards than we: each of our shards gets what is about its own slots.
    pub(super) fn split(&self, batch: &mut Batch, from: NodeId, message: Message) {
        let Message { epoch, body } = message;
        match body {
            Body::Digests { shard, shards, pass, digests } => {
                self.split_digests(batch, from, epoch, (shard, shards), pass, &digests);
            }
            Body::Versions { shard, pass, ranges } => {
                self.split_list(
                    batch,
                    from,
                    epoch,
                    ranges,
                    |range| range.slot,
                    |ranges| Body::Versions { shard, pass, ranges },
                );
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
        pass: u64,
        digests: &[(Slot, u64)],
    ) {
        let ours = u16::try_from(self.shards.len()).expect("at most 2^16 - 1 shards");
        for (index, inputs) in (0..ours).zip(&mut batch.shards) {
            if !may_share((shard, shards), (index, ours)) {
                continue;
            }
            let mine = digests.iter().filter(|(slot, _)| slot.0 % ours == index);
            let body = Body::Digests { shard, shards, pass, digests: mine.copied().collect() };
            inputs.push(Input::Message(from, Message { epoch, body }));
        }
    }
}
