//! The world of a model: nodes, the messages between them, clients, and what may still go wrong.
//!
//! stateright's own `ActorModel` is not used: it forgets deliveries without an effect, so that a
//! network never falls silent, and it does not bound how many messages are lost or how often nodes
//! crash. The actors are stateright's all the same.

mod actions;
mod envelope;
mod setup;
pub mod steps;

use std::{collections::BTreeSet, sync::Arc};

use kv::{
    core::{
        env::{Failure, Reply},
        message::{Body, KeyRequest},
        record::{Record, Version},
        ring::{RING_SIZE, Ring},
        time::Timestamp,
        types::{Epoch, NodeId, Value},
    },
    node::Alarm,
};
use stateright::{
    Model, Property,
    actor::{Actor as _, Id, Out},
    semantics::{LinearizabilityTester, register::Register},
};

pub use self::{
    envelope::{Envelope, Hashed},
    setup::{Ask, Budget, KEY, Setup, delete, get, hands_over, put, ring_of},
};
use crate::actor::{Node, RingInput, State, node_of};

/// How a request ended for its client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was answered.
    Answered {
        /// What it was answered.
        reply: Reply,
        /// On which ring its node did so.
        epoch: Epoch,
    },
    /// Its node crashed.
    Unknown,
}

/// A client: asks one request after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Client {
    /// How the requests ended.
    pub outcomes: Vec<Outcome>,
    /// One is under way. The version that it must find, if it is a read that promises any, or beat, if it is a
    /// write that promises that.
    pub waiting: Option<Option<Version>>,
}

type Tester = LinearizabilityTester<(usize, usize), Register<Option<Value>>>;

/// A state.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct ModelState {
    /// The nodes.
    pub nodes: Vec<Hashed<State>>,
    /// Their timers that are armed.
    pub timers: Vec<BTreeSet<Alarm>>,
    /// Messages on their way, in the order of their hashes.
    pub network: Vec<Hashed<Envelope>>,
    /// The clients.
    pub clients: Vec<Client>,
    /// What may still go wrong.
    pub budget: Budget,
    /// How many comparisons of digests were made at the end.
    pub rounds: usize,
    /// What stateright's tester was told, and whether it agrees.
    pub history: Option<(Hashed<Tester>, bool)>,
    /// How many rings of the setup's list are decided.
    pub decided: usize,
    /// Which changes of the setup's list were asked for.
    pub changes: Vec<bool>,
    /// A promise that a step broke.
    pub broken: Option<&'static str>,
}

/// What happens next.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A client asks its next request.
    Ask(usize),
    /// A message arrives.
    Deliver(Hashed<Envelope>),
    /// A message is lost.
    Lose(Hashed<Envelope>),
    /// A message arrives, and will arrive once more.
    Double(Hashed<Envelope>),
    /// A timer fires.
    Fire(NodeId, Alarm),
    /// A node crashes, and starts again from its journal.
    Crash(NodeId),
    /// The next ring of the setup's list is decided.
    Decide,
    /// A node learns of this ring of the setup's list.
    Learn(NodeId, usize),
    /// Somebody asks for this change of the setup's list.
    Change(usize),
}

/// A model: its setup, and what must hold.
pub struct ClusterModel {
    /// What decides it.
    pub setup: Setup,
    rings: Vec<Arc<Ring>>,
    properties: Vec<Property<ClusterModel>>,
    /// Whether messages that do nothing, now or later, are dropped.
    forgets: bool,
}

/// Why a step broke a promise.
pub mod broken {
    /// The core's own checks.
    pub const INVARIANT: &str = "the core's invariants hold";
    /// P0.
    pub const P0: &str = "P0: a read finds what was written, or nothing";
    /// P1.
    pub const P1: &str = "P1: quiet owners are equal, and not older than an ok write";
    /// P2.
    pub const P2: &str = "P2: a replica's version never goes back";
    /// P3 and P4.
    pub const P3_P4: &str = "P3, P4: quorum reads see quorum writes and reads that ended before";
    /// P6, and more: writes beat what reads found, too.
    pub const P6: &str = "P6: quorum writes beat quorum writes and reads that ended before";
    /// P7.
    pub const P7: &str = "P7: a session reads what it wrote or read before, or newer, or fails";
    /// What a node that gives up a slot must have made sure of.
    pub const DROPPED: &str = "nobody drops what an owner of the newest ring lacks";
    /// P9.
    pub const P9: &str = "P9: a version names one write";
}

