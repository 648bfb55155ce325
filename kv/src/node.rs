//! A node: shards and topology, each behind a lock, and the gate that holds effects back until the
//! journal has what they rest on.
//!
//! The way of an input: [`Node::request`] or [`Node::message`] sorts it into a [`Batch`];
//! [`Node::run`] takes one lock per machine that has inputs, runs them, releases the lock, and leaves
//! what may leave now in the [`Outbox`]; [`Node::flush`] hands that to the world.

mod pauses;
mod split;
mod step;

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    sync::Arc,
};

pub use self::pauses::{Era, Pause};

use self::{pauses::Pauses, step::Step};
use crate::{
    clock::Timestamp,
    config::NodeConfig,
    detector::{Detector, DetectorInput, Health},
    env::{Clients as _, Entry, Failure, Note, Reply, Request, Timer, Trace as _},
    locks::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    message::{Message, Recipient},
    recover::Recovered,
    ring::{Change, Ring},
    shard::{Behind, Input, Shard},
    topology::{Topology, TopologyInput},
    types::{Epoch, Key, Micros, NodeId, RequestId},
};

/// A place in the journal: after that many entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(pub u64);

/// One of a node's machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Machine {
    /// A shard, by its number.
    Shard(u16),
    /// The topology.
    Topology,
    /// The detector.
    Detector,
}

/// What a node is plugged into: the world's side of the traits in [`crate::env`].
pub trait Ports {
    /// The wall clock.
    fn now(&self) -> Timestamp;
    /// The monotonic clock.
    fn uptime(&self) -> Micros;
    /// Arms a timer: [`Node::timer`] is to be called after this long, or later.
    fn set_timer(&self, machine: Machine, timer: Timer, after: Micros);
    /// Appends to the commit buffer. Called under a machine's lock: no I/O.
    fn append(&self, entry: Entry) -> Position;
    /// Up to where the journal is durable. When it moves, [`Node::durable`] is to be called.
    fn durable(&self) -> Position;
    /// Counts something that seldom happens.
    fn note(&self, note: Note);
    /// Takes messages and replies out of the outbox, and sends them.
    fn send(&self, outbox: &mut Outbox);
    /// The node goes over to a ring: before anything that rests on it leaves, so that the way to a new
    /// member is there when the first message to it is.
    fn adopted(&self, _ring: &Arc<Ring>) {}
    /// The node stood still, and knows it: client connections of earlier eras are to be closed, for what lies
    /// in them is old.
    fn paused(&self, _pause: Pause) {}
    /// In this era, a majority said that the ring of this epoch is the newest: the node coordinates again.
    fn confirmed(&self, _era: Era, _epoch: Epoch) {}
}

/// Effects that wait to leave a node.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Messages to peers.
    pub messages: Vec<(NodeId, Message)>,
    /// Replies to clients.
    pub replies: Vec<(RequestId, Reply)>,
    /// Rings for the shards.
    rings: Vec<Arc<Ring>>,
    /// Shards that have done what a ring asks of them, for the topology.
    synced: Vec<(u16, Epoch)>,
    /// Who seems to be gone, for the topology: what the detector said last.
    gone: Option<BTreeSet<NodeId>>,
    /// In which era a majority said that the ring of which epoch is the newest.
    confirmed: Option<(Era, Epoch)>,
}

impl Outbox {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        let nothing_leaves = self.messages.is_empty() && self.replies.is_empty();
        let nothing_is_told = self.rings.is_empty() && self.synced.is_empty();
        nothing_leaves && nothing_is_told && self.gone.is_none() && self.confirmed.is_none()
    }
}

impl Outbox {
    fn marks(&self) -> [usize; 4] {
        [self.messages.len(), self.replies.len(), self.rings.len(), self.synced.len()]
    }

