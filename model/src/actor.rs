//! stateright's actors around the core: its [`Out`] as one more environment.
//!
//! An actor is a node with one shard and its topology. What it kept of its journal is stateright's
//! storage. Clients are no actors: a request arrives, and its answer is seen, within the step that
//! causes it, which leaves the least freedom to the store.

use std::{borrow::Cow, sync::Arc, time::Duration};

use kv::{
    core::{
        env::{
            Clients, Clock, Entry, Env, Journal, Network, Note, Progress, Publish, Reply, Request,
            ShardTimer, Timers, TopologyEnv, TopologyTimer, Trace,
        },
        message::{Body, Message},
        ring::{Change, Ring},
        shard::{Input, Shard},
        time::{Micros, Timestamp},
        topology::{Topology, TopologyInput},
        types::{Epoch, Key, NodeId, RequestId, Slot},
    },
    node::{Alarm, config::NodeConfig, recover::Recovered},
};
use stateright::actor::{Actor, Id, Out};

/// What actors say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Said {
    /// A node to a node.
    Peer(Message),
    /// A client to a node.
    Ask(RequestId, Request),
    /// An operator, or the outcome of a decision, to a node.
    Change(RingInput),
    /// A node to a client.
    Answer(RequestId, Reply),
}

/// What a node is told of rings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RingInput {
    /// This change is wanted.
    Change(Change),
    /// This ring is decided.
    Install(Arc<Ring>),
}

/// Answers go to this actor, which there is not.
pub const CLIENTS: usize = 1_000;

/// A node of a model.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its first ring.
    pub ring: Arc<Ring>,
    /// What its wall clock says, always: the hybrid clock's logical part moves on by itself.
    pub now: Timestamp,
    /// Whether it may crash, and so keeps a journal.
    pub keeps_journal: bool,
}

/// The state of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The only shard.
    pub shard: Shard,
    /// The ring.
    pub topology: Topology,
    /// What the journal holds; nothing, where no node crashes.
    pub kept: Recovered,
}

/// What a node reacts to.
#[derive(Clone, Debug)]
pub enum Event {
    /// A client asks.
    Request(RequestId, Request),
    /// A peer says something.
    Message(NodeId, Message),
    /// A timer of a machine fires.
    Timer(Alarm),
    /// Something about rings.
    Ring(RingInput),
}

impl State {
    /// Starts a node on what its journal holds.
    pub fn start(
        node: NodeId,
        config: &NodeConfig,
        first: &Arc<Ring>,
        kept: Recovered,
        env: &mut (impl Env + TopologyEnv),
    ) -> Self {
        let ring = kept.ring().unwrap_or(first).clone();
        let mut shard = kept.shard(config.shard(node, 0), ring.clone());
        let mut topology = kept.topology(config.topology(node), ring);
        env.persist(Entry::Opened(kept.next_incarnation()));
        topology.start(env);
        shard.start(env);
        Self { shard, topology, kept }
    }

    fn slot_of(&self, key: &Key) -> Slot {
        self.topology.ring().slot_of(key.as_str())
    }

    /// One step, as the node's message handlers make it.
    pub fn handle(&mut self, event: Event, env: &mut (impl Env + TopologyEnv)) {
        match event {
            Event::Request(id, request) => {
                let slot = self.slot_of(request.key());
                self.shard.handle(Input::Request(id, slot, request), env);
            }
            Event::Ring(RingInput::Change(change)) => {
                self.topology.handle(TopologyInput::Change(change), env);
            }
            Event::Ring(RingInput::Install(ring)) => {
                self.topology.handle(TopologyInput::Install(ring), env);
            }
            Event::Timer(Alarm::Shard(_, timer)) => self.shard.handle(Input::Timer(timer), env),
            Event::Timer(Alarm::Topology(timer)) => {
                self.topology.handle(TopologyInput::Timer(timer), env);
            }
            Event::Timer(Alarm::Detector) => {}
            Event::Message(from, Message { epoch, body }) => {
                let seen = (epoch > self.topology.ring().epoch()).then_some(epoch);
                match body {
                    Body::KeyRequest(body) => {
                        let slot = self.slot_of(body.key());
                        let message = Message { epoch, body };
                        self.shard.handle(Input::KeyRequest(from, slot, message), env);
                    }
                    Body::Shard(body) => {
                        self.shard.handle(Input::Message(from, Message { epoch, body }), env);
                    }
                    Body::Topology(body) => {
                        let message = Message { epoch, body };
                        self.topology.handle(TopologyInput::Message(from, message), env);
                    }
                    // It advises, and no promise rests on it: no model has one.
                    Body::Gossip(_) => {}
                }
                if let Some(epoch) = seen {
                    self.topology.handle(TopologyInput::Seen(from, epoch), env);
                }
            }
        }
    }
}

/// The node of an actor, and back: actors count from 0, nodes from 1.
pub fn node_of(id: Id) -> NodeId {
    NodeId(u32::try_from(usize::from(id) + 1).expect("few actors"))
}

