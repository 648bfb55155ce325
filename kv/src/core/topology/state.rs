//! The state of a topology.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{config::TopologyConfig, proposer::Proposer};
use crate::core::{
    env::TopologyEnv,
    message::{Body, Message, TopologyBody},
    ring::{Acceptor, Change, Ring},
    types::{Ballot, Epoch, NodeId},
};

/// The state machine of the ring.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Topology {
    pub(super) config: TopologyConfig,
    pub(super) ring: Arc<Ring>,
    /// The latest epoch that we know of without having its ring, and who has it.
    pub(super) behind: Option<(Epoch, NodeId)>,
    /// Changes that were asked for here and are still to be made, and on which ring they were asked for.
    pub(super) wanted: BTreeMap<Change, Epoch>,
    /// Members that seem to be gone for good.
    pub(super) gone: BTreeSet<NodeId>,
    pub(super) acceptor: Acceptor,
    pub(super) proposer: Proposer,
    /// What this node has to do about the ring.
    pub(super) standing: Standing,
    /// Which timers are armed: one of each kind at most.
    pub(super) fetches: bool,
    pub(super) reporting: bool,
    /// After a pause, until a majority has said that our ring is the newest.
    pub(super) asked: Option<Asked>,
    pub(super) confirming: bool,
}

/// What a node has to do about its ring.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Standing {
    /// It is a member of a final ring: nothing.
    Settled,
    /// It is a member of a joint ring.
    Joint(Joint),
    /// It is no member.
    Out(Out),
}

/// What there is to do on a joint ring.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Joint {
    /// The shards of this node that are done.
    pub(super) shards_done: BTreeSet<u16>,
    /// The members that have to report, and those that did.
    pub(super) reporters: BTreeSet<NodeId>,
    pub(super) synced: BTreeSet<NodeId>,
    /// How often this node reported. None: it has nothing to report yet.
    pub(super) reports: Option<usize>,
}

/// What a node does that is no member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Out {
    /// The members that have the ring too.
    pub(super) informed: BTreeSet<NodeId>,
    /// How often it asked them for it.
    pub(super) reports: usize,
}

impl Standing {
    /// How a node stands on a ring that is new to it.
    pub(super) fn on(ring: &Ring, node: NodeId) -> Self {
        match (ring.members().contains_key(&node), ring.is_joint()) {
            (false, _) => Standing::Out(Out::default()),
            (true, false) => Standing::Settled,
            (true, true) => Standing::Joint(Joint {
                shards_done: BTreeSet::new(),
                reporters: ring.reporters(),
                synced: BTreeSet::new(),
                reports: None,
            }),
        }
    }
}

/// What the members are asked, since the last pause.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    /// The era that began: answers to what was asked before an earlier pause do not count.
    pub(super) era: u64,
    /// Who said that the ring that we have now is the newest.
    pub(super) agree: BTreeSet<NodeId>,
}

impl Topology {
    /// A topology with this ring, and with what its journal holds of the next one.
    pub fn new(config: TopologyConfig, ring: Arc<Ring>, acceptor: Acceptor) -> Self {
        Self {
            standing: Standing::on(&ring, config.node),
            config,
            ring,
            behind: None,
            wanted: BTreeMap::new(),
            gone: BTreeSet::new(),
            acceptor,
            proposer: Proposer::default(),
            fetches: false,
            reporting: false,
            asked: None,
            confirming: false,
        }
    }

    /// The newest ring that this node knows.
    pub fn ring(&self) -> &Arc<Ring> {
        &self.ring
    }

    /// What this member promised and accepted about the next ring.
    pub fn acceptor(&self) -> &Acceptor {
        &self.acceptor
    }

    /// The proposal of this member that is under way.
    pub fn ballot(&self) -> Option<Ballot> {
        self.proposer.ballot()
    }

    /// Whether a member of a joint ring has reported that it has done its part, as far as this one knows.
    pub fn has_synced(&self, node: NodeId) -> bool {
        match &self.standing {
            Standing::Joint(joint) => joint.synced.contains(&node),
            Standing::Settled | Standing::Out(_) => false,
        }
    }

    /// Whether this node is a member.
    pub fn is_member(&self) -> bool {
        self.ring.members().contains_key(&self.config.node)
    }

    /// Whether the others can do without this node: it is no member, and a majority of those who are
    /// know it. Before that they may still need it to decide on the ring that leaves it out.
    pub fn is_released(&self) -> bool {
        match &self.standing {
            Standing::Out(out) => self.ring.is_majority(&out.informed),
            Standing::Settled | Standing::Joint(_) => false,
        }
    }

    pub(super) fn send(
        &self,
        to: NodeId,
        body: impl Into<TopologyBody>,
        env: &mut impl TopologyEnv,
    ) {
        let body = Body::Topology(body.into());
        env.send(to, Message { epoch: self.ring.epoch(), body });
    }

    /// Whether all who have to report did.
    pub(super) fn is_synced(&self) -> bool {
        match &self.standing {
            Standing::Joint(joint) => joint.reporters.is_subset(&joint.synced),
            Standing::Settled | Standing::Out(_) => false,
        }
    }
}