    /// What was added since.
    fn split_off(&mut self, [messages, replies, rings, synced]: [usize; 4]) -> Self {
        Self {
            messages: self.messages.split_off(messages),
            replies: self.replies.split_off(replies),
            rings: self.rings.split_off(rings),
            synced: self.synced.split_off(synced),
            gone: None,
            confirmed: None,
        }
    }
}

/// Inputs, sorted by the machine that they are for. Kept and used again by whoever feeds a node.
#[derive(Debug)]
pub struct Batch {
    shards: Vec<Vec<Input>>,
    topology: Vec<TopologyInput>,
    detector: Vec<DetectorInput>,
    /// Of which era the clients' requests in it are.
    era: Era,
}

impl Batch {
    /// From now on it is for the requests of a connection that was taken in this era.
    pub fn set_era(&mut self, era: Era) {
        self.era = era;
    }

    /// How many inputs wait.
    pub fn len(&self) -> usize {
        let others = self.topology.len() + self.detector.len();
        self.shards.iter().map(Vec::len).sum::<usize>() + others
    }

    /// Whether no input waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A machine with the highest place in the journal that any of its steps wrote.
struct Guarded<T> {
    machine: T,
    highest: Position,
}

/// A node of the cluster.
pub struct Node<P> {
    ports: P,
    id: NodeId,
    ring_size: u16,
    /// The epoch of the topology's ring, to see later ones without its lock.
    epoch: AtomicU64,
    shards: Vec<Mutex<Guarded<Shard>>>,
    topology: Mutex<Guarded<Topology>>,
    detector: Mutex<Guarded<Detector>>,
    /// Outboxes that wait for the journal. Two threads that step one machine may come here in the other
    /// order: nothing rests on the order, for each waits for all that its machine wrote.
    gate: Mutex<Vec<(Position, Outbox)>>,
    pauses: Pauses,
}

impl<P: Ports> Node<P> {
    /// Starts a node: anew, with `first_ring`, or where its journal ended.
    pub fn start(
        id: NodeId,
        config: &NodeConfig,
        first_ring: Arc<Ring>,
        recovered: Recovered,
        ports: P,
    ) -> Self {
        let incarnation = recovered.next_incarnation();
        let ring = recovered.ring().cloned().unwrap_or(first_ring);
        let shards = config.shards.max(1);
        let new_shard = |shard| recovered.shard(config.shard(id, shard), ring.clone());
        let machines: Vec<Shard> = (0..shards).map(new_shard).collect();
        // The machines' first entry is this one: nothing leaves a node whose incarnation could be
        // taken a second time.
        let highest = ports.append(Entry::Opened(incarnation));
        let guard = |machine| Mutex::new(Guarded { machine, highest });
        let topology = recovered.topology(config.topology(id), ring.clone());
        let detector = Detector::new(config.detector(id), ring.clone(), incarnation);
        let times = (ports.now(), ports.uptime());
        let node = Self {
            id,
            ring_size: ring.size(),
            epoch: AtomicU64::new(ring.epoch().0),
            shards: machines.into_iter().map(guard).collect(),
            topology: Mutex::new(Guarded { machine: topology, highest }),
            detector: Mutex::new(Guarded { machine: detector, highest }),
            gate: Mutex::new(Vec::new()),
            pauses: Pauses::new(config.pause_after, incarnation, times),
            ports,
        };
        node.ports.adopted(&ring);
        let mut outbox = Outbox::default();
        node.step(Machine::Topology, times, &node.topology, &mut outbox, |t, env| t.start(env));
        node.step(Machine::Detector, times, &node.detector, &mut outbox, |d, env| d.start(env));
        node.flush(&mut outbox);
        for (shard, machine) in (0..).zip(&node.shards) {
            let mut outbox = Outbox::default();
            node.step(Machine::Shard(shard), times, machine, &mut outbox, |s, env| s.start(env));
            node.flush(&mut outbox);
        }
        node
    }

    /// This node's id.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// What the node is plugged into.
    pub fn ports(&self) -> &P {
        &self.ports
    }

