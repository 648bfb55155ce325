//! The world of a model: nodes, the messages between them, clients, and what may still go wrong.
//!
//! stateright's own `ActorModel` is not used: it forgets deliveries without an effect, so that a
//! network never falls silent, and it does not bound how many messages are lost or how often nodes
//! crash. The actors are stateright's all the same.

use std::{
    borrow::Cow,
    cell::Cell,
    collections::BTreeSet,
    fmt,
    hash::{Hash, Hasher},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use kv::{
    clock::Timestamp,
    env::{Failure, Reply, Request, Timer},
    message::{Body, Message},
    quorum::Level,
    record::{Record, Version},
    ring::{Change, RING_SIZE, Ring},
    shard::SILENT_ROUNDS,
    types::{Key, NodeId, RequestId, Value},
};
use stateright::{
    Model, Property,
    actor::{Actor as _, Command, Id, Out},
    semantics::{
        ConsistencyTester as _, LinearizabilityTester,
        register::{Register, RegisterOp, RegisterRet},
    },
};
use xxhash_rust::xxh3::Xxh3;

use crate::actor::{CLIENTS, Node, RingInput, Said, State, actor_of, node_of};

/// The key of all models.
pub const KEY: &str = "k";

/// A value with its hash, which is taken once: states share what did not change.
#[derive(Clone)]
pub struct Hashed<T>(Arc<(u64, T)>);

impl<T: Hash> Hashed<T> {
    /// Takes the hash.
    pub fn new(value: T) -> Self {
        let mut hasher = Xxh3::new();
        value.hash(&mut hasher);
        Self(Arc::new((hasher.finish(), value)))
    }
}

impl<T> std::ops::Deref for Hashed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.1
    }
}

impl<T> Hash for Hashed<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.0.hash(state);
    }
}

impl<T: PartialEq> PartialEq for Hashed<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.0 == other.0.0 && self.0.1 == other.0.1
    }
}

impl<T: fmt::Debug> fmt::Debug for Hashed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.1.fmt(f)
    }
}

/// A message on its way.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Envelope {
    /// Who sent it.
    pub from: NodeId,
    /// Whom it is for.
    pub to: NodeId,
    /// What it says.
    pub message: Message,
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} {:?}", self.from, self.to, self.message.body)
    }
}

/// A request of a client's plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ask {
    /// The node that is asked.
    pub node: NodeId,
    /// What.
    pub request: Request,
}

/// Stores a value.
pub fn put(node: u32, value: &str, level: Level) -> Ask {
    let (key, value) = (Key::trusted(KEY), Some(Value::trusted(value)));
    Ask { node: NodeId(node), request: Request::Put { key, value, level } }
}

/// Deletes.
pub fn delete(node: u32, level: Level) -> Ask {
    let key = Key::trusted(KEY);
    Ask { node: NodeId(node), request: Request::Put { key, value: None, level } }
}

/// Reads.
pub fn get(node: u32, level: Level) -> Ask {
    let (key, at_least) = (Key::trusted(KEY), None);
    Ask { node: NodeId(node), request: Request::Get { key, level, at_least } }
}

/// How a request ended for its client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was answered.
    Answered(Reply),
    /// Its node crashed.
    Unknown,
}

/// A client: asks one request after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Client {
    /// How the requests ended.
    pub outcomes: Vec<Outcome>,
    /// One is under way. The version that it must find, if it is a read that promises any.
    pub waiting: Option<Option<Version>>,
}

/// How often something may go wrong, or happen early.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Messages lost.
    pub losses: u8,
    /// Messages delivered twice.
    pub doubles: u8,
    /// Nodes that crash, and start again from their journals.
    pub crashes: u8,
    /// Hedge timers that fire while messages are on their way.
    pub hedges: u8,
    /// Timeouts that fire while messages are on their way.
    pub timeouts: u8,
    /// Comparisons of digests that begin while requests are under way.
    pub syncs: u8,
    /// Proposers that try again.
    pub proposals: u8,
    /// Further rounds of pulls and offers.
    pub pulls: u8,
}

