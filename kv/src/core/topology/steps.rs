//! One step of a topology, and how it learns of newer rings.

use std::sync::Arc;

use super::{config::TopologyInput, state::Topology};
use crate::core::{
    env::{Entry, Env, Note, Publish, Timer},
    message::{Body, Message},
    ring::{Acceptor, Ring},
    types::{Epoch, NodeId},
};

/// So many rings later a change is forgotten: it may have been made and given up, and whoever asked for it may
/// be gone, or asks again.
pub(super) const WANTED_FOR: u64 = 1;

impl Topology {
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

    /// Takes a newer ring of this cluster: into the journal first, then to the shards.
    pub(super) fn adopt(&mut self, ring: Arc<Ring>, env: &mut (impl Env + Publish)) {
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
