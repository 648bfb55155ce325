//! What a topology is told, when it is made and at each step.

use std::{collections::BTreeSet, sync::Arc};

use crate::core::{
    env::TopologyTimer,
    message::{Message, TopologyBody},
    ring::{Change, Ring},
    time::Micros,
    types::{Epoch, NodeId},
};

/// What a topology is told when it is made, and never changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TopologyConfig {
    /// This node.
    pub node: NodeId,
    /// How many shards the node has.
    pub shards: u16,
    /// Decides how long a proposer waits for its next turn.
    pub seed: u64,
    /// Between two requests for a newer ring.
    pub fetch_every: Micros,
    /// The shortest time between two proposals.
    pub propose_every: Micros,
    /// Between two reports that this node has what a joint ring asks of it.
    pub report_every: Micros,
}

/// What the topology reacts to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TopologyInput {
    /// A peer sent something at a later epoch than ours.
    Seen(NodeId, Epoch),
    /// A peer says something about rings.
    Message(NodeId, Message<TopologyBody>),
    /// A timer fired.
    Timer(TopologyTimer),
    /// A shard of this node has done, and made durable, what the ring of this epoch asks of it.
    Synced(u16, Epoch),
    /// Somebody asks for a change.
    Change(Change),
    /// Whoever asked for this change does not any more.
    Withdraw(Change),
    /// These members, and no others, seem to be gone for good.
    Gone(BTreeSet<NodeId>),
    /// An operator decided on a ring.
    Install(Arc<Ring>),
    /// The node stood still for a while, and this era begins.
    Paused(u64),
}