/// What decides a model.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Its name.
    pub name: &'static str,
    /// What it is about, in a line.
    pub about: &'static str,
    /// How many distinct states there are, as it was once counted.
    pub states: usize,
    /// What the nodes' wall clocks say. As many as there are nodes.
    pub clocks: Vec<u64>,
    /// The plans of the clients.
    pub plans: Vec<Vec<Ask>>,
    /// What may go wrong.
    pub budget: Budget,
    /// Whether, when all is quiet, each two nodes compare digests.
    pub converges: bool,
    /// Whether histories are tested for linearizability.
    pub is_register: bool,
    /// The rings that are decided, one after the other; the nodes start with the first. Empty: one ring of
    /// all nodes, for ever.
    pub rings: Vec<Arc<Ring>>,
    /// Changes of the ring that somebody asks a node for.
    pub changes: Vec<(NodeId, Change)>,
    /// Whether such a message is sent at all. All others are lost.
    pub speaks: fn(&Body) -> bool,
    /// Nodes that are dead from the beginning.
    pub dead: Vec<NodeId>,
    /// The nodes that may crash. Empty: all.
    pub frail: Vec<NodeId>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            name: "",
            about: "",
            states: 0,
            clocks: Vec::new(),
            plans: Vec::new(),
            budget: Budget::default(),
            converges: false,
            is_register: false,
            rings: Vec::new(),
            changes: Vec::new(),
            speaks: |_| true,
            dead: Vec::new(),
            frail: Vec::new(),
        }
    }
}

impl Setup {
    /// R.
    pub fn replication(&self) -> usize {
        self.clocks.len().min(3)
    }
}

/// The first ring of so many members, the same as in the simulation; each key is on three of them.
pub fn ring_of(members: usize, size: u16) -> Ring {
    let addresses: Vec<String> = (1..=members).map(|node| format!("node{node}:1")).collect();
    Ring::form(&addresses, members.min(3), size).expect("few members fit")
}

type Tester = LinearizabilityTester<(usize, usize), Register<Option<Value>>>;

/// A state.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct World {
    /// The nodes.
    pub nodes: Vec<Hashed<State>>,
    /// Their timers that are armed.
    pub timers: Vec<BTreeSet<Timer>>,
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
    Fire(NodeId, Timer),
    /// A node crashes, and starts again from its journal.
    Crash(NodeId),
    /// The next ring of the setup's list is decided.
    Decide,
    /// A node learns of this ring of the setup's list.
    Learn(NodeId, usize),
    /// Somebody asks for this change of the setup's list.
    Change(usize),
}

thread_local! {
    /// A panic is a promise that fell, and is told as such.
    static IS_STEP: Cell<bool> = const { Cell::new(false) };
}

fn quietly(act: impl FnOnce()) -> std::thread::Result<()> {
    IS_STEP.set(true);
    let acted = catch_unwind(AssertUnwindSafe(act));
    IS_STEP.set(false);
    acted
}

/// Lets panics of the core within a step print nothing: a broken invariant is a promise that fell.
pub fn quiet_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !IS_STEP.get() {
            usual(panic);
        }
    }));
}

/// A model: its setup, and what must hold.
pub struct Cluster {
    /// What decides it.
    pub setup: Setup,
    rings: Vec<Arc<Ring>>,
    properties: Vec<Property<Cluster>>,
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
    /// P7.
    pub const P7: &str = "P7: a session reads what it wrote or read before, or newer, or fails";
    /// P9.
    pub const P9: &str = "P9: a version names one write";
}

