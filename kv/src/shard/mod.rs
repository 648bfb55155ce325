//! The state machine of a fixed subset of slots in one process: it coordinates clients' requests,
//! holds replicas, and repairs them.

mod behind;
mod clocks;
mod get;
mod give;
mod pull;
mod put;
mod replica;
mod sync;

#[cfg(test)]
mod tests;

pub(crate) use self::sync::may_share;
pub use self::{behind::Behind, pull::SILENT_ROUNDS};

use std::{collections::BTreeMap, sync::Arc};

use self::{get::Get, give::Gives, pull::Pulls, put::Put, sync::Comparisons};
use crate::{
    clock::{ClockGuard, HybridClock, Timestamp},
    env::{Env, Failure, Note, Reply, Request, Timer},
    message::{Body, Message},
    record::{Record, Version},
    ring::{MemberState, Ring},
    store::Store,
    types::{Epoch, Incarnation, Key, Micros, NodeId, OpId, RequestId, Slot},
};

/// What a shard is told when it is made, and never changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ShardConfig {
    /// This node.
    pub node: NodeId,
    /// This shard: it has the slots `slot % shards == shard`.
    pub shard: u16,
    /// How many shards the node has.
    pub shards: u16,
    /// Where the store's keys lie.
    pub seed: u64,
    /// Requests that were not answered for this long fail; none lives twice as long.
    pub request_timeout: Micros,
    /// Before round trips were measured, silent owners are asked again after this.
    pub hedge_after: Micros,
    /// Between two comparisons of digests.
    pub sync_every: Micros,
    /// Between two looks at peers' clocks.
    pub probe_every: Micros,
    /// Between two rounds of pulls and of offers.
    pub pull_every: Micros,
    /// Records in an answer to a pull, and versions of a slot in an offer, at most. Not zero.
    pub page: usize,
    /// How far a wall clock may be off; zero turns the guard off.
    pub max_clock_drift: Micros,
    /// Requests under way; further ones fail with BUSY.
    pub max_in_flight: usize,
}

/// What a shard reacts to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// A client asks.
    Request(RequestId, Request),
    /// A peer says something.
    Message(NodeId, Message),
    /// A timer fired.
    Timer(Timer),
    /// The topology has a newer ring, and it is durable.
    Ring(Arc<Ring>),
    /// The node stood still for a while, and this is the first thing that it hears.
    Paused,
}

/// A request under way on its coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Pending {
    Put(Put),
    Get(Get),
}

/// The requests that a timer's next firing is about: those that were under way when it was armed.
///
/// A timer per request would be a million live timers. A deadline per request would be a clock
/// reading to compare with. This is neither: a request is swept between one and two periods after it
/// began.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Generation {
    timer: Timer,
    /// Armed, and then about the operations before this one.
    before: Option<OpId>,
}

impl Generation {
    fn new(timer: Timer) -> Self {
        Self { timer, before: None }
    }

    /// An operation began.
    fn began(&mut self, op: OpId, period: Micros, env: &mut impl Env) {
        if self.before.is_none() {
            self.before = Some(op.next());
            env.set_timer(self.timer, period);
        }
    }

    /// The timer fired: tells the generation to sweep. Call [`Generation::rearm`] after the sweep.
    fn fired(&mut self) -> Option<OpId> {
        self.before.take()
    }

    /// After a sweep: the next generation is all that is under way now.
    fn rearm(&mut self, next: OpId, is_idle: bool, period: Micros, env: &mut impl Env) {
        if !is_idle {
            self.before = Some(next);
            env.set_timer(self.timer, period);
        }
    }
}

/// The state machine of a subset of slots.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shard {
    config: ShardConfig,
    ring: Arc<Ring>,
    incarnation: Incarnation,
    store: Store,
    clock: HybridClock,
    guard: ClockGuard,
    /// Smoothed round trip to the peers, in microseconds. Zero: not measured.
    round_trip: u64,
    next_op: OpId,
    pending: BTreeMap<OpId, Pending>,
    hedge: Generation,
    timeout: Generation,
    sync: Comparisons,
    /// Counts ticks, so that each is about other peers.
    probe_round: usize,
    /// What this ring asks of the shard: slots to pull, and slots to hand over.
    pulls: Pulls,
    gives: Gives,
    /// The timer for both is armed.
    moves: bool,
    /// The topology was told that all of it is done.
    told: bool,
}

