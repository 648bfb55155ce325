//! Inputs, from whoever feeds a node to the machine that they are for.

use std::sync::Arc;

use super::{
    config::NodeConfig,
    eras::{Era, Pauses},
    locks::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    outbox::{Batch, Outbox},
    ports::{Alarm, Ports},
    recover::Recovered,
    state::{Guarded, Node},
    step::{OfDetector, OfShard, OfTopology, Step},
};
use crate::core::{
    detector::{Detector, DetectorInput},
    env::{Clients as _, Entry, Failure, Note, Reply, Request, Trace as _},
    message::{Body, Message},
    ring::{Change, Ring, slot_of},
    shard::{Input, Shard},
    topology::TopologyInput,
    types::{NodeId, RequestId},
};

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
        node.step(OfTopology, times, &node.topology, &mut outbox, |t, env| t.start(env));
        node.step(OfDetector, times, &node.detector, &mut outbox, |d, env| d.start(env));
        node.flush(&mut outbox);
        for (shard, machine) in (0..).zip(&node.shards) {
            let mut outbox = Outbox::default();
            node.step(OfShard(shard), times, machine, &mut outbox, |s, env| s.start(env));
            node.flush(&mut outbox);
        }
        node
    }

    /// An empty batch for this node, of the era that it is now.
    pub fn batch(&self) -> Batch {
        let shards = self.shards.iter().map(|_| Vec::new()).collect();
        Batch { shards, topology: Vec::new(), detector: Vec::new(), era: self.era() }
    }

    /// Adds a client's request to a batch.
    pub fn request(&self, batch: &mut Batch, id: RequestId, request: Request) {
        let slot = slot_of(request.key().as_str(), self.ring_size);
        let shard = usize::from(slot.0) % self.shards.len();
        batch.shards[shard].push(Input::Request(id, slot, request));
    }

    /// Adds a peer's message to a batch.
    pub fn message(&self, batch: &mut Batch, from: NodeId, message: Message) {
        if message.epoch.0 > self.epoch.load(Ordering::Acquire) {
            batch.topology.push(TopologyInput::Seen(from, message.epoch));
        }
        let Message { epoch, body } = message;
        match body {
            Body::KeyRequest(body) => {
                let slot = slot_of(body.key().as_str(), self.ring_size);
                let shard = usize::from(slot.0) % self.shards.len();
                batch.shards[shard].push(Input::KeyRequest(from, slot, Message { epoch, body }));
            }
            Body::Shard(body) => self.sort(batch, from, Message { epoch, body }),
            Body::Topology(body) => {
                batch.topology.push(TopologyInput::Message(from, Message { epoch, body }));
            }
            Body::Gossip(bytes) => batch.detector.push(DetectorInput::Gossip(from, bytes)),
        }
    }

    /// Runs a batch, which is empty afterwards. What may leave the node at once is added to the
    /// outbox; what rests on entries that are not durable yet leaves with [`Node::durable`].
    pub fn run(&self, batch: &mut Batch, outbox: &mut Outbox) {
        let times = self.times();
        for (index, inputs) in batch.shards.iter_mut().enumerate() {
            if !inputs.is_empty() {
                let name = OfShard(u16::try_from(index).expect("at most 2^16 shards"));
                self.step(name, times, &self.shards[index], outbox, |shard, env| {
                    self.feed(inputs, batch.era, shard, env);
                });
            }
        }
        if !batch.topology.is_empty() {
            self.step(OfTopology, times, &self.topology, outbox, |topology, env| {
                batch.topology.drain(..).for_each(|input| topology.handle(input, env));
            });
        }
        if !batch.detector.is_empty() {
            self.step(OfDetector, times, &self.detector, outbox, |detector, env| {
                batch.detector.drain(..).for_each(|input| detector.handle(input, env));
            });
        }
    }

    /// Feeds a shard, whose lock is held. Clients' requests only if no pause was noticed since they were
    /// sent: this thread may have been stopped after it read the clocks, and another one may have moved the
    /// shard's clock on since.
    fn feed(
        &self,
        inputs: &mut Vec<Input>,
        era: Era,
        shard: &mut Shard,
        env: &mut Step<'_, P, OfShard>,
    ) {
        let mut is_open = None;
        for input in inputs.drain(..) {
            match input {
                Input::Request(id, ..)
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
    pub fn timer(&self, alarm: Alarm) {
        let mut batch = self.batch();
        match alarm {
            Alarm::Shard(shard, timer) => {
                batch.shards[usize::from(shard)].push(Input::Timer(timer));
            }
            Alarm::Topology(timer) => batch.topology.push(TopologyInput::Timer(timer)),
            Alarm::Detector => batch.detector.push(DetectorInput::Timer),
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
}