impl Cluster {
    /// A model in which only the promises that every step keeps are looked at.
    pub fn new(setup: Setup) -> Self {
        let rings = match setup.rings.is_empty() {
            true => vec![Arc::new(ring_of(setup.clocks.len(), RING_SIZE))],
            false => setup.rings.clone(),
        };
        let always = |name, holds| Property::always(name, holds);
        let properties = vec![
            always(broken::INVARIANT, |_, world: &World| world.broken != Some(broken::INVARIANT)),
            always(broken::P0, |_, world| world.broken != Some(broken::P0)),
            always(broken::P2, |_, world| world.broken != Some(broken::P2)),
            always(broken::P7, |_, world| world.broken != Some(broken::P7)),
            always(broken::P9, |_, world| world.broken != Some(broken::P9)),
        ];
        Self { setup, rings, properties }
    }

    /// The rings of the model, in their order.
    pub fn rings(&self) -> &[Arc<Ring>] {
        &self.rings
    }

    /// Something else that must hold.
    pub fn always(mut self, name: &'static str, holds: fn(&Self, &World) -> bool) -> Self {
        self.properties.push(Property::always(name, holds));
        self
    }

    /// Something that must be possible.
    pub fn sometimes(mut self, name: &'static str, holds: fn(&Self, &World) -> bool) -> Self {
        self.properties.push(Property::sometimes(name, holds));
        self
    }

    /// P3 and P4, which are looked at when a read ends.
    pub fn quorum(self) -> Self {
        self.always(broken::P3_P4, |_, world| world.broken != Some(broken::P3_P4))
    }

    /// P1, which is looked at when nothing is left to happen.
    pub fn converges(self) -> Self {
        self.always(broken::P1, Self::is_equal).sometimes("all is quiet", Self::is_quiescent)
    }

