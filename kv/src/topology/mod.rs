//! The state machine of the ring in one process: knows the newest ring, learns newer ones from
//! peers, publishes them to the shards, and has a part in deciding on the next one.

mod newest;
mod paxos;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use self::{newest::Asked, paxos::Proposer};
use crate::{
    env::{Entry, Env, Note, Publish, Timer},
    message::{Body, Message},
    ring::{Acceptor, Change, Joiner, MemberState, Ring},
    types::{Ballot, Epoch, Micros, NodeId},
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
    Message(NodeId, Message),
    /// A timer fired.
    Timer(Timer),
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

/// The state machine of the ring.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Topology {
    config: TopologyConfig,
    ring: Arc<Ring>,
    /// The latest epoch that we know of without having its ring, and who has it.
    behind: Option<(Epoch, NodeId)>,
    /// Changes that were asked for here and are still to be made, and on which ring they were asked for.
    wanted: BTreeMap<Change, Epoch>,
    /// Members that seem to be gone for good.
    gone: BTreeSet<NodeId>,
    acceptor: Acceptor,
    proposer: Proposer,
    /// The shards of this node that are done, on a joint ring.
    shards_done: BTreeSet<u16>,
    /// The members that have to report, on a joint ring, and those that did.
    reporters: BTreeSet<NodeId>,
    synced: BTreeSet<NodeId>,
    /// How often this node reported, on a joint ring. None: it has nothing to report yet.
    reports: Option<usize>,
    /// Which timers are armed: one of each kind at most.
    fetches: bool,
    reporting: bool,
    /// On a ring of which this node is no member: the members that have it too.
    informed: BTreeSet<NodeId>,
    /// After a pause, until a majority has said that our ring is the newest.
    asked: Option<Asked>,
    confirming: bool,
}

