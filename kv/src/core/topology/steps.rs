//! One step of a topology, and how it learns of newer rings.

use std::sync::Arc;

use super::{
    config::TopologyInput,
    state::{Standing, Topology},
};
use crate::core::{
    env::{Entry, Note, TopologyEnv, TopologyTimer},
    message::{Message, Paxos, TopologyBody},
    ring::{Acceptor, Ring},
    types::{Epoch, NodeId},
};

/// So many rings later a change is forgotten: it may have been made and given up, and whoever asked for it may
/// be gone, or asks again.
pub(super) const WANTED_FOR: u64 = 1;

impl Topology {
    /// The first step.
    pub fn start(&mut self, env: &mut impl TopologyEnv) {
        if self.acceptor.accepted.is_some() {
            self.back_off(env);
        }
        if !self.is_member() {
            self.report(env);
        }
    }

    /// One step.
    pub fn handle(&mut self, input: TopologyInput, env: &mut impl TopologyEnv) {
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

    fn timer(&mut self, timer: TopologyTimer, env: &mut impl TopologyEnv) {
        match timer {
            TopologyTimer::Fetch => {
                self.fetches = false;
                if let Some((_, from)) = self.behind {
                    // It did not answer, or does not have what it spoke of: whoever else speaks of a later
                    // epoch than ours is asked in its place.
                    self.behind = Some((Epoch(self.ring.epoch().0 + 1), from));
                    self.fetch(from, env);
                }
            }
            TopologyTimer::Confirm => {
                self.confirming = false;
                self.ask_if_newest(env);
            }
            TopologyTimer::Propose => self.retry(env),
            TopologyTimer::Report => {
                self.reporting = false;
                self.report(env);
            }
        }
    }

    fn seen(&mut self, from: NodeId, epoch: Epoch, env: &mut impl TopologyEnv) {
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

    fn fetch(&mut self, from: NodeId, env: &mut impl TopologyEnv) {
        self.send(from, TopologyBody::RingRequest, env);
        if !self.fetches {
            self.fetches = true;
            env.set_timer(TopologyTimer::Fetch, self.config.fetch_every);
        }
    }

    fn message(
        &mut self,
        from: NodeId,
        message: Message<TopologyBody>,
        env: &mut impl TopologyEnv,
    ) {
        let Message { epoch, body } = message;
        if let Standing::Out(out) = &mut self.standing
            && epoch >= self.ring.epoch()
        {
            out.informed.insert(from);
        }
        match body {
            TopologyBody::RingRequest => {
                self.send(from, TopologyBody::Ring(self.ring.clone()), env);
            }
            TopologyBody::Ring(ring) => {
                if ring.epoch() > self.ring.epoch() {
                    env.note(Note::RingLearned);
                }
                self.adopt(ring, env);
            }
            // The rest is about the ring after ours.
            TopologyBody::Paxos(paxos) => {
                let is_told = !matches!(paxos, Paxos::Refused { .. });
                if self.same_epoch(from, epoch, is_told, env) {
                    self.about_next_ring(from, paxos, env);
                }
            }
            TopologyBody::IsNewest { era } => {
                if self.same_epoch(from, epoch, true, env) {
                    self.send(from, TopologyBody::Newest { era }, env);
                }
            }
            TopologyBody::Newest { era } => {
                if self.same_epoch(from, epoch, true, env) {
                    self.is_newest(from, era, env);
                }
            }
            TopologyBody::Synced => {
                if self.same_epoch(from, epoch, true, env)
                    && let Standing::Joint(joint) = &mut self.standing
                {
                    joint.synced.insert(from);
                }
            }
        }
    }

    /// Who is behind is told our ring, if it asked for something; one who is ahead makes us fetch its own.
    fn same_epoch(
        &self,
        from: NodeId,
        epoch: Epoch,
        is_told: bool,
        env: &mut impl TopologyEnv,
    ) -> bool {
        if epoch < self.ring.epoch() && is_told {
            self.send(from, TopologyBody::Ring(self.ring.clone()), env);
        }
        epoch == self.ring.epoch()
    }

    fn about_next_ring(&mut self, from: NodeId, paxos: Paxos, env: &mut impl TopologyEnv) {
        match paxos {
            Paxos::Prepare { ballot } => self.asked_to_promise(from, ballot, env),
            Paxos::Promise { ballot, accepted } => self.promised(from, ballot, accepted, env),
            Paxos::Accept { ballot, ring } => self.asked_to_accept(from, ballot, ring, env),
            Paxos::Accepted { ballot } => self.accepted(from, ballot, env),
            Paxos::Refused { ballot, promised } => self.refused(ballot, promised, env),
        }
    }

    /// Takes a newer ring of this cluster: into the journal first, then to the shards.
    pub(super) fn adopt(&mut self, ring: Arc<Ring>, env: &mut impl TopologyEnv) {
        let of = |ring: &Ring| (ring.cluster(), ring.size(), ring.replication());
        if of(&ring) != of(&self.ring) || ring.epoch() <= self.ring.epoch() {
            return;
        }
        if self.behind.is_some_and(|(epoch, _)| epoch <= ring.epoch()) {
            self.behind = None;
        }
        self.ring = ring.clone();
        self.standing = Standing::on(&ring, self.config.node);
        let is_fresh = |asked: Epoch| ring.epoch().0 <= asked.0 + WANTED_FOR;
        self.wanted.retain(|change, asked| {
            is_fresh(*asked) && !ring.reflects(change) && ring.allows(change).is_ok()
        });
        self.acceptor = Acceptor::default();
        self.proposer.over();
        if !self.is_member() {
            self.report(env);
        }
        env.persist(Entry::Ring(ring.clone()));
        env.publish(ring);
        self.ask_anew(env);
    }
}