    fn is_equal(&self, world: &World) -> bool {
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
    fn next_ask(&self, world: &World, client: usize) -> Option<&Ask> {
        let Client { outcomes, waiting } = &world.clients[client];
        let is_next = |ask: &&Ask| !self.setup.dead.contains(&ask.node);
        match waiting {
            Some(_) => None,
            None => self.setup.plans[client].get(outcomes.len()).filter(is_next),
        }
    }

    /// Whether all clients are through with their plans.
    pub fn is_served(&self, world: &World) -> bool {
        let mut all = world.clients.iter().zip(&self.setup.plans);
        all.all(|(client, plan)| client.outcomes.len() == plan.len())
    }

    /// The comparisons of digests at the end: each node with each other.
    fn rounds(&self) -> usize {
        let nodes = self.setup.clocks.len();
        if self.setup.converges { nodes * (nodes - 1) } else { 0 }
    }

    /// Whether nothing is left to happen.
    pub fn is_quiescent(&self, world: &World) -> bool {
        world.network.is_empty() && self.is_served(world) && world.rounds == self.rounds()
    }

    /// Lets a node act, and takes what it does.
    fn step(
        &self,
        world: &mut World,
        node: NodeId,
        act: impl FnOnce(&Node, Id, &mut Cow<'_, State>, &mut Out<Node>),
    ) {
        let at = node.0 as usize - 1;
        let mut out = Out::new();
        let before = world.nodes[at].shard.version(KEY);
        let mut state = Cow::Owned((*world.nodes[at]).clone());
        let acted = quietly(|| act(&self.node(at), actor_of(node), &mut state, &mut out));
        if acted.is_err() {
            world.broken = Some(broken::INVARIANT);
            return;
        }
        let state = state.into_owned();
        if state.shard.version(KEY) < before {
            world.broken = Some(broken::P2);
        }
        world.nodes[at] = Hashed::new(state);
        self.take(world, at, out);
        world.forget_dead_messages();
        self.forget_fenced_messages(world);
        if world.has_two_values_of_one_version() {
            world.broken = Some(broken::P9);
        }
    }

    /// Drops messages of older epochs than that of their receiver, once it is seen that they do nothing:
    /// epochs only grow, so they never will. That a crash makes none forget its epoch is not taken for
    /// granted.
    fn forget_fenced_messages(&self, world: &mut World) {
        let network = std::mem::take(&mut world.network);
        let does_something = |envelope: &Hashed<Envelope>| {
            let at = envelope.to.0 as usize - 1;
            let is_old = envelope.message.epoch < world.nodes[at].shard.epoch();
            !is_old
                || self.may_crash(world, envelope.to)
                || !self.is_ignored(world, envelope, |one, other| one == other)
        };
        world.network = network.into_iter().filter(does_something).collect();
    }

    /// Whether a node may still crash.
    fn may_crash(&self, world: &World, node: NodeId) -> bool {
        let frail = &self.setup.frail;
        world.budget.crashes > 0 && (frail.is_empty() || frail.contains(&node))
    }

    /// Whether a message leaves its receiver the same, and is not answered by anything that is sent here.
    fn is_ignored(
        &self,
        world: &World,
        envelope: &Envelope,
        is_same: fn(&State, &State) -> bool,
    ) -> bool {
        let at = envelope.to.0 as usize - 1;
        let before = &*world.nodes[at];
        let (mut out, mut state) = (Out::new(), Cow::Owned(before.clone()));
        let (id, from) = (actor_of(envelope.to), actor_of(envelope.from));
        let said = Said::Peer(envelope.message.clone());
        let acted = quietly(|| self.node(at).on_msg(id, &mut state, from, said, &mut out));
        let is_silent = out.into_iter().all(|command| match command {
            Command::Send(_, Said::Peer(message)) => !(self.setup.speaks)(&message.body),
            // Rings are learned by [`Action::Learn`].
            Command::SetTimer(Timer::Fetch, _) => true,
            _ => false,
        });
        acted.is_ok() && is_silent && is_same(&state, before)
    }

    fn take(&self, world: &mut World, at: usize, out: Out<Node>) {
        for command in out {
            match command {
                Command::Send(to, Said::Peer(message)) => {
                    let to_nobody = usize::from(to) >= self.setup.clocks.len()
                        || self.setup.dead.contains(&node_of(to));
                    if to_nobody || !(self.setup.speaks)(&message.body) {
                        continue;
                    }
                    let (from, to) = (node_of(Id::from(at)), node_of(to));
                    world.insert(Hashed::new(Envelope { from, to, message }));
                }
                Command::Send(_, Said::Answer(request, reply)) => {
                    self.answered(world, request, reply)
                }
                Command::SetTimer(timer, _) => {
                    world.timers[at].insert(timer);
                }
                Command::Send(_, Said::Ask(..) | Said::Change(_))
                | Command::CancelTimer(_)
                | Command::ChooseRandom(..)
                | Command::Save(_) => {
                    unreachable!("nodes do none of this")
                }
            }
        }
    }

    fn ask(&self, world: &mut World, client: usize) {
        let Some(mut ask) = self.next_ask(world, client).cloned() else { return };
        let number = world.clients[client].outcomes.len();
        let needs = match &mut ask.request {
            Request::Get { level, .. } if level.is_majority() => world.newest_ended(self),
            // As a connection does, with room for all keys.
            Request::Get { level: Level::Session, at_least, .. } => {
                let seen = world.clients[client].outcomes.iter().filter_map(Outcome::version).max();
                *at_least = seen;
                seen
            }
            Request::Get { .. } | Request::Put { .. } => None,
        };
        world.clients[client].waiting = Some(needs);
        if let Some((tester, _)) = &mut world.history {
            let mut told = (**tester).clone();
            let op = match &ask.request {
                Request::Put { value, .. } => RegisterOp::Write(value.clone()),
                Request::Get { .. } => RegisterOp::Read,
            };
            told.on_invoke((client, number), op).expect("a client asks one thing at a time");
            *tester = Hashed::new(told);
        }
        let request = RequestId((client as u64) << 8 | number as u64);
        self.step(world, ask.node, |node, id, state, out| {
            node.on_msg(id, state, Id::from(CLIENTS), Said::Ask(request, ask.request), out);
        });
    }

    fn answered(&self, world: &mut World, request: RequestId, reply: Reply) {
        let client = usize::try_from(request.0 >> 8).expect("few clients");
        let number = usize::try_from(request.0 & 0xff).expect("few requests");
        // A node that crashed cannot answer: its client has gone on.
        let is_awaited = world.clients[client].outcomes.len() == number;
        let Some(needs) = world.clients[client].waiting.take_if(|_| is_awaited) else { return };
        if let Reply::Found(record) = &reply {
            if record.as_ref().map(|record| record.version) < needs {
                let level = self.setup.plans[client][number].request.level();
                let is_session = level == Level::Session;
                world.broken = Some(if is_session { broken::P7 } else { broken::P3_P4 });
            }
            if !self.was_written(world, record.as_ref()) {
                world.broken = Some(broken::P0);
            }
        }
        if let Some((tester, agrees)) = &mut world.history {
            let answer = match &reply {
                Reply::Written(_) => Some(RegisterRet::WriteOk),
                Reply::Found(found) => Some(RegisterRet::ReadOk(
                    found.as_ref().and_then(|record| record.value.clone()),
                )),
                // It may have happened, or may happen still: it stays open.
                Reply::Failed(_) => None,
            };
            if let Some(answer) = answer {
                let mut told = (**tester).clone();
                told.on_return((client, number), answer).expect("it was asked");
                *agrees = *agrees && told.is_consistent();
                *tester = Hashed::new(told);
            }
        }
        world.clients[client].outcomes.push(Outcome::Answered(reply));
    }

    /// Whether a request wrote what was found.
    fn was_written(&self, world: &World, found: Option<&Record>) -> bool {
        let Some(record) = found else { return true };
        world.clients.iter().zip(&self.setup.plans).any(|(client, plan)| {
            let begun = client.outcomes.len() + usize::from(client.waiting.is_some());
            plan.iter().take(begun).enumerate().any(|(number, ask)| {
                let failed = |outcome: &Outcome| {
                    matches!(outcome, Outcome::Answered(Reply::Failed(f)) if f.is_definite())
                };
                let is_it = matches!(&ask.request, Request::Put { value, .. } if *value == record.value);
                is_it && !client.outcomes.get(number).is_some_and(failed)
            })
        })
    }

    fn crash(&self, world: &mut World, node: NodeId) {
        let at = node.0 as usize - 1;
        world.timers[at].clear();
        for (client, plan) in world.clients.iter_mut().zip(&self.setup.plans) {
            let asked = plan.get(client.outcomes.len()).is_some_and(|ask| ask.node == node);
            if asked && client.waiting.take().is_some() {
                client.outcomes.push(Outcome::Unknown);
            }
        }
        self.step(world, node, |node, id, state, out| {
            let kept = state.kept.clone();
            *state = Cow::Owned(node.on_start(id, &Some(kept), out));
        });
    }

    fn fire(&self, world: &mut World, node: NodeId, timer: Timer) {
        // One firing stands for as many as it takes until an owner counts as silent, or until a proposer
        // that heard another takes its turn.
        let times = match timer {
            Timer::Pull => SILENT_ROUNDS,
            Timer::Propose => 2,
            _ => 1,
        };
        for turn in 0..times {
            let proposes = world.nodes[node.0 as usize - 1].topology.ballot().is_some();
            if turn > 0 && timer == Timer::Propose && proposes {
                break;
            }
            world.timers[node.0 as usize - 1].remove(&timer);
            self.step(world, node, |node, id, state, out| node.on_timeout(id, state, &timer, out));
        }
    }

    /// The timers that may fire: at any time while the budget lasts, and whenever nothing else happens.
    fn timer_actions(&self, world: &World, actions: &mut Vec<Action>) {
        let is_still = world.network.is_empty();
        let is_served = self.is_served(world);
        for (at, timers) in world.timers.iter().enumerate() {
            let node = node_of(Id::from(at));
            for timer in timers {
                let may = match timer {
                    Timer::Hedge => world.budget.hedges > 0,
                    Timer::Timeout => world.budget.timeouts > 0 || is_still,
                    Timer::Sync => world.budget.syncs > 0 && !is_served,
                    Timer::Propose => world.budget.proposals > 0,
                    Timer::Pull => world.budget.pulls > 0,
                    Timer::Probe | Timer::Fetch | Timer::Report | Timer::Detect => false,
                };
                let is_of_request = matches!(timer, Timer::Hedge | Timer::Timeout);
                let is_idle = is_of_request && world.nodes[at].shard.in_flight() == 0;
                if may && !is_idle {
                    actions.push(Action::Fire(node, *timer));
                }
            }
        }
        if is_still && is_served && world.rounds < self.rounds() {
            let peers = self.setup.clocks.len() - 1;
            actions.push(Action::Fire(node_of(Id::from(world.rounds / peers)), Timer::Sync));
        }
    }

    fn spend(&self, world: &mut World, action: &Action) {
        let is_still = world.network.is_empty();
        let is_served = self.is_served(world);
        let budget = &mut world.budget;
        match action {
            Action::Ask(_)
            | Action::Deliver(_)
            | Action::Decide
            | Action::Learn(..)
            | Action::Change(_) => {}
            Action::Lose(_) => budget.losses -= 1,
            Action::Double(_) => budget.doubles -= 1,
            Action::Crash(_) => budget.crashes -= 1,
            Action::Fire(_, Timer::Hedge) => budget.hedges -= 1,
            Action::Fire(_, Timer::Timeout) if !is_still => budget.timeouts -= 1,
            Action::Fire(_, Timer::Sync) if is_served => world.rounds += 1,
            Action::Fire(_, Timer::Sync) => budget.syncs -= 1,
            Action::Fire(_, Timer::Propose) => budget.proposals -= 1,
            Action::Fire(_, Timer::Pull) => budget.pulls -= 1,
            Action::Fire(..) => {}
        }
    }
}

impl World {
    fn insert(&mut self, envelope: Hashed<Envelope>) {
        let at = self.network.partition_point(|other| other.0.0 < envelope.0.0);
        self.network.insert(at, envelope);
    }

    fn remove(&mut self, envelope: &Hashed<Envelope>) {
        let at = self.network.iter().position(|other| other == envelope);
        self.network.remove(at.expect("only messages on their way arrive"));
    }

    /// Drops answers that nobody awaits, and proposals that come too late: their arrival changes nothing,
    /// now or later.
    fn forget_dead_messages(&mut self) {
        let Self { network, nodes, budget, .. } = self;
        network.retain(|envelope| {
            let State { shard, topology, .. } = &*nodes[envelope.to.0 as usize - 1];
            match &envelope.message.body {
                Body::Promise { ballot, .. } | Body::Accepted { ballot } => {
                    topology.ballot() == Some(*ballot)
                }
                // Refused at once: who asked goes on as if it had heard nothing. A crash might make it
                // forget what it promised, which is not to be taken for granted.
                Body::Prepare { ballot } | Body::Accept { ballot, .. } => {
                    let promised = topology.acceptor().promised;
                    budget.crashes > 0 || promised.is_none_or(|promised| promised <= *ballot)
                }
                Body::Written { op } | Body::Fenced { op } => shard.awaits(*op),
                Body::Found { op, record } => {
                    let has_seen = |r: &Record| shard.has_seen(r.version.timestamp);
                    shard.awaits(*op) || !record.as_ref().is_none_or(has_seen)
                }
                _ => true,
            }
        });
    }

    fn has_two_values_of_one_version(&self) -> bool {
        let held: Vec<Record> =
            self.nodes.iter().filter_map(|node| node.shard.record(KEY)).collect();
        held.iter().any(|one| held.iter().any(|other| one.version == other.version && one != other))
    }

    /// The newest version that a request at QUORUM or above ended with.
    fn newest_ended(&self, cluster: &Cluster) -> Option<Version> {
        let all = self.clients.iter().zip(&cluster.setup.plans);
        let ended = all.flat_map(|(client, plan)| client.outcomes.iter().zip(plan));
        let majority = ended.filter(|(_, ask)| ask.request.level().is_majority());
        majority.filter_map(|(outcome, _)| outcome.version()).max()
    }

    /// What the clients were answered.
    pub fn replies(&self, client: usize) -> impl Iterator<Item = &Reply> {
        self.clients[client].outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Answered(reply) => Some(reply),
            Outcome::Unknown => None,
        })
    }