/// The actor of a node.
pub fn actor_of(node: NodeId) -> Id {
    Id::from(node.0 as usize - 1)
}

/// The settings of a model's shard: periods do not matter, for timers fire at any time.
pub fn config() -> NodeConfig {
    NodeConfig { shards: 1, max_clock_drift: Micros(0), max_in_flight: 8, ..NodeConfig::default() }
}

/// The environment of a step.
struct Step<'a> {
    out: &'a mut Out<Node>,
    now: Timestamp,
    entries: Vec<Entry>,
    rings: Rings,
    synced: Vec<Epoch>,
}

type Rings = Vec<Arc<Ring>>;

impl<'a> Step<'a> {
    fn new(node: &Node, out: &'a mut Out<Node>) -> Self {
        let (entries, rings, synced) = (Vec::new(), Vec::new(), Vec::new());
        Self { out, now: node.now, entries, rings, synced }
    }
}

impl Clock for Step<'_> {
    fn now(&self) -> Timestamp {
        self.now
    }

    fn uptime(&self) -> Micros {
        Micros(0)
    }
}

impl Timers<ShardTimer> for Step<'_> {
    fn set_timer(&mut self, timer: ShardTimer, _after: Micros) {
        self.out.set_timer(Alarm::Shard(0, timer), Duration::ZERO..Duration::ZERO);
    }
}

impl Timers<TopologyTimer> for Step<'_> {
    fn set_timer(&mut self, timer: TopologyTimer, _after: Micros) {
        self.out.set_timer(Alarm::Topology(timer), Duration::ZERO..Duration::ZERO);
    }
}

impl Network for Step<'_> {
    fn send(&mut self, to: NodeId, message: Message) {
        self.out.send(actor_of(to), Said::Peer(message));
    }
}

impl Journal for Step<'_> {
    fn persist(&mut self, entry: Entry) {
        self.entries.push(entry);
    }
}

impl Clients for Step<'_> {
    fn reply(&mut self, request: RequestId, reply: Reply) {
        self.out.send(Id::from(CLIENTS), Said::Answer(request, reply));
    }
}

impl Trace for Step<'_> {
    fn note(&mut self, _note: Note) {}
}

impl Progress for Step<'_> {
    fn synced(&mut self, epoch: Epoch) {
        self.synced.push(epoch);
    }
}

impl Publish for Step<'_> {
    fn publish(&mut self, ring: Arc<Ring>) {
        self.rings.push(ring);
    }

    fn confirmed(&mut self, _era: u64, _epoch: Epoch) {
        unreachable!("no node of a model stands still: that is the simulation's");
    }
}

impl Node {
    /// Acts; then the journal is durable, a new ring reaches the shard, and what the shard has done for
    /// it the topology.
    fn run(
        &self,
        state: &mut State,
        out: &mut Out<Self>,
        act: &mut dyn FnMut(&mut State, &mut Step),
    ) {
        let mut step = Step::new(self, out);
        act(state, &mut step);
        let Step { entries, rings, synced, .. } = step;
        if self.keeps_journal {
            entries.into_iter().for_each(|entry| state.kept.take(entry));
        }
        for ring in rings {
            self.run(state, out, &mut |state, step| {
                state.shard.handle(Input::Ring(ring.clone()), step);
            });
        }
        for epoch in synced {
            self.run(state, out, &mut |state, step| {
                state.topology.handle(TopologyInput::Synced(0, epoch), step);
            });
        }
        state.shard.check_invariants(None);
    }

    fn step(&self, state: &mut State, event: Event, out: &mut Out<Self>) {
        self.run(state, out, &mut |state, step| state.handle(event.clone(), step));
    }
}

impl Actor for Node {
    type Msg = Said;
    type Timer = Alarm;
    type State = State;
    type Storage = Recovered;
    type Random = ();

    fn on_start(&self, id: Id, storage: &Option<Recovered>, out: &mut Out<Self>) -> State {
        let mut step = Step::new(self, out);
        let kept = storage.clone().unwrap_or_default();
        let mut state = State::start(node_of(id), &config(), &self.ring, kept, &mut step);
        let Step { mut entries, mut synced, .. } = step;
        self.run(&mut state, out, &mut |state, step| {
            step.entries.append(&mut entries);
            synced.drain(..).for_each(|epoch| {
                state.topology.handle(TopologyInput::Synced(0, epoch), step);
            });
        });
        state
    }

    fn on_msg(
        &self,
        id: Id,
        state: &mut Cow<'_, State>,
        from: Id,
        said: Said,
        out: &mut Out<Self>,
    ) {
        let event = match said {
            Said::Peer(message) => Event::Message(node_of(from), message),
            Said::Ask(request, what) => Event::Request(request, what),
            Said::Change(input) => Event::Ring(input),
            Said::Answer(..) => unreachable!("{id:?} asked nothing"),
        };
        self.step(state.to_mut(), event, out);
    }

    fn on_timeout(&self, _id: Id, state: &mut Cow<'_, State>, alarm: &Alarm, out: &mut Out<Self>) {
        self.step(state.to_mut(), Event::Timer(*alarm), out);
    }
}