    /// An empty batch for this node, of the era that it is now.
    pub fn batch(&self) -> Batch {
        let shards = self.shards.iter().map(|_| Vec::new()).collect();
        Batch { shards, topology: Vec::new(), detector: Vec::new(), era: self.era() }
    }

    /// Adds a client's request to a batch.
    pub fn request(&self, batch: &mut Batch, id: RequestId, request: Request) {
        let slot = crate::ring::slot_of(request.key().as_str(), self.ring_size);
        let shard = usize::from(slot.0) % self.shards.len();
        batch.shards[shard].push(Input::Request(id, request));
    }

    /// Adds a peer's message to a batch.
    pub fn message(&self, batch: &mut Batch, from: NodeId, message: Message) {
        if message.epoch.0 > self.epoch.load(Ordering::Acquire) {
            batch.topology.push(TopologyInput::Seen(from, message.epoch));
        }
        let shards = self.shards.len();
        match message.body.recipient(self.ring_size) {
            Recipient::Slot(slot) => {
                batch.shards[usize::from(slot.0) % shards].push(Input::Message(from, message));
            }
            // A number beyond our shards answers nothing that we asked.
            Recipient::Shard(shard) => {
                if let Some(inputs) = batch.shards.get_mut(usize::from(shard)) {
                    inputs.push(Input::Message(from, message));
                }
            }
            Recipient::EveryShard => self.split(batch, from, message),
            Recipient::Topology => batch.topology.push(TopologyInput::Message(from, message)),
            Recipient::Detector => batch.detector.push(DetectorInput::Message(from, message)),
        }
    }

    /// Runs a batch, which is empty afterwards. What may leave the node at once is added to the
    /// outbox; what rests on entries that are not durable yet leaves with [`Node::durable`].
    pub fn run(&self, batch: &mut Batch, outbox: &mut Outbox) {
        let times = self.times();
        for (index, inputs) in batch.shards.iter_mut().enumerate() {
            if !inputs.is_empty() {
                let machine = Machine::Shard(u16::try_from(index).expect("at most 2^16 shards"));
                self.step(machine, times, &self.shards[index], outbox, |shard, env| {
                    self.feed(inputs, batch.era, shard, env);
                });
            }
        }
        if !batch.topology.is_empty() {
            self.step(Machine::Topology, times, &self.topology, outbox, |topology, env| {
                batch.topology.drain(..).for_each(|input| topology.handle(input, env));
            });
        }
        if !batch.detector.is_empty() {
            self.step(Machine::Detector, times, &self.detector, outbox, |detector, env| {
                batch.detector.drain(..).for_each(|input| detector.handle(input, env));
            });
        }
    }

    /// Feeds a shard, whose lock is held. Clients' requests only if no pause was noticed since they were
    /// sent: this thread may have been stopped after it read the clocks, and another one may have moved the
    /// shard's clock on since.
    fn feed(&self, inputs: &mut Vec<Input>, era: Era, shard: &mut Shard, env: &mut Step<'_, P>) {
        let mut is_open = None;
        for input in inputs.drain(..) {
            match input {
                Input::Request(id, _)
                    if !*is_open
                        .get_or_insert_with(|| self.pauses.lets_through(era, shard.epoch())) =>
                {
                    env.note(Note::RefusedAfterPause);
                    env.reply(id, Reply::Failed(Failure::Paused));
                }
                input => shard.handle(input, env),
            }
        }
    }

    /// A timer that a machine set fired.
    pub fn timer(&self, machine: Machine, timer: Timer) {
        let mut batch = self.batch();
        match machine {
            Machine::Shard(shard) => {
                batch.shards[usize::from(shard)].push(Input::Timer(timer));
            }
            Machine::Topology => batch.topology.push(TopologyInput::Timer(timer)),
            Machine::Detector => batch.detector.push(DetectorInput::Timer),
        }
        self.run_and_flush(&mut batch);
    }