    /// Whether a client's request ended in this failure.
    pub fn has_failure(&self, failure: Failure) -> bool {
        let mut all = (0..self.clients.len()).flat_map(|client| self.replies(client));
        all.any(|reply| *reply == Reply::Failed(failure))
    }

    /// What each owner holds.
    pub fn held(&self) -> impl Iterator<Item = Option<Record>> {
        self.nodes.iter().map(|node| node.shard.record(KEY))
    }
}

impl Outcome {
    /// The version that an ok request is about.
    pub fn version(&self) -> Option<Version> {
        match self {
            Outcome::Answered(Reply::Written(version)) => Some(*version),
            Outcome::Answered(Reply::Found(record)) => record.as_ref().map(|record| record.version),
            Outcome::Answered(Reply::Failed(_)) | Outcome::Unknown => None,
        }
    }
}

impl Model for Cluster {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let mut world = World {
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

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
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

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
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

impl Cluster {
    /// A message of a later epoch than its receiver's waits until that one has learned of the ring: in
    /// truth it is dropped, as is seen here, and sent again.
    fn can_arrive(&self, world: &World, envelope: &Envelope) -> bool {
        let node = &world.nodes[envelope.to.0 as usize - 1];
        self.rings.len() == 1
            || envelope.message.epoch <= node.shard.epoch()
            || !self.is_ignored(world, envelope, |one, other| one.shard == other.shard)
    }