/// Members that are told at a time that this one has done its part.
const REPORTED_TO: usize = 3;
/// Joins that one node keeps for others; further ones are dropped, and asked for again.
const MOST_JOINS: usize = 64;
/// So many rings later a change is forgotten: it may have been made and given up, and whoever asked for it may
/// be gone, or asks again.
const WANTED_FOR: u64 = 1;

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

    /// The first step.
    pub fn start(&mut self, env: &mut impl Env) {
        if self.acceptor.accepted.is_some() {
            self.back_off(env);
        }
        if !self.is_member() {
            self.reports = Some(0);
            self.report(env);
        }
    }

    /// One step.
    pub fn handle(&mut self, input: TopologyInput, env: &mut (impl Env + Publish)) {
        match input {
            TopologyInput::Seen(from, epoch) => self.seen(from, epoch, env),
            TopologyInput::Message(from, message) => self.message(from, message, env),
            TopologyInput::Timer(timer) => self.timer(timer, env),
            TopologyInput::Synced(shard, epoch) => self.shard_synced(shard, epoch, env),
            TopologyInput::Change(change) => self.want(change),
            TopologyInput::Withdraw(change) => drop(self.wanted.remove(&change)),
            TopologyInput::Gone(members) => {
                self.gone = members;
                if !self.evictions().is_empty() {
                    env.note(Note::EvictionDue);
                }
            }
            TopologyInput::Install(ring) => self.adopt(ring, env),
            TopologyInput::Paused(era) => self.paused(era, env),
        }
        self.propose(env);
    }

    /// Somebody asks for a change.
    fn want(&mut self, change: Change) {
        if self.ring.reflects(&change) {
            return;
        }
        if let Change::Join(Joiner { address, instance, .. }) = &change {
            if self.ring.gave_up(*instance) {
                return;
            }
            // Of two processes at one address the one that asks now is there. Others are not crowded out:
            // that few of them may ask is seen to where they do.
            let is_join = |c: &Change| matches!(c, Change::Join(_));
            let is_before = |c: &Change| matches!(c, Change::Join(j) if j.address == *address);
            self.wanted.retain(|wanted, _| !is_before(wanted));
            if self.wanted.keys().filter(|wanted| is_join(wanted)).count() >= MOST_JOINS {
                return;
            }
        }
        self.wanted.insert(change, self.ring.epoch());
    }

    fn timer(&mut self, timer: Timer, env: &mut (impl Env + Publish)) {
        match timer {
            Timer::Fetch => {
                self.fetches = false;
                if let Some((_, from)) = self.behind {
                    // It did not answer, or does not have what it spoke of: whoever else speaks of a later
                    // epoch than ours is asked in its place.
                    self.behind = Some((Epoch(self.ring.epoch().0 + 1), from));
                    self.fetch(from, env);
                }
            }
            Timer::Confirm => {
                self.confirming = false;
                self.ask_if_newest(env);
            }
            Timer::Propose => self.retry(env),
            Timer::Report => {
                self.reporting = false;
                self.report(env);
            }
            // The shards'.
            Timer::Hedge
            | Timer::Timeout
            | Timer::Sync
            | Timer::Probe
            | Timer::Pull
            | Timer::Detect => {}
        }
    }

    fn seen(&mut self, from: NodeId, epoch: Epoch, env: &mut impl Env) {
        let known = self.behind.map_or(self.ring.epoch(), |(epoch, _)| epoch);
        if epoch < known || epoch == self.ring.epoch() {
            return;
        }
        // Who spoke last is alive most likely.
        let is_first = self.behind.replace((epoch, from)).is_none();
        if is_first {
            self.fetch(from, env);
        }
    }

    fn fetch(&mut self, from: NodeId, env: &mut impl Env) {
        self.send(from, Body::RingRequest, env);
        if !self.fetches {
            self.fetches = true;
            env.set_timer(Timer::Fetch, self.config.fetch_every);
        }
    }

    fn send(&self, to: NodeId, body: Body, env: &mut impl Env) {
        env.send(to, Message { epoch: self.ring.epoch(), body });
    }

    fn message(&mut self, from: NodeId, message: Message, env: &mut (impl Env + Publish)) {
        let Message { epoch, body } = message;
        if epoch >= self.ring.epoch() && !self.is_member() {
            self.informed.insert(from);
        }
        match body {
            Body::RingRequest => self.send(from, Body::Ring(self.ring.clone()), env),
            Body::Ring(ring) => {
                if ring.epoch() > self.ring.epoch() {
                    env.note(Note::RingLearned);
                }
                self.adopt(ring, env);
            }
            // The rest is about the ring after ours. Who is behind is told ours; one who is ahead makes
            // us fetch its own.
            body if epoch < self.ring.epoch() => {
                if !matches!(body, Body::Refused { .. }) {
                    self.send(from, Body::Ring(self.ring.clone()), env);
                }
            }
            body if epoch > self.ring.epoch() => drop(body),
            body => self.about_next_ring(from, body, env),
        }
    }

    fn about_next_ring(&mut self, from: NodeId, body: Body, env: &mut (impl Env + Publish)) {
        match body {
            Body::Prepare { ballot } => self.asked_to_promise(from, ballot, env),
            Body::Promise { ballot, accepted } => self.promised(from, ballot, accepted, env),
            Body::Accept { ballot, ring } => self.asked_to_accept(from, ballot, ring, env),
            Body::Accepted { ballot } => self.accepted(from, ballot, env),
            Body::Refused { ballot, promised } => self.refused(ballot, promised, env),
            Body::IsNewest { era } => self.send(from, Body::Newest { era }, env),
            Body::Newest { era } => self.is_newest(from, era, env),
            Body::Synced => {
                if self.ring.is_joint() {
                    self.synced.insert(from);
                }
            }
            // The shards', or handled before.
            Body::Write { .. }
            | Body::Written { .. }
            | Body::Read { .. }
            | Body::Found { .. }
            | Body::Fenced { .. }
            | Body::Digests { .. }
            | Body::Differ { .. }
            | Body::Versions { .. }
            | Body::Newer { .. }
            | Body::Delta { .. }
            | Body::Pull { .. }
            | Body::Pulled { .. }
            | Body::Offer { .. }
            | Body::Wanted { .. }
            | Body::Probe { .. }
            | Body::ProbeReply { .. }
            | Body::RingRequest
            | Body::Gossip(_)
            | Body::Ring(_) => {}
        }
    }

    /// The evictions of members that seem to be gone for good. Of those that are to stay, none is evicted
    /// without a member that could take over its slots.
    fn evictions(&self) -> BTreeSet<Change> {
        if self.gone.is_empty() {
            return BTreeSet::new();
        }
        let members = self.ring.members();
        let stay = members.values().filter(|member| member.state.is_new()).count();
        // Nor any, while too few who have what they held would be left: the change could not end.
        let mut spare = match self.ring.can_lose(&self.gone) {
            true => stay.saturating_sub(self.ring.replication()),
            false => 0,
        };
        let is_due = |node: &&NodeId| match members.get(node).map(|member| member.state) {
            Some(MemberState::Active) => match spare {
                0 => false,
                _ => {
                    spare -= 1;
                    true
                }
            },
            Some(MemberState::Joining | MemberState::Leaving) => true,
            Some(MemberState::Evicted) | None => false,
        };
        self.gone.iter().filter(is_due).map(|node| Change::Evict(*node)).collect()
    }

    /// Whether all who have to report did.
    fn is_synced(&self) -> bool {
        self.ring.is_joint() && self.reporters.is_subset(&self.synced)
    }

    fn shard_synced(&mut self, shard: u16, epoch: Epoch, env: &mut impl Env) {
        if epoch != self.ring.epoch() || !self.ring.is_joint() {
            return;
        }
        self.shards_done.insert(shard);
        let is_reporter = self.reporters.contains(&self.config.node);
        let all = self.shards_done.len() == usize::from(self.config.shards);
        if all && is_reporter && self.reports.is_none() {
            self.reports = Some(0);
            self.synced.insert(self.config.node);
            self.report(env);
        }
    }

    /// Tells the next few members that this one has done its part: one of them proposes the final ring.
    /// Who is no member asks them for their ring, until a majority has the one that leaves it out.
    fn report(&mut self, env: &mut impl Env) {
        if self.is_released() {
            return;
        }
        let is_member = self.is_member();
        let Some(reports) = &mut self.reports else { return };
        let first = *reports * REPORTED_TO;
        *reports = reports.wrapping_add(1);
        let me = self.config.node;
        let all: Vec<NodeId> = self.ring.members().keys().copied().collect();
        for turn in 0..REPORTED_TO.min(all.len()) {
            let to = all[(first + turn) % all.len()];
            if to != me {
                self.send(to, if is_member { Body::Synced } else { Body::RingRequest }, env);
            }
        }
        if !self.reporting {
            self.reporting = true;
            env.set_timer(Timer::Report, self.config.report_every);
        }
    }

    /// Takes a newer ring of this cluster: into the journal first, then to the shards.
    fn adopt(&mut self, ring: Arc<Ring>, env: &mut (impl Env + Publish)) {
        let of = |ring: &Ring| (ring.cluster(), ring.size(), ring.replication());
        if of(&ring) != of(&self.ring) || ring.epoch() <= self.ring.epoch() {
            return;
        }
        if self.behind.is_some_and(|(epoch, _)| epoch <= ring.epoch()) {
            self.behind = None;
        }
        self.ring = ring.clone();
        self.reporters = ring.reporters();
        let is_fresh = |asked: Epoch| ring.epoch().0 <= asked.0 + WANTED_FOR;
        self.wanted.retain(|change, asked| {
            is_fresh(*asked) && !ring.reflects(change) && ring.allows(change).is_ok()
        });
        self.acceptor = Acceptor::default();
        self.proposer.over();
        self.shards_done.clear();
        self.synced.clear();
        self.informed.clear();
        self.reports = None;
        if !self.is_member() {
            self.reports = Some(0);
            self.report(env);
        }
        env.persist(Entry::Ring(ring.clone()));
        env.publish(ring);
        self.ask_anew(env);
    }
}