    /// Somebody asks for a change of the ring. Whether it is made shows in [`Node::ring`].
    pub fn change(&self, change: Change) {
        let mut batch = self.batch();
        batch.topology.push(TopologyInput::Change(change));
        self.run_and_flush(&mut batch);
    }

    /// Whoever asked for a change does not any more. It may be under way, or done.
    pub fn withdraw(&self, change: Change) {
        let mut batch = self.batch();
        batch.topology.push(TopologyInput::Withdraw(change));
        self.run_and_flush(&mut batch);
    }

    /// An operator decided on a ring.
    pub fn install(&self, ring: Arc<Ring>) {
        let mut batch = self.batch();
        batch.topology.push(TopologyInput::Install(ring));
        self.run_and_flush(&mut batch);
    }

    /// Runs a batch and sends what may leave at once.
    pub fn run_and_flush(&self, batch: &mut Batch) {
        let mut outbox = Outbox::default();
        self.run(batch, &mut outbox);
        self.flush(&mut outbox);
    }

    /// The journal's durable part grew: sends what waited for it.
    pub fn durable(&self) {
        let upto = self.ports.durable();
        let ready: Vec<Outbox> = {
            let mut gate = self.gate.lock();
            let (ready, waiting) =
                mem::take(&mut *gate).into_iter().partition(|(at, _)| *at <= upto);
            *gate = waiting;
            let ready: Vec<(Position, Outbox)> = ready;
            ready.into_iter().map(|(_, outbox)| outbox).collect()
        };
        for mut outbox in ready {
            self.flush(&mut outbox);
        }
    }

    /// Sends all that is in an outbox. No lock of a machine may be held.
    pub fn flush(&self, outbox: &mut Outbox) {
        for ring in mem::take(&mut outbox.rings) {
            self.publish(&ring);
        }
        let synced = mem::take(&mut outbox.synced);
        let gone = outbox.gone.take();
        if !synced.is_empty() || gone.is_some() {
            let mut batch = self.batch();
            let inputs =
                synced.into_iter().map(|(shard, epoch)| TopologyInput::Synced(shard, epoch));
            batch.topology.extend(inputs);
            batch.topology.extend(gone.map(TopologyInput::Gone));
            self.run_and_flush(&mut batch);
        }
        if let Some((era, epoch)) = outbox.confirmed.take() {
            self.confirm(era, epoch);
        }
        if !outbox.is_empty() {
            self.ports.send(outbox);
        }
    }

    /// Hands a ring to the shards, one by one, each under its lock.
    fn publish(&self, ring: &Arc<Ring>) {
        self.ports.adopted(ring);
        let mut batch = self.batch();
        for inputs in &mut batch.shards {
            inputs.push(Input::Ring(ring.clone()));
        }
        batch.detector.push(DetectorInput::Ring(ring.clone()));
        self.run_and_flush(&mut batch);
        self.epoch.fetch_max(ring.epoch().0, Ordering::AcqRel);
    }