impl ClusterModel {
    /// A model in which only the promises that every step keeps are looked at.
    pub fn new(setup: Setup) -> Self {
        let rings = match setup.rings.is_empty() {
            true => vec![Arc::new(ring_of(setup.clocks.len(), RING_SIZE))],
            false => setup.rings.clone(),
        };
        let always = |name, holds| Property::always(name, holds);
        let properties = vec![
            always(broken::INVARIANT, |_, world: &ModelState| {
                world.broken != Some(broken::INVARIANT)
            }),
            always(broken::P0, |_, world| world.broken != Some(broken::P0)),
            always(broken::P2, |_, world| world.broken != Some(broken::P2)),
            always(broken::P7, |_, world| world.broken != Some(broken::P7)),
            always(broken::P9, |_, world| world.broken != Some(broken::P9)),
        ];
        Self { setup, rings, properties, forgets: true }
    }

    /// The same, but every message stays on its way until it arrives or is lost: as in the simulation.
    pub fn without_forgetting(self) -> Self {
        Self { forgets: false, ..self }
    }

    /// The rings of the model, in their order.
    pub fn rings(&self) -> &[Arc<Ring>] {
        &self.rings
    }

    /// Something else that must hold.
    pub fn always(mut self, name: &'static str, holds: fn(&Self, &ModelState) -> bool) -> Self {
        self.properties.push(Property::always(name, holds));
        self
    }

    /// Something that must be possible.
    pub fn sometimes(mut self, name: &'static str, holds: fn(&Self, &ModelState) -> bool) -> Self {
        self.properties.push(Property::sometimes(name, holds));
        self
    }

    /// P3 and P4, which are looked at when a read ends, and P6, when a write does.
    pub fn quorum(self) -> Self {
        self.always(broken::P3_P4, |_, world| world.broken != Some(broken::P3_P4))
            .always(broken::P6, |_, world| world.broken != Some(broken::P6))
    }

    /// P1, which is looked at when nothing is left to happen.
    pub fn converges(self) -> Self {
        self.always(broken::P1, Self::is_equal).sometimes("all is quiet", Self::is_quiescent)
    }

    /// The versions that the owners of the newest ring have, old and new.
    pub fn owned(&self, world: &ModelState) -> impl Iterator<Item = Option<Version>> {
        let ring = &self.rings[world.decided - 1];
        let owners = ring.owners(ring.slot_of(KEY)).all().iter();
        owners.map(|owner| world.nodes[owner.0 as usize - 1].shard.version(KEY))
    }

    fn is_equal(&self, world: &ModelState) -> bool {
        if !self.is_quiescent(world) {
            return true;
        }
        let held: Vec<_> = world.held().collect();
        let version = held[0].as_ref().map(|record| record.version);
        let outcomes = world.clients.iter().flat_map(|client| &client.outcomes);
        let newest = outcomes.filter_map(Outcome::version).max();
        held.iter().all(|record| *record == held[0]) && version >= newest
    }

    fn node(&self, at: usize) -> Node {
        Node {
            ring: self.rings[0].clone(),
            now: Timestamp::from_micros(self.setup.clocks[at]),
            keeps_journal: self.setup.budget.crashes > 0,
        }
    }

    /// What a client asks next.
    fn next_ask(&self, world: &ModelState, client: usize) -> Option<&Ask> {
        let Client { outcomes, waiting } = &world.clients[client];
        let is_next = |ask: &&Ask| !self.setup.dead.contains(&ask.node);
        match waiting {
            Some(_) => None,
            None => self.setup.plans[client].get(outcomes.len()).filter(is_next),
        }
    }

    /// Whether all clients are through with their plans.
    pub fn is_served(&self, world: &ModelState) -> bool {
        let mut all = world.clients.iter().zip(&self.setup.plans);
        all.all(|(client, plan)| client.outcomes.len() == plan.len())
    }

    /// The comparisons of digests at the end: each node with each other.
    fn rounds(&self) -> usize {
        let nodes = self.setup.clocks.len();
        if self.setup.converges { nodes * (nodes - 1) } else { 0 }
    }

    /// Whether nothing is left to happen.
    pub fn is_quiescent(&self, world: &ModelState) -> bool {
        world.network.is_empty() && self.is_served(world) && world.rounds == self.rounds()
    }
}

impl ModelState {
    fn insert(&mut self, envelope: Hashed<Envelope>) {
        let at = self.network.partition_point(|other| other.fingerprint() < envelope.fingerprint());
        self.network.insert(at, envelope);
    }

    fn remove(&mut self, envelope: &Hashed<Envelope>) {
        let at = self.network.iter().position(|other| other == envelope);
        self.network.remove(at.expect("only messages on their way arrive"));
    }

    fn has_two_values_of_one_version(&self) -> bool {
        let held: Vec<Record> =
            self.nodes.iter().filter_map(|node| node.shard.record(KEY)).collect();
        held.iter().any(|one| held.iter().any(|other| one.version == other.version && one != other))
    }

    /// The newest version that a request at QUORUM or above ended with.
    fn newest_ended(&self, cluster: &ClusterModel) -> Option<Version> {
        let all = self.clients.iter().zip(&cluster.setup.plans);
        let ended = all.flat_map(|(client, plan)| client.outcomes.iter().zip(plan));
        let majority = ended.filter(|(_, ask)| ask.request.level().is_majority());
        majority.filter_map(|(outcome, _)| outcome.version()).max()
    }

