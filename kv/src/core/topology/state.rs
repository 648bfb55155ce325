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
    /// The shards of this node that are done, on a joint ring.
    pub(super) shards_done: BTreeSet<u16>,
    /// The members that have to report, on a joint ring, and those that did.
    pub(super) reporters: BTreeSet<NodeId>,
    pub(super) synced: BTreeSet<NodeId>,
    /// How often this node reported, on a joint ring. None: it has nothing to report yet.
    pub(super) reports: Option<usize>,
    /// Which timers are armed: one of each kind at most.
    pub(super) fetches: bool,
    pub(super) reporting: bool,
    /// On a ring of which this node is no member: the members that have it too.
    pub(super) informed: BTreeSet<NodeId>,
    /// After a pause, until a majority has said that our ring is the newest.
    pub(super) asked: Option<Asked>,
    pub(super) confirming: bool,
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
            config,
            reporters: ring.reporters(),
            ring,
            behind: None,
            wanted: BTreeMap::new(),
            gone: BTreeSet::new(),
            acceptor,
            proposer: Proposer::default(),
            shards_done: BTreeSet::new(),
            synced: BTreeSet::new(),
            reports: None,
            fetches: false,
            reporting: false,
            informed: BTreeSet::new(),
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

    /// Who reported, on a joint ring, as far as this member knows.
    pub fn synced(&self) -> &BTreeSet<NodeId> {
        &self.synced
    }

    /// Whether this node is a member.
    pub fn is_member(&self) -> bool {
        self.ring.members().contains_key(&self.config.node)
    }

    /// Whether the others can do without this node: it is no member, and a majority of those who are
    /// know it. Before that they may still need it to decide on the ring that leaves it out.
    pub fn is_released(&self) -> bool {
        !self.is_member() && self.ring.is_majority(&self.informed)
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
        self.ring.is_joint() && self.reporters.is_subset(&self.synced)
    }
}