    /// Runs `act` on a machine under its lock, and gates what it did.
    fn step<T>(
        &self,
        name: Machine,
        (now, uptime): (Timestamp, Micros),
        machine: &Mutex<Guarded<T>>,
        outbox: &mut Outbox,
        act: impl FnOnce(&mut T, &mut Step<'_, P>),
    ) {
        let mut guarded = machine.lock();
        let Guarded { machine, highest } = &mut *guarded;
        // With nothing to wait for, effects go straight into the caller's outbox.
        let mut own = Outbox::default();
        let is_open = *highest <= self.ports.durable();
        let effects = if is_open { &mut *outbox } else { &mut own };
        let ports = &self.ports;
        let before = *highest;
        let marks = effects.marks();
        act(machine, &mut Step { ports, name, now, uptime, outbox: effects, highest });
        let highest = *highest;
        if is_open && highest > before {
            own = outbox.split_off(marks);
        }
        drop(guarded);
        if !own.is_empty() {
            self.pass(highest, own, outbox);
        }
    }

    /// Lets effects through to the caller's outbox when the journal is far enough; else keeps them.
    fn pass(&self, highest: Position, mut effects: Outbox, outbox: &mut Outbox) {
        // The gate's lock is held over the look at the journal: whoever moves it on drains after us.
        let mut gate = self.gate.lock();
        if highest > self.ports.durable() {
            gate.push((highest, effects));
            return;
        }
        outbox.messages.append(&mut effects.messages);
        outbox.replies.append(&mut effects.replies);
        outbox.rings.append(&mut effects.rings);
        outbox.synced.append(&mut effects.synced);
        outbox.gone = effects.gone.or(outbox.gone.take());
        outbox.confirmed = effects.confirmed.or(outbox.confirmed.take());
    }

    /// The ring that the topology knows.
    pub fn ring(&self) -> Arc<Ring> {
        self.topology.lock().machine.ring().clone()
    }

    /// Whether the others can do without this node: it is no member, they know it, and they have all
    /// that it held. The shards learn of a ring after the topology, and only then what to hand over.
    pub fn is_released(&self) -> bool {
        let epoch = {
            let topology = self.topology.lock();
            topology.machine.is_released().then(|| topology.machine.ring().epoch())
        };
        let is_through = |shard: &Shard| Some(shard.epoch()) == epoch && shard.has_handed_over();
        (0..self.shards()).all(|shard| self.inspect(shard, is_through))
    }

    /// How far this node is behind: what it has still to get or to find out.
    pub fn behind(&self) -> Behind {
        let uptime = self.ports.uptime();
        let of = |shard| self.inspect(shard, |shard| shard.behind(uptime));
        (0..self.shards()).map(of).fold(Behind::default(), Behind::and)
    }

    /// How each other member seems.
    pub fn health(&self) -> BTreeMap<NodeId, Health> {
        self.detector.lock().machine.health()
    }

    /// How many shards this node has.
    pub fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Looks at a shard, under its lock.
    pub fn inspect<T>(&self, shard: usize, look: impl FnOnce(&Shard) -> T) -> T {
        look(&self.shards[shard].lock().machine)
    }

    /// Looks at the shard of a key.
    pub fn inspect_key<T>(&self, key: &Key, look: impl FnOnce(&Shard) -> T) -> T {
        let slot = crate::ring::slot_of(key.as_str(), self.ring_size);
        self.inspect(usize::from(slot.0) % self.shards.len(), look)
    }

    /// The epochs of all shards, the oldest.
    pub fn oldest_epoch(&self) -> Epoch {
        let epochs = (0..self.shards.len()).map(|shard| self.inspect(shard, Shard::epoch));
        epochs.min().expect("a node has a shard")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::{Cell, RefCell},
        collections::{BTreeMap, BTreeSet},
    };

    use super::*;
    use crate::{
        message::Body,
        quorum::Level,
        record::{Record, Version},
        ring::{Change, RING_SIZE},
        types::{Incarnation, Value},
    };

    /// A world in which the journal is durable as far as the test says.
    #[derive(Default)]
    struct Slow {
        entries: RefCell<Vec<Entry>>,
        durable: Cell<u64>,
        messages: RefCell<Vec<(NodeId, Message)>>,
        replies: RefCell<Vec<(RequestId, Reply)>>,
    }

    impl Ports for &Slow {
        fn now(&self) -> Timestamp {
            Timestamp::from_micros(1)
        }

        fn uptime(&self) -> Micros {
            Micros(1)
        }

        fn set_timer(&self, _machine: Machine, _timer: Timer, _after: Micros) {}

        fn append(&self, entry: Entry) -> Position {
            self.entries.borrow_mut().push(entry);
            Position(self.entries.borrow().len() as u64)
        }

        fn durable(&self) -> Position {
            Position(self.durable.get())
        }

        fn note(&self, _note: Note) {}

        fn send(&self, outbox: &mut Outbox) {
            self.messages.borrow_mut().append(&mut outbox.messages);
            self.replies.borrow_mut().append(&mut outbox.replies);
        }
    }

    fn node(world: &Slow, members: usize, shards: u16) -> Node<&Slow> {
        let addresses: Vec<String> = (1..=members).map(|n| format!("h{n}:1")).collect();
        let ring = Arc::new(Ring::form(&addresses, members, RING_SIZE).unwrap());
        let config = NodeConfig { shards, max_clock_drift: Micros(0), ..NodeConfig::default() };
        Node::start(NodeId(1), &config, ring, Recovered::default(), world)
    }

    fn put(node: &Node<&Slow>, id: u64, key: &str) {
        let mut batch = node.batch();
        let (key, value) = (Key::trusted(key), Some(Value::trusted("v")));
        node.request(&mut batch, RequestId(id), Request::Put { key, value, level: Level::One });
        node.run_and_flush(&mut batch);
    }

    #[test]
    fn a_put_is_not_acknowledged_before_it_is_durable_nor_is_anything_that_rests_on_it() {
        let world = Slow::default();
        let node = node(&world, 1, 1);
        put(&node, 1, "a");
        let mut batch = node.batch();
        let (key, level) = (Key::trusted("a"), Level::One);
        node.request(&mut batch, RequestId(2), Request::Get { key, level, at_least: None });
        node.run_and_flush(&mut batch);
        node.durable();
        assert!(world.replies.borrow().is_empty(), "a read must not show what a crash takes back");
        world.durable.set(world.entries.borrow().len() as u64);
        node.durable();
        let answered: Vec<u64> = world.replies.borrow().iter().map(|(id, _)| id.0).collect();
        assert_eq!(answered, [1, 2]);
        put(&node, 3, "a");
        assert_eq!(world.replies.borrow().len(), 2, "the next one waits for its own entry");
    }

    #[test]
    fn a_ring_reaches_the_shards_only_once_it_is_durable() {
        let world = Slow::default();
        let node = node(&world, 3, 2);
        world.durable.set(u64::MAX);
        node.durable();
        world.durable.set(world.entries.borrow().len() as u64);
        let ring = node.ring();
        node.install(Arc::new(ring.next(ring.members().clone()).unwrap()));
        assert_eq!((node.ring().epoch(), node.oldest_epoch()), (Epoch(2), Epoch(1)));
        world.durable.set(u64::MAX);
        node.durable();
        assert_eq!(node.oldest_epoch(), Epoch(2));
    }

    #[test]
    fn who_is_evicted_is_not_released_before_its_shards_know() {
        let world = Slow { durable: Cell::new(u64::MAX), ..Slow::default() };
        let node = node(&world, 3, 2);
        put(&node, 1, "only here");
        let ring = node.ring();
        let evicted = BTreeSet::from([Change::Evict(node.id())]);
        let joint = ring.after(&evicted, false).unwrap();
        let last = Arc::new(joint.after(&BTreeSet::new(), true).unwrap());
        node.install(Arc::new(joint));
        world.durable.set(world.entries.borrow().len() as u64);
        node.install(last.clone());
        for other in [2, 3].map(NodeId) {
            let mut batch = node.batch();
            node.message(&mut batch, other, Message { epoch: last.epoch(), body: Body::Synced });
            node.run_and_flush(&mut batch);
        }
        assert_eq!(node.oldest_epoch(), Epoch(2), "the ring without it is not durable here yet");
        assert!(!node.is_released(), "it did not hand over what it held");
        world.durable.set(u64::MAX);
        node.durable();
        assert_eq!(node.oldest_epoch(), last.epoch());
        assert!(!node.is_released(), "it offers what it held");
    }

    #[test]
    fn a_journal_gives_back_what_it_holds_to_any_number_of_shards() {
        let world = Slow { durable: Cell::new(u64::MAX), ..Slow::default() };
        let first = node(&world, 1, 4);
        (0..50).for_each(|n| put(&first, n, &format!("key{n}")));
        let entries = world.entries.borrow().clone();
        let ring = first.ring();
        let config = NodeConfig { shards: 3, ..NodeConfig::default() };
        let again = Slow { durable: Cell::new(u64::MAX), ..Slow::default() };
        let second = Node::start(NodeId(1), &config, ring, Recovered::replay(entries), &again);
        let held = |node: &Node<&Slow>| -> BTreeMap<Key, _> {
            (0..node.shards()).flat_map(|s| node.inspect(s, Shard::records)).collect()
        };
        assert_eq!(held(&second), held(&first));
        assert!(matches!(again.entries.borrow()[0], Entry::Opened(Incarnation(2))));
    }

    #[test]
    fn digests_of_a_peer_with_another_number_of_shards_reach_each_shard_that_they_concern() {
        let world = Slow { durable: Cell::new(u64::MAX), ..Slow::default() };
        let node = node(&world, 2, 4);
        let mut batch = node.batch();
        let slot = crate::types::Slot;
        let digests = vec![(slot(1), 1), (slot(3), 3), (slot(5), 5)];
        let body = Body::Digests { shard: 1, shards: 2, pass: 1, digests };
        node.message(&mut batch, NodeId(2), Message { epoch: Epoch(1), body });
        // Odd slots are on our shards 1 and 3.
        let got: Vec<usize> = batch.shards.iter().map(Vec::len).collect();
        assert_eq!(got, [0, 1, 0, 1]);
    }

    /// Lets each shard of a node compare with its peer, until nobody says anything any more.
    fn compare(nodes: [&Node<&Slow>; 2]) {
        for shard in 0..nodes[0].shards() {
            nodes[0].timer(Machine::Shard(u16::try_from(shard).unwrap()), Timer::Sync);
        }
        loop {
            let mut count = 0;
            for (at, from) in nodes.iter().enumerate() {
                let mut batch = nodes[1 - at].batch();
                for (_, message) in from.ports().messages.take() {
                    nodes[1 - at].message(&mut batch, from.id(), message);
                    count += 1;
                }
                nodes[1 - at].run_and_flush(&mut batch);
            }
            if count == 0 {
                return;
            }
        }
    }

    #[test]
    fn nodes_with_other_numbers_of_shards_compare_all_that_they_have() {
        for shards in [(1, 4), (4, 1), (3, 8), (8, 3), (4, 6), (5, 5)] {
            let worlds = [0, 1].map(|_| Slow { durable: Cell::new(u64::MAX), ..Slow::default() });
            let addresses = ["h1:1".to_string(), "h2:1".to_string()];
            let ring = Arc::new(Ring::form(&addresses, 2, RING_SIZE).unwrap());
            let start = |id: u32, shards, world| {
                let config =
                    NodeConfig { shards, max_clock_drift: Micros(0), ..NodeConfig::default() };
                let key = |n: u32| Key::trusted(&format!("key{n}"));
                let version = Version { timestamp: Timestamp(u64::from(id)), node: NodeId(id) };
                let record = Record { version, value: Some(Value::trusted("v")) };
                let entries = (0..900).filter(|n| n % 3 != id);
                let entries = entries.map(|n| Entry::Record(key(n), record.clone()));
                let recovered = Recovered::replay(entries);
                Node::start(NodeId(id), &config, ring.clone(), recovered, world)
            };
            let (one, other) = (start(1, shards.0, &worlds[0]), start(2, shards.1, &worlds[1]));
            worlds.iter().for_each(|world| drop(world.messages.take()));
            let records = |node: &Node<&Slow>| -> BTreeMap<Key, Record> {
                (0..node.shards()).flat_map(|s| node.inspect(s, Shard::records)).collect()
            };
            assert_eq!(one.behind().peers_to_compare, BTreeSet::from([NodeId(2)]));
            compare([&one, &other]);
            assert_eq!(records(&one).len(), 900, "{shards:?}");
            assert_eq!(records(&one), records(&other), "{shards:?}");
            assert!(one.behind().is_nothing(), "{shards:?}");
        }
    }
}
