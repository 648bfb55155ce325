//! What a peer's shard says, sorted to our shards.

use super::{outbox::Batch, ports::Ports, state::Node};
use crate::core::{
    message::{Message, ShardBody, SlotsRequest},
    shard::{Input, may_share},
    types::{Epoch, NodeId, Slot},
};

/// Who says something, and at which epoch.
type Sender = (NodeId, Epoch);

impl<P: Ports> Node<P> {
    /// Hands what a peer's shard says to those of our shards that it is for.
    pub(super) fn sort(&self, batch: &mut Batch, from: NodeId, message: Message<ShardBody>) {
        let Message { epoch, body } = message;
        let of_slot = |slot: Slot| usize::from(slot.0) % self.shards.len();
        let shard = match body {
            ShardBody::SlotsRequest { shard, request } => {
                return self.split(batch, (from, epoch), shard, request);
            }
            ShardBody::KeyAnswer(ref answer) => usize::from(answer.op().shard),
            ShardBody::SlotsAnswer { shard, .. } => usize::from(shard),
            ShardBody::Delta { slot, .. } => of_slot(slot),
            // Any shard can tell the time: slots are numbers, and this one spreads the work.
            ShardBody::Probe { shard, .. } => of_slot(Slot(shard)),
            ShardBody::ProbeReply { shard, .. } => usize::from(shard),
        };
        // A number beyond our shards answers nothing that we asked.
        if let Some(inputs) = batch.shards.get_mut(shard) {
            inputs.push(Input::Message(from, Message { epoch, body }));
        }
    }

    /// What is about many slots comes from one shard of a peer, which may have another number of
    /// shards than we: each of our shards gets what is about its own slots.
    fn split(&self, batch: &mut Batch, sender: Sender, shard: u16, request: SlotsRequest) {
        match request {
            SlotsRequest::Digests { shards, pass, digests } => {
                self.split_digests(batch, sender, (shard, shards), pass, &digests);
            }
            SlotsRequest::Versions { pass, ranges } => {
                let request = |ranges| SlotsRequest::Versions { pass, ranges };
                self.split_list(batch, sender, shard, ranges, |range| range.slot, request);
            }
            SlotsRequest::Pull { lacks } => {
                let request = |lacks| SlotsRequest::Pull { lacks };
                self.split_list(batch, sender, shard, lacks, |lack| lack.slot, request);
            }
            SlotsRequest::Offer { ranges } => {
                let request = |ranges| SlotsRequest::Offer { ranges };
                self.split_list(batch, sender, shard, ranges, |range| range.slot, request);
            }
        }
    }

    /// Each shard gets what is about its own slots.
    fn split_list<T>(
        &self,
        batch: &mut Batch,
        (from, epoch): Sender,
        shard: u16,
        list: Vec<T>,
        slot_of: impl Fn(&T) -> Slot,
        request: impl Fn(Vec<T>) -> SlotsRequest,
    ) {
        let shards = self.shards.len();
        let mut lists: Vec<Vec<T>> = (0..shards).map(|_| Vec::new()).collect();
        for item in list {
            lists[usize::from(slot_of(&item).0) % shards].push(item);
        }
        for (inputs, list) in batch.shards.iter_mut().zip(lists) {
            if !list.is_empty() {
                let body = ShardBody::SlotsRequest { shard, request: request(list) };
                inputs.push(Input::Message(from, Message { epoch, body }));
            }
        }
    }

    fn split_digests(
        &self,
        batch: &mut Batch,
        (from, epoch): Sender,
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
            let request = SlotsRequest::Digests { shards, pass, digests: mine.copied().collect() };
            let body = ShardBody::SlotsRequest { shard, request };
            inputs.push(Input::Message(from, Message { epoch, body }));
        }
    }
}