    /// What a client was answered, and on which rings.
    pub fn answers(&self, client: usize) -> impl Iterator<Item = (&Reply, Epoch)> {
        self.clients[client].outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Answered { reply, epoch } => Some((reply, *epoch)),
            Outcome::Unknown => None,
        })
    }

    /// What a client was answered.
    pub fn replies(&self, client: usize) -> impl Iterator<Item = &Reply> {
        self.answers(client).map(|(reply, _)| reply)
    }

    /// Whether a client's request ended in this failure.
    pub fn has_failure(&self, failure: Failure) -> bool {
        let mut all = (0..self.clients.len()).flat_map(|client| self.replies(client));
        all.any(|reply| *reply == Reply::Failed(failure))
    }

    /// Whether a write that was issued again is on its way.
    pub fn has_reissued(&self) -> bool {
        let is_it =
            |body: &Body| matches!(body, Body::KeyRequest(KeyRequest::Write { again: true, .. }));
        self.network.iter().any(|envelope| is_it(&envelope.message.body))
    }

    /// What each owner holds.
    pub fn held(&self) -> impl Iterator<Item = Option<Record>> {
        self.nodes.iter().map(|node| node.shard.record(KEY))
    }
}

impl Outcome {
    /// The version that an ok request is about.
    pub fn version(&self) -> Option<Version> {
        let Outcome::Answered { reply, .. } = self else { return None };
        match reply {
            Reply::Written(version) => Some(*version),
            Reply::Found(record) => record.as_ref().map(|record| record.version),
            Reply::Failed(_) => None,
        }
    }
}

impl Model for ClusterModel {
    type State = ModelState;
    type Action = Action;

    fn init_states(&self) -> Vec<ModelState> {
        let mut world = ModelState {
            nodes: Vec::new(),
            timers: vec![BTreeSet::new(); self.setup.clocks.len()],
            network: Vec::new(),
            clients: vec![Client::default(); self.setup.plans.len()],
            budget: self.setup.budget,
            rounds: 0,
            history: self
                .setup
                .is_register
                .then(|| (Hashed::new(Tester::new(Register(None))), true)),
            decided: 1,
            changes: vec![false; self.setup.changes.len()],
            broken: None,
        };
        for at in 0..self.setup.clocks.len() {
            let mut out = Out::new();
            let state = self.node(at).on_start(Id::from(at), &None, &mut out);
            world.nodes.push(Hashed::new(state));
            self.take(&mut world, at, out);
        }
        vec![world]
    }

    fn actions(&self, world: &ModelState, actions: &mut Vec<Action>) {
        if world.broken.is_some() {
            return;
        }
        // Faults end before the owners compare their digests for the last time.
        let is_faulty = world.rounds == 0;
        let clients = 0..world.clients.len();
        actions.extend(clients.filter(|c| self.next_ask(world, *c).is_some()).map(Action::Ask));
        for (at, envelope) in world.network.iter().enumerate() {
            if at > 0 && world.network[at - 1] == *envelope || !self.can_arrive(world, envelope) {
                continue;
            }
            actions.push(Action::Deliver(envelope.clone()));
            if is_faulty && world.budget.losses > 0 {
                actions.push(Action::Lose(envelope.clone()));
            }
            if is_faulty && world.budget.doubles > 0 {
                actions.push(Action::Double(envelope.clone()));
            }
        }
        if is_faulty {
            let nodes = (0..world.nodes.len()).map(|at| node_of(Id::from(at)));
            actions.extend(nodes.filter(|node| self.may_crash(world, *node)).map(Action::Crash));
        }
        self.timer_actions(world, actions);
        self.ring_actions(world, actions);
    }

    fn next_state(&self, world: &ModelState, action: Action) -> Option<ModelState> {
        let mut next = world.clone();
        self.spend(&mut next, &action);
        match action {
            Action::Ask(client) => self.ask(&mut next, client),
            Action::Fire(node, timer) => self.fire(&mut next, node, timer),
            Action::Crash(node) => self.crash(&mut next, node),
            Action::Lose(envelope) => next.remove(&envelope),
            Action::Deliver(envelope) => {
                next.remove(&envelope);
                self.deliver(&mut next, &envelope);
            }
            Action::Double(envelope) => self.deliver(&mut next, &envelope),
            Action::Decide => next.decided += 1,
            Action::Learn(node, ring) => {
                let input = RingInput::Install(self.rings[ring].clone());
                self.tell(&mut next, node, input);
            }
            Action::Change(at) => {
                next.changes[at] = true;
                let (node, change) = self.setup.changes[at].clone();
                self.tell(&mut next, node, RingInput::Change(change));
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        self.properties.clone()
    }
}
