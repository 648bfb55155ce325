//! The state machine of the ring in one process: knows the newest ring, learns newer ones from
//! peers, and publishes them to the shards.

use std::sync::Arc;

use crate::{
    env::{Entry, Env, Note, Publish, Timer},
    message::{Body, Message},
    ring::Ring,
    types::{Epoch, Micros, NodeId},
};

/// What the topology reacts to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TopologyInput {
    /// A peer sent something at a later epoch than ours.
    Seen(NodeId, Epoch),
    /// A peer asks for our ring, or sends its own.
    Message(NodeId, Message),
    /// A timer fired.
    Timer(Timer),
    /// An operator decided on a ring.
    Install(Arc<Ring>),
}

/// The state machine of the ring.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Topology {
    ring: Arc<Ring>,
    fetch_every: Micros,
    /// The latest epoch that we know of without having its ring, and who has it.
    behind: Option<(Epoch, NodeId)>,
}

impl Topology {
    /// A topology that has this ring. It asks for newer ones every `fetch_every` until it has them.
    pub fn new(ring: Arc<Ring>, fetch_every: Micros) -> Self {
        Self { ring, fetch_every, behind: None }
    }

    /// The newest ring that this node knows.
    pub fn ring(&self) -> &Arc<Ring> {
        &self.ring
    }

    /// One step.
    pub fn handle(&mut self, input: TopologyInput, env: &mut (impl Env + Publish)) {
        match input {
            TopologyInput::Seen(from, epoch) => self.seen(from, epoch, env),
            TopologyInput::Message(from, message) => self.message(from, message, env),
            TopologyInput::Timer(_) => {
                if let Some((_, from)) = self.behind {
                    self.fetch(from, env);
                }
            }
            TopologyInput::Install(ring) => self.adopt(ring, env),
        }
    }

    fn seen(&mut self, from: NodeId, epoch: Epoch, env: &mut impl Env) {
        let known = self.behind.map_or(self.ring.epoch(), |(epoch, _)| epoch);
        if epoch <= known {
            return;
        }
        let is_first = self.behind.replace((epoch, from)).is_none();
        if is_first {
            self.fetch(from, env);
        }
    }

    fn fetch(&self, from: NodeId, env: &mut impl Env) {
        let epoch = self.ring.epoch();
        env.send(from, Message { epoch, body: Body::RingRequest });
        env.set_timer(Timer::Fetch, self.fetch_every);
    }

    fn message(&mut self, from: NodeId, message: Message, env: &mut (impl Env + Publish)) {
        match message.body {
            Body::RingRequest => {
                let body = Body::Ring(self.ring.clone());
                env.send(from, Message { epoch: self.ring.epoch(), body });
            }
            Body::Ring(ring) => {
                if ring.epoch() > self.ring.epoch() {
                    env.note(Note::RingLearned);
                }
                self.adopt(ring, env);
            }
            // The shards'.
            Body::Write { .. }
            | Body::Written { .. }
            | Body::Read { .. }
            | Body::Found { .. }
            | Body::Fenced { .. }
            | Body::Digests { .. }
            | Body::Versions { .. }
            | Body::Delta { .. }
            | Body::Probe { .. }
            | Body::ProbeReply { .. } => {}
        }
    }

    /// Takes a newer ring of this cluster: into the journal first, then to the shards.
    fn adopt(&mut self, ring: Arc<Ring>, env: &mut (impl Env + Publish)) {
        if ring.cluster() != self.ring.cluster() || ring.epoch() <= self.ring.epoch() {
            return;
        }
        if self.behind.is_some_and(|(epoch, _)| epoch <= ring.epoch()) {
            self.behind = None;
        }
        self.ring = ring.clone();
        env.persist(Entry::Ring(ring.clone()));
        env.publish(ring);
    }
}