impl Shard {
    /// A shard that goes on where its journal ended: at the floor of its clock, as the next
    /// incarnation. Records follow by [`Shard::restore`], then [`Shard::start`].
    pub fn new(
        config: ShardConfig,
        ring: Arc<Ring>,
        floor: Timestamp,
        incarnation: Incarnation,
    ) -> Self {
        Self {
            incarnation,
            store: Store::new(config.seed),
            clock: HybridClock::recovered(floor),
            guard: ClockGuard::new(config.max_clock_drift),
            round_trip: 0,
            next_op: OpId::first_of(config.shard, incarnation),
            pending: BTreeMap::new(),
            hedge: Generation::new(Timer::Hedge),
            timeout: Generation::new(Timer::Timeout),
            sync: Comparisons::default(),
            probe_round: 0,
            pulls: Pulls::default(),
            gives: Gives::default(),
            moves: false,
            told: false,
            config,
            ring,
        }
    }

    /// Puts back a record that the journal holds.
    pub fn restore(&mut self, key: &Key, record: &Record) {
        let slot = self.ring.slot_of(key.as_str());
        self.store.merge(slot, key.as_str(), record);
    }

    /// The first step.
    pub fn start(&mut self, env: &mut impl Env) {
        self.sync.ticked = env.uptime();
        if self.config.sync_every.0 > 0 {
            env.set_timer(Timer::Sync, self.config.sync_every);
        }
        if self.guard.is_on() {
            self.guard.check_for_jump(env);
            self.probe(env);
            env.set_timer(Timer::Probe, self.probe_after());
        }
        self.begin_moves(env);
    }

    /// One step.
    pub fn handle(&mut self, input: Input, env: &mut impl Env) {
        match input {
            Input::Request(id, request) => self.request(id, request, env),
            Input::Message(from, message) => self.message(from, message, env),
            Input::Timer(timer) => self.timer(timer, env),
            Input::Ring(ring) => self.adopt(ring, env),
            Input::Paused => self.paused(env),
        }
    }

    fn request(&mut self, id: RequestId, request: Request, env: &mut impl Env) {
        if self.pending.len() >= self.config.max_in_flight {
            env.note(Note::Busy);
            env.reply(id, Reply::Failed(Failure::Busy));
            return;
        }
        match request {
            Request::Put { key, value, level } => self.put(id, key, value, level, env),
            Request::Get { key, level, at_least } => self.get(id, key, level, at_least, env),
        }
    }

    fn message(&mut self, from: NodeId, message: Message, env: &mut impl Env) {
        let Message { epoch, body } = message;
        match body {
            // Time and merges are good at any epoch: nobody counts them.
            Body::Probe { shard, sent } => {
                let now = env.now();
                self.send(from, Body::ProbeReply { shard, sent, now }, env);
            }
            Body::ProbeReply { shard: _, sent, now } => self.probed(from, sent, now, env),
            Body::Delta { slot, records } => self.delta(slot, records, env),
            // The rest only among those who have the same ring.
            body => {
                if self.same_epoch(from, epoch, &body, env) {
                    self.message_of_this_epoch(from, body, env);
                }
            }
        }
    }

    fn message_of_this_epoch(&mut self, from: NodeId, body: Body, env: &mut impl Env) {
        match body {
            Body::Write { op, key, record } => self.replica_write(from, op, &key, &record, env),
            Body::Read { op, key } => self.replica_read(from, op, &key, env),
            Body::Written { op } => self.written(from, op, env),
            Body::Found { op, record } => self.found(from, op, record, env),
            Body::Digests { shard, shards, pass, digests } => {
                self.compare_digests(from, (shard, shards), pass, &digests, env);
            }
            Body::Differ { shard: _, pass, part, parts, slots } => {
                self.differ(from, pass, (part, parts), slots, env);
            }
            Body::Versions { shard, pass, ranges } => {
                self.compare_versions(from, shard, pass, ranges, env);
            }
            Body::Newer { shard: _, pass, parts } => self.newer(from, pass, parts, env),
            Body::Pull { shard, wants } => self.pulled_from(from, shard, wants, env),
            Body::Pulled { shard: _, parts } => self.pulled(from, parts, env),
            Body::Offer { shard, offers } => self.offered(from, shard, offers, env),
            Body::Wanted { shard: _, wants } => self.wanted(from, wants, env),
            // At our epoch nobody fences us; the others are for the topology or handled before.
            Body::Fenced { .. }
            | Body::Probe { .. }
            | Body::ProbeReply { .. }
            | Body::Delta { .. }
            | Body::Prepare { .. }
            | Body::Promise { .. }
            | Body::Accept { .. }
            | Body::Accepted { .. }
            | Body::Refused { .. }
            | Body::Synced
            | Body::RingRequest
            | Body::Gossip(_)
            | Body::IsNewest { .. }
            | Body::Newest { .. }
            | Body::Ring(_) => {}
        }
    }