    fn ring_actions(&self, world: &World, actions: &mut Vec<Action>) {
        let changes = (0..world.changes.len()).filter(|at| !world.changes[*at]);
        actions.extend(changes.map(Action::Change));
        if let Some(next) = self.rings.get(world.decided)
            && self.may_decide(world, next)
        {
            actions.push(Action::Decide);
        }
        for (at, node) in world.nodes.iter().enumerate() {
            let id = node_of(Id::from(at));
            if !self.setup.dead.contains(&id) {
                let epoch = node.topology.ring().epoch();
                let newer = (0..world.decided).filter(|at| self.rings[*at].epoch() > epoch);
                actions.extend(newer.map(|ring| Action::Learn(id, ring)));
            }
        }
    }

    /// A joint ring becomes final once all have reported who must.
    fn may_decide(&self, world: &World, next: &Ring) -> bool {
        let last = &self.rings[world.decided - 1];
        let has_synced = |node: &NodeId| {
            let topology = &world.nodes[node.0 as usize - 1].topology;
            topology.ring().epoch() == last.epoch() && topology.synced().contains(node)
        };
        let is_final = last.after(&BTreeSet::new(), true).is_some_and(|ring| ring == *next);
        !is_final || last.reporters().iter().all(has_synced)
    }

    fn tell(&self, world: &mut World, node: NodeId, input: RingInput) {
        self.step(world, node, |node, id, state, out| {
            node.on_msg(id, state, Id::from(CLIENTS), Said::Change(input), out);
        });
    }

    fn deliver(&self, world: &mut World, envelope: &Envelope) {
        let from = actor_of(envelope.from);
        let said = Said::Peer(envelope.message.clone());
        self.step(world, envelope.to, |node, id, state, out| {
            node.on_msg(id, state, from, said, out)
        });
    }
}
