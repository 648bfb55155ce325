//! What goes into a node, and what waits to leave it.

use std::{collections::BTreeSet, sync::Arc};

use super::eras::Era;
use crate::core::{
    detector::DetectorInput,
    env::Reply,
    message::Message,
    ring::Ring,
    shard::Input,
    topology::TopologyInput,
    types::{Epoch, NodeId, RequestId},
};

/// Effects that wait to leave a node.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Messages to peers.
    pub messages: Vec<(NodeId, Message)>,
    /// Replies to clients.
    pub replies: Vec<(RequestId, Reply)>,
    /// Rings for the shards.
    pub(super) rings: Vec<Arc<Ring>>,
    /// Shards that have done what a ring asks of them, for the topology.
    pub(super) synced: Vec<(u16, Epoch)>,
    /// Who seems to be gone, for the topology: what the detector said last.
    pub(super) gone: Option<BTreeSet<NodeId>>,
    /// In which era a majority said that the ring of which epoch is the newest.
    pub(super) confirmed: Option<(Era, Epoch)>,
}

impl Outbox {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        let nothing_leaves = self.messages.is_empty() && self.replies.is_empty();
        let nothing_is_told = self.rings.is_empty() && self.synced.is_empty();
        nothing_leaves && nothing_is_told && self.gone.is_none() && self.confirmed.is_none()
    }
}

impl Outbox {
    pub(super) fn marks(&self) -> [usize; 4] {
        [self.messages.len(), self.replies.len(), self.rings.len(), self.synced.len()]
    }

    /// What was added since.
    pub(super) fn split_off(&mut self, [messages, replies, rings, synced]: [usize; 4]) -> Self {
        Self {
            messages: self.messages.split_off(messages),
            replies: self.replies.split_off(replies),
            rings: self.rings.split_off(rings),
            synced: self.synced.split_off(synced),
            gone: None,
            confirmed: None,
        }
    }
}

/// Inputs, sorted by the machine that they are for. Kept and used again by whoever feeds a node.
#[derive(Debug)]
pub struct Batch {
    pub(super) shards: Vec<Vec<Input>>,
    pub(super) topology: Vec<TopologyInput>,
    pub(super) detector: Vec<DetectorInput>,
    /// Of which era the clients' requests in it are.
    pub(super) era: Era,
}

impl Batch {
    /// From now on it is for the requests of a connection that was taken in this era.
    pub fn set_era(&mut self, era: Era) {
        self.era = era;
    }

    /// How many inputs wait.
    pub fn len(&self) -> usize {
        let others = self.topology.len() + self.detector.len();
        self.shards.iter().map(Vec::len).sum::<usize>() + others
    }

    /// Whether no input waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
