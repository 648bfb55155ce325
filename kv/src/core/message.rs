//! What nodes say to each other.
//!
//! Every message may be lost, delayed, repeated and reordered. Each carries its sender's epoch. What it says is
//! nested by the machine that it is for, so that no machine is handed what is for another.

mod shard;
mod topology;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::{
    shard::{
        Compared, KeyAnswer, KeyRequest, Lack, Part, Range, ShardBody, SlotsAnswer, SlotsRequest,
        Want,
    },
    topology::{Paxos, TopologyBody},
};
use crate::core::types::{Epoch, OpId};

/// A message with its sender's epoch: for any machine, or for one of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Message<B = Body> {
    /// The epoch of the shard (or of the topology) that sent it, when it sent it.
    pub epoch: Epoch,
    /// What it says.
    pub body: B,
}

/// What a message says, by the machine that it is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Body {
    /// Coordinator to owner: do this with a key. For the shard that has the key's slot.
    KeyRequest(KeyRequest),
    /// Shard to shard.
    Shard(ShardBody),
    /// Topology to topology.
    Topology(TopologyBody),
    /// Detector to detector: what SWIM has to say.
    Gossip(Vec<u8>),
}

impl Body {
    /// The operation that it is about, where it is about one.
    pub fn op(&self) -> Option<OpId> {
        match self {
            Body::KeyRequest(request) => Some(request.op()),
            Body::Shard(ShardBody::KeyAnswer(answer)) => Some(answer.op()),
            Body::Shard(_) | Body::Topology(_) | Body::Gossip(_) => None,
        }
    }

    /// A short name for logs and tables.
    pub fn name(&self) -> &'static str {
        match self {
            Body::KeyRequest(request) => request.into(),
            Body::Shard(body) => body.name(),
            Body::Topology(body) => body.name(),
            Body::Gossip(_) => "gossip",
        }
    }
}

impl<B: Into<ShardBody>> From<B> for Body {
    fn from(body: B) -> Self {
        Body::Shard(body.into())
    }
}

impl From<KeyRequest> for Body {
    fn from(request: KeyRequest) -> Self {
        Body::KeyRequest(request)
    }
}

impl From<TopologyBody> for Body {
    fn from(body: TopologyBody) -> Self {
        Body::Topology(body)
    }
}

impl From<Paxos> for Body {
    fn from(paxos: Paxos) -> Self {
        Body::Topology(paxos.into())
    }
}

/// What it says, in a few words.
impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Body::KeyRequest(request) => request.fmt(f),
            Body::Shard(body) => body.fmt(f),
            Body::Topology(body) => body.fmt(f),
            Body::Gossip(bytes) => write!(f, "{} of {} bytes", self.name(), bytes.len()),
        }
    }
}