    /// The fence. Requests of an earlier epoch are refused, and answers of one are not counted.
    /// Those of a later epoch are dropped: the topology fetches the ring, and the sender asks again.
    fn same_epoch(&self, from: NodeId, epoch: Epoch, body: &Body, env: &mut impl Env) -> bool {
        if epoch > self.ring.epoch() {
            env.note(Note::Behind);
        } else if epoch < self.ring.epoch()
            && let Body::Write { op, .. } | Body::Read { op, .. } = body
        {
            env.note(Note::Fenced);
            self.send(from, Body::Fenced { op: *op }, env);
        }
        epoch == self.ring.epoch()
    }

    fn timer(&mut self, timer: Timer, env: &mut impl Env) {
        match timer {
            Timer::Hedge => self.sweep_hedge(env),
            Timer::Timeout => self.sweep_timeout(env),
            Timer::Sync => {
                self.sync_tick(env);
                env.set_timer(Timer::Sync, self.config.sync_every);
            }
            Timer::Probe => {
                if self.guard.check_for_jump(env) {
                    env.note(Note::ClockJumped);
                }
                self.probe(env);
                env.set_timer(Timer::Probe, self.probe_after());
            }
            Timer::Pull => self.move_on(env),
            // The topology's.
            Timer::Fetch | Timer::Confirm | Timer::Propose | Timer::Report | Timer::Detect => {}
        }
    }

    /// On a ring that is new here: what it asks of this shard. Whatever an older ring asked is void.
    fn begin_moves(&mut self, env: &mut impl Env) {
        self.pulls = Pulls::of(&self.ring, &self.config);
        self.gives = Gives::of(&self.ring, &self.config, &self.store);
        self.told = false;
        if !self.moves {
            self.move_on(env);
        }
        self.tell_if_synced(env);
    }

    /// The next round of pulls and offers.
    fn move_on(&mut self, env: &mut impl Env) {
        self.pull_round(env);
        self.give_round(env);
        self.moves = !self.pulls.is_empty() || self.gives.len() > 0;
        if self.moves {
            env.set_timer(Timer::Pull, self.config.pull_every);
        }
    }

    /// Tells the topology once all that a joint ring asks for is done.
    fn tell_if_synced(&mut self, env: &mut impl Env) {
        let state = self.ring.members().get(&self.config.node).map(|member| member.state);
        let is_leaving = state == Some(MemberState::Leaving);
        let has_handed_over = !is_leaving || self.gives.is_handed_over();
        if self.ring.is_joint() && !self.told && self.pulls.is_empty() && has_handed_over {
            self.told = true;
            env.synced(self.ring.epoch());
        }
    }

    /// Goes over to a newer ring: requests under way begin anew, with the same version.
    fn adopt(&mut self, ring: Arc<Ring>, env: &mut impl Env) {
        if ring.epoch() <= self.ring.epoch() {
            return;
        }
        self.ring = ring;
        let ring = &self.ring;
        self.guard.retain(|node| ring.members().contains_key(&node));
        self.sync.forget();
        // Writes need not be refused until the next look at the clocks.
        if self.guard.is_on() && !self.has_measured_clocks() {
            self.probe(env);
        }
        for (op, pending) in std::mem::take(&mut self.pending) {
            env.note(Note::Restarted);
            match pending {
                Pending::Put(put) => self.begin_put(op, put, env),
                Pending::Get(get) => self.begin_get(op, get, env),
            }
        }
        self.begin_moves(env);
    }

    /// Keeps an operation until it is answered, hedged or given up.
    fn keep(&mut self, op: OpId, pending: Pending, env: &mut impl Env) {
        self.pending.insert(op, pending);
        let hedge_after = self.hedge_after();
        self.hedge.began(op, hedge_after, env);
        self.timeout.began(op, self.config.request_timeout, env);
    }

    fn issue_op(&mut self) -> OpId {
        let op = self.next_op;
        self.next_op = op.next();
        op
    }

    fn sweep_hedge(&mut self, env: &mut impl Env) {
        let Some(before) = self.hedge.fired() else { return };
        let mut pending = std::mem::take(&mut self.pending);
        for (op, pending) in pending.range_mut(..before) {
            match pending {
                Pending::Put(put) => self.hedge_put(*op, put, env),
                Pending::Get(get) => self.hedge_get(*op, get, env),
            }
        }
        self.pending = pending;
        let (next, is_idle, period) = (self.next_op, self.pending.is_empty(), self.hedge_after());
        self.hedge.rearm(next, is_idle, period, env);
    }

