//! What a shard is told, when it is made and at each step.

use std::sync::Arc;

use crate::core::{
    env::{Request, ShardTimer},
    message::{KeyRequest, Message, ShardBody},
    ring::Ring,
    time::Micros,
    types::{NodeId, RequestId, Slot},
};

/// What a shard is told when it is made, and never changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ShardConfig {
    /// This node.
    pub node: NodeId,
    /// This shard: it has the slots `slot % shards == shard`.
    pub shard: u16,
    /// How many shards the node has.
    pub shards: u16,
    /// Where the store's keys lie.
    pub seed: u64,
    /// Requests that were not answered for this long fail; none lives twice as long.
    pub request_timeout: Micros,
    /// Before round trips were measured, silent owners are asked again after this.
    pub hedge_after: Micros,
    /// Between two comparisons of digests.
    pub sync_every: Micros,
    /// Between two looks at peers' clocks.
    pub probe_every: Micros,
    /// Between two rounds of pulls and of offers.
    pub pull_every: Micros,
    /// Records in an answer to a pull, and versions of a slot in an offer, at most. Not zero.
    pub page: usize,
    /// How far a wall clock may be off; zero turns the guard off.
    pub max_clock_drift: Micros,
    /// Requests under way; further ones fail with BUSY.
    pub max_in_flight: usize,
}

/// What a shard reacts to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// A client asks, about a key of this slot.
    Request(RequestId, Slot, Request),
    /// A coordinator asks, about a key of this slot.
    KeyRequest(NodeId, Slot, Message<KeyRequest>),
    /// A peer says something.
    Message(NodeId, Message<ShardBody>),
    /// A timer fired.
    Timer(ShardTimer),
    /// The topology has a newer ring, and it is durable.
    Ring(Arc<Ring>),
    /// The node stood still for a while, and this is the first thing that it hears.
    Paused,
}