    fn sweep_timeout(&mut self, env: &mut impl Env) {
        let Some(before) = self.timeout.fired() else { return };
        let young = self.pending.split_off(&before);
        for (_, pending) in std::mem::replace(&mut self.pending, young) {
            give_up(&pending, env);
        }
        let (next, is_idle) = (self.next_op, self.pending.is_empty());
        self.timeout.rearm(next, is_idle, self.config.request_timeout, env);
    }

    /// A write without a version would get one now, and beat what was acknowledged during the pause: it is
    /// given up. Whatever else is under way has the version of before.
    fn paused(&mut self, env: &mut impl Env) {
        let is_without =
            |pending: &mut Pending| matches!(pending, Pending::Put(put) if put.is_asking());
        let without: Vec<_> = self.pending.extract_if(.., |_, p| is_without(p)).collect();
        for (_, pending) in without {
            give_up(&pending, env);
        }
    }

    /// When owners are late: four round trips, within a tenth and ten times of the default.
    fn hedge_after(&self) -> Micros {
        let default = self.config.hedge_after.0;
        match self.round_trip {
            0 => Micros(default),
            measured => Micros((4 * measured).clamp(default / 10, 10 * default)),
        }
    }

    fn send(&self, to: NodeId, body: Body, env: &mut impl Env) {
        env.send(to, Message { epoch: self.ring.epoch(), body });
    }

    /// The epoch that this shard answers at.
    pub fn epoch(&self) -> Epoch {
        self.ring.epoch()
    }

    /// The record that this replica holds.
    pub fn record(&self, key: &str) -> Option<Record> {
        self.store.get(key)
    }

    /// The version that this replica holds.
    pub fn version(&self, key: &str) -> Option<Version> {
        self.store.version(key)
    }

    /// All that this replica holds, ascending by key.
    pub fn records(&self) -> Vec<(Key, Record)> {
        self.store.records()
    }

    /// The slots with records, and their digests.
    pub fn digests(&self) -> Vec<(Slot, u64)> {
        self.store.digests()
    }

    /// Records here: all, and those that are not tombstones.
    pub fn counts(&self) -> (usize, usize) {
        (self.store.len(), self.store.live())
    }

    /// Whether an answer to this operation is awaited, or may be later: it is under way, or did not begin.
    pub fn may_await(&self, op: OpId) -> bool {
        self.pending.contains_key(&op) || op >= self.next_op
    }

    /// Whether this replica's clock is past a timestamp.
    pub fn has_seen(&self, timestamp: Timestamp) -> bool {
        self.clock.has_seen(timestamp)
    }

    /// Slots that this shard has still to pull, and slots that it has still to hand over.
    pub fn moving(&self) -> (usize, usize) {
        (self.pulls.len(), self.gives.len())
    }

    /// Whether others have all that they are to have of this shard; it may still be forgetting that.
    pub fn has_handed_over(&self) -> bool {
        self.gives.is_handed_over()
    }

    /// Requests under way.
    pub fn in_flight(&self) -> usize {
        self.pending.len()
    }

    /// Panics when something that must always hold does not. Looks at the key that a step was
    /// about, or at everything.
    pub fn check_invariants(&self, touched: Option<&Key>) {
        assert!(self.pending.len() <= self.config.max_in_flight, "more in flight than allowed");
        if let Some((last, _)) = self.pending.last_key_value() {
            assert!(*last < self.next_op, "an operation from the future");
            assert!(self.timeout.before.is_some(), "a request that nothing will time out");
            assert!(self.hedge.before.is_some(), "a request that nothing will hedge");
        }
        match touched {
            Some(key) => self.store.check_slot(self.ring.slot_of(key.as_str())),
            None => self.store.check(),
        }
        if let Some(version) = touched.and_then(|key| self.version(key.as_str())) {
            assert!(self.clock.has_seen(version.timestamp), "the clock is behind a stored version");
        }
    }
}

fn give_up(pending: &Pending, env: &mut impl Env) {
    let (request, (failure, note)) = match pending {
        Pending::Put(put) => (put.request, put.given_up()),
        Pending::Get(get) => (get.request, (Failure::Timeout, get.timeout_note())),
    };
    env.note(note);
    env.reply(request, Reply::Failed(failure));
}
